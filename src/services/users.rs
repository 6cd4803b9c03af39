//! People: making them, looking at oneself.

use super::access::require;
use super::audit;
use super::{App, Error, FieldError};
use crate::domain::id::{OrgId, PrincipalId};
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission, Role, may_give};
use crate::store::{self, members, users};

const EMAIL_BYTES_MAX: usize = 254;
const NAME_BYTES_MAX: usize = 128;

/// Somebody to be made.
#[derive(Clone, Debug)]
pub struct NewUser {
    pub email: String,
    pub name: String,
    pub password: String,
}

/// A checked user, whose password is hashed.
pub(super) struct Checked {
    email: String,
    name: String,
    password_hash: String,
}

impl Checked {
    pub fn row(&self) -> users::NewUser<'_> {
        users::NewUser {
            email: &self.email,
            name: &self.name,
            password_hash: &self.password_hash,
        }
    }
}

/// Checks a new user's fields, all of them, and hashes the password.
///
/// # Errors
/// `Invalid` with every field that does not fit.
pub(super) async fn checked(app: &App, user: NewUser) -> Result<Checked, Error> {
    let email = normalize_email(&user.email);
    let name = user.name.trim().to_owned();
    let mut wrong = Vec::new();
    let mut field = |pointer: &str, message: &str| {
        wrong.push(FieldError {
            pointer: pointer.to_owned(),
            message: message.to_owned(),
        });
    };
    if !is_email(&email) {
        field("/email", "This is no e-mail address.");
    }
    if !is_name(&name) {
        field("/name", "Give a name of at most 128 bytes.");
    }
    if let Err(error) = crate::crypto::password::check_for(&user.password, &email, &name) {
        field("/password", &error.to_string());
    }
    if !wrong.is_empty() {
        return Err(Error::Invalid(wrong));
    }
    let password_hash = app.auth.hash_password(user.password, &email, &name).await?;
    Ok(Checked {
        email,
        name,
        password_hash,
    })
}

/// Lower case and trimmed, as addresses are stored and looked up.
pub(super) fn normalize_email(email: &str) -> String {
    email.trim().to_lowercase()
}

pub(super) fn is_email(email: &str) -> bool {
    let Some((local, domain)) = email.rsplit_once('@') else {
        return false;
    };
    email.len() <= EMAIL_BYTES_MAX
        && !local.is_empty()
        && !domain.is_empty()
        && !domain.starts_with('.')
        && !domain.ends_with('.')
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
}

pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && !name.chars().any(char::is_control)
}

/// Makes a user with a role in the actor's organization.
///
/// # Errors
/// `Forbidden`; `Invalid` with the fields that do not fit; `AlreadyExists`.
pub async fn create(app: &App, actor: &Actor, user: NewUser, role: Role, origin: Origin) -> Result<PrincipalId, Error> {
    require(actor, Permission::MembersManage, actor.org, "the organization")?;
    if !may_give(actor, role) {
        return Err(Error::field("/role", super::members::ABOVE_OWN));
    }
    let user = checked(app, user).await?;
    let (org, now) = (actor.org, app.clock.now());
    let principal = PrincipalId::new(now);
    let record = audit::of(actor, "user.create", &principal.to_string(), origin).detail(serde_json::json!({ "role": role }));
    let made = app.store.write(move |tx| {
        if let Err(full) = super::members::check_seats(tx, org, 1, now)? {
            return Ok(Err(full));
        }
        users::insert(tx, principal, &user.row(), now)?;
        members::insert(tx, org, principal, role, now)?;
        store::audit::record(tx, record.about(audit::Subject::Principal(principal)), now).map(Ok)
    });
    match made.await {
        Ok(made) => made?,
        Err(store::Error::Exists(_)) => {
            return Err(Error::AlreadyExists(
                "somebody with this e-mail address is there already".to_owned(),
            ));
        }
        Err(error) => return Err(error.into()),
    }
    app.auth.forget();
    Ok(principal)
}

/// The user with an e-mail address as an actor on the station's own shell, in the organization `slug` or their first.
///
/// # Errors
/// `NotFound` where nobody has the address, or is no member there.
pub async fn local_actor(app: &App, email: &str, org_slug: Option<String>) -> Result<Actor, Error> {
    let email = normalize_email(email);
    let found = app.store.read(move |reader| {
        let Some(user) = users::find_by_email(reader, &email)? else {
            return Ok(None);
        };
        super::auth::local_actor(reader, user.principal, org_slug.as_deref())
    });
    found.await?.ok_or(Error::NotFound("the user"))
}

/// An owner of an organization as an actor on the station's own shell: whoever can read the data directory acts as one.
///
/// # Errors
/// `NotFound` where the organization is not there.
pub async fn local_owner(app: &App, org_slug: String) -> Result<Actor, Error> {
    let found = app.store.read(move |reader| {
        let Some(owner) = members::first_owner(reader, &org_slug)? else {
            return Ok(None);
        };
        super::auth::local_actor(reader, owner, Some(&org_slug))
    });
    found.await?.ok_or(Error::NotFound("the organization"))
}

/// What the account page shows of oneself.
///
/// # Errors
/// `NotFound` for actors that are no users.
pub async fn email(app: &App, actor: &Actor) -> Result<String, Error> {
    email_of(app, actor.principal).await
}

/// A user's address, for themselves.
///
/// # Errors
/// `NotFound` for principals that are no users.
pub async fn email_of(app: &App, principal: PrincipalId) -> Result<String, Error> {
    let user = app.store.read(move |reader| users::find(reader, principal)).await?;
    user.map(|user| user.email).ok_or(Error::NotFound("the user"))
}

/// The names of principals of the actor's organization, for lists.
///
/// # Errors
/// The store does not answer.
pub async fn names(app: &App, org: OrgId) -> Result<std::collections::BTreeMap<PrincipalId, String>, Error> {
    Ok(app
        .store
        .read(move |reader| members::names(reader, org))
        .await?
        .into_iter()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_needs_both_its_sides_and_no_space() {
        for good in ["ana@example.com", "a@b", "o'neil+x@sub.example.org"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "",
            "ana",
            "@example.com",
            "ana@",
            "a b@example.com",
            "ana@.com",
            "ana@example.com\n",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
        assert_eq!(normalize_email("  Ana@Example.COM "), "ana@example.com");
    }
}

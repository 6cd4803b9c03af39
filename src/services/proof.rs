//! Proving again who one is, before something sensitive is done.

use super::auth::{Factor, Person};
use super::totp::{self, Enrolled, wrong_code};
use super::{App, Error, passkeys};
use crate::domain::origin::Origin;
use crate::store::{sessions, users};

/// What somebody can prove it with.
#[derive(Clone, Debug)]
pub struct Means {
    pub email: String,
    /// Whether a code of the app is needed beside the password.
    pub needs_code: bool,
    pub has_passkeys: bool,
    /// Whether the session began by a one-time link, so that its person may not know any password.
    pub by_link: bool,
}

/// # Errors
/// `NotFound` where the person is gone.
pub async fn means(app: &App, person: Person) -> Result<Means, Error> {
    let found = app.store.read(move |reader| {
        let user = users::find(reader, person.principal)?;
        Ok((user, sessions::factor_of(reader, person.session)?))
    });
    let (user, factor) = found.await?;
    Ok(Means {
        email: user.ok_or(Error::NotFound("the user"))?.email,
        needs_code: matches!(totp::enrolled(app, person).await?, Enrolled::Yes { .. }),
        has_passkeys: !passkeys::list(app, person).await?.is_empty(),
        by_link: factor == Some(Factor::Link),
    })
}

/// Takes the password, and a code where an app is in use.
///
/// # Errors
/// `Invalid` with the field that is wrong; `RateLimited`; `Busy`; `Sealed`.
pub async fn by_password(app: &App, person: Person, password: String, code: &str, origin: Origin) -> Result<(), Error> {
    let user = app.store.read(move |reader| users::find(reader, person.principal)).await?;
    let user = user.ok_or(Error::NotFound("the user"))?;
    if !app.auth.is_password(person, password, user.password_hash).await? {
        return Err(Error::field("/password", "This is not your password."));
    }
    if !totp::is_proof(app, person, code).await? {
        return Err(wrong_code());
    }
    app.auth.proved(person, "password", origin).await
}

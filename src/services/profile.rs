//! One's own name, address and password.

use super::auth::{Person, new_token, record_of};
use super::users::{is_email, is_name, normalize_email};
use super::{App, Error, audit, mail};
use crate::domain::origin::Origin;
use crate::store::links::Purpose;
use crate::store::users::User;
use crate::store::{self, links, sessions, users};

/// # Errors
/// `NotFound` where the person is gone.
pub async fn get(app: &App, person: Person) -> Result<User, Error> {
    let user = app.store.read(move |reader| users::find(reader, person.principal)).await?;
    user.ok_or(Error::NotFound("the user"))
}

/// # Errors
/// `Invalid` where the name does not fit.
pub async fn rename(app: &App, person: Person, name: &str, origin: Origin) -> Result<(), Error> {
    let name = name.trim().to_owned();
    if !is_name(&name) {
        return Err(Error::field("/name", "Give a name of at most 128 bytes."));
    }
    let now = app.clock.now();
    let renamed = app.store.write(move |tx| {
        users::set_name(tx, person.principal, &name)?;
        let record = record_of(person, "user.rename", &person.principal.to_string(), origin);
        audit::of_person(tx, person.principal, &record, now)
    });
    renamed.await?;
    app.auth.forget();
    Ok(())
}

/// Changes the address that one signs in with; the old one is told.
///
/// # Errors
/// `Invalid` where it is no address, or somebody else's.
pub async fn change_email(app: &App, person: Person, email: &str, origin: Origin) -> Result<(), Error> {
    let email = normalize_email(email);
    if !is_email(&email) {
        return Err(Error::field("/email", "This is no e-mail address."));
    }
    let before = get(app, person).await?.email;
    if before == email {
        return Ok(());
    }
    let now = app.clock.now();
    let notice = origin.clone();
    let changed = app.store.write(move |tx| {
        users::set_email(tx, person.principal, &email)?;
        // They were sent to the old address.
        links::delete_of(tx, person.principal, Purpose::Reset)?;
        let record = record_of(person, "user.change-email", &person.principal.to_string(), origin);
        audit::of_person(tx, person.principal, &record, now)
    });
    match changed.await {
        Ok(()) => {}
        Err(store::Error::Exists(_)) => return Err(Error::field("/email", "Somebody signs in with this address already.")),
        Err(error) => return Err(error.into()),
    }
    app.auth.forget();
    mail::security_notice(app, &before, "you sign in with another address from now on", &notice);
    Ok(())
}

/// Changes one's own password, ends one's other sessions, and returns a new token for the one that is left.
///
/// # Errors
/// `Invalid` where the current password is wrong (`/current`) or the new one refused (`/new`); `RateLimited`; `Busy`.
pub async fn change_password(app: &App, person: Person, current: String, new: String, origin: Origin) -> Result<String, Error> {
    let user = get(app, person).await?;
    if !app.auth.is_password(person, current, user.password_hash.clone()).await? {
        return Err(Error::field("/current", "This is not your current password."));
    }
    let hash = match app.auth.hash_password(new, &user.email, &user.name).await {
        Err(Error::Invalid(fields)) => {
            let words: Vec<String> = fields.into_iter().map(|field| field.message).collect();
            return Err(Error::field("/new", words.join(" ")));
        }
        other => other?,
    };
    let (text, token_hash) = new_token()?;
    let now = app.clock.now();
    let notice = origin.clone();
    let changed = app.store.write(move |tx| {
        users::set_password(tx, person.principal, &hash, now)?;
        links::delete_of(tx, person.principal, Purpose::Reset)?;
        sessions::delete_others(tx, person.principal, person.session)?;
        sessions::renew(tx, person.session, &token_hash, now)?;
        let record = record_of(person, "user.change-password", &person.principal.to_string(), origin);
        audit::of_person(tx, person.principal, &record, now)
    });
    changed.await?;
    app.auth.forget();
    mail::security_notice(app, &user.email, "the password was changed", &notice);
    Ok(text)
}

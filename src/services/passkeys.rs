//! Passkeys: registered by name, listed, removed, and used to sign in or to prove who one is. Each is both factors at once.

use serde_json::Value;

use super::auth::{Factor, Person, SignedIn, record_of};
use super::totp::tell;
use super::{App, Error, audit};
use crate::crypto::passkey::{self, Answer, Challenge, Holder, Registration, Site};
use crate::domain::id::{PasskeyId, PrincipalId, SessionId};
use crate::domain::limits::NAME_BYTES_MAX;
use crate::domain::origin::Origin;
use crate::store::audit::{Outcome, Record};
use crate::store::passkeys::{self, Passkey};
use crate::store::{self, users};

/// Passkeys of one person.
const PASSKEYS_MAX: u32 = 20;
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What a browser was asked for.
#[derive(Clone)]
pub(super) enum Ceremony {
    Registration(SessionId, Registration),
    SignIn(Challenge),
    Proof(SessionId, Challenge),
}

/// A question to a browser, and the token under which its answer is awaited.
#[derive(Debug)]
pub struct Asked {
    pub ceremony: String,
    pub options: Value,
}

/// What a browser answered.
#[derive(Clone, Copy, Debug)]
pub struct Answered<'a> {
    pub ceremony: &'a str,
    /// JSON of the credential.
    pub credential: &'a str,
}

/// Somebody's passkeys, the oldest first.
///
/// # Errors
/// The store does not answer.
pub async fn list(app: &App, person: Person) -> Result<Vec<Passkey>, Error> {
    let principal = person.principal;
    Ok(app.store.read(move |reader| passkeys::list(reader, principal)).await?)
}

/// Begins to register one.
///
/// # Errors
/// `Conflict` where there are enough.
pub async fn begin(app: &App, person: Person, site: &Site) -> Result<Asked, Error> {
    let principal = person.principal;
    let found = app.store.read(move |reader| {
        let user = users::find(reader, principal)?;
        Ok((user, passkeys::list(reader, principal)?))
    });
    let (user, known) = found.await?;
    let user = user.ok_or(Error::NotFound("the user"))?;
    if known.len() >= PASSKEYS_MAX as usize {
        return Err(Error::Conflict(enough()));
    }
    let known: Vec<String> = known.into_iter().map(|passkey| passkey.credential).collect();
    let holder = Holder {
        handle: principal.as_bytes(),
        email: &user.email,
        name: &user.name,
    };
    let (options, state) = passkey::begin_registration(site, holder, &known)?;
    let ceremony = Ceremony::Registration(person.session, state);
    Ok(Asked {
        ceremony: app.auth.ceremonies().put(ceremony, app.clock.now())?,
        options,
    })
}

/// Keeps the passkey that a browser made.
///
/// # Errors
/// `Invalid` where the answer does not fit, or the name; `AlreadyExists`; `Conflict` where there are enough.
pub async fn finish(app: &App, person: Person, site: &Site, name: &str, answered: Answered<'_>, origin: Origin) -> Result<(), Error> {
    let name = checked_name(name)?;
    let now = app.clock.now();
    let Some(Ceremony::Registration(session, state)) = app.auth.ceremonies().take(answered.ceremony, now) else {
        return Err(too_late());
    };
    if session != person.session {
        return Err(too_late());
    }
    let registered = passkey::finish_registration(site, text(answered)?, &state).map_err(|_| unfit())?;
    let new = Passkey {
        id: PasskeyId::new(now),
        principal: person.principal,
        name,
        credential: registered.credential,
        created_at: now,
        last_used_at: None,
    };
    let notice = origin.clone();
    let kept = app.store.write(move |tx| {
        if passkeys::count(tx, new.principal)? >= PASSKEYS_MAX {
            return Err(store::Error::Conflict(enough()));
        }
        passkeys::insert(tx, &new, &registered.credential_id)?;
        let record = record_of(person, "passkey.add", &new.id.to_string(), origin);
        audit::of_person(tx, person.principal, &record.detail(serde_json::json!({ "name": new.name })), now)
    });
    kept.await?;
    tell(app, person, "a passkey was added", &notice).await
}

/// # Errors
/// `NotFound`; `Invalid` where the name does not fit.
pub async fn rename(app: &App, person: Person, id: PasskeyId, name: &str, origin: Origin) -> Result<(), Error> {
    let name = checked_name(name)?;
    let now = app.clock.now();
    let renamed = app.store.write(move |tx| {
        if !passkeys::rename(tx, person.principal, id, &name)? {
            return Err(store::Error::NotFound);
        }
        let record = record_of(person, "passkey.rename", &id.to_string(), origin);
        audit::of_person(tx, person.principal, &record.detail(serde_json::json!({ "name": name })), now)
    });
    Ok(renamed.await?)
}

/// # Errors
/// `NotFound`.
pub async fn remove(app: &App, person: Person, id: PasskeyId, origin: Origin) -> Result<(), Error> {
    let now = app.clock.now();
    let notice = origin.clone();
    let removed = app.store.write(move |tx| {
        if !passkeys::delete(tx, person.principal, id)? {
            return Err(store::Error::NotFound);
        }
        let record = record_of(person, "passkey.remove", &id.to_string(), origin);
        audit::of_person(tx, person.principal, &record, now)
    });
    removed.await?;
    tell(app, person, "a passkey was removed", &notice).await
}

/// Asks whoever is there for a passkey of this site. Nothing is said about who has one.
///
/// # Errors
/// The system has no random bytes.
pub fn begin_sign_in(app: &App, site: &Site) -> Result<Asked, Error> {
    let (options, challenge) = passkey::challenge(site)?;
    Ok(Asked {
        ceremony: app.auth.ceremonies().put(Ceremony::SignIn(challenge), app.clock.now())?,
        options,
    })
}

/// Signs in with the passkey that a browser answered with.
///
/// # Errors
/// `WrongCredentials` where it is none of the station's, or proves nothing.
pub async fn finish_sign_in(app: &App, site: &Site, answered: Answered<'_>, origin: Origin) -> Result<SignedIn, Error> {
    let Some(Ceremony::SignIn(challenge)) = app.auth.ceremonies().take(answered.ceremony, app.clock.now()) else {
        return Err(Error::WrongCredentials);
    };
    let Some(principal) = check(app, site, challenge, answered).await? else {
        let record = Record::new(audit::STATION, "session.sign-in", "passkey")
            .outcome(Outcome::Failed)
            .origin(origin);
        let now = app.clock.now();
        app.store.write(move |tx| store::audit::record(tx, record, now)).await?;
        return Err(Error::WrongCredentials);
    };
    let user = app.store.read(move |reader| users::find(reader, principal)).await?;
    let user = user.ok_or(Error::WrongCredentials)?;
    let mark = app.auth.mark(&user.email)?;
    let session = app.auth.open_session(principal, Factor::Passkey, "session.sign-in", origin).await?;
    Ok(SignedIn {
        mark: Some(mark),
        ..session
    })
}

/// Asks somebody at a session for one of their passkeys.
///
/// # Errors
/// The system has no random bytes.
pub fn begin_proof(app: &App, person: Person, site: &Site) -> Result<Asked, Error> {
    let (options, challenge) = passkey::challenge(site)?;
    let ceremony = Ceremony::Proof(person.session, challenge);
    Ok(Asked {
        ceremony: app.auth.ceremonies().put(ceremony, app.clock.now())?,
        options,
    })
}

/// Takes a passkey as proof of who one is.
///
/// # Errors
/// `Invalid` where it proves nothing, or is somebody else's.
pub async fn finish_proof(app: &App, person: Person, site: &Site, answered: Answered<'_>, origin: Origin) -> Result<(), Error> {
    let Some(Ceremony::Proof(session, challenge)) = app.auth.ceremonies().take(answered.ceremony, app.clock.now()) else {
        return Err(too_late());
    };
    if session != person.session || check(app, site, challenge, answered).await? != Some(person.principal) {
        return Err(unfit());
    }
    app.auth.proved(person, "passkey", origin).await
}

/// Whose passkey an answer is of, where it proves that. Its counter is kept.
async fn check(app: &App, site: &Site, challenge: Challenge, answered: Answered<'_>) -> Result<Option<PrincipalId>, Error> {
    let Ok(answer) = text(answered).and_then(|text| Answer::parse(text).map_err(Error::from)) else {
        return Ok(None);
    };
    let id = answer.credential_id().to_vec();
    let Some(known) = app.store.read(move |reader| passkeys::find(reader, &id)).await? else {
        return Ok(None);
    };
    let Ok(credential) = answer.check(site, challenge, &known.credential, known.principal.as_bytes()) else {
        return Ok(None);
    };
    let (principal, now) = (known.principal, app.clock.now());
    let used = app.store.write(move |tx| passkeys::used(tx, &known, &credential, now)).await?;
    Ok(used.then_some(principal))
}

fn text(answered: Answered<'_>) -> Result<&str, Error> {
    if answered.credential.len() > ANSWER_BYTES_MAX {
        return Err(unfit());
    }
    Ok(answered.credential)
}

fn checked_name(name: &str) -> Result<String, Error> {
    let name = name.trim();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(Error::field(
            "/name",
            format!("Give the passkey a name of at most {NAME_BYTES_MAX} bytes, such as “Laptop”."),
        ));
    }
    Ok(name.to_owned())
}

fn enough() -> String {
    format!("there are {PASSKEYS_MAX} passkeys already: remove one first")
}

fn too_late() -> Error {
    Error::field("/credential", "It took too long, so nothing was done. Try once more.")
}

fn unfit() -> Error {
    Error::field(
        "/credential",
        "The browser’s answer does not fit, so nothing was done. Try once more.",
    )
}

//! The second factor of a sign-in: codes of an authenticator app, and recovery codes for the day without it.

use super::auth::{Factor, Keep, Person, Place, SecondStep, SignedIn, Try, new_token, record_of};
use super::{App, Error, audit, mail};
use crate::crypto::totp::{self as codes, SECRET_BYTES, Totp};
use crate::crypto::{self, token};
use crate::domain::id::PrincipalId;
use crate::domain::origin::Origin;
use crate::store::users::User;
use crate::store::{self, sessions, totp, users};

/// What somebody has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Enrolled {
    No,
    /// A secret was made, and no code has shown that an app has it.
    Begun,
    Yes {
        /// Recovery codes that can still be used.
        codes_left: u32,
    },
}

/// Whether somebody has it.
///
/// # Errors
/// The store does not answer.
pub async fn enrolled(app: &App, person: Person) -> Result<Enrolled, Error> {
    let principal = person.principal;
    let found = app.store.read(move |reader| {
        Ok(match totp::find(reader, principal)? {
            None => Enrolled::No,
            Some(totp) if totp.confirmed_at.is_none() => Enrolled::Begun,
            Some(_) => Enrolled::Yes {
                codes_left: totp::codes_left(reader, principal)?,
            },
        })
    });
    Ok(found.await?)
}

/// Makes a secret for an app; nothing is asked for until [`confirm`].
///
/// # Errors
/// `Sealed`; `Conflict` where an app is in use.
pub async fn begin(app: &App, person: Person) -> Result<(), Error> {
    let secret: [u8; SECRET_BYTES] = crypto::random()?;
    let principal = person.principal;
    let sealed = app.sealing.key()?.seal(&place(principal), &secret)?;
    let now = app.clock.now();
    let begun = app.store.write(move |tx| {
        if totp::find(tx, principal)?.is_some_and(|totp| totp.confirmed_at.is_some()) {
            return Err(store::Error::Conflict("an authenticator app is in use already".to_owned()));
        }
        totp::begin(tx, principal, &sealed, now)
    });
    Ok(begun.await?)
}

/// The secret that waits to be confirmed: shown until then, and never again.
///
/// # Errors
/// `NotFound` where none waits; `Sealed`.
pub async fn begun(app: &App, person: Person) -> Result<Totp, Error> {
    let (totp, is_confirmed) = open(app, person.principal).await?.ok_or(Error::NotFound("the secret"))?;
    if is_confirmed {
        return Err(Error::NotFound("the secret"));
    }
    Ok(totp)
}

/// Takes the first code of an app. From now on a sign-in needs one. Returns the recovery codes and the session's new token.
///
/// # Errors
/// `Invalid` where the code is wrong; `NotFound` where nothing waits; `RateLimited`; `Sealed`.
pub async fn confirm(app: &App, person: Person, code: &str, origin: Origin) -> Result<(Vec<String>, String), Error> {
    let totp = begun(app, person).await?;
    let tried = at_session(person);
    app.auth.may_try(&tried)?;
    let step = totp.step_of(code, seconds(app));
    app.auth.tried(&tried, step.is_some());
    let step = step.ok_or_else(wrong_code)?;
    let codes = codes::recovery_codes()?;
    let hashes: Vec<_> = codes.iter().map(|code| codes::recovery_hash(code)).collect();
    let (text, hash) = new_token()?;
    let now = app.clock.now();
    let notice = origin.clone();
    let confirmed = app.store.write(move |tx| {
        if !totp::confirm(tx, person.principal, step, now)? {
            return Err(store::Error::NotFound);
        }
        totp::set_codes(tx, person.principal, &hashes)?;
        sessions::renew(tx, person.session, &hash, now)?;
        let record = record_of(person, "totp.enable", &person.principal.to_string(), origin);
        audit::of_person(tx, person.principal, &record, now)
    });
    confirmed.await?;
    app.auth.forget();
    tell(app, person, "codes of an authenticator app are asked for from now on", &notice).await?;
    Ok((codes, text))
}

/// New recovery codes in the place of the old ones.
///
/// # Errors
/// `NotFound` where no app is in use.
pub async fn renew_codes(app: &App, person: Person, origin: Origin) -> Result<Vec<String>, Error> {
    let codes = codes::recovery_codes()?;
    let hashes: Vec<_> = codes.iter().map(|code| codes::recovery_hash(code)).collect();
    let now = app.clock.now();
    let notice = origin.clone();
    let renewed = app.store.write(move |tx| {
        if totp::find(tx, person.principal)?.is_none_or(|totp| totp.confirmed_at.is_none()) {
            return Err(store::Error::NotFound);
        }
        totp::set_codes(tx, person.principal, &hashes)?;
        let record = record_of(person, "recovery-codes.renew", &person.principal.to_string(), origin);
        audit::of_person(tx, person.principal, &record, now)
    });
    renewed.await?;
    tell(
        app,
        person,
        "there are new recovery codes, and the old ones are worth nothing",
        &notice,
    )
    .await?;
    Ok(codes)
}

/// Signs in without codes from now on.
///
/// # Errors
/// The store does not answer.
pub async fn disable(app: &App, person: Person, origin: Origin) -> Result<(), Error> {
    let now = app.clock.now();
    let notice = origin.clone();
    let disabled = app.store.write(move |tx| {
        let was_in_use = totp::find(tx, person.principal)?.is_some_and(|totp| totp.confirmed_at.is_some());
        totp::delete(tx, person.principal)?;
        if was_in_use {
            let record = record_of(person, "totp.disable", &person.principal.to_string(), origin);
            audit::of_person(tx, person.principal, &record, now)?;
        }
        Ok(was_in_use)
    });
    if disabled.await? {
        tell(
            app,
            person,
            "the authenticator app was removed, and codes are no longer asked for",
            &notice,
        )
        .await?;
    }
    Ok(())
}

/// What somebody says in a second step.
#[derive(Clone, Copy, Debug)]
pub enum Said<'a> {
    /// Of the app.
    Code(&'a str),
    Recovery(&'a str),
}

/// Finishes the sign-in that waits under `step` for a code.
///
/// # Errors
/// `NotFound` where nothing waits (any more): begin with the password. `Invalid` where the code is wrong or was used; `RateLimited`;
/// `Sealed`.
pub async fn finish_sign_in(app: &App, step: &str, said: Said<'_>, origin: Origin) -> Result<SignedIn, Error> {
    let steps = app.auth.steps();
    let waiting = steps.get(step, app.clock.now()).ok_or(Error::NotFound("the sign-in"))?;
    let tried = Try::new(&guessed(waiting.principal), &waiting.place);
    app.auth.may_try(&tried)?;
    // Counted before it is looked at, so that many at once do not get more tries.
    let mut is_over = false;
    steps.change(step, |waiting| {
        is_over = waiting.tries_left <= 1;
        waiting.tries_left = waiting.tries_left.saturating_sub(1);
        if is_over { Keep::No } else { Keep::Yes }
    });
    let right = take(app, waiting.principal, said).await?;
    app.auth.tried(&tried, right);
    if !right {
        app.auth.record_step_failure(waiting.principal, origin).await?;
        return Err(if is_over { Error::NotFound("the sign-in") } else { wrong_code() });
    }
    steps.change(step, |_| Keep::No);
    let SecondStep { principal, email, .. } = waiting;
    let factor = match said {
        Said::Code(_) => Factor::Totp,
        Said::Recovery(_) => Factor::Recovery,
    };
    let mark = app.auth.mark(&email)?;
    let notice = origin.clone();
    let session = app.auth.open_session(principal, factor, "session.sign-in", origin).await?;
    if factor == Factor::Recovery {
        mail::security_notice(app, &email, "somebody signed in with a recovery code", &notice);
    }
    Ok(SignedIn {
        mark: Some(mark),
        ..session
    })
}

/// Whether a code of the app, where one is in use, is right. It is used up. True where no app is in use.
///
/// # Errors
/// `RateLimited`; `Sealed`.
pub(super) async fn is_proof(app: &App, person: Person, code: &str) -> Result<bool, Error> {
    if !matches!(enrolled(app, person).await?, Enrolled::Yes { .. }) {
        return Ok(true);
    }
    let tried = at_session(person);
    app.auth.may_try(&tried)?;
    let right = take(app, person.principal, Said::Code(code)).await?;
    app.auth.tried(&tried, right);
    Ok(right)
}

/// Uses a code up, where it is right.
async fn take(app: &App, principal: PrincipalId, said: Said<'_>) -> Result<bool, Error> {
    let now = app.clock.now();
    match said {
        Said::Code(code) => {
            let Some((totp, true)) = open(app, principal).await? else {
                return Ok(false);
            };
            let Some(step) = totp.step_of(code, seconds(app)) else {
                return Ok(false);
            };
            Ok(app.store.write(move |tx| totp::take_step(tx, principal, step)).await?)
        }
        Said::Recovery(code) => {
            let hash: token::TokenHash = codes::recovery_hash(code);
            Ok(app.store.write(move |tx| totp::take_code(tx, principal, &hash, now)).await?)
        }
    }
}

/// Somebody's secret, and whether it is in use.
async fn open(app: &App, principal: PrincipalId) -> Result<Option<(Totp, bool)>, Error> {
    let found = app.store.read(move |reader| {
        let totp = totp::find(reader, principal)?;
        Ok((totp, users::find(reader, principal)?))
    });
    let (Some(stored), user) = found.await? else { return Ok(None) };
    let secret = app.sealing.key()?.open(&place(principal), &stored.secret)?;
    let email = user.map(|user: User| user.email).unwrap_or_default();
    Ok(Some((Totp::new(&secret, &email)?, stored.confirmed_at.is_some())))
}

/// What a secret is sealed for.
pub(super) fn place(principal: PrincipalId) -> String {
    format!("totp/{principal}")
}

fn guessed(principal: PrincipalId) -> String {
    format!("code of {principal}")
}

fn at_session(person: Person) -> Try {
    Try::new(&guessed(person.principal), &Place::Session(person.session.to_string()))
}

fn seconds(app: &App) -> u64 {
    u64::try_from(app.clock.now().as_ms()).unwrap_or_default() / 1_000
}

pub(super) fn wrong_code() -> Error {
    Error::field(
        "/code",
        "This code is wrong, or was used before. Codes of the app change every 30 seconds.",
    )
}

/// Tells somebody by mail that the way into their account has changed.
pub(super) async fn tell(app: &App, person: Person, what: &str, origin: &Origin) -> Result<(), Error> {
    if !app.mail.is_configured() {
        return Ok(());
    }
    let principal = person.principal;
    if let Some(user) = app.store.read(move |reader| users::find(reader, principal)).await? {
        mail::security_notice(app, &user.email, what, origin);
    }
    Ok(())
}

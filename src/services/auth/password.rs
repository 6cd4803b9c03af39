//! Signing in with a password, and proving again that one knows it.

use super::throttle::{Place, Try};
use super::{Auth, Factor, Person, SecondStep, SignIn, SignedIn, audit, users};
use crate::crypto::{device, password};
use crate::domain::id::PrincipalId;
use crate::domain::origin::Origin;
use crate::services::Error;
use crate::services::users::normalize_email;
use crate::store::audit::{Outcome, Record, Subject};
use crate::store::totp;

/// Tries that a second step has before it begins again with the password.
const STEP_TRIES: u32 = 5;

/// What came of a right password.
#[derive(Debug)]
pub enum Entered {
    Session(SignedIn),
    /// A second step is needed; the token is its browser's.
    NeedsCode(String),
}

impl Auth {
    /// Hashes a password that somebody chose, off the event loop.
    ///
    /// # Errors
    /// `Invalid` where the policy refuses it, with the field `/password`.
    pub(in crate::services) async fn hash_password(&self, chosen: String, email: &str, name: &str) -> Result<String, Error> {
        password::check_for(&chosen, email, name).map_err(|error| Error::field("/password", error.to_string()))?;
        Ok(self.inner.hashing.run(move || password::hash(&chosen)).await??)
    }

    /// Whether this is the password of whoever sits at a session, which is slowed down like a sign-in.
    ///
    /// # Errors
    /// `RateLimited` after several failures.
    pub(in crate::services) async fn is_password(&self, person: Person, typed: String, stored: String) -> Result<bool, Error> {
        let tried = Try::new(
            &format!("password of {}", person.principal),
            &Place::Session(person.session.to_string()),
        );
        self.may_try(&tried)?;
        let right = self.inner.hashing.run(move || password::verify(&typed, &stored)).await?;
        self.tried(&tried, right);
        Ok(right)
    }

    /// # Errors
    /// `RateLimited` where it must wait.
    pub(in crate::services) fn may_try(&self, what: &Try) -> Result<(), Error> {
        self.inner.throttle.check(what, self.inner.clock.now()).map_err(Error::RateLimited)
    }

    pub(in crate::services) fn tried(&self, what: &Try, right: bool) {
        if right {
            self.inner.throttle.succeeded(what);
        } else {
            self.inner.throttle.failed(what, self.inner.clock.now());
        }
    }

    /// Where a browser with this mark stands, for the account with this address.
    fn place(&self, account: &str, mark: Option<&str>, origin: &Origin) -> Place {
        match mark.and_then(|mark| device::id_of(&self.inner.form_key, account, mark)) {
            Some(id) => Place::Known(id.to_owned()),
            None => Place::Address(origin.address),
        }
    }

    /// A mark for a browser in which the account's owner has just signed in.
    ///
    /// # Errors
    /// The system has no random bytes.
    pub(in crate::services) fn mark(&self, account: &str) -> Result<String, Error> {
        Ok(device::mark(&self.inner.form_key, account)?)
    }

    /// Takes a password. A wrong one and an unknown e-mail address cannot be told apart, in words or in time.
    ///
    /// # Errors
    /// `WrongCredentials`, or `RateLimited` after several failures.
    pub async fn sign_in(&self, request: SignIn) -> Result<Entered, Error> {
        let email = normalize_email(&request.email);
        let now = self.inner.clock.now();
        let place = self.place(&email, request.mark.as_deref(), &request.origin);
        let tried = Try::new(&email, &place);
        self.may_try(&tried)?;
        let found = {
            let email = email.clone();
            self.inner.store.read(move |reader| users::find_by_email(reader, &email)).await?
        };
        let usable = found.filter(|user| user.disabled_at.is_none());
        let stored = usable.as_ref().map(|user| user.password_hash.clone());
        let typed = request.password;
        let rehash = self
            .inner
            .hashing
            .run(move || match stored {
                Some(stored) if password::verify(&typed, &stored) => {
                    // Parameters rise over the years; a sign-in is when the password is at hand.
                    Some(if password::needs_rehash(&stored) {
                        password::hash(&typed).ok()
                    } else {
                        None
                    })
                }
                Some(_) => None,
                None => {
                    password::verify_nobody(&typed);
                    None
                }
            })
            .await?;
        let (Some(user), Some(rehash)) = (usable, rehash) else {
            self.tried(&tried, false);
            self.record_failure(&email, request.origin).await?;
            return Err(Error::WrongCredentials);
        };
        self.tried(&tried, true);
        let principal = user.principal;
        if let Some(hash) = rehash {
            self.inner
                .store
                .write(move |tx| users::set_password(tx, principal, &hash, now))
                .await?;
        }
        let enrolled = self.inner.store.read(move |reader| totp::find(reader, principal)).await?;
        if enrolled.is_some_and(|totp| totp.confirmed_at.is_some()) {
            let step = SecondStep {
                principal,
                email,
                place,
                tries_left: STEP_TRIES,
            };
            return Ok(Entered::NeedsCode(self.inner.steps.put(step, now)?));
        }
        let mark = self.mark(&email)?;
        let session = self
            .open_session(principal, Factor::Password, "session.sign-in", request.origin)
            .await?;
        Ok(Entered::Session(SignedIn {
            mark: Some(mark),
            ..session
        }))
    }

    async fn record_failure(&self, email: &str, origin: Origin) -> Result<(), Error> {
        let (email, now) = (email.to_owned(), self.inner.clock.now());
        // What was typed may be a password in the wrong field: only a keyed hash is kept, by which tries are told apart.
        let typed = self.form_token(&email);
        self.inner
            .store
            .write(move |tx| audit::sign_in_failed(tx, &email, &typed, origin, now))
            .await?;
        Ok(())
    }

    /// Writes that a second step failed for somebody who knows the password.
    pub(in crate::services) async fn record_step_failure(&self, principal: PrincipalId, origin: Origin) -> Result<(), Error> {
        let now = self.inner.clock.now();
        let written = self.inner.store.write(move |tx| {
            let record = Record::new(audit::STATION, "session.second-step", &principal.to_string())
                .outcome(Outcome::Failed)
                .about(Subject::Principal(principal))
                .origin(origin);
            audit::of_person(tx, principal, &record, now)
        });
        Ok(written.await?)
    }
}

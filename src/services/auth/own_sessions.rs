//! One's own sessions: listed, ended, given a new token, proved again.

use super::{Auth, Person, audit, record_of};
use crate::crypto::token;
use crate::domain::id::SessionId;
use crate::domain::origin::Origin;
use crate::services::Error;
use crate::store;
use crate::store::sessions::{self, Listed};

impl Auth {
    /// Somebody's sessions that hold, the last used first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn sessions(&self, person: Person) -> Result<Vec<Listed>, Error> {
        let now = self.inner.clock.now();
        let idle = now.minus(self.inner.session_idle);
        let principal = person.principal;
        Ok(self
            .inner
            .store
            .read(move |reader| sessions::list(reader, principal, now, idle))
            .await?)
    }

    /// Ends one of one's own sessions; what it has open closes at once.
    ///
    /// # Errors
    /// `NotFound` where it is not there, or somebody else's.
    pub async fn end_session(&self, person: Person, session: SessionId, origin: Origin) -> Result<(), Error> {
        let now = self.inner.clock.now();
        let ended = self.inner.store.write(move |tx| {
            if !sessions::delete_one(tx, person.principal, session)? {
                return Err(store::Error::NotFound);
            }
            let record = record_of(person, "session.revoke", &session.to_string(), origin);
            audit::of_person(tx, person.principal, &record, now)
        });
        ended.await?;
        self.forget();
        Ok(())
    }

    /// Ends all of one's sessions but the one that asks.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn end_other_sessions(&self, person: Person, origin: Origin) -> Result<(), Error> {
        let now = self.inner.clock.now();
        let ended = self.inner.store.write(move |tx| {
            sessions::delete_others(tx, person.principal, person.session)?;
            let record = record_of(person, "session.revoke-others", &person.session.to_string(), origin);
            audit::of_person(tx, person.principal, &record, now)
        });
        ended.await?;
        self.forget();
        Ok(())
    }

    /// Writes down that somebody has just proved who they are.
    ///
    /// # Errors
    /// The store does not answer.
    pub(in crate::services) async fn proved(&self, person: Person, how: &'static str, origin: Origin) -> Result<(), Error> {
        let now = self.inner.clock.now();
        let proved = self.inner.store.write(move |tx| {
            sessions::prove(tx, person.session, now)?;
            let record = record_of(person, "session.prove", &person.session.to_string(), origin);
            audit::of_person(tx, person.principal, &record.detail(serde_json::json!({ "by": how })), now)
        });
        Ok(proved.await?)
    }
}

/// A new token for a session: its text for the browser, and the hash that is stored with what is the reason for it.
///
/// # Errors
/// The system has no random bytes.
pub(in crate::services) fn new_token() -> Result<(String, token::TokenHash), Error> {
    let text = token::new()?;
    let hash = token::hash(&text);
    Ok((text, hash))
}

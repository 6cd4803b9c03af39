//! Who is asking: passwords, sessions, one-time links and API keys, each turned into an [`Actor`] with the rights of now.

mod hashing;
mod key_cache;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use self::hashing::Hashing;
use self::key_cache::{KeyCache, KnownKey};
use self::throttle::Throttle;
use super::audit;
use super::error::Error;
use super::users::normalize_email;
use crate::crypto::api_key::ApiKey;
use crate::crypto::{form_token, password, token};
use crate::domain::id::{PrincipalId, SessionId};
use crate::domain::permission::{Actor, Credential, Permission};
use crate::domain::time::{SharedClock, Timestamp};
use crate::store::audit::{Outcome, Record};
use crate::store::{self, Reader, Store, keys, links, orgs, sessions, users};

/// A session ends after this long without a request.
pub const SESSION_IDLE: Duration = Duration::from_hours(8);
/// And after this long whatever happens.
pub const SESSION_MAX: Duration = Duration::from_hours(7 * 24);
/// That a session or key was used is written down no more often than this.
const SEEN_EVERY: Duration = Duration::from_mins(1);
const USER_AGENT_BYTES_MAX: usize = 200;

/// Everything about proving who one is. Clones share it.
#[derive(Clone)]
pub struct Auth {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    clock: SharedClock,
    hashing: Hashing,
    throttle: Throttle,
    keys: KeyCache,
    form_key: [u8; 32],
}

/// A session that holds.
#[derive(Clone, Debug)]
pub struct SessionActor {
    pub actor: Arc<Actor>,
    pub session: SessionId,
}

/// An API key that holds.
#[derive(Clone, Debug)]
pub struct KeyActor {
    pub actor: Arc<Actor>,
    pub key_id: String,
}

/// A new session: its token is shown to the browser once.
#[derive(Debug)]
pub struct SignedIn {
    pub token: String,
    pub actor: Actor,
}

/// What a browser says to sign in.
#[derive(Clone, Debug)]
pub struct SignIn {
    pub email: String,
    pub password: String,
    pub user_agent: String,
    pub request_id: Option<String>,
}

impl Auth {
    /// # Errors
    /// The store does not answer.
    pub async fn new(store: Store, clock: SharedClock) -> Result<Self, Error> {
        let fresh = crate::crypto::random::<32>()?;
        // A store that is only read serves no forms.
        let form_key = if store.is_read_only() {
            fresh
        } else {
            store.write(move |tx| store::station::form_key(tx, fresh)).await?
        };
        Ok(Self {
            inner: Arc::new(Inner {
                store,
                clock,
                hashing: Hashing::new(),
                throttle: Throttle::default(),
                keys: KeyCache::default(),
                form_key,
            }),
        })
    }

    /// What a form must carry that belongs to this session's, or visit's, cookie.
    pub fn form_token(&self, cookie: &str) -> String {
        form_token::of(&self.inner.form_key, cookie)
    }

    pub fn is_form_token(&self, cookie: &str, token: &str) -> bool {
        form_token::matches(&self.inner.form_key, cookie, token)
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn is_reachable(&self) -> Result<(), Error> {
        Ok(self.inner.store.read(|_| Ok(())).await?)
    }

    /// Whether an organization and a workspace, each by id or short name, are the actor's own.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn is_own_workspace(&self, actor: &Actor, org: &str, workspace: &str) -> Result<bool, Error> {
        let (own_org, own_workspace) = (actor.org, actor.workspace);
        if org == own_org.to_string() && workspace == own_workspace.to_string() {
            return Ok(true);
        }
        let (org_slug, workspace_slug) = self
            .inner
            .store
            .read(move |reader| orgs::slugs(reader, own_org, own_workspace))
            .await?;
        let org_fits = org == org_slug || org == own_org.to_string();
        Ok(org_fits && (workspace == workspace_slug || workspace == own_workspace.to_string()))
    }

    /// Keys, users or members have changed: what is remembered of them is forgotten. To be called after the commit.
    pub(super) fn forget(&self) {
        self.inner.keys.forget_all();
    }

    /// Hashes a password that somebody chose, off the event loop.
    ///
    /// # Errors
    /// `Invalid` where the policy refuses it, with the field `/password`.
    pub(super) async fn hash_password(&self, chosen: String) -> Result<String, Error> {
        password::check(&chosen).map_err(|error| Error::field("/password", error.to_string()))?;
        Ok(self.inner.hashing.run(move || password::hash(&chosen)).await??)
    }

    /// Whether this is the password of the account, which is slowed down like a sign-in.
    pub(super) async fn is_password(&self, account: &str, typed: String, stored: String) -> Result<bool, Error> {
        let now = self.inner.clock.now();
        self.inner.throttle.check(account, now).map_err(Error::RateLimited)?;
        let right = self.inner.hashing.run(move || password::verify(&typed, &stored)).await?;
        if right {
            self.inner.throttle.succeeded(account);
        } else {
            self.inner.throttle.failed(account, now);
        }
        Ok(right)
    }

    /// Signs somebody in. A wrong password and an unknown e-mail address cannot be told apart, in words or in time.
    ///
    /// # Errors
    /// `WrongCredentials`, or `RateLimited` after several failures.
    pub async fn sign_in(&self, request: SignIn) -> Result<SignedIn, Error> {
        let email = normalize_email(&request.email);
        let now = self.inner.clock.now();
        self.inner.throttle.check(&email, now).map_err(Error::RateLimited)?;
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
            self.inner.throttle.failed(&email, now);
            self.record_failure(&email, request.request_id).await?;
            return Err(Error::WrongCredentials);
        };
        self.inner.throttle.succeeded(&email);
        if let Some(hash) = rehash {
            let principal = user.principal;
            self.inner
                .store
                .write(move |tx| users::set_password(tx, principal, &hash, now))
                .await?;
        }
        self.open_session(user.principal, request.user_agent, "session.sign-in", request.request_id)
            .await
    }

    async fn record_failure(&self, email: &str, request_id: Option<String>) -> Result<(), Error> {
        // What was typed may be a password in the wrong field: only its hash is kept.
        let digest = crate::domain::hex::encode(&token::hash(email));
        let target = digest.get(..16).unwrap_or_default().to_owned();
        let record = Record::new(audit::STATION, "session.sign-in", &target)
            .outcome(Outcome::Failed)
            .request(request_id);
        let now = self.inner.clock.now();
        self.inner.store.write(move |tx| store::audit::record(tx, record, now)).await?;
        Ok(())
    }

    /// Begins a session for someone who has proved who they are.
    ///
    /// # Errors
    /// `WrongCredentials` where the principal is disabled or nobody's member any more.
    pub async fn open_session(
        &self,
        principal: PrincipalId,
        user_agent: String,
        action: &'static str,
        request_id: Option<String>,
    ) -> Result<SignedIn, Error> {
        let token = token::new()?;
        let hash = token::hash(&token);
        let now = self.inner.clock.now();
        let mut user_agent = user_agent;
        user_agent.truncate(user_agent.floor_char_boundary(USER_AGENT_BYTES_MAX));
        let opened = self.inner.store.write(move |tx| {
            let Some(actor) = actor_of(tx, principal, Credential::Session, None)? else {
                return Ok(None);
            };
            let session = sessions::NewSession {
                id: SessionId::new(now),
                token_hash: hash,
                principal,
                created_at: now,
                expires_at: now.plus(SESSION_MAX),
                user_agent,
            };
            sessions::insert(tx, &session)?;
            store::audit::record(tx, audit::of(&actor, action, &session.id.to_string(), request_id), now)?;
            Ok(Some(actor))
        });
        let actor = opened.await?.ok_or(Error::WrongCredentials)?;
        Ok(SignedIn { token, actor })
    }

    /// Uses up a one-time sign-in link.
    ///
    /// # Errors
    /// `WrongCredentials` where it is unknown, used or too old.
    pub async fn sign_in_by_link(&self, link: &str, user_agent: String, request_id: Option<String>) -> Result<SignedIn, Error> {
        let hash = token::hash(link);
        let now = self.inner.clock.now();
        let used = self
            .inner
            .store
            .write(move |tx| links::consume(tx, &hash, links::Purpose::SignIn, now))
            .await?;
        let principal = used.and_then(|link| link.principal).ok_or(Error::WrongCredentials)?;
        self.open_session(principal, user_agent, "session.sign-in-by-link", request_id)
            .await
    }

    /// Makes a one-time link with which `principal` signs in without a password. The address is `/sign-in/link?token=`.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn sign_in_link(&self, principal: PrincipalId, lasts: Duration) -> Result<String, Error> {
        let link = token::new()?;
        let hash = token::hash(&link);
        let now = self.inner.clock.now();
        self.inner
            .store
            .write(move |tx| links::insert(tx, &hash, links::Purpose::SignIn, Some(principal), now, now.plus(lasts)))
            .await?;
        Ok(link)
    }

    /// The session of a token, while it holds.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn session(&self, token: &str) -> Result<Option<SessionActor>, Error> {
        let hash = token::hash(token);
        let now = self.inner.clock.now();
        let found = self
            .inner
            .store
            .read(move |r| {
                let Some(session) = sessions::find(r, &hash)? else {
                    return Ok(None);
                };
                if !holds(session.seen_at, session.expires_at, now) {
                    return Ok(None);
                }
                let actor = actor_of(r, session.principal, Credential::Session, None)?;
                Ok(actor.map(|actor| (session, actor)))
            })
            .await?;
        let Some((session, actor)) = found else { return Ok(None) };
        if now.since(session.seen_at) >= SEEN_EVERY {
            let id = session.id;
            self.inner.store.write(move |tx| sessions::touch(tx, id, now)).await?;
        }
        Ok(Some(SessionActor {
            actor: Arc::new(actor),
            session: session.id,
        }))
    }

    /// Ends a session.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn sign_out(&self, actor: &Actor, session: SessionId, request_id: Option<String>) -> Result<(), Error> {
        let record = audit::of(actor, "session.sign-out", &session.to_string(), request_id);
        let now = self.inner.clock.now();
        self.inner
            .store
            .write(move |tx| {
                sessions::delete(tx, session)?;
                store::audit::record(tx, record, now)
            })
            .await?;
        Ok(())
    }

    /// The actor behind an API key, while the key holds. Damaged, unknown, expired and revoked keys are all `None`.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn api_key(&self, text: &str) -> Result<Option<KeyActor>, Error> {
        let Ok(key) = ApiKey::parse(text) else { return Ok(None) };
        let now = self.inner.clock.now();
        let known = match self.inner.keys.find(&key.id, now) {
            Ok(known) => known,
            Err(generation) => match self.read_key(&key.id, now).await? {
                Some(known) => {
                    self.inner.keys.keep(&key.id, known.clone(), generation);
                    known
                }
                None => return Ok(None),
            },
        };
        let expired = known.expires_at.is_some_and(|at| at <= now);
        if expired || !key.matches(&known.secret_hash) {
            return Ok(None);
        }
        Ok(Some(KeyActor {
            actor: known.actor,
            key_id: key.id,
        }))
    }

    async fn read_key(&self, id: &str, now: Timestamp) -> Result<Option<KnownKey>, Error> {
        let id = id.to_owned();
        let lookup = id.clone();
        let found = self
            .inner
            .store
            .read(move |r| {
                let Some(key) = keys::find(r, &lookup)? else { return Ok(None) };
                if key.revoked_at.is_some() {
                    return Ok(None);
                }
                let actor = actor_of(r, key.principal, Credential::ApiKey, key.scopes.clone())?;
                Ok(actor.filter(|actor| actor.org == key.org).map(|actor| (key, actor)))
            })
            .await?;
        let Some((key, actor)) = found else { return Ok(None) };
        if key.last_used_at.is_none_or(|at| now.since(at) >= SEEN_EVERY) {
            self.inner.store.write(move |tx| keys::touch(tx, &id, now)).await?;
        }
        Ok(Some(KnownKey {
            actor: Arc::new(actor),
            secret_hash: Arc::from(key.secret_hash.as_slice()),
            expires_at: key.expires_at,
            read_at: now,
        }))
    }
}

/// Whether a session is neither idle for too long nor at its end.
fn holds(seen_at: Timestamp, expires_at: Timestamp, now: Timestamp) -> bool {
    now < expires_at && now.since(seen_at) < SESSION_IDLE
}

/// A principal with the rights of now, in the first organization it is a member of; none where it is disabled or no member.
fn actor_of(
    reader: &Reader<'_>,
    principal: PrincipalId,
    credential: Credential,
    scopes: Option<Vec<Permission>>,
) -> Result<Option<Actor>, store::Error> {
    Ok(orgs::membership(reader, principal, None)?.map(|member| Actor {
        principal,
        name: member.name,
        org: member.org,
        workspace: member.workspace,
        role: member.role,
        credential,
        scopes,
    }))
}

/// A principal as an actor on the station's own shell.
pub(super) fn local_actor(reader: &Reader<'_>, principal: PrincipalId, org_slug: Option<&str>) -> Result<Option<Actor>, store::Error> {
    let member = orgs::membership(reader, principal, org_slug)?;
    Ok(member.map(|member| Actor {
        principal,
        name: member.name,
        org: member.org,
        workspace: member.workspace,
        role: member.role,
        credential: Credential::Local,
        scopes: None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_by_idleness_or_age() {
        let start = Timestamp::from_ms(1_000_000);
        let end = start.plus(SESSION_MAX);
        assert!(holds(start, end, start.plus(SESSION_IDLE).minus(Duration::from_secs(1))));
        assert!(!holds(start, end, start.plus(SESSION_IDLE)));
        assert!(!holds(end, end, end));
    }
}

//! Who is asking: passwords, sessions, one-time links and API keys, each turned into an [`Actor`] with the rights of now.

mod hashing;
mod key_cache;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::hashing::Hashing;
use self::key_cache::{KeyCache, KnownKey};
use self::throttle::Throttle;
use super::audit;
use super::error::Error;
use super::users::normalize_email;
use crate::crypto::api_key::ApiKey;
use crate::crypto::{form_token, password, token};
use crate::domain::id::{PrincipalId, SessionId};
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Credential, Permission};
use crate::domain::time::{SharedClock, Timestamp};
use crate::store::audit::Record;
pub use crate::store::orgs::Tenant;
pub use crate::store::sessions::Factor;
use crate::store::{self, Reader, Store, keys, links, orgs, sessions, users};

/// A session ends after this long without a request.
pub const SESSION_IDLE: Duration = Duration::from_hours(8);
/// And after this long whatever happens.
pub const SESSION_MAX: Duration = Duration::from_hours(7 * 24);
/// That a session or key was used is written down no more often than this.
const SEEN_EVERY: Duration = Duration::from_mins(1);

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
    revoked: watch::Sender<u64>,
}

/// What the bearer of a credential is in the organization that a request is about.
#[derive(Clone, Debug)]
pub enum Standing {
    Member(Arc<Actor>),
    /// The request names an organization or workspace that is not there, or not for this bearer: the two look the same.
    Foreign,
    /// A member of no organization.
    Homeless,
}

/// Whoever holds a session or a key.
#[derive(Clone, Debug)]
pub struct Bearer {
    pub principal: PrincipalId,
    pub name: String,
    pub standing: Standing,
    /// A session's id or a key's public part.
    pub credential_id: String,
    /// Of a browser.
    pub session: Option<SessionId>,
    /// When the person behind a session last proved who they are.
    pub proved_at: Option<Timestamp>,
}

/// A new session: its token is shown to the browser once.
#[derive(Debug)]
pub struct SignedIn {
    pub token: String,
    pub session: SessionId,
    pub principal: PrincipalId,
}

/// What a browser says to sign in.
#[derive(Clone, Debug)]
pub struct SignIn {
    pub email: String,
    pub password: String,
    pub origin: Origin,
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
                revoked: watch::Sender::new(0),
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

    /// Keys, users or members have changed: what is remembered of them is forgotten. To be called after the commit.
    pub(super) fn forget(&self) {
        self.inner.keys.forget_all();
        self.inner.revoked.send_modify(|changes| *changes += 1);
    }

    /// Changes whenever somebody's rights may have: connections that stay open then look at theirs again.
    pub fn revoked(&self) -> watch::Receiver<u64> {
        self.inner.revoked.subscribe()
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
            self.record_failure(&email, request.origin).await?;
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
        self.open_session(user.principal, Factor::Password, "session.sign-in", request.origin)
            .await
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

    /// Begins a session for someone who has proved who they are. Whoever is a member of no organization gets in too, to hear so.
    ///
    /// # Errors
    /// `WrongCredentials` where the principal is disabled.
    pub async fn open_session(
        &self,
        principal: PrincipalId,
        factor: Factor,
        action: &'static str,
        origin: Origin,
    ) -> Result<SignedIn, Error> {
        let token = token::new()?;
        let hash = token::hash(&token);
        let now = self.inner.clock.now();
        let id = SessionId::new(now);
        let session = sessions::NewSession {
            id,
            token_hash: hash,
            principal,
            created_at: now,
            expires_at: now.plus(SESSION_MAX),
            user_agent: origin.user_agent.clone().unwrap_or_default(),
            address: origin.address.map(|address| address.to_string()).unwrap_or_default(),
            factor,
            org: None,
            workspace: None,
        };
        let opened = self.inner.store.write(move |tx| {
            if users::find(tx, principal)?.is_none_or(|user| user.disabled_at.is_some()) {
                return Ok(false);
            }
            sessions::insert(tx, &session)?;
            let record = Record::new(audit::STATION, action, &id.to_string())
                .by(principal, Credential::Session)
                .credential_id(Some(id.to_string()))
                .detail(serde_json::json!({ "factor": factor }))
                .origin(origin);
            audit::of_person(tx, principal, &record, now)?;
            Ok(true)
        });
        if !opened.await? {
            return Err(Error::WrongCredentials);
        }
        Ok(SignedIn {
            token,
            session: id,
            principal,
        })
    }

    /// Uses up a one-time sign-in link.
    ///
    /// # Errors
    /// `WrongCredentials` where it is unknown, used or too old.
    pub async fn sign_in_by_link(&self, link: &str, origin: Origin) -> Result<SignedIn, Error> {
        let hash = token::hash(link);
        let now = self.inner.clock.now();
        let used = self
            .inner
            .store
            .write(move |tx| links::consume(tx, &hash, links::Purpose::SignIn, now))
            .await?;
        let principal = used.and_then(|link| link.principal).ok_or(Error::WrongCredentials)?;
        self.open_session(principal, Factor::Link, "session.sign-in-by-link", origin).await
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

    /// The session of a token, while it holds, in the organization that the request names or the session has chosen.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn session(&self, token: &str, tenant: Tenant) -> Result<Option<Bearer>, Error> {
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
                let tenant = Tenant {
                    chosen_org: session.org,
                    chosen_workspace: session.workspace,
                    ..tenant
                };
                let standing = standing(r, session.principal, Credential::Session, session.id.to_string(), None, &tenant)?;
                Ok(Some((session, standing)))
            })
            .await?;
        let Some((session, standing)) = found else { return Ok(None) };
        if now.since(session.seen_at) >= SEEN_EVERY {
            let id = session.id;
            self.inner.store.write(move |tx| sessions::touch(tx, id, now)).await?;
        }
        Ok(Some(Bearer {
            principal: session.principal,
            name: session.name,
            standing,
            credential_id: session.id.to_string(),
            session: Some(session.id),
            proved_at: Some(session.proved_at),
        }))
    }

    /// Ends a session of `principal`.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn sign_out(&self, principal: PrincipalId, session: SessionId, origin: Origin) -> Result<(), Error> {
        let now = self.inner.clock.now();
        self.inner
            .store
            .write(move |tx| {
                let record = Record::new(audit::STATION, "session.sign-out", &session.to_string())
                    .by(principal, Credential::Session)
                    .credential_id(Some(session.to_string()))
                    .origin(origin);
                sessions::delete(tx, session)?;
                audit::of_person(tx, principal, &record, now)
            })
            .await?;
        self.forget();
        Ok(())
    }

    /// Whoever holds an API key, while the key holds. Damaged, unknown, expired and revoked keys are all `None`.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn api_key(&self, text: &str, tenant: Tenant) -> Result<Option<Bearer>, Error> {
        let Ok(key) = ApiKey::parse(text) else { return Ok(None) };
        let now = self.inner.clock.now();
        let lookup = (key.id.clone(), tenant);
        let known = match self.inner.keys.find(&lookup, now) {
            Ok(known) => known,
            Err(generation) => match self.read_key(&lookup, now).await? {
                Some(known) => {
                    self.inner.keys.keep(lookup, known.clone(), generation);
                    known
                }
                None => return Ok(None),
            },
        };
        let expired = known.expires_at.is_some_and(|at| at <= now);
        if expired || !key.matches(&known.secret_hash) {
            return Ok(None);
        }
        Ok(Some(known.bearer))
    }

    async fn read_key(&self, (id, tenant): &(String, Tenant), now: Timestamp) -> Result<Option<KnownKey>, Error> {
        let (id, tenant) = (id.clone(), tenant.clone());
        let lookup = id.clone();
        let found = self
            .inner
            .store
            .read(move |r| {
                let Some(key) = keys::find(r, &lookup)? else { return Ok(None) };
                if key.revoked_at.is_some() {
                    return Ok(None);
                }
                // A key is its organization's only, whatever else its principal is a member of.
                let own = Tenant::org(key.org.to_string());
                let Some(member) = orgs::membership(r, key.principal, &own)? else {
                    return Ok(None);
                };
                let named = Tenant {
                    chosen_org: Some(key.org),
                    ..tenant
                };
                let standing = match standing(r, key.principal, Credential::ApiKey, key.id.clone(), key.scopes.clone(), &named)? {
                    Standing::Member(actor) if actor.org == key.org => Standing::Member(actor),
                    _ => Standing::Foreign,
                };
                Ok(Some((key, member.name, standing)))
            })
            .await?;
        let Some((key, name, standing)) = found else { return Ok(None) };
        if key.last_used_at.is_none_or(|at| now.since(at) >= SEEN_EVERY) {
            self.inner.store.write(move |tx| keys::touch(tx, &id, now)).await?;
        }
        Ok(Some(KnownKey {
            bearer: Bearer {
                principal: key.principal,
                name,
                standing,
                credential_id: key.id,
                session: None,
                proved_at: None,
            },
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

/// A principal with the rights of now, in the organization and workspace that are asked for.
fn standing(
    reader: &Reader<'_>,
    principal: PrincipalId,
    credential: Credential,
    credential_id: String,
    scopes: Option<Vec<Permission>>,
    tenant: &Tenant,
) -> Result<Standing, store::Error> {
    let Some(member) = orgs::membership(reader, principal, tenant)? else {
        let elsewhere = tenant.org.is_some() && orgs::membership(reader, principal, &Tenant::default())?.is_some();
        return Ok(if elsewhere { Standing::Foreign } else { Standing::Homeless });
    };
    let Some(workspace) = member.workspace else {
        return Ok(Standing::Foreign);
    };
    Ok(Standing::Member(Arc::new(Actor {
        principal,
        name: member.name,
        org: member.org,
        workspace,
        workspace_is_clear: member.is_only_workspace || tenant.workspace.is_some(),
        plan: member.plan,
        role: member.role,
        station_admin: member.station_admin,
        credential,
        credential_id: Some(credential_id),
        scopes,
    })))
}

/// A principal as an actor on the station's own shell.
pub(super) fn local_actor(reader: &Reader<'_>, principal: PrincipalId, org_slug: Option<&str>) -> Result<Option<Actor>, store::Error> {
    let tenant = Tenant {
        org: org_slug.map(str::to_owned),
        ..Tenant::default()
    };
    let member = orgs::membership(reader, principal, &tenant)?;
    Ok(member.and_then(|member| {
        Some(Actor {
            principal,
            name: member.name,
            org: member.org,
            workspace: member.workspace?,
            workspace_is_clear: member.is_only_workspace,
            plan: member.plan,
            role: member.role,
            station_admin: member.station_admin,
            credential: Credential::Local,
            credential_id: None,
            scopes: None,
        })
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

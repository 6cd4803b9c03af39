//! Who is asking: passwords, sessions, one-time links and API keys, each turned into an [`Actor`] with the rights of now.

mod hashing;
mod key_cache;
mod own_sessions;
mod password;
mod pending;
mod throttle;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::hashing::Hashing;
use self::key_cache::{KeyCache, KnownKey};
pub(in crate::services) use self::own_sessions::new_token;
pub use self::password::Entered;
pub(in crate::services) use self::pending::{Keep, Pending};
use self::throttle::Throttle;
pub(in crate::services) use self::throttle::{Place, Try};
use super::audit;
use super::error::Error;
use super::passkeys::Ceremony;
use crate::config::settings::Security;
use crate::crypto::api_key::ApiKey;
use crate::crypto::{form_token, token};
use crate::domain::id::{PrincipalId, SessionId};
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Credential, Permission};
use crate::domain::time::{SharedClock, Timestamp};
use crate::store::audit::Record;
pub use crate::store::orgs::Tenant;
pub use crate::store::sessions::{Factor, Listed};
use crate::store::{self, Reader, Store, keys, links, orgs, sessions, users};

/// A session ends after this long without a request, where the settings say nothing else.
pub const SESSION_IDLE: Duration = Duration::from_mins(Security::SESSION_IDLE_MINUTES as u64);
/// And after this long whatever happens.
pub const SESSION_MAX: Duration = Duration::from_hours(24 * Security::SESSION_MAX_DAYS as u64);
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
    session_idle: Duration,
    session_max: Duration,
    /// Right passwords that wait for a second step.
    steps: Pending<SecondStep>,
    /// Passkeys that browsers were asked for.
    ceremonies: Pending<Ceremony>,
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
    /// By which the browser is known again at the next sign-in.
    pub mark: Option<String>,
}

/// What a browser says to sign in.
#[derive(Clone, Debug)]
pub struct SignIn {
    pub email: String,
    pub password: String,
    /// The mark of an earlier sign-in, where the browser has one.
    pub mark: Option<String>,
    pub origin: Origin,
}

/// Somebody at a browser, a member of an organization or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person {
    pub principal: PrincipalId,
    pub session: SessionId,
}

/// A right password that waits for a code.
#[derive(Clone, Debug)]
pub(in crate::services) struct SecondStep {
    pub principal: PrincipalId,
    pub email: String,
    pub place: Place,
    pub tries_left: u32,
}

impl Auth {
    /// # Errors
    /// The store does not answer.
    pub async fn new(store: Store, clock: SharedClock, security: &Security) -> Result<Self, Error> {
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
                session_idle: Duration::from_mins(security.session_idle_minutes.into()),
                session_max: Duration::from_hours(24 * u64::from(security.session_max_days)),
                steps: Pending::default(),
                ceremonies: Pending::default(),
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

    /// Sessions that were not used for this long have ended.
    pub fn session_idle(&self) -> Duration {
        self.inner.session_idle
    }

    /// Right passwords that wait for a second step.
    pub(super) fn steps(&self) -> &Pending<SecondStep> {
        &self.inner.steps
    }

    /// Passkeys that browsers were asked for.
    pub(super) fn ceremonies(&self) -> &Pending<Ceremony> {
        &self.inner.ceremonies
    }

    /// Changes whenever somebody's rights may have: connections that stay open then look at theirs again.
    pub fn revoked(&self) -> watch::Receiver<u64> {
        self.inner.revoked.subscribe()
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
            expires_at: now.plus(self.inner.session_max),
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
            mark: None,
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
        let idle = self.inner.session_idle;
        let found = self
            .inner
            .store
            .read(move |r| {
                let Some(session) = sessions::find(r, &hash)? else {
                    return Ok(None);
                };
                if !holds(session.seen_at, session.expires_at, idle, now) {
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
                let person = Person { principal, session };
                let record = record_of(person, "session.sign-out", &session.to_string(), origin);
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
fn holds(seen_at: Timestamp, expires_at: Timestamp, idle: Duration, now: Timestamp) -> bool {
    now < expires_at && now.since(seen_at) < idle
}

/// A record of what a person does with their own account.
pub(super) fn record_of(person: Person, action: &'static str, target: &str, origin: Origin) -> Record {
    Record::new(audit::STATION, action, target)
        .by(person.principal, Credential::Session)
        .credential_id(Some(person.session.to_string()))
        .origin(origin)
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
        let idle = SESSION_IDLE;
        assert!(holds(start, end, idle, start.plus(idle).minus(Duration::from_secs(1))));
        assert!(!holds(start, end, idle, start.plus(idle)));
        assert!(!holds(end, end, idle, end));
    }
}

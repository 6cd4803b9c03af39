//! Keys that were looked up a moment ago, so that a busy client costs no query a request.
//!
//! Whatever changes keys, users or members forgets all of it after its commit. A lookup that began before keeps nothing,
//! so a revoked key is refused from the next request on.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::Bearer;
use crate::domain::time::Timestamp;
use crate::store::orgs::Tenant;

/// A key's public part, and the organization and workspace that the request names.
pub(super) type Lookup = (String, Tenant);

/// A copy is not trusted for longer than this.
const FRESH_FOR: Duration = Duration::from_secs(5);
const KEYS_MAX: usize = 4_096;

/// What is known of one key.
#[derive(Clone)]
pub(super) struct KnownKey {
    pub bearer: Bearer,
    pub secret_hash: Arc<[u8]>,
    pub expires_at: Option<Timestamp>,
    pub read_at: Timestamp,
}

#[derive(Default)]
struct Kept {
    keys: HashMap<Lookup, KnownKey>,
    /// Raised at each change.
    generation: u64,
}

#[derive(Default)]
pub(super) struct KeyCache {
    kept: Mutex<Kept>,
}

impl KeyCache {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The key where it is fresh, else the generation to keep a new copy under.
    pub fn find(&self, id: &Lookup, now: Timestamp) -> Result<KnownKey, u64> {
        let kept = self.lock();
        match kept.keys.get(id) {
            Some(key) if now.since(key.read_at) < FRESH_FOR => Ok(key.clone()),
            _ => Err(kept.generation),
        }
    }

    /// Keeps what was read, unless something changed since `generation`.
    pub fn keep(&self, id: Lookup, key: KnownKey, generation: u64) {
        let mut kept = self.lock();
        if kept.generation == generation {
            if kept.keys.len() >= KEYS_MAX {
                kept.keys.clear();
            }
            kept.keys.insert(id, key);
        }
    }

    pub fn forget_all(&self) {
        let mut kept = self.lock();
        kept.generation += 1;
        kept.keys.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Standing;
    use super::*;
    use crate::domain::id::PrincipalId;

    fn key(read_at: Timestamp) -> KnownKey {
        KnownKey {
            bearer: Bearer {
                principal: PrincipalId::new(read_at),
                name: "Ana".to_owned(),
                standing: Standing::Homeless,
                credential_id: "k".to_owned(),
                session: None,
                proved_at: None,
            },
            secret_hash: Arc::from([1_u8].as_slice()),
            expires_at: None,
            read_at,
        }
    }

    fn lookup() -> Lookup {
        ("k".to_owned(), Tenant::default())
    }

    #[test]
    fn a_copy_serves_until_it_is_old_or_something_changed() {
        let cache = KeyCache::default();
        let now = Timestamp::from_ms(10_000);
        let generation = cache.find(&lookup(), now).err().unwrap();
        cache.keep(lookup(), key(now), generation);
        assert!(cache.find(&lookup(), now).is_ok());
        assert!(cache.find(&lookup(), now.plus(FRESH_FOR)).is_err());
        cache.forget_all();
        assert!(cache.find(&lookup(), now).is_err());
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_after_it() {
        let cache = KeyCache::default();
        let now = Timestamp::from_ms(10_000);
        let generation = cache.find(&lookup(), now).err().unwrap();
        cache.forget_all();
        cache.keep(lookup(), key(now), generation);
        assert!(cache.find(&lookup(), now).is_err());
    }
}

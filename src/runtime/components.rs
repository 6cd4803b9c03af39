//! Compiled components: in memory, then in an authenticated cache on disk, then from the compile child.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use wasmtime::component::Component;

use super::compile::Compiler;
use super::engine::{LinkedGuest, Sandbox, World};
use super::{Error, engine};
use crate::domain::hex;

/// Compiled components kept in memory; the least recently asked for goes first.
const IN_MEMORY_MAX: usize = 64;
const KEY_FILE: &str = "key";
const MAC_BYTES: usize = 32;

/// SHA-256 of a component.
pub type ComponentDigest = [u8; 32];

struct Slot {
    guest: Arc<OnceCell<LinkedGuest>>,
    asked: u64,
}

#[derive(Default)]
struct Slots {
    by_digest: HashMap<(ComponentDigest, bool), Slot>,
    clock: u64,
}

/// Gets components ready to run.
#[derive(Clone)]
pub struct Components {
    sandbox: Sandbox,
    compiler: Compiler,
    cache: Option<Cache>,
    slots: Arc<Mutex<Slots>>,
}

impl Components {
    /// `cache_dir` is made with mode 0700 where it is missing; without one nothing is kept on disk.
    ///
    /// # Errors
    /// The cache directory cannot be made or its key not be read.
    pub fn new(sandbox: Sandbox, compiler: Compiler, cache_dir: Option<&Path>) -> Result<Self, Error> {
        let cache = cache_dir.map(|dir| Cache::open(dir, &sandbox.fingerprint())).transpose()?;
        Ok(Self {
            sandbox,
            compiler,
            cache,
            slots: Arc::default(),
        })
    }

    pub const fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// The component with this digest, compiled and linked. `bytes` is asked only where it is in neither cache.
    ///
    /// # Errors
    /// It is refused, costs too much to compile, or its bytes cannot be had.
    pub async fn get<F>(&self, digest: ComponentDigest, world: World, bytes: F) -> Result<LinkedGuest, Error>
    where
        F: AsyncFnOnce() -> Result<Vec<u8>, Error>,
    {
        let cell = self.slot((digest, world == World::Agent));
        cell.get_or_try_init(async || self.load(digest, world, bytes).await).await.cloned()
    }

    fn slot(&self, key: (ComponentDigest, bool)) -> Arc<OnceCell<LinkedGuest>> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.clock += 1;
        let asked = slots.clock;
        if let Some(slot) = slots.by_digest.get_mut(&key) {
            slot.asked = asked;
            return Arc::clone(&slot.guest);
        }
        if slots.by_digest.len() >= IN_MEMORY_MAX
            && let Some(oldest) = slots.by_digest.iter().min_by_key(|(_, slot)| slot.asked).map(|(key, _)| *key)
        {
            slots.by_digest.remove(&oldest);
        }
        let guest = Arc::new(OnceCell::new());
        slots.by_digest.insert(
            key,
            Slot {
                guest: Arc::clone(&guest),
                asked,
            },
        );
        guest
    }

    async fn load<F>(&self, digest: ComponentDigest, world: World, bytes: F) -> Result<LinkedGuest, Error>
    where
        F: AsyncFnOnce() -> Result<Vec<u8>, Error>,
    {
        if let Some(cache) = &self.cache
            && let Some(code) = cache.read(&digest)
        {
            match self.deserialize(code).await {
                Ok(component) => return self.sandbox.link(&component, world),
                Err(error) => tracing::warn!(%error, "the compiled code in the cache does not load; compiling again"),
            }
        }
        let component = bytes().await?;
        if <[u8; 32]>::from(Sha256::digest(&component)) != digest {
            return Err(Error::Internal("the component's bytes do not have its digest".to_owned()));
        }
        let code = self.compiler.compile(&component).await?;
        if let Some(cache) = &self.cache
            && let Err(error) = cache.write(&digest, &code)
        {
            tracing::warn!(%error, "the compiled code cannot be cached");
        }
        let component = self.deserialize(code).await?;
        self.sandbox.link(&component, world)
    }

    async fn deserialize(&self, code: Vec<u8>) -> Result<Component, Error> {
        let engine = self.sandbox.engine.clone();
        let loaded = tokio::task::spawn_blocking(move || {
            #[expect(unsafe_code, reason = "compiled code is loaded here and nowhere else")]
            // SAFETY: the code comes from our own compile child a moment ago, or from our cache, where an HMAC under a key that only this
            // user can read covers it together with the engine's fingerprint and the component's digest.
            unsafe {
                Component::deserialize(&engine, &code)
            }
        });
        loaded.await.map_err(Error::internal)?.map_err(Error::internal)
    }
}

/// Compiled code on disk, each file preceded by an HMAC over engine, digest and code.
#[derive(Clone)]
struct Cache {
    dir: PathBuf,
    key: [u8; 32],
    engine: String,
}

impl Cache {
    fn open(root: &Path, engine: &str) -> Result<Self, Error> {
        let failed = |what: &str, error: std::io::Error| Error::Internal(format!("the code cache {}: {what}: {error}", root.display()));
        let dir = root.join(engine);
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&dir)
            .map_err(|error| failed("cannot be made", error))?;
        let key = Self::key(root).map_err(|error| failed("has no key", error))?;
        Ok(Self {
            dir,
            key,
            engine: engine.to_owned(),
        })
    }

    /// The key, made where there is none. It appears whole or not at all, and of several who make one at once the first one's is everybody's.
    fn key(dir: &Path) -> std::io::Result<[u8; 32]> {
        let path = dir.join(KEY_FILE);
        if !path.exists() {
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(std::io::Error::other)?;
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.write_all(&key)?;
            match file.persist_noclobber(&path) {
                Err(failed) if failed.error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed.error),
                _ => {}
            }
        }
        let bytes = std::fs::read(path)?;
        bytes
            .as_slice()
            .try_into()
            .map_err(|_| std::io::Error::other("the key is damaged; delete the cache directory"))
    }

    fn mac(&self, digest: &ComponentDigest, code: &[u8]) -> Option<Hmac<Sha256>> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).ok()?;
        mac.update(self.engine.as_bytes());
        mac.update(digest);
        mac.update(code);
        Some(mac)
    }

    fn path(&self, digest: &ComponentDigest) -> PathBuf {
        self.dir.join(format!("{}.cwasm", hex::encode(digest)))
    }

    /// The code, where it is there and ours.
    fn read(&self, digest: &ComponentDigest) -> Option<Vec<u8>> {
        let mut file = std::fs::read(self.path(digest)).ok()?;
        if file.len() < MAC_BYTES {
            return None;
        }
        let code = file.split_off(MAC_BYTES);
        match self.mac(digest, &code)?.verify_slice(&file) {
            Ok(()) => Some(code),
            Err(_) => {
                tracing::warn!("a file in the code cache is not ours; compiling again");
                None
            }
        }
    }

    fn write(&self, digest: &ComponentDigest, code: &[u8]) -> std::io::Result<()> {
        let mac = self
            .mac(digest, code)
            .ok_or_else(|| std::io::Error::other("no key"))?
            .finalize()
            .into_bytes();
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        file.write_all(&mac)?;
        file.write_all(code)?;
        file.persist(self.path(digest)).map(drop).map_err(|failed| failed.error)
    }
}

/// The fingerprint that a compile child's engine would have; equal to the sandbox's, or nothing compiled can be loaded.
///
/// # Errors
/// This machine cannot be compiled for.
pub fn compiler_fingerprint() -> Result<String, Error> {
    Ok(engine::fingerprint(&engine::compiler()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_opened_at_the_same_moment_have_the_same_key() {
        for _ in 0..50 {
            let dir = tempfile::tempdir().unwrap();
            let keys: Vec<_> = std::thread::scope(|scope| {
                let open = || Cache::open(dir.path(), "engine").unwrap().key;
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
        }
    }

    #[test]
    fn code_that_is_not_ours_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), "engine").unwrap();
        let digest = [7; 32];
        cache.write(&digest, b"code").unwrap();
        assert_eq!(cache.read(&digest).as_deref(), Some(&b"code"[..]));
        let mut bytes = std::fs::read(cache.path(&digest)).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(cache.path(&digest), bytes).unwrap();
        assert_eq!(cache.read(&digest), None);
    }
}

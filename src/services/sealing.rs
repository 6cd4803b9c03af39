//! The key that seals secrets: the station's own, or none. With another key than the first nothing is sealed and nothing opened.

use std::sync::Arc;

use super::Error;
use super::master_key::{self, Rotation};
use crate::config::master_key::KeySource;
use crate::crypto;
use crate::crypto::seal::MasterKey;
use crate::store::{Store, station};

/// Why nothing can be sealed or opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The fingerprint of the key that sealed what is there.
    pub expected: String,
    /// That of the key that was given; none where there was none.
    pub found: Option<String>,
    /// Where the key was looked for.
    pub place: String,
    /// Where the right one waits to be put there, and how; none where it is not known.
    pub to_do: Option<String>,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.found {
            Some(found) => write!(
                f,
                "the master key in {} has the fingerprint {found}, and the station’s has {}; put the right one there and start again",
                self.place, self.expected
            )?,
            None => write!(
                f,
                "the master key is missing: put the one with the fingerprint {} into {} and start again",
                self.expected, self.place
            )?,
        }
        self.to_do.as_ref().map_or(Ok(()), |to_do| write!(f, ": {to_do}"))
    }
}

/// The key that seals now, and the one before it as long as it is being replaced. What was sealed names its key: no second one is tried.
pub struct Keyring {
    current: MasterKey,
    previous: Option<MasterKey>,
}

impl Keyring {
    pub const fn new(current: MasterKey, previous: Option<MasterKey>) -> Self {
        Self { current, previous }
    }

    /// Of the key that seals.
    pub fn fingerprint(&self) -> String {
        self.current.fingerprint()
    }

    /// Seals for one place; see [`MasterKey::seal`].
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, crypto::Error> {
        self.current.seal(place, plain)
    }

    /// Opens with the key that it names; see [`MasterKey::open`].
    ///
    /// # Errors
    /// `OtherKey`, `Seal`.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, crypto::Error> {
        let names = MasterKey::fingerprint_of(sealed).ok_or(crypto::Error::Seal)?;
        let previous = self.previous.as_ref().filter(|previous| previous.fingerprint() == names);
        previous.unwrap_or(&self.current).open(place, sealed)
    }
}

/// The station's key, where it is there.
pub struct Sealing(Result<Arc<Keyring>, Trouble>);

impl Sealing {
    /// Reads the key; makes it where the station never had one.
    ///
    /// # Errors
    /// `Internal` where what is there is no key, others can read it, or a new one cannot be kept.
    pub async fn find(source: &KeySource, store: &Store) -> Result<Self, Error> {
        let refused = |error: crate::config::Error| Error::Internal(error.to_string());
        let given = source.read().map_err(refused)?;
        let place = source.in_words();
        if let Some((rotation, _)) = master_key::unfinished(store).await? {
            return Self::between(source, store, &rotation, place);
        }
        let expected = store.read(station::master_key).await?;
        let key = match (given, expected) {
            (None, Some(expected)) => {
                let to_do = master_key::to_do(source, store.data_dir(), &expected);
                return Ok(Self::troubled(Trouble {
                    expected,
                    found: None,
                    place,
                    to_do,
                }));
            }
            (Some(bytes), Some(expected)) => {
                let key = MasterKey::new(&bytes)?;
                let found = key.fingerprint();
                if found != expected {
                    let to_do = master_key::to_do(source, store.data_dir(), &expected);
                    return Ok(Self::troubled(Trouble {
                        expected,
                        found: Some(found),
                        place,
                        to_do,
                    }));
                }
                key
            }
            (given, None) => {
                let bytes = match given {
                    Some(bytes) => bytes,
                    None => crypto::random()?,
                };
                let key = MasterKey::new(&bytes)?;
                // Whoever only reads seals nothing.
                if !store.is_read_only() {
                    if given.is_none() {
                        source.keep(&bytes).map_err(refused)?;
                    }
                    let fingerprint = key.fingerprint();
                    store.write(move |tx| station::set_master_key(tx, &fingerprint)).await?;
                }
                key
            }
        };
        Ok(Self(Ok(Arc::new(Keyring::new(key, None)))))
    }

    /// While the key is being replaced: seals with the new one, and opens what either sealed.
    fn between(source: &KeySource, store: &Store, rotation: &Rotation, place: String) -> Result<Self, Error> {
        let found = master_key::find(source, store.data_dir(), rotation)?;
        match (found.new, found.old) {
            (Some(new), old) => Ok(Self(Ok(Arc::new(Keyring::new(new, old))))),
            (None, Some(old)) => {
                tracing::error!(to = rotation.to, "the master key is being replaced, and the new one is not there");
                Ok(Self(Ok(Arc::new(Keyring::new(old, None)))))
            }
            (None, None) => Ok(Self::troubled(Trouble {
                expected: rotation.to.clone(),
                found: None,
                place,
                to_do: None,
            })),
        }
    }

    fn troubled(trouble: Trouble) -> Self {
        tracing::error!("{trouble}");
        Self(Err(trouble))
    }

    /// The key.
    ///
    /// # Errors
    /// `Sealed` where it is not there.
    pub fn key(&self) -> Result<Arc<Keyring>, Error> {
        self.0
            .as_ref()
            .map(Arc::clone)
            .map_err(|trouble| Error::Sealed(trouble.to_string()))
    }

    /// Why there is no key; none where there is one.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.0.as_ref().err()
    }
}

//! The key that seals secrets: the station's own, or none. With another key than the first nothing is sealed and nothing opened.

use std::sync::Arc;

use super::Error;
use crate::config::master_key::KeySource;
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
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.found {
            Some(found) => write!(
                f,
                "the master key in {} has the fingerprint {found}, and the station’s has {}; put the right one there and start again",
                self.place, self.expected
            ),
            None => write!(
                f,
                "the master key is missing: put the one with the fingerprint {} into {} and start again",
                self.expected, self.place
            ),
        }
    }
}

/// The station's key, where it is there.
pub struct Sealing(Result<Arc<MasterKey>, Trouble>);

impl Sealing {
    /// Reads the key; makes it where the station never had one.
    ///
    /// # Errors
    /// `Internal` where what is there is no key, others can read it, or a new one cannot be kept.
    pub async fn find(source: &KeySource, store: &Store) -> Result<Self, Error> {
        let refused = |error: crate::config::Error| Error::Internal(error.to_string());
        let given = source.read().map_err(refused)?;
        let expected = store.read(station::master_key).await?;
        let place = source.in_words();
        let key = match (given, expected) {
            (None, Some(expected)) => {
                return Ok(Self::troubled(Trouble {
                    expected,
                    found: None,
                    place,
                }));
            }
            (Some(bytes), Some(expected)) => {
                let key = MasterKey::new(&bytes)?;
                let found = key.fingerprint();
                if found != expected {
                    return Ok(Self::troubled(Trouble {
                        expected,
                        found: Some(found),
                        place,
                    }));
                }
                key
            }
            (given, None) => {
                let bytes = match given {
                    Some(bytes) => bytes,
                    None => crate::crypto::random()?,
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
        Ok(Self(Ok(Arc::new(key))))
    }

    fn troubled(trouble: Trouble) -> Self {
        tracing::error!("{trouble}");
        Self(Err(trouble))
    }

    /// The key.
    ///
    /// # Errors
    /// `Sealed` where it is not there.
    pub fn key(&self) -> Result<&Arc<MasterKey>, Error> {
        self.0.as_ref().map_err(|trouble| Error::Sealed(trouble.to_string()))
    }

    /// Why there is no key; none where there is one.
    pub fn trouble(&self) -> Option<&Trouble> {
        self.0.as_ref().err()
    }
}

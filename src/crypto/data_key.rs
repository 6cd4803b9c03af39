//! Keys that seal secrets, one for each organization: XChaCha20-Poly1305. The master key seals these keys and nothing else of secrets,
//! so that it can be replaced without touching what they sealed.
//!
//! A record is version, the key's id, nonce, ciphertext with its tag; bound to its place, so that it opens nowhere else. It names its key,
//! and no second key is ever tried on it: this cipher does not commit to one.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use super::{Error, random};
use crate::domain::id::{DataKeyId, OrgId, SecretId};

const VERSION: u8 = 1;
const ID_BYTES: usize = 16;
const NONCE_BYTES: usize = 24;
const HEAD_BYTES: usize = 1 + ID_BYTES + NONCE_BYTES;
const KEY_BYTES: usize = 32;

/// Where a sealed value stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealedAt {
    /// None is the station.
    pub org: Option<OrgId>,
    pub secret: SecretId,
    /// Of the secret's version.
    pub number: u32,
    pub field: &'static str,
}

/// A key that seals secrets; it is never printed.
pub struct DataKey {
    id: DataKeyId,
    cipher: XChaCha20Poly1305,
}

impl DataKey {
    /// A new key's bytes.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn fresh() -> Result<Zeroizing<Vec<u8>>, Error> {
        Ok(Zeroizing::new(random::<KEY_BYTES>()?.to_vec()))
    }

    /// # Errors
    /// [`Error::Seal`] where the bytes are no key.
    pub fn new(id: DataKeyId, bytes: &[u8]) -> Result<Self, Error> {
        let cipher = XChaCha20Poly1305::new_from_slice(bytes).map_err(|_| Error::Seal)?;
        Ok(Self { id, cipher })
    }

    pub const fn id(&self) -> DataKeyId {
        self.id
    }

    /// What the master key seals a data key for.
    pub fn place(id: DataKeyId, org: Option<OrgId>) -> String {
        format!("data-key/{}/{id}", name_of(org))
    }

    /// Seals a value for one place.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn seal(&self, at: SealedAt, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let mut sealed = Vec::with_capacity(HEAD_BYTES + plain.len() + 16);
        sealed.push(VERSION);
        sealed.extend(self.id.as_bytes());
        sealed.extend(nonce);
        let aad = self.bound_to(at);
        let payload = Payload { msg: plain, aad: &aad };
        sealed.extend(self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::Seal)?);
        Ok(sealed)
    }

    /// Opens what this key sealed for this place.
    ///
    /// # Errors
    /// [`Error::Seal`] where another key sealed it, it was changed, or it is from another place.
    pub fn open(&self, at: SealedAt, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let (version, rest) = sealed.split_first().ok_or(Error::Seal)?;
        let (id, rest) = rest.split_first_chunk::<ID_BYTES>().ok_or(Error::Seal)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Error::Seal)?;
        if *version != VERSION || id != self.id.as_bytes() {
            return Err(Error::Seal);
        }
        let aad = self.bound_to(at);
        let payload = Payload { msg: text, aad: &aad };
        let plain = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Error::Seal)?;
        Ok(Zeroizing::new(plain))
    }

    /// No id has a slash in it, so two places never read the same.
    fn bound_to(&self, at: SealedAt) -> Vec<u8> {
        let SealedAt {
            org,
            secret,
            number,
            field,
        } = at;
        format!("{VERSION}/{}/{}/{secret}/{number}/{field}", self.id, name_of(org)).into_bytes()
    }
}

fn name_of(org: Option<OrgId>) -> String {
    org.map_or_else(|| "station".to_owned(), |org| org.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::time::Timestamp;

    fn key(byte: u8) -> DataKey {
        DataKey::new(DataKeyId::new(Timestamp::from_ms(i64::from(byte))), &[byte; 32]).unwrap()
    }

    fn place() -> SealedAt {
        let now = Timestamp::from_ms(1_000);
        SealedAt {
            org: Some(OrgId::new(now)),
            secret: SecretId::new(now),
            number: 1,
            field: "value",
        }
    }

    #[test]
    fn a_record_opens_in_its_place_with_its_key_only() {
        let (key, other, at) = (key(7), key(8), place());
        let sealed = key.seal(at, b"hunter2hunter2").unwrap();
        assert_eq!(&**key.open(at, &sealed).unwrap(), b"hunter2hunter2");
        let later = Timestamp::from_ms(2_000);
        for moved in [
            SealedAt { org: None, ..at },
            SealedAt {
                org: Some(OrgId::new(later)),
                ..at
            },
            SealedAt {
                secret: SecretId::new(later),
                ..at
            },
            SealedAt { number: 2, ..at },
            SealedAt { field: "note", ..at },
        ] {
            assert!(key.open(moved, &sealed).is_err(), "{moved:?}");
        }
        assert!(other.open(at, &sealed).is_err());
        // The same bytes under another id: the record names its key.
        let renamed = DataKey::new(other.id, &[7; 32]).unwrap();
        assert!(renamed.open(at, &sealed).is_err());
    }

    proptest! {
        #[test]
        fn any_value_comes_back_and_no_changed_record_opens(value in proptest::collection::vec(any::<u8>(), 0..200), flip in any::<prop::sample::Index>()) {
            let (key, at) = (key(7), place());
            let sealed = key.seal(at, &value).unwrap();
            prop_assert_eq!(&**key.open(at, &sealed).unwrap(), &value[..]);
            prop_assert_ne!(&sealed, &key.seal(at, &value).unwrap());
            let i = flip.index(sealed.len());
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            prop_assert!(key.open(at, &changed).is_err());
            prop_assert!(key.open(at, &sealed[..i]).is_err());
        }
    }
}

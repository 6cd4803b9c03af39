//! What is sealed at rest: XChaCha20-Poly1305 under a key that is kept outside the database.
//!
//! A sealed value is bound to what it is for, so that it cannot be moved to another row; and it names its key, so that no
//! second key is ever tried on it.

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::{Error, random};

/// The layout of a sealed value: version, key's fingerprint, nonce, ciphertext with its tag.
const VERSION: u8 = 1;
const FINGERPRINT_BYTES: usize = 8;
const NONCE_BYTES: usize = 24;
const HEAD_BYTES: usize = 1 + FINGERPRINT_BYTES + NONCE_BYTES;
const FINGERPRINT_LABEL: &[u8] = b"agentstation master key fingerprint v1";

/// The key that seals; it is never printed.
#[derive(Clone)]
pub struct MasterKey {
    cipher: XChaCha20Poly1305,
    fingerprint: [u8; FINGERPRINT_BYTES],
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MasterKey({})", self.fingerprint())
    }
}

impl MasterKey {
    /// # Errors
    /// [`Error::Seal`] never for 32 bytes; kept for the library's sake.
    pub fn new(bytes: &[u8; 32]) -> Result<Self, Error> {
        let cipher = XChaCha20Poly1305::new_from_slice(bytes).map_err(|_| Error::Seal)?;
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(bytes).map_err(|_| Error::Seal)?;
        mac.update(FINGERPRINT_LABEL);
        let digest = mac.finalize().into_bytes();
        let mut fingerprint = [0; FINGERPRINT_BYTES];
        fingerprint.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Ok(Self { cipher, fingerprint })
    }

    /// By which people tell keys apart; says nothing of the key itself.
    pub fn fingerprint(&self) -> String {
        crate::domain::hex::encode(&self.fingerprint)
    }

    /// Seals `plain` for one place, such as `totp/prn_…`.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce: [u8; NONCE_BYTES] = random()?;
        let mut sealed = Vec::with_capacity(HEAD_BYTES + plain.len() + 16);
        sealed.push(VERSION);
        sealed.extend(self.fingerprint);
        sealed.extend(nonce);
        let aad = bound_to(self.fingerprint, place);
        let payload = Payload { msg: plain, aad: &aad };
        sealed.extend(self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| Error::Seal)?);
        Ok(sealed)
    }

    /// The fingerprint of the key that sealed this; none where it is nothing that was sealed.
    pub fn fingerprint_of(sealed: &[u8]) -> Option<String> {
        let (version, rest) = sealed.split_first()?;
        let (fingerprint, _) = rest.split_first_chunk::<FINGERPRINT_BYTES>()?;
        (*version == VERSION).then(|| crate::domain::hex::encode(fingerprint))
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// [`Error::OtherKey`] where another key sealed it, [`Error::Seal`] where it was changed or is from another place.
    pub fn open(&self, place: &str, sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let (version, rest) = sealed.split_first().ok_or(Error::Seal)?;
        let (fingerprint, rest) = rest.split_first_chunk::<FINGERPRINT_BYTES>().ok_or(Error::Seal)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Error::Seal)?;
        if *version != VERSION {
            return Err(Error::Seal);
        }
        if *fingerprint != self.fingerprint {
            return Err(Error::OtherKey(crate::domain::hex::encode(fingerprint)));
        }
        let aad = bound_to(*fingerprint, place);
        let payload = Payload { msg: text, aad: &aad };
        self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| Error::Seal)
    }
}

fn bound_to(fingerprint: [u8; FINGERPRINT_BYTES], place: &str) -> Vec<u8> {
    let mut aad = vec![VERSION];
    aad.extend(fingerprint);
    aad.extend(place.as_bytes());
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_in_its_place_with_its_key_only() {
        let key = MasterKey::new(&[7; 32]).unwrap();
        let sealed = key.seal("totp/a", b"secret").unwrap();
        assert_eq!(key.open("totp/a", &sealed).unwrap(), b"secret");
        assert_eq!(key.open("totp/b", &sealed), Err(Error::Seal));
        let other = MasterKey::new(&[8; 32]).unwrap();
        assert_eq!(other.open("totp/a", &sealed), Err(Error::OtherKey(key.fingerprint())));
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert!(key.open("totp/a", &changed).is_err(), "byte {i}");
            assert!(key.open("totp/a", &sealed[..i]).is_err(), "cut at {i}");
        }
    }

    #[test]
    fn the_same_text_never_looks_the_same() {
        let key = MasterKey::new(&[7; 32]).unwrap();
        assert_ne!(key.seal("x", b"s").unwrap(), key.seal("x", b"s").unwrap());
        assert!(!format!("{key:?}").contains("7, 7"));
    }
}

//! API keys: `as1_pat_` + id (12) + secret (43) + checksum (6), all base62.
//!
//! The id finds the row, the secret proves the holder and is stored as a hash, and the checksum lets scanners and the
//! station tell a mistyped key from a wrong one without a look-up.

use super::{Error, random, token};
use crate::domain::failure::codes;

codes! {
    /// Whose key it is.
    KeyKind {
        /// A person's.
        Personal = "pat",
        Service = "svc",
        Agent = "agt",
    }
}

/// Raised when the format changes, so that scanners can tell.
const VERSION: &str = "as1_";
const ID_LEN: usize = 12;
/// 43 characters of base62 hold 256 bits.
const SECRET_LEN: usize = 43;
const CRC_LEN: usize = 6;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The parts of a well-formed key.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub kind: KeyKind,
    /// By which the row is found; not secret.
    pub id: String,
    secret: String,
}

impl std::fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{VERSION}{}_{}…", self.kind, self.id)
    }
}

impl ApiKey {
    /// A new random key.
    ///
    /// # Errors
    /// [`Error::Random`].
    pub fn new(kind: KeyKind) -> Result<Self, Error> {
        Ok(Self {
            kind,
            id: random_text(ID_LEN)?,
            secret: random_text(SECRET_LEN)?,
        })
    }

    /// Reads a key as it was shown once.
    ///
    /// # Errors
    /// [`Error::ApiKey`] where form or checksum is wrong.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (body, crc) = text.split_at_checked(text.len().saturating_sub(CRC_LEN)).ok_or(Error::ApiKey)?;
        if checksum(body) != crc {
            return Err(Error::ApiKey);
        }
        let (kind, rest) = body
            .strip_prefix(VERSION)
            .and_then(|rest| rest.split_once('_'))
            .ok_or(Error::ApiKey)?;
        let kind = KeyKind::parse(kind).ok_or(Error::ApiKey)?;
        if rest.len() != ID_LEN + SECRET_LEN || !rest.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Error::ApiKey);
        }
        let (id, secret) = rest.split_at_checked(ID_LEN).ok_or(Error::ApiKey)?;
        Ok(Self {
            kind,
            id: id.to_owned(),
            secret: secret.to_owned(),
        })
    }

    /// The whole key, to be shown once.
    pub fn reveal(&self) -> String {
        let mut text = format!("{VERSION}{}_{}{}", self.kind, self.id, self.secret);
        text += &checksum(&text);
        text
    }

    /// What is stored of the secret.
    pub fn secret_hash(&self) -> token::TokenHash {
        token::hash(&self.secret)
    }

    /// Whether this is the key whose secret has this hash, in constant time.
    pub fn matches(&self, stored: &[u8]) -> bool {
        token::matches(&self.secret, stored)
    }
}

/// Characters drawn evenly: bytes above the last whole multiple of 62 are thrown away.
fn random_text(len: usize) -> Result<String, Error> {
    let mut text = String::with_capacity(len);
    while text.len() < len {
        let bytes = random::<64>()?;
        let drawn = bytes.iter().filter(|&&byte| byte < 248).filter_map(|&byte| digit(u32::from(byte)));
        text.extend(drawn.take(len - text.len()));
    }
    Ok(text)
}

fn digit(value: u32) -> Option<char> {
    BASE62.get(usize::try_from(value % 62).ok()?).map(|&byte| char::from(byte))
}

/// CRC-32 of `text` in base62, which needs exactly six digits at most.
fn checksum(text: &str) -> String {
    let mut rest = crc32(text.as_bytes());
    let mut digits: Vec<char> = Vec::with_capacity(CRC_LEN);
    for _ in 0..CRC_LEN {
        digits.extend(digit(rest));
        rest /= 62;
    }
    digits.into_iter().rev().collect()
}

/// The CRC-32 of zlib, gzip and PNG.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_reads_back_as_itself() {
        for &kind in KeyKind::ALL {
            let key = ApiKey::new(kind).unwrap();
            let text = key.reveal();
            assert_eq!(text.len(), "as1_pat_".len() + ID_LEN + SECRET_LEN + CRC_LEN);
            let back = ApiKey::parse(&text).unwrap();
            assert!(back == key && back.matches(&key.secret_hash()));
            assert!(!ApiKey::new(kind).unwrap().matches(&key.secret_hash()));
        }
    }

    #[test]
    fn a_key_with_any_character_changed_is_refused() {
        let text = ApiKey::new(KeyKind::Personal).unwrap().reveal();
        for i in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[i] = if bytes[i] == b'x' { b'y' } else { b'x' };
            assert_eq!(
                ApiKey::parse(&String::from_utf8(bytes).unwrap()),
                Err(Error::ApiKey),
                "character {i}"
            );
        }
        for wrong in ["", "as1_", "é", "as1_pat_ééééé", text.trim_start_matches('a'), &format!("{text}0")] {
            assert_eq!(ApiKey::parse(wrong), Err(Error::ApiKey), "{wrong}");
        }
    }

    #[test]
    fn debug_does_not_show_the_secret() {
        let key = ApiKey::new(KeyKind::Service).unwrap();
        assert!(!format!("{key:?}").contains(&key.secret));
    }

    #[test]
    fn the_checksum_is_the_common_crc_32() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }
}

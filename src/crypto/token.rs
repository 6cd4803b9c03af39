//! Opaque tokens: sessions, set-up links. Handed out once, kept as a hash.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{Error, random};

/// What is stored of a token.
pub type TokenHash = [u8; 32];

/// A new token of 256 random bits, safe in addresses and cookies.
///
/// # Errors
/// [`Error::Random`].
pub fn new() -> Result<String, Error> {
    Ok(URL_SAFE_NO_PAD.encode(random::<32>()?))
}

/// SHA-256 of the token's text; enough for 256 random bits, too weak for passwords.
pub fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// Whether `token` is the one with this hash, in time that does not depend on where they differ.
pub fn matches(token: &str, stored: &[u8]) -> bool {
    hash(token).as_slice().ct_eq(stored).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_matches_its_own_hash_only() {
        let (one, other) = (new().unwrap(), new().unwrap());
        assert_eq!(one.len(), 43);
        assert!(matches(&one, &hash(&one)));
        assert!(!matches(&other, &hash(&one)));
        assert!(!matches(&one, &[]));
    }
}

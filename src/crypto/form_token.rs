//! The token in every form: it proves that the page came from the session that sends it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

/// Keeps form tokens apart from every other use of the key.
const LABEL: &[u8] = b"agentstation form token v1\0";

/// The form token of a session, or of the visitor's cookie before signing in.
pub fn of(key: &[u8; 32], session: &str) -> String {
    URL_SAFE_NO_PAD.encode(mac(key, session))
}

/// Whether `token` came from a page of this session, in constant time.
pub fn matches(key: &[u8; 32], session: &str, token: &str) -> bool {
    of(key, session).as_bytes().ct_eq(token.as_bytes()).into()
}

fn mac(key: &[u8; 32], session: &str) -> [u8; 32] {
    // HMAC takes a key as long as the hash's block, padded with zeros.
    let mut block = [0; 64];
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(LABEL);
    mac.update(session.as_bytes());
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_token_holds_for_its_session_and_key_only() {
        let token = of(&[1; 32], "session");
        assert!(matches(&[1; 32], "session", &token));
        assert!(!matches(&[1; 32], "another", &token));
        assert!(!matches(&[2; 32], "session", &token));
        assert!(!matches(&[1; 32], "session", ""));
    }
}

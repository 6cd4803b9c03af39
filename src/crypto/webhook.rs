//! Signatures of what the station sends to programs, as standardwebhooks.com writes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::{Error, random};

const PREFIX: &str = "whsec_";
const KEY_BYTES: usize = 24;

/// A new signing key in its text form.
///
/// # Errors
/// [`Error::Random`].
pub fn new_key() -> Result<String, Error> {
    Ok(format!("{PREFIX}{}", STANDARD.encode(random::<KEY_BYTES>()?)))
}

/// The signature header of a message; none where `key` is no key of ours.
pub fn sign(key: &str, id: &str, seconds: i64, body: &[u8]) -> Option<String> {
    let key = STANDARD.decode(key.strip_prefix(PREFIX)?).ok()?;
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
    mac.update(format!("{id}.{seconds}.").as_bytes());
    mac.update(body);
    Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_standard() {
        // The example of the specification.
        let signed = sign(
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signed.as_deref(), Some("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="));
        let key = new_key().unwrap();
        assert_ne!(key, new_key().unwrap());
        assert!(sign(&key, "a", 1, b"").is_some() && sign("nothing", "a", 1, b"").is_none());
    }
}

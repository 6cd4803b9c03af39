//! The mark of a browser in which an account's owner has signed in: guesses elsewhere do not make that browser wait.
//!
//! It lets nobody in. Only a sign-in makes one, so whoever guesses has none.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::{Error, token};

/// Keeps these marks apart from every other use of the key.
const LABEL: &[u8] = b"agentstation known browser v1\0";
const SEPARATOR: char = '.';

/// A new mark for an account.
///
/// # Errors
/// [`Error::Random`].
pub fn mark(key: &[u8; 32], account: &str) -> Result<String, Error> {
    let id = token::new()?;
    let mac = URL_SAFE_NO_PAD.encode(mac(key, account, &id)?.finalize().into_bytes());
    Ok(format!("{id}{SEPARATOR}{mac}"))
}

/// The id of a mark that was made for this account; none for every other text.
pub fn id_of<'a>(key: &[u8; 32], account: &str, mark: &'a str) -> Option<&'a str> {
    let (id, code) = mark.split_once(SEPARATOR)?;
    let code = URL_SAFE_NO_PAD.decode(code).ok()?;
    mac(key, account, id).ok()?.verify_slice(&code).ok()?;
    Some(id)
}

fn mac(key: &[u8; 32], account: &str, id: &str) -> Result<Hmac<Sha256>, Error> {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).map_err(|_| Error::Hash)?;
    mac.update(LABEL);
    mac.update(account.as_bytes());
    // No address has it, so that no account and id look like another's.
    mac.update(b"\0");
    mac.update(id.as_bytes());
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_good_for_its_account_only() {
        let key = [1; 32];
        let mark = mark(&key, "ana@example.com").unwrap();
        let id = id_of(&key, "ana@example.com", &mark).unwrap();
        assert!(mark.starts_with(id));
        assert_eq!(id_of(&key, "bob@example.com", &mark), None);
        assert_eq!(id_of(&[2; 32], "ana@example.com", &mark), None);
        for forged in ["", ".", "a.b", &format!("x{mark}"), &mark.replace(SEPARATOR, "")] {
            assert_eq!(id_of(&key, "ana@example.com", forged), None, "{forged}");
        }
    }
}

//! Passwords: Argon2id, a policy that blocks what attackers try first, and the same cost for unknown users.
//!
//! Hashing takes tens of milliseconds and 19 MiB: callers do it off the event loop, few at a time.

use std::sync::LazyLock;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};

use super::{Error, random};

/// Bytes of the shortest password.
pub const BYTES_MIN: usize = 8;
/// Bytes of the longest password: hashing is paid by the byte.
pub const BYTES_MAX: usize = 1024;
/// Bytes of salt.
const SALT_BYTES: usize = 16;
/// OWASP's minimum of 2026: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Of a password that has its person's own name in it, bytes that must stand beside the name.
const BYTES_BESIDE_NAME_MIN: usize = 6;
/// A shorter name may be part of any word.
const NAME_BYTES_MIN: usize = 3;

/// Lower case, one a line, none shorter than [`BYTES_MIN`]: the most frequent ones of leaks, as zxcvbn (MIT) lists them, and ours.
const COMMON: &str = include_str!("common_passwords.txt");

/// Whether `password` may be chosen.
///
/// # Errors
/// Which rule it breaks, as a sentence for the person choosing.
pub fn check(password: &str) -> Result<(), Error> {
    if password.len() < BYTES_MIN {
        return Err(Error::PasswordTooShort);
    }
    if password.len() > BYTES_MAX {
        return Err(Error::PasswordTooLong);
    }
    let lower = password.to_lowercase();
    if COMMON.lines().any(|common| common == lower) {
        return Err(Error::PasswordTooCommon);
    }
    Ok(())
}

/// Whether `password` may be chosen by somebody with this address and name.
///
/// # Errors
/// Which rule it breaks, as a sentence for the person choosing.
pub fn check_for(password: &str, email: &str, name: &str) -> Result<(), Error> {
    check(password)?;
    let lower = password.to_lowercase();
    let local = email.split('@').next().unwrap_or_default();
    let own = [email, local, name].into_iter().chain(name.split_whitespace());
    let is_own = own.map(str::to_lowercase).filter(|word| word.len() >= NAME_BYTES_MIN).any(|word| {
        let bare: String = word.split_whitespace().collect();
        let has = |word: &str| lower.contains(word) && lower.len() - word.len() < BYTES_BESIDE_NAME_MIN;
        has(&word) || has(&bare)
    });
    if is_own { Err(Error::PasswordIsOwnName) } else { Ok(()) }
}

/// A PHC string with a salt of its own.
///
/// # Errors
/// [`Error::PasswordTooLong`], or what the system lacks.
pub fn hash(password: &str) -> Result<String, Error> {
    if password.len() > BYTES_MAX {
        return Err(Error::PasswordTooLong);
    }
    let salt = random::<SALT_BYTES>()?;
    let hash: PasswordHash = argon2()?
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|_| Error::Hash)?;
    Ok(hash.to_string())
}

/// Whether `password` is the one behind the PHC string `stored`.
pub fn verify(password: &str, stored: &str) -> bool {
    password.len() <= BYTES_MAX
        && PasswordHash::new(stored).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// Takes as long as [`verify`], for users who do not exist. Always false.
pub fn verify_nobody(password: &str) -> bool {
    static NOBODY: LazyLock<Option<String>> = LazyLock::new(|| hash("nobody has this password").ok());
    if let Some(stored) = &*NOBODY {
        std::hint::black_box(verify(password, stored));
    }
    false
}

/// Whether `stored` was made with other parameters than today's: hash again at the next sign-in.
pub fn needs_rehash(stored: &str) -> bool {
    let current = |hash: &PasswordHash| {
        hash.algorithm.as_str() == "argon2id"
            && Params::try_from(hash).is_ok_and(|params| (params.m_cost(), params.t_cost(), params.p_cost()) == (MEMORY_KIB, PASSES, LANES))
    };
    !PasswordHash::new(stored).is_ok_and(|hash| current(&hash))
}

fn argon2() -> Result<Argon2<'static>, Error> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| Error::Hash)?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_verifies_against_its_own_hash_only() {
        let stored = hash("a fine long password").unwrap();
        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        assert!(verify("a fine long password", &stored));
        assert!(!verify("a fine long passwore", &stored));
        assert!(!verify("a fine long password", "no hash"));
        assert!(!needs_rehash(&stored));
        assert_ne!(hash("a fine long password").unwrap(), stored, "each hash has its own salt");
    }

    #[test]
    fn nobody_signs_in_as_nobody() {
        assert!(!verify_nobody("nobody has this password"));
    }

    #[test]
    fn weaker_hashes_are_made_again() {
        let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(8 * 1024, 1, 1, None).unwrap());
        let stored = weak
            .hash_password_with_salt(b"a fine long password", b"0123456789abcdef")
            .unwrap()
            .to_string();
        assert!(verify("a fine long password", &stored));
        assert!(needs_rehash(&stored));
        assert!(needs_rehash("no hash"));
    }

    #[test]
    fn the_policy_blocks_short_long_and_common_passwords() {
        assert_eq!(check("short"), Err(Error::PasswordTooShort));
        assert_eq!(check(&"x".repeat(BYTES_MAX + 1)), Err(Error::PasswordTooLong));
        assert_eq!(check("PassWord123"), Err(Error::PasswordTooCommon));
        assert_eq!(check("no such thing in lists"), Ok(()));
        assert_eq!(check(&"x".repeat(BYTES_MAX)), Ok(()));
        assert_eq!(hash(&"x".repeat(BYTES_MAX + 1)), Err(Error::PasswordTooLong));
    }

    #[test]
    fn ones_own_name_and_address_are_no_passwords() {
        let check = |password| check_for(password, "ana.lind@example.com", "Ana Lind");
        for own in ["ana.lind@example.com", "Ana.Lind1", "analind2026", "Lind!2026", "12345ana"] {
            assert_eq!(check(own), Err(Error::PasswordIsOwnName), "{own}");
        }
        for good in ["banana boats at dawn", "lindworm in the attic", "seven quiet lighthouses"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        assert_eq!(check("short"), Err(Error::PasswordTooShort));
    }

    #[test]
    fn the_list_of_common_passwords_holds_only_what_length_lets_through() {
        assert!(COMMON.lines().count() >= 3_000);
        assert!(COMMON.lines().all(|word| word.len() >= BYTES_MIN && word == word.to_lowercase()));
    }
}

//! Passwords, tokens, keys and seals: pure functions over system randomness; nothing is stored here.
//!
//! Secrets are compared in constant time and kept only as hashes.

pub mod api_key;
pub mod data_key;
pub mod device;
pub mod form_token;
pub mod passkey;
pub mod password;
pub mod seal;
pub mod token;
pub mod totp;
pub mod webhook;

/// Why a cryptographic step failed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    #[error("the system gives no random bytes")]
    Random,
    #[error("a password hash could not be made")]
    Hash,
    #[error("the password is too short: use at least {} characters", password::BYTES_MIN)]
    PasswordTooShort,
    #[error("the password is longer than {} bytes", password::BYTES_MAX)]
    PasswordTooLong,
    #[error("this password is among the first ones an attacker tries: choose another")]
    PasswordTooCommon,
    #[error("the password is your own name or address, or little more: choose another")]
    PasswordIsOwnName,
    #[error("the secret of the authenticator app is damaged")]
    Totp,
    #[error("the passkey does not fit what was asked")]
    Passkey,
    #[error("not an API key: it is damaged or cut short")]
    ApiKey,
    #[error("what was sealed was changed, or belongs elsewhere")]
    Seal,
    #[error("it was sealed with the key {0}, which is not the one in use")]
    OtherKey(String),
}

/// `N` random bytes from the system.
///
/// # Errors
/// [`Error::Random`] where the system has none.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}

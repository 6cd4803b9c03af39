//! Codes of authenticator apps (RFC 6238): six digits, new every 30 seconds; and the recovery codes for a day without the app.

use qrcode::QrCode;
use qrcode::render::svg;

use super::{Error, random, token};

/// Bytes of a secret, as the RFC recommends.
pub const SECRET_BYTES: usize = 20;
/// What a set of recovery codes has.
pub const RECOVERY_CODES: usize = 10;
const STEP_SECONDS: u64 = 30;
/// Clocks may differ by one step.
const SKEW_STEPS: u16 = 1;
const ISSUER: &str = "AgentStation";
const QR_PIXELS: u32 = 220;
/// No letter that is taken for another.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const GROUPS: usize = 4;
const GROUP_CHARS: usize = 4;

/// A secret that an app and the station share.
#[derive(Clone)]
pub struct Totp(totp_rs::Totp);

impl Totp {
    /// # Errors
    /// [`Error::Totp`] where the secret has another length.
    pub fn new(secret: &[u8], account: &str) -> Result<Self, Error> {
        let secret: [u8; SECRET_BYTES] = secret.try_into().map_err(|_| Error::Totp)?;
        // A colon separates issuer and account in the app.
        let account: String = account.chars().map(|c| if c == ':' { '_' } else { c }).collect();
        let totp = totp_rs::Builder::new()
            .with_secret(secret)
            .with_skew(SKEW_STEPS)
            .with_step_duration(STEP_SECONDS)
            .with_issuer(Some(ISSUER))
            .with_account_name(account)
            .build()
            .map_err(|_| Error::Totp)?;
        Ok(Self(totp))
    }

    /// The time step whose code this is, at a time in seconds since 1970. Each step is to be taken once.
    pub fn step_of(&self, code: &str, seconds: u64) -> Option<u64> {
        let digits: String = code.chars().filter(|c| !c.is_whitespace()).collect();
        let fits = digits.len() == usize::from(self.0.digits()) && digits.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| self.0.check(&digits, seconds)).flatten()
    }

    /// The code at a time.
    pub fn code_at(&self, seconds: u64) -> String {
        self.0.generate(seconds).to_string()
    }

    /// What is typed into an app that cannot read the picture, in groups of four.
    pub fn secret_in_words(&self) -> String {
        let text = self.0.secret().to_base32();
        let chars: Vec<char> = text.chars().collect();
        let groups: Vec<String> = chars.chunks(4).map(|group| group.iter().collect()).collect();
        groups.join(" ")
    }

    /// The picture that an app reads, as SVG.
    ///
    /// # Errors
    /// [`Error::Totp`] where the account's name is too long for one.
    pub fn qr_svg(&self) -> Result<String, Error> {
        let address = self.0.to_url().map_err(|_| Error::Totp)?;
        let code = QrCode::new(address.as_bytes()).map_err(|_| Error::Totp)?;
        Ok(code.render::<svg::Color<'_>>().min_dimensions(QR_PIXELS, QR_PIXELS).build())
    }
}

/// New recovery codes of 80 bits each, such as `7k2m-x0qa-9fbd-e3vt`.
///
/// # Errors
/// [`Error::Random`].
pub fn recovery_codes() -> Result<Vec<String>, Error> {
    (0..RECOVERY_CODES).map(|_| recovery_code()).collect()
}

fn recovery_code() -> Result<String, Error> {
    let bytes: [u8; GROUPS * GROUP_CHARS] = random()?;
    // 32 divides 256: each letter is as likely as any other.
    let letter = |byte: &u8| ALPHABET.get(usize::from(byte % 32)).map_or('0', |&c| char::from(c));
    let groups: Vec<String> = bytes.chunks(GROUP_CHARS).map(|group| group.iter().map(letter).collect()).collect();
    Ok(groups.join("-"))
}

/// What is stored of a recovery code, however it was typed.
pub fn recovery_hash(typed: &str) -> token::TokenHash {
    let plain = typed.chars().filter(char::is_ascii_alphanumeric);
    // What is read wrong most often.
    let letters: String = plain
        .map(|c| match c.to_ascii_lowercase() {
            'o' => '0',
            'i' | 'l' => '1',
            other => other,
        })
        .collect();
    token::hash(&letters)
}

/// Whether a text looks like a recovery code as we write it.
pub fn is_recovery_code(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.len() == GROUPS
        && groups
            .iter()
            .all(|group| group.len() == GROUP_CHARS && group.bytes().all(|b| ALPHABET.contains(&b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_790_000_010;

    fn totp() -> Totp {
        Totp::new(b"12345678901234567890", "ana:x@example.com").unwrap()
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B, the last six digits.
        for (seconds, code) in [(59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")] {
            assert_eq!(totp().code_at(seconds), code);
        }
    }

    #[test]
    fn a_code_of_a_neighbouring_step_is_taken_and_no_other() {
        let totp = totp();
        let now = NOW / STEP_SECONDS;
        for step in now - 3..=now + 3 {
            let code = totp.code_at(step * STEP_SECONDS);
            let expected = (step.abs_diff(now) <= 1).then_some(step);
            assert_eq!(totp.step_of(&code, NOW), expected);
        }
        let code = totp.code_at(NOW);
        let (first, last) = code.split_at(3);
        assert!(totp.step_of(&format!(" {first} {last}"), NOW).is_some());
        for bad in ["", "12345", "1234567", "abcdef", "１２３４５６"] {
            assert_eq!(totp.step_of(bad, NOW), None, "{bad}");
        }
    }

    #[test]
    fn an_app_gets_the_secret_as_picture_or_text() {
        let totp = totp();
        assert!(totp.qr_svg().unwrap().contains("<svg"));
        assert!(totp.secret_in_words().starts_with("GEZD GNBV"));
        assert!(Totp::new(b"short", "a").is_err());
    }

    #[test]
    fn a_recovery_code_is_read_as_people_write() {
        let codes = recovery_codes().unwrap();
        assert_eq!(codes.len(), RECOVERY_CODES);
        assert!(codes.iter().all(|code| is_recovery_code(code)), "{codes:?}");
        assert!(!is_recovery_code("7k2m-x0qa-9fbd") && !is_recovery_code("<b>m-x0qa-9fbd-e3vt"));
        assert_eq!(recovery_hash("7k1m-x0qa-9fbd-e3vt"), recovery_hash(" 7KLM XOQA 9fbde3vt"));
        assert_ne!(recovery_hash(&codes[0]), recovery_hash(&codes[1]));
    }
}

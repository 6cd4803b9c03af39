//! Mail over SMTP: one message at a time to the configured server, within time limits.

use std::time::Duration;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};

use crate::config::settings::{ApiKey, Mail as Settings, MailTls};

/// For each command of the conversation with the server.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(15);
/// For the whole conversation.
const SEND_TIMEOUT: Duration = Duration::from_secs(45);
const SUBJECT_CHARS_MAX: usize = 200;

/// Plain text to one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub to: String,
    pub subject: String,
    pub text: String,
}

/// Why a letter was not taken, in words for the one who looks after the mail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An address is none, or the server says that it will never take the letter.
    #[error("{0}")]
    Refused(String),
    /// It may work later.
    #[error("{0}")]
    Unavailable(String),
}

/// The mail server.
#[derive(Clone)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    place: String,
}

impl Mailer {
    /// None where no server is configured.
    ///
    /// # Errors
    /// [`Error::Refused`] where the settings do not make sense.
    pub fn new(settings: &Settings) -> Result<Option<Self>, Error> {
        let (Some(host), Some(from)) = (&settings.host, &settings.from) else {
            return Ok(None);
        };
        let from = address(from)?;
        let tls = || TlsParameters::new(host.clone()).map_err(|error| Error::Refused(format!("TLS to {host}: {error}")));
        let tls = match settings.tls {
            MailTls::Starttls => Tls::Required(tls()?),
            MailTls::Tls => Tls::Wrapper(tls()?),
            MailTls::None => Tls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host.as_str())
            .port(settings.port())
            .tls(tls)
            .timeout(Some(COMMAND_TIMEOUT));
        if let (Some(user), ApiKey::Set(password)) = (&settings.user, &settings.password) {
            builder = builder.credentials(Credentials::new(user.clone(), password.expose().to_owned()));
        }
        Ok(Some(Self {
            transport: builder.build(),
            from,
            place: format!("{host}:{}", settings.port()),
        }))
    }

    /// Hands a letter to the server and returns what that answered.
    ///
    /// # Errors
    /// [`Error::Refused`] for good, [`Error::Unavailable`] for now.
    pub async fn send(&self, letter: &Letter) -> Result<String, Error> {
        let message = Message::builder()
            .from(self.from.clone())
            .to(address(&letter.to)?)
            .subject(one_line(&letter.subject))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.clone())
            .map_err(|error| Error::Refused(format!("the letter cannot be written: {error}")))?;
        let place = &self.place;
        match tokio::time::timeout(SEND_TIMEOUT, self.transport.send(message)).await {
            Ok(Ok(answer)) => {
                let words: Vec<&str> = answer.message().collect();
                Ok(format!("{} {}", answer.code(), words.join(" ")).trim().to_owned())
            }
            Ok(Err(error)) if error.is_permanent() => Err(Error::Refused(format!("{place} refused: {}", innermost(&error)))),
            Ok(Err(error)) => Err(Error::Unavailable(format!("{place}: {}", innermost(&error)))),
            Err(_) => Err(Error::Unavailable(format!("{place} took too long"))),
        }
    }
}

fn address(text: &str) -> Result<Mailbox, Error> {
    text.parse().map_err(|_| Error::Refused(format!("“{text}” is no address for mail")))
}

/// A header has no second line, whatever names are in it.
fn one_line(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(SUBJECT_CHARS_MAX).collect()
}

/// The error with its cause at the end of the chain.
fn innermost(error: &lettre::transport::smtp::Error) -> String {
    let mut words = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(next) = cause {
        let said = next.to_string();
        if !words.contains(&said) {
            words = format!("{words}: {said}");
        }
        cause = next.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_has_one_line() {
        assert_eq!(one_line("Join “a\r\nBcc: x@example.com”"), "Join “aBcc: x@example.com”");
    }

    #[test]
    fn an_address_is_checked_before_anything_is_sent() {
        assert!(address("ana@example.com").is_ok());
        assert!(address("Station <station@example.com>").is_ok());
        for bad in ["", "ana", "a@b.example\r\nrcpt to:<x@example.com>", "<>"] {
            assert!(address(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn without_a_host_there_is_no_mailer() {
        assert!(Mailer::new(&Settings::default()).unwrap().is_none());
    }
}

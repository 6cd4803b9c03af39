//! The station's mail: a queue that no request waits for, and every letter that is ever written.
//!
//! The queue is in memory: what a restart loses is asked for again by whoever waits for it.

use std::time::Duration;

use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use super::access::require;
use super::{App, Error, audit, users};
use crate::config::settings;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::net::mail::{self, Letter, Mailer};
use crate::store;
use crate::store::audit::Outcome;

/// Letters that wait; one more is dropped and logged.
const WAITING_MAX: usize = 256;
/// Between the tries of one letter.
const RETRY_AFTER: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(30), Duration::from_mins(2)];

/// The way out for mail.
pub struct Mail {
    mailer: Option<Mailer>,
    queue: mpsc::Sender<Letter>,
    waiting: Mutex<mpsc::Receiver<Letter>>,
}

impl Mail {
    /// # Errors
    /// `Internal` where the settings do not make sense.
    pub fn new(settings: &settings::Mail) -> Result<Self, Error> {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        Ok(Self {
            mailer: Mailer::new(settings).map_err(|error| Error::Internal(format!("[mail]: {error}")))?,
            queue,
            waiting: Mutex::new(waiting),
        })
    }

    /// Whether a server is configured.
    pub const fn is_configured(&self) -> bool {
        self.mailer.is_some()
    }

    /// Puts a letter into the queue. Returns whether it will be tried.
    pub fn send(&self, letter: Letter) -> bool {
        if self.mailer.is_none() {
            return false;
        }
        match self.queue.try_send(letter) {
            Ok(()) => true,
            Err(_) => {
                tracing::error!("a letter was dropped: too many wait for the mail server");
                false
            }
        }
    }
}

impl Mail {
    /// Sends a letter now; whoever asks tries again where it is not taken.
    pub(super) async fn deliver(&self, letter: &Letter) -> Result<(), String> {
        let Some(mailer) = &self.mailer else {
            return Err("no mail server is configured".to_owned());
        };
        mailer.send(letter).await.map(drop).map_err(|error| error.to_string())
    }
}

/// The task that empties the queue.
pub async fn run(app: App, stop: CancellationToken) {
    let Some(mailer) = app.mail.mailer.clone() else { return };
    let mut waiting = app.mail.waiting.lock().await;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            letter = waiting.recv() => match letter {
                Some(letter) => tokio::select! {
                    () = stop.cancelled() => return,
                    () = deliver(&mailer, &letter) => {}
                },
                None => return,
            }
        }
    }
}

async fn deliver(mailer: &Mailer, letter: &Letter) {
    for wait in RETRY_AFTER.map(Some).into_iter().chain([None]) {
        match mailer.send(letter).await {
            Ok(_) => return,
            Err(mail::Error::Refused(why)) => {
                tracing::error!(why, "a letter cannot be sent");
                return;
            }
            Err(mail::Error::Unavailable(why)) => match wait {
                Some(wait) => {
                    tracing::warn!(why, "a letter was not taken; it is tried again");
                    tokio::time::sleep(wait).await;
                }
                None => tracing::error!(why, "a letter was not taken, and is given up"),
            },
        }
    }
}

/// Sends a letter to the actor themself, now, and returns what the server answered.
///
/// # Errors
/// `Forbidden`; `Conflict` where no server is configured; `Invalid` with what went wrong.
pub async fn test(app: &App, actor: &Actor, origin: Origin) -> Result<String, Error> {
    require(actor, Permission::StationManage, actor.org, "the mail server")?;
    let to = users::email(app, actor).await?;
    let Some(mailer) = &app.mail.mailer else {
        return Err(Error::Conflict("no mail server is configured".to_owned()));
    };
    let letter = Letter {
        to,
        subject: "A test of your station’s mail".to_owned(),
        text: format!(
            "This is the letter that you asked for. Mail from {} arrives.\n",
            app.public_origin()
        ),
    };
    let sent = mailer.send(&letter).await;
    let outcome = if sent.is_ok() { Outcome::Ok } else { Outcome::Failed };
    let record = audit::of(actor, "mail.test", "", origin).outcome(outcome);
    let now = app.clock.now();
    app.store.write(move |tx| store::audit::record(tx, record, now)).await?;
    sent.map_err(|error| Error::field("", error.to_string()))
}

/// Invites somebody to an organization. Returns whether the letter will be tried.
pub fn invitation(app: &App, to: &str, org: &str, inviter: &str, link: &str) -> bool {
    let origin = app.public_origin();
    app.mail.send(Letter {
        to: to.to_owned(),
        subject: format!("{inviter} invites you to {org}"),
        text: format!(
            "{inviter} invites you to the organization {org} on {origin}.\n\nTo accept, open this link:\n\n{link}\n\n\
             It works once, and for this address only. If you did not expect it, do nothing.\n"
        ),
    })
}

/// Sends the link that leads to a new password.
pub(super) fn password_reset(app: &App, to: &str, link: &str, minutes: u64) -> bool {
    let origin = app.public_origin();
    app.mail.send(Letter {
        to: to.to_owned(),
        subject: "Choose a new password".to_owned(),
        text: format!(
            "Somebody, most likely you, asked for a new password on {origin}.\n\nTo choose one, open this link within {minutes} minutes:\n\n\
             {link}\n\nIt works once. If you did not ask, do nothing: your password stays as it is.\n"
        ),
    })
}

/// Tells somebody that the way into their account has changed.
pub(super) fn security_notice(app: &App, to: &str, what: &str, origin: &Origin) -> bool {
    let from = origin
        .address
        .map_or_else(String::new, |address| format!(" from the address {address}"));
    let station = app.public_origin();
    app.mail.send(Letter {
        to: to.to_owned(),
        subject: format!("Your account: {what}"),
        text: format!(
            "On {station}: {what}{from}.\n\nIf that was you, there is nothing to do. If not, open {station}/forgot, choose a new password, \
             and tell whoever runs the station.\n"
        ),
    })
}

//! Sends what is to go out. Deliveries are rows: a restart loses none, and what failed is tried again after a while.

use std::fmt::Write as _;

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

use super::{Channel, Sealed};
use crate::crypto::webhook;
use crate::domain::id::ChannelId;
use crate::domain::notification::{ChannelKind, Tone};
use crate::domain::permission::Role;
use crate::domain::time::Timestamp;
use crate::net::mail::Letter;
use crate::net::{Request, Trail};
use crate::services::{App, Error};
use crate::store::channels;
use crate::store::notifications::{self, Delivery, New};

/// Between looks at what is due.
const EVERY: Duration = Duration::from_secs(1);
/// After each failed try; after one more, a delivery is given up.
pub const RETRY_AFTER: [Duration; 4] = [
    Duration::from_secs(30),
    Duration::from_mins(5),
    Duration::from_mins(30),
    Duration::from_hours(2),
];
/// Deliveries of one look.
const AT_ONCE: u32 = 50;
/// Of these, sent at the same time.
const SENT_TOGETHER: usize = 4;
const TIMEOUT: Duration = Duration::from_secs(15);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// The receiver says that it is gone for good.
const GONE: u16 = 410;
const ERROR_CHARS_MAX: usize = 300;

/// Why a message did not arrive.
#[derive(Debug)]
pub struct Failed {
    pub why: String,
    /// Whether the receiver wants none any more.
    pub gone: bool,
}

impl Failed {
    fn new(why: impl ToString) -> Self {
        Self {
            why: why.to_string().chars().take(ERROR_CHARS_MAX).collect(),
            gone: false,
        }
    }
}

/// What goes out.
struct Message<'a> {
    id: String,
    what: &'static str,
    tone: Tone,
    title: &'a str,
    body: &'a str,
    /// A whole address; empty where there is nothing to look at.
    link: String,
    at: Timestamp,
}

/// The task's loop.
pub async fn run(app: App, stop: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        tokio::select! {
            () = stop.cancelled() => return,
            done = send_due(&app) => if let Err(error) = done {
                tracing::warn!(%error, "alerts could not be sent; they are tried again");
            }
        }
    }
}

async fn send_due(app: &App) -> Result<(), Error> {
    let now = app.clock.now();
    let due = app.store.read(move |reader| notifications::due(reader, now, AT_ONCE)).await?;
    let mut sending = stream::iter(due)
        .map(|delivery| async { deliver(app, delivery).await })
        .buffer_unordered(SENT_TOGETHER);
    while let Some(done) = sending.next().await {
        // One that fails is due again; the others are none the worse for it.
        if let Err(error) = done {
            tracing::warn!(%error, "how an alert went could not be written down");
        }
    }
    Ok(())
}

async fn deliver(app: &App, delivery: Delivery) -> Result<(), Error> {
    let (org, id) = (delivery.org, delivery.channel);
    let channel = app.store.read(move |reader| channels::get(reader, org, id)).await?;
    let message = Message {
        id: delivery.notification.to_string(),
        what: "notification.created",
        tone: delivery.tone,
        title: &delivery.title,
        body: &delivery.body,
        link: if delivery.link.is_empty() {
            String::new()
        } else {
            format!("{}{}", app.public_origin(), delivery.link)
        },
        at: delivery.created_at,
    };
    let sent = send(app, &channel, &message).await;
    let (now, of) = (app.clock.now(), (delivery.notification, delivery.channel));
    let tries = delivery.tries + 1;
    let written = app.store.write(move |tx| {
        let Err(failed) = &sent else {
            channels::result(tx, org, id, "", now)?;
            return notifications::done(tx, of);
        };
        channels::result(tx, org, id, &failed.why, now)?;
        if failed.gone {
            channels::disable(tx, org, id, now)?;
            let title = format!("Alerts no longer go to “{}”", channel.name);
            let body = format!(
                "{} said that it is gone for good (410), so the channel was disabled.",
                channel.target
            );
            return tell(tx, &delivery, title, body, None, now);
        }
        match RETRY_AFTER.get(delivery.tries as usize) {
            Some(after) => notifications::later(tx, of, tries, now.plus(*after)),
            None => {
                notifications::done(tx, of)?;
                let title = format!("An alert did not reach “{}”", channel.name);
                let body = format!("“{}” was given up after {tries} tries: {}", delivery.title, failed.why);
                tell(tx, &delivery, title, body, Some(id), now)
            }
        }
    });
    Ok(written.await?)
}

/// Tells those who can mend it, through the other channels as well.
fn tell(
    tx: &crate::store::Tx<'_>,
    delivery: &Delivery,
    title: String,
    body: String,
    but: Option<ChannelId>,
    now: Timestamp,
) -> Result<(), crate::store::Error> {
    let new = New {
        org: delivery.org,
        min_role: Role::Admin,
        tone: Tone::Fail,
        title,
        body,
        link: "/settings/alerts".to_owned(),
    };
    match but {
        // Of what could not be sent nothing more is sent: two channels that are both down would keep each other busy for ever.
        Some(_) => notifications::add_here(tx, &new, now).map(drop),
        None => notifications::add(tx, &new, now).map(drop),
    }
}

/// Sends a test through a channel.
pub async fn test(app: &App, channel: &Channel, by: &str) -> Result<(), Failed> {
    let now = app.clock.now();
    let message = Message {
        id: format!("test_{}", now.as_ms()),
        what: "notification.test",
        tone: Tone::Info,
        title: "A test of your alerts",
        body: &format!("{by} sent this to see whether alerts arrive. They do."),
        link: format!("{}/settings/alerts", app.public_origin()),
        at: now,
    };
    send(app, channel, &message).await
}

async fn send(app: &App, channel: &Channel, message: &Message<'_>) -> Result<(), Failed> {
    if channel.kind == ChannelKind::Mail {
        let letter = Letter {
            to: channel.target.clone(),
            subject: message.title.to_owned(),
            text: letter(message),
        };
        return app.mail.deliver(&letter).await.map_err(Failed::new);
    }
    let sealed = Sealed::of(app, channel).await.map_err(Failed::new)?;
    let body = match channel.kind {
        ChannelKind::Slack => slack(message),
        ChannelKind::Mail | ChannelKind::Webhook => event(channel, message),
    };
    let body = body.to_string().into_bytes();
    let mut headers = vec![
        ("content-type".to_owned(), "application/json".to_owned()),
        (
            "user-agent".to_owned(),
            concat!("AgentStation/", env!("CARGO_PKG_VERSION")).to_owned(),
        ),
    ];
    if let Some(key) = &sealed.key {
        let seconds = app.clock.now().as_ms().div_euclid(1000);
        let signature = webhook::sign(key, &message.id, seconds, &body).ok_or_else(|| Failed::new("its signing key cannot be read"))?;
        headers.push(("webhook-id".to_owned(), message.id.clone()));
        headers.push(("webhook-timestamp".to_owned(), seconds.to_string()));
        headers.push(("webhook-signature".to_owned(), signature));
    }
    let own = Url::parse(&sealed.url).map_err(|_| Failed::new("its address cannot be read"))?;
    // What it carries goes where somebody said, and nowhere else; and as the address itself is a secret, never in the clear.
    let own_origin = |_: &str, url: &Url| url.origin() == own.origin();
    let trail = Trail::default();
    let request = Request {
        method: "POST",
        url: &sealed.url,
        headers: &headers,
        body: Some(body),
        timeout: TIMEOUT,
        body_bytes_max: ANSWER_BYTES_MAX,
        allow: &own_origin,
        secrets: Some(&own_origin),
        trail: &trail,
    };
    let answer = app.client.send(request).await.map_err(Failed::new)?;
    match answer.status {
        200..300 => Ok(()),
        status => Err(Failed {
            why: format!("{} answered with status {status}", channel.target),
            gone: status == GONE,
        }),
    }
}

fn letter(message: &Message<'_>) -> String {
    let parts = [message.title, message.body, &message.link];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}\n", parts.join("\n\n"))
}

/// What Slack and those that speak its language take.
fn slack(message: &Message<'_>) -> Value {
    let safe = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mark = match message.tone {
        Tone::Ok => ":white_check_mark:",
        Tone::Info => ":information_source:",
        Tone::Wait => ":hourglass:",
        Tone::Fail => ":warning:",
    };
    let mut text = format!("{mark} *{}*", safe(message.title));
    if !message.body.is_empty() {
        _ = write!(text, "\n{}", safe(message.body));
    }
    if !message.link.is_empty() {
        _ = write!(text, "\n<{}|Open>", message.link);
    }
    json!({ "text": text, "blocks": [{ "type": "section", "text": { "type": "mrkdwn", "text": text } }] })
}

fn event(channel: &Channel, message: &Message<'_>) -> Value {
    json!({
        "type": message.what,
        "timestamp": message.at.to_string(),
        "data": {
            "id": message.id,
            "org": channel.org.to_string(),
            "tone": message.tone,
            "title": message.title,
            "body": message.body,
            "link": message.link,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_wrote_cannot_ring_a_bell_in_a_chat() {
        let message = Message {
            id: String::new(),
            what: "notification.created",
            tone: Tone::Fail,
            title: "<!channel> & more",
            body: "",
            link: String::new(),
            at: Timestamp::from_ms(0),
        };
        let body = slack(&message);
        assert_eq!(body["text"], ":warning: *&lt;!channel&gt; &amp; more*");
    }
}

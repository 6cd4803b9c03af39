//! Letters: resets, notices, invitations and the test button, against a mail server on this machine.

use std::time::Duration;

use agentstation::domain::permission::Role;
use agentstation::domain::time::{SimClock, Timestamp};
use agentstation::services::mail;
use agentstation::web::settings::{Rates, Settings};

use crate::support::smtp::Smtp;
use crate::support::{Browser, OWNER_EMAIL, PASSWORD, TestStation};

const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);
const NEW: &str = "nine loud submarines";
const HERE: &str = "https://station.example.com";

fn many_sign_ins() -> Settings {
    Settings {
        rates: Rates {
            sign_in: 1_000,
            ..Rates::default()
        },
        ..Settings::default()
    }
}

/// A station that sends its mail to this server.
async fn station(smtp: &Smtp, clock: std::sync::Arc<SimClock>) -> TestStation {
    let mut builder = TestStation::builder().clock(clock).settings(many_sign_ins());
    for (name, value) in smtp.settings() {
        builder = builder.setting(name, &value);
    }
    builder.setting("AGENTSTATION_PUBLIC_URL", HERE).start().await
}

/// The path of a link in a letter.
fn path(link: &str) -> String {
    link.strip_prefix(HERE).unwrap().to_owned()
}

async fn ask(station: &TestStation, email: &str) -> String {
    let mut browser = Browser::new(station.address);
    browser.get("/forgot").await.expect(200);
    let answer = browser.submit("/forgot", &[("email", email)]).await.expect(200);
    answer.body.replace(&browser.form_token, "")
}

#[tokio::test]
async fn a_forgotten_password_is_replaced_by_a_link_that_works_once() {
    let mut smtp = Smtp::start().await;
    let clock = SimClock::at(NOW);
    let station = station(&smtp, clock.clone()).await;
    let mut signed_in = station.browser().await;

    // The answer is the same whoever has the address.
    assert_eq!(ask(&station, "nobody@example.com").await, ask(&station, OWNER_EMAIL).await);
    let letter = smtp.letter().await;
    assert_eq!(letter.to, OWNER_EMAIL);
    let first = path(&letter.link(&format!("{HERE}/reset")));
    // Nobody fills a mailbox: a second letter only later.
    ask(&station, OWNER_EMAIL).await;
    clock.advance(Duration::from_mins(3));
    ask(&station, " Ana@Example.com").await;
    let second = path(&smtp.letter().await.link(&format!("{HERE}/reset")));
    assert!(smtp.is_empty() && first != second);

    let token = second.split_once("token=").unwrap().1.to_owned();
    let mut browser = Browser::new(station.address);
    browser.get(&second).await.expect(200);
    let own = browser
        .submit("/reset", &[("token", &token), ("password", "ana@example.com")])
        .await;
    assert!(own.expect(422).body.contains("your own name"));
    let fields = [("token", token.as_str()), ("password", NEW)];
    let done = browser.submit("/reset", &fields).await.expect(303);
    assert_eq!(done.header("location"), "/sign-in?done=password-reset");
    assert!(smtp.letter().await.text.contains("password was changed"));

    // It signs nobody in, ends every session, and uses up the other link too.
    browser.get("/").await.expect(303);
    signed_in.get("/").await.expect(303);
    browser.submit("/reset", &fields).await.expect(404);
    Browser::new(station.address).get(&first).await.expect(404);
    Browser::sign_in(station.address, OWNER_EMAIL, NEW).await;
}

#[tokio::test]
async fn a_link_is_too_old_after_an_hour() {
    let mut smtp = Smtp::start().await;
    let clock = SimClock::at(NOW);
    let station = station(&smtp, clock.clone()).await;
    ask(&station, OWNER_EMAIL).await;
    let link = path(&smtp.letter().await.link(&format!("{HERE}/reset")));
    Browser::new(station.address).get(&link).await.expect(200);
    clock.advance(Duration::from_hours(1));
    Browser::new(station.address).get(&link).await.expect(404);
}

#[tokio::test]
async fn a_changed_address_is_told_to_the_old_one() {
    let mut smtp = Smtp::start().await;
    let station = station(&smtp, SimClock::at(NOW)).await;
    let other = station.user(Role::Viewer).await;
    let mut browser = station.browser().await;
    browser.get("/account").await.expect(200);
    browser.submit("/account/email", &[("email", &other)]).await.expect(422);
    browser.submit("/account/email", &[("email", "no address")]).await.expect(422);
    browser
        .submit("/account/email", &[("email", "Ana.New@example.com")])
        .await
        .expect(303);
    let letter = smtp.letter().await;
    assert_eq!(letter.to, OWNER_EMAIL);
    assert!(letter.text.contains("another address"), "{}", letter.text);
    Browser::sign_in(station.address, "ana.new@example.com", PASSWORD).await;
}

#[tokio::test]
async fn the_test_button_shows_what_the_server_says() {
    let mut smtp = Smtp::start().await;
    let station = station(&smtp, SimClock::at(NOW)).await;
    let mut browser = station.browser().await;
    let page = browser.get("/station/mail").await.expect(200);
    assert!(page.body.contains(&smtp.address.to_string()), "{}", page.body);
    let sent = browser.submit("/station/mail/test", &[]).await.expect(200);
    assert!(sent.body.contains("taken as 42"), "{}", sent.body);
    assert_eq!(smtp.letter().await.to, OWNER_EMAIL);
    smtp.refuse_next("550 no such mailbox here");
    let refused = browser.submit("/station/mail/test", &[]).await.expect(422);
    assert!(refused.body.contains("no such mailbox here"), "{}", refused.body);

    let viewer = station.user(Role::Viewer).await;
    let mut viewer = Browser::sign_in(station.address, &viewer, PASSWORD).await;
    viewer.get("/station/mail").await.expect(403);
}

#[tokio::test]
async fn a_letter_is_tried_again_and_one_that_is_refused_does_not_hold_up_the_next() {
    let mut smtp = Smtp::start().await;
    let station = station(&smtp, SimClock::at(NOW)).await;
    smtp.refuse_next("550 never");
    assert!(mail::invitation(
        &station.app,
        "a@example.com",
        "Acme",
        "Ana",
        "https://x.example/1"
    ));
    smtp.refuse_next("451 later");
    assert!(mail::invitation(
        &station.app,
        "b@example.com",
        "Acme\r\nBcc: c@example.com",
        "Ana",
        "https://x.example/2"
    ));
    let letter = smtp.letter().await;
    assert_eq!(letter.to, "b@example.com");
    assert_eq!(letter.link("https://x.example"), "https://x.example/2");
    let (head, _) = letter.text.split_once("\n\n").unwrap();
    assert!(!head.to_lowercase().contains("\nbcc:"), "{head}");
}

#[tokio::test]
async fn a_station_without_a_mail_server_says_whom_to_ask() {
    let station = TestStation::start().await;
    let mut browser = Browser::new(station.address);
    let page = browser.get("/forgot").await.expect(200);
    assert!(page.body.contains("reset-link"), "{}", page.body);
    assert!(!mail::invitation(&station.app, "a@example.com", "Acme", "Ana", "https://x.example"));
    let mut owner = station.browser().await;
    assert!(owner.get("/station/mail").await.expect(200).body.contains("No mail server"));
    owner.submit("/station/mail/test", &[]).await.expect(409);
}

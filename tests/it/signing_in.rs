//! Second steps, passkeys, sessions, proofs, links to new passwords, and the key that seals.

use std::sync::Arc;
use std::time::Duration;

use agentstation::crypto::totp::Totp;
use agentstation::domain::id::PrincipalId;
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::Role;
use agentstation::domain::time::{Clock as _, SimClock, Timestamp};
use agentstation::services::auth::{Entered, SignIn};
use agentstation::web::settings::{Rates, Settings};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::support::authenticator::Authenticator;
use crate::support::http::between;
use crate::support::{Browser, OWNER_EMAIL, PASSWORD, TestStation, manifest};

const NOW: Timestamp = Timestamp::from_ms(1_790_000_000_000);
const STEP: Duration = Duration::from_secs(30);

async fn station(clock: &Arc<SimClock>) -> TestStation {
    let settings = Settings {
        rates: Rates {
            sign_in: 1_000,
            ..Rates::default()
        },
        ..Settings::default()
    };
    TestStation::builder().clock(Arc::clone(clock)).settings(settings).start().await
}

/// The secret of an app, as one types it.
struct App {
    totp: Totp,
    clock: Arc<SimClock>,
}

impl App {
    fn read(page: &str, clock: &Arc<SimClock>) -> Self {
        let words = between(page, "data-copy=\"", "\"").unwrap().replace(' ', "");
        let bits = words.bytes().flat_map(|letter| {
            let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|&c| c == letter).unwrap();
            (0..5).rev().map(move |bit| u8::from(value >> bit & 1 == 1))
        });
        let bits: Vec<u8> = bits.collect();
        let secret: Vec<u8> = bits
            .chunks_exact(8)
            .map(|byte| byte.iter().fold(0, |value, bit| value << 1 | bit))
            .collect();
        Self {
            totp: Totp::new(&secret, "x").unwrap(),
            clock: Arc::clone(clock),
        }
    }

    /// A code that was not used yet.
    fn code(&self) -> String {
        self.clock.advance(STEP);
        self.now()
    }

    fn now(&self) -> String {
        self.totp.code_at(u64::try_from(self.clock.now().as_ms()).unwrap() / 1000)
    }
}

/// Sets an app up, and returns it with the recovery codes.
async fn enrol(browser: &mut Browser, clock: &Arc<SimClock>) -> (App, Vec<String>) {
    browser.get("/account/sign-in").await.expect(200);
    browser.submit("/account/sign-in/totp/begin", &[]).await.expect(303);
    let page = browser.get("/account/sign-in/totp/new").await.expect(200);
    let picture = browser.get("/account/sign-in/totp/new/qr.svg").await.expect(200);
    assert_eq!(picture.header("content-type"), "image/svg+xml");
    let app = App::read(&page.body, clock);
    let wrong = browser.submit("/account/sign-in/totp/new", &[("code", "000000")]).await.expect(422);
    assert!(wrong.body.contains("wrong"), "{}", wrong.body);
    let done = browser
        .submit("/account/sign-in/totp/new", &[("code", &app.code())])
        .await
        .expect(200);
    let codes = done.body.split("name=\"code\" value=\"").skip(1);
    let codes: Vec<String> = codes.map(|rest| rest.split('"').next().unwrap().to_owned()).collect();
    assert_eq!(codes.len(), 10);
    (app, codes)
}

/// A browser whose password was taken and that is asked for a code.
async fn at_second_step(station: &TestStation) -> Browser {
    let mut browser = Browser::new(station.address);
    browser.get("/sign-in").await.expect(200);
    let fields = [("email", OWNER_EMAIL), ("password", PASSWORD), ("next", "/agents")];
    let asked = browser.submit("/sign-in", &fields).await.expect(303);
    assert_eq!(asked.header("location"), "/sign-in/code?next=%2Fagents");
    browser.get("/").await.expect(303);
    browser.get("/sign-in/code?next=%2Fagents").await.expect(200);
    browser
}

#[tokio::test]
async fn a_code_of_the_app_is_asked_for_and_each_is_good_once() {
    let clock = SimClock::at(NOW);
    let station = station(&clock).await;
    let mut owner = station.browser().await;
    let before = owner.cookie();
    let (app, _) = enrol(&mut owner, &clock).await;
    assert_ne!(owner.cookie(), before, "the session has a new token");
    owner.get("/").await.expect(200);
    owner.get("/account/sign-in/totp/new/qr.svg").await.expect(404);

    // The code that set the app up is used.
    let mut browser = at_second_step(&station).await;
    let refused = browser.submit("/sign-in/code", &[("code", &app.now())]).await.expect(422);
    assert!(refused.body.contains("was used before"), "{}", refused.body);
    let code = app.code();
    let entered = browser
        .submit("/sign-in/code", &[("code", &code), ("next", "/agents")])
        .await
        .expect(303);
    assert_eq!(entered.header("location"), "/agents");
    browser.get("/").await.expect(200);
    let mut second = at_second_step(&station).await;
    second.submit("/sign-in/code", &[("code", &code)]).await.expect(422);
}

#[tokio::test]
async fn a_second_step_ends_after_a_few_wrong_codes_or_minutes() {
    let clock = SimClock::at(NOW);
    let station = station(&clock).await;
    let (app, _) = enrol(&mut station.browser().await, &clock).await;
    let mut guessing = at_second_step(&station).await;
    for left in (0..5).rev() {
        // Each failure makes the next try wait.
        clock.advance(Duration::from_mins(1));
        let answer = guessing.submit("/sign-in/code", &[("code", "000000")]).await;
        answer.expect(if left == 0 { 303 } else { 422 });
    }
    let over = guessing.submit("/sign-in/code", &[("code", &app.code())]).await.expect(303);
    assert_eq!(over.header("location"), "/sign-in?done=too-late");

    clock.advance(Duration::from_hours(2));
    let mut slow = at_second_step(&station).await;
    clock.advance(Duration::from_mins(5));
    let over = slow.submit("/sign-in/code", &[("code", &app.code())]).await.expect(303);
    assert_eq!(over.header("location"), "/sign-in?done=too-late");
    slow.get("/").await.expect(303);
}

#[tokio::test]
async fn a_recovery_code_lets_one_in_once_without_the_app_or_the_master_key() {
    let clock = SimClock::at(NOW);
    let first = station(&clock).await;
    let (app, codes) = enrol(&mut first.browser().await, &clock).await;
    let data = first.stop().await;
    std::fs::remove_file(data.path().join("master.key")).unwrap();

    let station = TestStation::builder().clock(Arc::clone(&clock)).data(data).start().await;
    let trouble = station.app.sealing.trouble().unwrap().to_string();
    assert!(trouble.contains("missing") && trouble.contains("fingerprint"), "{trouble}");
    let mut browser = at_second_step(&station).await;
    let sealed = browser.submit("/sign-in/code", &[("code", &app.code())]).await.expect(503);
    assert!(sealed.body.contains("put the one with the fingerprint"), "{}", sealed.body);
    let by = |code: &str| [("by".to_owned(), "recovery".to_owned()), ("code".to_owned(), code.to_uppercase())];
    let fields = by(&codes[3]);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.submit("/sign-in/code", &fields).await.expect(303);
    let page = browser.get("/account/sign-in").await.expect(200);
    assert!(page.body.contains("9 recovery codes are"), "{}", page.body);
    let mut again = at_second_step(&station).await;
    again.submit("/sign-in/code", &fields).await.expect(422);
}

#[tokio::test]
async fn new_recovery_codes_end_the_old_and_the_file_holds_what_the_page_shows() {
    let clock = SimClock::at(NOW);
    let station = station(&clock).await;
    let mut owner = station.browser().await;
    let (_, old) = enrol(&mut owner, &clock).await;
    let file = owner
        .submit(
            "/account/sign-in/recovery-codes/file",
            &[("code", &old[0]), ("code", "<b>none</b>")],
        )
        .await
        .expect(200);
    assert!(file.header("content-disposition").starts_with("attachment"));
    assert!(file.body.contains(&old[0]) && !file.body.contains("<b>"), "{}", file.body);
    owner.submit("/account/sign-in/recovery-codes", &[]).await.expect(200);
    let mut browser = at_second_step(&station).await;
    browser
        .submit("/sign-in/code", &[("by", "recovery"), ("code", &old[0])])
        .await
        .expect(422);
    owner.submit("/account/sign-in/totp/remove", &[]).await.expect(303);
    Browser::sign_in(station.address, OWNER_EMAIL, PASSWORD).await;
}

#[tokio::test]
async fn with_another_master_key_nothing_is_sealed() {
    let first = TestStation::start().await;
    let expected = first.app.sealing.key().unwrap().fingerprint();
    let data = first.stop().await;
    let builder = TestStation::builder()
        .data(data)
        .setting("AGENTSTATION_MASTER_KEY", &"ab".repeat(32));
    let station = builder.start().await;
    assert_eq!(station.app.sealing.trouble().unwrap().expected, expected);
    let mut browser = station.browser().await;
    let page = browser.get("/account/sign-in").await.expect(200);
    assert!(page.body.contains(&expected), "{}", page.body);
    browser.submit("/account/sign-in/totp/begin", &[]).await.expect(503);
}

#[tokio::test]
async fn nobody_keeps_the_owner_out_of_a_browser_in_which_they_signed_in_before() {
    let clock = SimClock::at(NOW);
    let station = station(&clock).await;
    let mut own = station.browser().await;
    own.submit("/sign-out", &[]).await.expect(303);
    // Many guess, from everywhere.
    for host in 0..60 {
        let origin = Origin {
            address: Some(format!("10.0.0.{host}").parse().unwrap()),
            ..Origin::default()
        };
        let guess = SignIn {
            email: OWNER_EMAIL.to_owned(),
            password: "a guess".to_owned(),
            mark: None,
            origin,
        };
        let refused = station.app.auth.sign_in(guess).await;
        assert!(refused.is_err());
    }
    let right = [("email", OWNER_EMAIL), ("password", PASSWORD)];
    let mut stranger = Browser::new(station.address);
    stranger.get("/sign-in").await.expect(200);
    stranger.submit("/sign-in", &right).await.expect(429);
    own.get("/sign-in").await.expect(200);
    own.submit("/sign-in", &right).await.expect(303);
    own.get("/").await.expect(200);
    // The mark of one account is none for another.
    let other = station.user(Role::Viewer).await;
    let mark = own
        .cookie()
        .unwrap()
        .split("as_known=")
        .nth(1)
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    for tried in 0..4 {
        let wrong = SignIn {
            email: other.clone(),
            password: "a guess".to_owned(),
            mark: Some(format!("{mark}{}", if tried % 2 == 0 { "" } else { "x" })),
            origin: Origin::default(),
        };
        assert!(station.app.auth.sign_in(wrong).await.is_err());
    }
    let right = SignIn {
        email: other,
        password: PASSWORD.to_owned(),
        mark: None,
        origin: Origin::default(),
    };
    assert!(station.app.auth.sign_in(right).await.is_err(), "all four counted for the address");
}

/// What the page's script is told.
async fn options(browser: &mut Browser, path: &str) -> Value {
    browser.submit(path, &[]).await.expect(200).json()
}

fn authenticator(station: &TestStation) -> Authenticator {
    Authenticator::new(&format!("http://localhost:{}", station.address.port()))
}

async fn register(browser: &mut Browser, authenticator: &mut Authenticator, name: &str) -> u16 {
    browser.get("/account/sign-in").await.expect(200);
    let asked = options(browser, "/account/sign-in/passkeys/options").await;
    let (ceremony, credential) = (asked["ceremony"].as_str().unwrap().to_owned(), authenticator.create(&asked));
    let fields = [("name", name), ("ceremony", &ceremony), ("credential", &credential)];
    browser.submit("/account/sign-in/passkeys", &fields).await.status.as_u16()
}

async fn enter(station: &TestStation, authenticator: &mut Authenticator) -> (u16, Browser) {
    let mut browser = Browser::new(station.address);
    browser.get("/sign-in").await.expect(200);
    let asked = options(&mut browser, "/sign-in/passkey/options").await;
    let (ceremony, credential) = (asked["ceremony"].as_str().unwrap().to_owned(), authenticator.get(&asked));
    let fields = [("ceremony", ceremony.as_str()), ("credential", &credential), ("next", "/agents")];
    let status = browser.submit("/sign-in/passkey", &fields).await.status.as_u16();
    if status == 303 {
        // A captured answer is worth nothing.
        let mut thief = Browser::new(station.address);
        thief.get("/sign-in").await.expect(200);
        thief.submit("/sign-in/passkey", &fields).await.expect(401);
    }
    (status, browser)
}

#[tokio::test]
async fn a_passkey_signs_in_without_password_or_code_until_it_is_removed() {
    let clock = SimClock::at(NOW);
    let station = station(&clock).await;
    let mut owner = station.browser().await;
    enrol(&mut owner, &clock).await;
    let (mut phone, mut laptop) = (authenticator(&station), authenticator(&station));
    assert_eq!(register(&mut owner, &mut phone, "Phone").await, 303);
    // They stand in the order of their making.
    clock.advance(Duration::from_secs(1));
    assert_eq!(register(&mut owner, &mut laptop, "Laptop").await, 303);
    assert_eq!(register(&mut owner, &mut phone, "Phone again").await, 422);
    assert_eq!(register(&mut owner, &mut authenticator(&station), " ").await, 422);
    let (status, mut browser) = enter(&station, &mut phone).await;
    assert_eq!(status, 303);
    browser.get("/").await.expect(200);
    let sessions = browser.get("/account/sessions").await.expect(200);
    assert!(sessions.body.contains("passkey"), "{}", sessions.body);

    let page = owner.get("/account/sign-in").await.expect(200);
    let id = format!("pky_{}", between(&page.body, "passkeys/pky_", "/remove").unwrap());
    owner
        .submit(&format!("/account/sign-in/passkeys/{id}/rename"), &[("name", "Old phone")])
        .await
        .expect(303);
    assert!(owner.get("/account/sign-in").await.body.contains("Old phone"));
    let viewer = station.user(Role::Viewer).await;
    let mut viewer = Browser::sign_in(station.address, &viewer, PASSWORD).await;
    let remove = format!("/account/sign-in/passkeys/{id}/remove");
    viewer.submit(&remove, &[]).await.expect(404);
    owner.submit(&remove, &[]).await.expect(303);
    assert_eq!(enter(&station, &mut phone).await.0, 401);
    assert_eq!(enter(&station, &mut laptop).await.0, 303);
}

#[tokio::test]
async fn a_passkey_of_another_site_person_or_past_lets_nobody_in() {
    let clock = SimClock::at(NOW);
    let station = station(&clock).await;
    let mut owner = station.browser().await;
    let mut key = authenticator(&station);
    assert_eq!(register(&mut owner, &mut key, "Key").await, 303);
    let own_origin = key.origin.clone();
    key.origin = "http://localhost:1".to_owned();
    assert_eq!(enter(&station, &mut key).await.0, 401, "another origin");
    key.origin = own_origin;
    key.domain = "evil.example".to_owned();
    assert_eq!(enter(&station, &mut key).await.0, 401, "another domain");
    key.domain = "localhost".to_owned();
    key.verifies_user = false;
    assert_eq!(enter(&station, &mut key).await.0, 401, "nobody was verified");
    key.verifies_user = true;
    assert_eq!(enter(&station, &mut key).await.0, 303);
    key.counter = 1;
    assert_eq!(enter(&station, &mut key).await.0, 401, "a copy whose counter lags behind");
    key.counter = 50;
    assert_eq!(enter(&station, &mut key).await.0, 303);
    key.claim(PrincipalId::new(NOW).as_bytes());
    assert_eq!(enter(&station, &mut key).await.0, 401, "somebody else");
    assert_eq!(enter(&station, &mut authenticator(&station)).await.0, 401, "never registered");

    // A registration that nobody verified is refused, as is one that another session began.
    let mut weak = authenticator(&station);
    weak.verifies_user = false;
    assert_eq!(register(&mut owner, &mut weak, "Weak").await, 422);
    let mut other = station.browser().await;
    other.get("/account/sign-in").await.expect(200);
    let asked = options(&mut other, "/account/sign-in/passkeys/options").await;
    let credential = authenticator(&station).create(&asked);
    let fields = [
        ("name", "x"),
        ("ceremony", asked["ceremony"].as_str().unwrap()),
        ("credential", &credential),
    ];
    owner.submit("/account/sign-in/passkeys", &fields).await.expect(422);
}

#[tokio::test]
async fn sessions_are_listed_and_what_an_ended_one_has_open_closes_at_once() {
    let station = TestStation::start().await;
    let code = b"export default function run() { for (;;) {} }".as_slice();
    let text = manifest("loops", "1.0.0");
    let upload = [("manifest", text.as_bytes()), ("code", code)];
    station.owner().upload("/api/v1/agents", &upload).await.expect(201);
    let run = station.owner().post("/api/v1/runs", &json!({"agent": "loops"})).await.json()["id"].clone();
    let run = run.as_str().unwrap();
    let (mut here, mut there) = (station.browser().await, station.browser().await);
    let mut request = format!("ws://{}/ws/runs/{run}", station.address).into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("cookie", there.cookie().unwrap().parse().unwrap());
    headers.insert("origin", format!("http://{}", station.address).parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();

    let page = here.get("/account/sessions").await.expect(200);
    assert_eq!(page.body.matches("class=\"item\"").count(), 2, "{}", page.body);
    assert_eq!(page.body.matches("this one").count(), 1);
    let ids: Vec<&str> = page.body.split("/account/sessions/ses_").skip(1).collect();
    let id = ids.last().unwrap().split('/').next().unwrap();
    let viewer = station.user(Role::Viewer).await;
    let mut viewer = Browser::sign_in(station.address, &viewer, PASSWORD).await;
    let revoke = format!("/account/sessions/ses_{id}/revoke");
    viewer.submit(&revoke, &[]).await.expect(404);
    there.get("/").await.expect(200);
    here.submit(&revoke, &[]).await.expect(303);
    there.get("/").await.expect(303);
    let closed = async {
        while let Some(message) = socket.next().await {
            if matches!(message, Ok(Message::Close(_)) | Err(_)) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed)
        .await
        .expect("the socket closes");

    let mut third = station.browser().await;
    here.get("/account/sessions").await.expect(200);
    here.submit("/account/sessions/others/revoke", &[]).await.expect(303);
    third.get("/").await.expect(303);
    here.get("/").await.expect(200);
    // It computes until a limit ends it, and nobody waits for that.
    station.owner().post(&format!("/api/v1/runs/{run}/cancel"), &json!({})).await;
}

#[tokio::test]
async fn sessions_last_as_long_as_the_settings_say() {
    let clock = SimClock::at(NOW);
    let station = TestStation::builder()
        .clock(Arc::clone(&clock))
        .setting("AGENTSTATION_SECURITY_SESSION_IDLE_MINUTES", "20")
        .setting("AGENTSTATION_SECURITY_SESSION_MAX_DAYS", "1")
        .start()
        .await;
    let mut idle = station.browser().await;
    clock.advance(Duration::from_mins(19));
    idle.get("/").await.expect(200);
    clock.advance(Duration::from_mins(20));
    idle.get("/").await.expect(303);
    let mut old = station.browser().await;
    for _ in 0..(24 * 4 - 1) {
        clock.advance(Duration::from_mins(15));
        old.get("/").await.expect(200);
    }
    clock.advance(Duration::from_mins(15));
    old.get("/").await.expect(303);
}

#[tokio::test]
async fn what_is_sensitive_asks_again_who_one_is_after_a_while() {
    let clock = SimClock::at(NOW);
    let station = station(&clock).await;
    let mut owner = station.browser().await;
    let (app, _) = enrol(&mut owner, &clock).await;
    let mut phone = authenticator(&station);
    assert_eq!(register(&mut owner, &mut phone, "Phone").await, 303);
    clock.advance(Duration::from_mins(10));

    let sent = owner.submit("/account/email", &[("email", "x@example.com")]).await.expect(303);
    assert_eq!(sent.header("location"), "/prove?next=%2Faccount");
    let sent = owner.submit("/account/sign-in/totp/remove", &[]).await.expect(303);
    assert_eq!(sent.header("location"), "/prove?next=%2Faccount%2Fsign-in");
    // A script hears it as a problem.
    let http = owner
        .http()
        .with("accept", "application/json")
        .with("sec-fetch-site", "same-origin");
    let body = format!("form_token={}", owner.form_token).into_bytes();
    let form = Some("application/x-www-form-urlencoded");
    let refused = http
        .send(reqwest::Method::POST, "/account/sign-in/passkeys/options", form, body)
        .await;
    assert_eq!(refused.expect(403).problem(), "proof_required");

    owner.get("/prove?next=%2Faccount").await.expect(200);
    let prove = async |owner: &mut Browser, password: &str, code: &str| {
        let fields = [("password", password), ("code", code), ("next", "/account")];
        owner.submit("/prove", &fields).await
    };
    prove(&mut owner, "wrong", &app.code()).await.expect(422);
    prove(&mut owner, PASSWORD, "000000").await.expect(422);
    owner.submit("/account/sign-in/totp/remove", &[]).await.expect(303);
    let proved = prove(&mut owner, PASSWORD, &app.code()).await.expect(303);
    assert_eq!(proved.header("location"), "/account?done=confirmed");
    assert!(owner.get("/account?done=confirmed").await.body.contains("Confirmed. Do it again."));
    owner
        .submit("/account/email", &[("email", "ana.new@example.com")])
        .await
        .expect(303);
    assert!(owner.get("/account").await.body.contains("ana.new@example.com"));

    // A passkey proves it too, but only one's own.
    clock.advance(Duration::from_mins(10));
    let viewer = station.user_named("vera@example.com", Role::Viewer, "ana.new@example.com").await;
    let mut viewer = Browser::sign_in(station.address, &viewer, PASSWORD).await;
    let mut other = authenticator(&station);
    assert_eq!(register(&mut viewer, &mut other, "Hers").await, 303);
    owner.get("/prove?next=%2Faccount").await.expect(200);
    for (key, status) in [(&mut other, 422), (&mut phone, 303)] {
        let asked = options(&mut owner, "/prove/passkey/options").await;
        let credential = key.get(&asked);
        let fields = [
            ("ceremony", asked["ceremony"].as_str().unwrap()),
            ("credential", &credential),
            ("next", "//evil.example"),
        ];
        let answer = owner.submit("/prove/passkey", &fields).await.expect(status);
        if status == 303 {
            assert_eq!(answer.header("location"), "/?done=confirmed");
        }
    }
    owner.submit("/account/email", &[("email", OWNER_EMAIL)]).await.expect(303);
    assert!(owner.get("/account").await.body.contains(OWNER_EMAIL));
}

#[tokio::test]
async fn guesses_at_a_proof_are_slowed_down() {
    let clock = SimClock::at(NOW);
    let station = station(&clock).await;
    let mut owner = station.browser().await;
    owner.get("/prove").await.expect(200);
    for _ in 0..4 {
        owner.submit("/prove", &[("password", "a guess")]).await.expect(422);
    }
    owner.submit("/prove", &[("password", PASSWORD)]).await.expect(429);
    // That is this session's matter: it signs in elsewhere as ever.
    station.browser().await.get("/").await.expect(200);
}

#[tokio::test]
async fn ones_own_name_is_no_password() {
    let station = TestStation::start().await;
    let mut owner = station.browser().await;
    owner.get("/account/sign-in").await.expect(200);
    for bad in ["ana@example.com", "password1", "short", "Ana12345"] {
        let fields = [("current", PASSWORD), ("new", bad)];
        owner.submit("/account/password", &fields).await.expect(422);
    }
    let long = "w".repeat(200);
    let fields = [("current", PASSWORD), ("new", long.as_str())];
    let before = owner.cookie();
    owner.submit("/account/password", &fields).await.expect(303);
    assert_ne!(owner.cookie(), before);
    owner.get("/").await.expect(200);
}

#[tokio::test]
async fn a_reset_leaves_the_second_step() {
    let clock = SimClock::at(NOW);
    let station = station(&clock).await;
    let (app, _) = enrol(&mut station.browser().await, &clock).await;
    let made = agentstation::services::resets::make_on_shell(&station.app, OWNER_EMAIL)
        .await
        .unwrap();
    let token = made.link.split_once("token=").unwrap().1.to_owned();
    agentstation::services::resets::finish(&station.app, &token, "nine loud submarines".to_owned(), Origin::default())
        .await
        .unwrap();
    let sign_in = SignIn {
        email: OWNER_EMAIL.to_owned(),
        password: "nine loud submarines".to_owned(),
        mark: None,
        origin: Origin::default(),
    };
    let entered = station.app.auth.sign_in(sign_in).await.unwrap();
    assert!(matches!(entered, Entered::NeedsCode(_)), "{entered:?}");
    assert_eq!(app.code().len(), 6);
}

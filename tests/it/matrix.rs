//! Every route × every kind of caller, made from the route table: who is let through is exactly whom the route declares,
//! and what belongs to others cannot be told from what is not there.

use std::sync::Arc;
use std::time::Duration;

use agentstation::domain::id::{
    AgentId, ApprovalId, BudgetId, ChannelId, InvitationId, OrgId, PasskeyId, PriceId, PrincipalId, ProviderId, RunId, SecretId, SessionId,
    WorkspaceId,
};
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::{Access, Actor, Permission, Resource, Role, authorize};
use agentstation::domain::plan::Plan;
use agentstation::domain::time::{SimClock, Timestamp};
use agentstation::services::{keys, users};
use agentstation::store;
use agentstation::store::users::NewUser;
use agentstation::web::extract::Needs;
use agentstation::web::routes::{Line, table};
use reqwest::Method;
use serde_json::Value;

use crate::support::agents::script;
use crate::support::{Browser, Http, OWNER_EMAIL, PASSWORD, TestStation, unhurried};

/// What a name in a path stands for: ids that are nobody's.
struct Names {
    org: String,
    workspace: String,
    run: String,
    agent: String,
    approval: String,
}

impl Names {
    fn missing() -> Self {
        let long_ago = Timestamp::from_ms(1);
        Self {
            org: "default".to_owned(),
            workspace: "default".to_owned(),
            run: RunId::new(long_ago).to_string(),
            agent: AgentId::new(long_ago).to_string(),
            approval: ApprovalId::new(long_ago).to_string(),
        }
    }

    /// The line's address; a name that is not known here fails, so that every new one is thought of.
    fn address(&self, line: &Line) -> String {
        let long_ago = Timestamp::from_ms(1);
        let mut path = line.path.to_owned();
        for (name, value) in [
            ("{org}", self.org.clone()),
            ("{workspace}", self.workspace.clone()),
            ("{run}", self.run.clone()),
            ("{agent}", self.agent.clone()),
            ("{approval}", self.approval.clone()),
            ("{principal}", PrincipalId::new(long_ago).to_string()),
            ("{invitation}", InvitationId::new(long_ago).to_string()),
            ("{budget}", BudgetId::new(long_ago).to_string()),
            ("{price}", PriceId::new(long_ago).to_string()),
            ("{channel}", ChannelId::new(long_ago).to_string()),
            ("{passkey}", PasskeyId::new(long_ago).to_string()),
            ("{session}", SessionId::new(long_ago).to_string()),
            ("{provider}", ProviderId::new(long_ago).to_string()),
            ("{alias}", "none".to_owned()),
            ("{secret}", SecretId::new(long_ago).to_string()),
            ("{key}", "none".to_owned()),
            ("{rule}", "none".to_owned()),
            ("{version}", "1.0.0".to_owned()),
            ("{seq}", "1".to_owned()),
            ("{name:.+}", "none".to_owned()),
            ("{path:.+}", "none".to_owned()),
        ] {
            path = path.replace(name, &value);
        }
        assert!(!path.contains('{'), "say in this test what {path} stands for");
        path
    }
}

/// Lines that end what the others are tried with, when they let somebody through: their refusals are tried, their doing has tests of its own.
const ENDS_THE_FIXTURE: &[(&str, &str)] = &[
    ("POST", "/sign-out"),
    ("POST", "/account/password"),
    ("POST", "/api/v1/orgs/{org}/leave"),
];

fn ends_the_fixture(line: &Line) -> bool {
    ENDS_THE_FIXTURE
        .iter()
        .any(|(method, path)| line.method.as_str() == *method && line.path == *path)
}

async fn call(http: &Http, line: &Line, names: &Names) -> (u16, String) {
    let method: Method = line.method.as_str().parse().unwrap();
    let answer = http
        .send(method, &names.address(line), Some("application/json"), b"{}".to_vec())
        .await;
    let code = serde_json::from_str::<Value>(&answer.body)
        .ok()
        .and_then(|body| body["code"].as_str().map(str::to_owned));
    (answer.status.as_u16(), code.unwrap_or_default())
}

/// What a caller is to a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// The handler decides; it may say that there is no such thing, but not who may.
    Through,
    Refused(u16, &'static str),
}

/// Who calls.
enum Caller<'a> {
    Nobody,
    /// A key that is damaged, expired, revoked, or of somebody who is no longer there.
    DeadKey,
    Key(&'a Actor),
    Session {
        actor: &'a Actor,
        proved: bool,
    },
    /// Signed in, and a member of nothing.
    Homeless,
    /// A member of another organization, with a key of it.
    Foreign(&'a Actor),
}

#[expect(clippy::match_same_arms, reason = "what each caller may expect is read line by line")]
fn expected(line: &Line, caller: &Caller<'_>) -> Expect {
    let may = |actor: &Actor, permission: Permission| authorize(actor, permission, Resource { org: actor.org }) == Access::Allow;
    let named = line.path.starts_with("/api/v1/orgs/{org}");
    match (caller, line.needs) {
        (_, Needs::Nothing) | (Caller::Homeless, Needs::Session) | (Caller::Key(_) | Caller::Foreign(_), Needs::Member) => Expect::Through,
        (Caller::Nobody | Caller::DeadKey, _) => Expect::Refused(401, "unauthenticated"),
        (Caller::Homeless, _) => Expect::Refused(403, "no_organization"),
        (Caller::Foreign(_), Needs::Permission(_) | Needs::Proved(_) | Needs::SignedIn) if named => Expect::Refused(404, "not_found"),
        (Caller::Key(_) | Caller::Foreign(_), Needs::Session | Needs::SignedIn | Needs::ProvedSignedIn) => {
            Expect::Refused(403, "forbidden")
        }
        (Caller::Key(actor) | Caller::Foreign(actor), Needs::Permission(permission) | Needs::Proved(permission)) => {
            if may(actor, permission) {
                Expect::Through
            } else {
                Expect::Refused(403, "forbidden")
            }
        }
        (Caller::Session { .. }, Needs::Session | Needs::SignedIn) => Expect::Through,
        (Caller::Session { actor, .. }, Needs::Permission(permission) | Needs::Proved(permission)) if !may(actor, permission) => {
            Expect::Refused(403, "forbidden")
        }
        (Caller::Session { proved: false, .. }, Needs::Proved(_) | Needs::ProvedSignedIn) => Expect::Refused(403, "proof_required"),
        (Caller::Session { .. }, _) => Expect::Through,
    }
}

async fn check(http: &Http, caller: &Caller<'_>, who: &str) {
    let names = Names::missing();
    for line in &table() {
        let expected = expected(line, caller);
        if expected == Expect::Through && ends_the_fixture(line) {
            continue;
        }
        let (status, code) = call(http, line, &names).await;
        let what = format!("{} {} as {who}: {status} {code}", line.method, line.path);
        assert!(status < 500, "{what}");
        match expected {
            Expect::Refused(wanted, word) => assert_eq!((status, code.as_str()), (wanted, word), "{what}"),
            Expect::Through => {
                let refused = ["unauthenticated", "no_organization", "proof_required", "cross_site"];
                assert!(!refused.contains(&code.as_str()) && status != 401, "{what}");
                // Forms take no JSON: whoever is let through is told so, and nothing happens.
                assert!(line.needs == Needs::Nothing || code != "forbidden", "{what}");
            }
        }
    }
}

/// Two organizations; in the first a person of every role, in the second an owner.
struct Fixture {
    station: TestStation,
    clock: Arc<SimClock>,
    other_owner: Actor,
}

const OTHER_EMAIL: &str = "olga@example.net";
const HOMELESS_EMAIL: &str = "hal@example.net";

impl Fixture {
    async fn new() -> Self {
        let clock = SimClock::at(Timestamp::from_ms(1_790_000_000_000));
        let settings = unhurried();
        let station = TestStation::builder().clock(Arc::clone(&clock)).settings(settings).start().await;
        for &role in Role::ALL {
            if role != Role::Owner {
                station.user(role).await;
            }
        }
        let other = second_organization(&station).await;
        Self {
            station,
            clock,
            other_owner: other,
        }
    }

    async fn actor(&self, email: &str) -> Actor {
        users::local_actor(&self.station.app, email, None).await.unwrap()
    }

    /// A key of the actor's, made by the station where the role may not make one itself.
    async fn key(&self, actor: &Actor, scopes: Option<Vec<Permission>>, lasts: Duration) -> String {
        let maker = Actor {
            role: Role::Owner,
            ..actor.clone()
        };
        let name = "matrix".to_owned();
        let new = keys::NewKey { name, scopes, lasts };
        keys::create(&self.station.app, &maker, new, Origin::default()).await.unwrap()
    }

    fn with_key(&self, key: &str) -> Http {
        self.station.nobody().with("accept", "application/json").bearer(key)
    }

    /// A browser's client that sends what our own pages send.
    async fn session(&self, email: &str) -> Http {
        let browser = Browser::sign_in(self.station.address, email, PASSWORD).await;
        browser
            .http()
            .with("sec-fetch-site", "same-origin")
            .with("x-form-token", &browser.form_token)
            .with("accept", "application/json")
            .with("origin", &format!("http://{}", self.station.address))
    }
}

/// Another organization with an owner, and a person who is a member of nothing.
async fn second_organization(station: &TestStation) -> Actor {
    let app = &station.app;
    let now = app.clock.now();
    let hash = agentstation::crypto::password::hash(PASSWORD).unwrap();
    app.store
        .write(move |tx| {
            for (email, name) in [(OTHER_EMAIL, "Olga"), (HOMELESS_EMAIL, "Hal")] {
                let principal = PrincipalId::new(now);
                let password_hash = hash.as_str();
                store::users::insert(
                    tx,
                    principal,
                    &NewUser {
                        email,
                        name,
                        password_hash,
                    },
                    now,
                )?;
                if email == OTHER_EMAIL {
                    let org = OrgId::new(now);
                    store::orgs::insert(tx, org, "other", "Other", Plan::Free, now)?;
                    store::workspaces::insert(tx, org, WorkspaceId::new(now), "default", "default", now)?;
                    store::members::insert(tx, org, principal, Role::Owner, now)?;
                }
            }
            Ok(())
        })
        .await
        .unwrap();
    users::local_actor(app, OTHER_EMAIL, None).await.unwrap()
}

fn email_of(role: Role) -> String {
    if role == Role::Owner {
        OWNER_EMAIL.to_owned()
    } else {
        format!("{role}@example.com")
    }
}

#[tokio::test]
async fn nobody_and_dead_keys_get_nothing_but_what_is_for_everyone() {
    let fixture = Fixture::new().await;
    let station = &fixture.station;
    check(&station.nobody().with("accept", "application/json"), &Caller::Nobody, "nobody").await;
    let damaged = format!("{}x", station.key);
    check(&fixture.with_key(&damaged), &Caller::DeadKey, "a damaged key").await;
    let owner = station.actor().await;
    let short = fixture.key(&owner, None, Duration::from_mins(1)).await;
    fixture.clock.advance(Duration::from_secs(61));
    check(&fixture.with_key(&short), &Caller::DeadKey, "an expired key").await;
    let revoked = fixture.key(&owner, None, keys::LASTS_DEFAULT).await;
    let id = agentstation::crypto::api_key::ApiKey::parse(&revoked).unwrap().id;
    keys::revoke(&station.app, &owner, keys::Whose::All, id, Origin::default())
        .await
        .unwrap();
    check(&fixture.with_key(&revoked), &Caller::DeadKey, "a revoked key").await;
}

#[tokio::test]
async fn a_key_reaches_what_its_role_allows() {
    let fixture = Fixture::new().await;
    for &role in Role::ALL {
        let actor = fixture.actor(&email_of(role)).await;
        let key = fixture.key(&actor, None, keys::LASTS_DEFAULT).await;
        // A key without scopes does not look after the station, whoever made it.
        let actor = Actor {
            station_admin: false,
            ..actor
        };
        check(&fixture.with_key(&key), &Caller::Key(&actor), &format!("a key of {role}")).await;
    }
}

#[tokio::test]
async fn a_session_reaches_what_its_role_allows_while_its_proof_is_fresh() {
    let fixture = Fixture::new().await;
    for &role in Role::ALL {
        let actor = fixture.actor(&email_of(role)).await;
        let http = fixture.session(&email_of(role)).await;
        let fresh = Caller::Session {
            actor: &actor,
            proved: true,
        };
        check(&http, &fresh, &format!("a session of {role}")).await;
    }
    for &role in Role::ALL {
        let actor = fixture.actor(&email_of(role)).await;
        let http = fixture.session(&email_of(role)).await;
        fixture.clock.advance(Duration::from_mins(11));
        let stale = Caller::Session {
            actor: &actor,
            proved: false,
        };
        check(&http, &stale, &format!("a session of {role} that proved itself 11 minutes ago")).await;
    }
}

#[tokio::test]
async fn a_scoped_key_reaches_only_the_routes_of_its_scopes() {
    let fixture = Fixture::new().await;
    let owner = fixture.station.actor().await;
    for &scope in Permission::ALL {
        let key = fixture.key(&owner, Some(vec![scope]), keys::LASTS_DEFAULT).await;
        let actor = Actor {
            scopes: Some(vec![scope]),
            ..owner.clone()
        };
        let http = fixture.with_key(&key);
        let names = Names::missing();
        for line in &table() {
            let (Needs::Permission(needed) | Needs::Proved(needed)) = line.needs else {
                continue;
            };
            // A page shows several things at once, so that one scope may not be enough for it.
            let is_page = !line.path.starts_with("/api/") && !line.path.starts_with("/ws/");
            if needed == scope && (is_page || ends_the_fixture(line)) {
                continue;
            }
            let (status, code) = call(&http, line, &names).await;
            let let_through = status != 401 && code != "forbidden";
            let allowed = authorize(&actor, needed, Resource { org: actor.org }) == Access::Allow;
            assert_eq!(let_through, allowed, "{} {} with {scope}: {status} {code}", line.method, line.path);
        }
    }
}

#[tokio::test]
async fn who_is_invited_and_has_not_accepted_gets_nothing() {
    let fixture = Fixture::new().await;
    let http = fixture.session_of_homeless().await;
    check(&http, &Caller::Homeless, "a member of nothing").await;
}

impl Fixture {
    async fn session_of_homeless(&self) -> Http {
        let mut browser = Browser::new(self.station.address);
        browser.get("/sign-in").await.expect(200);
        let entered = browser
            .submit("/sign-in", &[("email", HOMELESS_EMAIL), ("password", PASSWORD), ("next", "/")])
            .await;
        assert_eq!(entered.status.as_u16(), 303, "{}", entered.body);
        let page = browser.get("/").await;
        assert_eq!(page.status.as_u16(), 403, "{}", page.body);
        browser
            .http()
            .with("sec-fetch-site", "same-origin")
            .with("x-form-token", &browser.form_token)
            .with("accept", "application/json")
            .with("origin", &format!("http://{}", self.station.address))
    }
}

#[tokio::test]
async fn another_organizations_key_finds_nothing_here() {
    let fixture = Fixture::new().await;
    let key = fixture.key(&fixture.other_owner, None, keys::LASTS_DEFAULT).await;
    let caller = Caller::Foreign(&fixture.other_owner);
    check(&fixture.with_key(&key), &caller, "the owner of another organization").await;
}

/// Answers without what differs from request to request.
fn comparable(answer: &str) -> String {
    match serde_json::from_str::<Value>(answer) {
        Ok(mut body) => {
            if let Some(fields) = body.as_object_mut() {
                fields.remove("instance");
            }
            body.to_string()
        }
        Err(_) => answer.to_owned(),
    }
}

#[tokio::test]
async fn a_foreign_id_and_a_missing_id_get_the_same_answer() {
    let fixture = Fixture::new().await;
    let station = &fixture.station;
    let agent = station
        .publish(script(
            "asks",
            "",
            "export default async function run(input, station) { return await station.approvals.request({ action: 'x', arguments: {}, reason: 'y' }); }",
        ))
        .await;
    let run = station.begin(&agent, &serde_json::json!({})).await;
    let approval = station.until_asked(run).await;
    let theirs = Names {
        org: "default".to_owned(),
        workspace: "default".to_owned(),
        run: run.to_string(),
        agent: agent.id.to_string(),
        approval: approval.id.to_string(),
    };
    let missing = Names {
        org: "nowhere".to_owned(),
        ..Names::missing()
    };
    let key = fixture.key(&fixture.other_owner, None, keys::LASTS_DEFAULT).await;
    let with_key = fixture.with_key(&key);
    let with_session = fixture.session(OTHER_EMAIL).await;
    let mut compared = 0;
    for line in &table() {
        let names_something = ["{org}", "{run}", "{agent}", "{approval}"]
            .iter()
            .any(|name| line.path.contains(name));
        if !names_something || line.needs == Needs::Nothing {
            continue;
        }
        for http in [&with_key, &with_session] {
            let ask = async |names: &Names| {
                let method: Method = line.method.as_str().parse().unwrap();
                let answer = http
                    .send(method, &names.address(line), Some("application/json"), b"{}".to_vec())
                    .await;
                (answer.status, comparable(&answer.body))
            };
            assert_eq!(ask(&theirs).await, ask(&missing).await, "{} {}", line.method, line.path);
            compared += 1;
        }
    }
    assert!(compared > 50, "{compared}");
}

//! Policies through the real station: every kind of rule and effect in a run, who decides, changes while a run runs, and the pages and
//! addresses that set them.

use std::sync::Arc;

use agentstation::domain::id::RunId;
use agentstation::domain::money::Price;
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::{Actor, Role};
use agentstation::domain::wait::{ApprovalState, Verb};
use agentstation::llm::{Model, Models, Scripted};
use agentstation::services::approvals::Decide;
use agentstation::services::policy::Of;
use agentstation::services::{Error, approvals, policy, users};
use agentstation::store::approvals::Approval;
use agentstation::store::audit;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::agents::script;
use crate::support::site::{Reply, Site};
use crate::support::{Browser, PASSWORD, TestStation};

/// Does one thing after the other; each answers what came of it.
const DOER: &str = "export default async function run(input, station) {
  const tries = {
    http: ({ method, url, headers }) => station.http.send({ method, url, headers: headers ?? [] }).then((answer) => answer.status),
    model: ({ name, most }) => station.models.chat({ model: name, messages: [{ role: 'user', content: 'Hi' }], maxOutputTokens: most }).then((reply) => reply.content),
    agent: ({ name }) => station.agents.start(name, {}).then(() => 'started'),
    artifact: ({ bytes }) => station.artifacts.put('a.txt', 'x'.repeat(bytes)).then(() => 'stored'),
    sleep: () => station.approvals.request({ action: 'go on?', arguments: {}, reason: '', verbs: ['approve'], timeoutMs: 3600000, onTimeout: 'deny' }).then(() => 'went on'),
  };
  const out = [];
  for (const step of input.steps) {
    try { out.push(await tries[step.do](step)); } catch (error) { out.push(`${error.code}: ${error.message}`); }
  }
  return out;
}";

/// One output token costs one millionth of a dollar, input nothing.
fn models() -> Models {
    let mut model = Model::free(
        Arc::new(Scripted::parse("[[rule]]\nreply = \"one two three\"\n").unwrap()),
        "scripted",
    );
    model.price = Price {
        output_micros: 1_000_000,
        ..Price::default()
    };
    let mut models = Models::default();
    models.insert("default", model);
    models
}

struct Bench {
    site: Site,
    station: TestStation,
    agent: agentstation::domain::agent::Agent,
}

impl Bench {
    async fn start() -> Self {
        let site = Site::start(|_| Reply::Text("done".to_owned())).await;
        let station = TestStation::builder().outbound(Site::reachable()).models(models()).start().await;
        station.publish(script("helper", "", "export default () => 1;")).await;
        let grant = site.grant("\"GET\", \"POST\"", "");
        let extra = format!("[capabilities]\nhttp = [{grant}]\nmodels = [\"default\"]\nagents = [\"helper\"]\nsecrets = [\"token\"]\n");
        let agent = station.publish(script("doer", &extra, DOER)).await;
        Self { site, station, agent }
    }

    async fn set(&self, of: Of, rules: Value) {
        let rules = serde_json::from_value(json!({ "rules": rules })).unwrap();
        let actor = self.station.actor().await;
        policy::put(&self.station.app, &actor, of, rules, String::new(), None, Origin::default())
            .await
            .unwrap();
    }

    async fn begin(&self, steps: Value) -> RunId {
        self.station.begin(&self.agent, &json!({ "steps": steps })).await
    }

    async fn run(&self, steps: Value) -> Vec<Value> {
        let id = self.begin(steps).await;
        self.station.end(id).await.succeeded().as_array().unwrap().clone()
    }

    fn http(&self, method: &str) -> Value {
        json!({ "do": "http", "method": method, "url": self.site.url("/order") })
    }

    async fn member(&self, role: Role) -> Actor {
        let email = self.station.user(role).await;
        users::local_actor(&self.station.app, &email, None).await.unwrap()
    }

    async fn say(&self, actor: &Actor, asked: &Approval, verb: Verb, arguments: Option<Value>) -> Result<Approval, Error> {
        let decide = Decide {
            verb,
            arguments,
            reason: String::new(),
        };
        approvals::decide(&self.station.app, actor, asked.id, decide, Origin::default()).await
    }

    async fn audit(&self, action: &str) -> Vec<audit::Entry> {
        let org = self.station.actor().await.org.to_string();
        let rows = self
            .station
            .app
            .store
            .read(move |reader| audit::list(reader, &org, None, 100))
            .await
            .unwrap();
        rows.into_iter().filter(|row| row.action == action).collect()
    }
}

fn rule(id: &str, effect: &str, what: Value) -> Value {
    json!({ "id": id, "effect": effect, "what": what })
}

fn asking(id: &str, what: Value, approvers: Value) -> Value {
    json!({ "id": id, "effect": "ask", "what": what, "approvers": approvers })
}

fn any_post() -> Value {
    json!({ "http": { "hosts": ["*"], "methods": ["POST"] } })
}

#[tokio::test]
async fn each_kind_of_rule_refuses_what_the_manifest_grants_and_says_which_rule() {
    let bench = Bench::start().await;
    let host = bench.site.address.ip().to_string();
    for (id, what, step) in [
        (
            "no-posts",
            json!({ "http": { "hosts": [host], "methods": ["POST"], "path_prefix": "/ord" } }),
            bench.http("POST"),
        ),
        (
            "no-model",
            json!({ "model": { "names": ["def*"] } }),
            json!({ "do": "model", "name": "default", "most": 10 }),
        ),
        (
            "no-child",
            json!({ "agent": { "names": ["helper"] } }),
            json!({ "do": "agent", "name": "helper" }),
        ),
        (
            "no-files",
            json!({ "artifact": { "over_bytes": 10 } }),
            json!({ "do": "artifact", "bytes": 11 }),
        ),
        (
            "no-cost",
            json!({ "cost": { "over_micros": 9, "per": "call" } }),
            json!({ "do": "model", "name": "default", "most": 10 }),
        ),
        (
            "no-secret",
            json!({ "secret": { "names": ["*"] } }),
            json!({ "do": "http", "method": "GET", "url": bench.site.url("/"), "headers": [["x-key", "{{secret:token}}"]] }),
        ),
    ] {
        bench.set(Of::Org, json!([rule(id, "deny", what)])).await;
        let said = bench.run(json!([step])).await;
        let said = said[0].as_str().unwrap();
        assert!(said.starts_with("denied: ") && said.contains(&format!("“{id}”")), "{id}: {said}");
    }
    assert!(bench.site.asked().is_empty());
}

#[tokio::test]
async fn what_stays_below_a_limit_goes_ahead() {
    let bench = Bench::start().await;
    bench
        .set(
            Of::Org,
            json!([
                rule("files", "deny", json!({ "artifact": { "over_bytes": 10 } })),
                rule("cost", "deny", json!({ "cost": { "over_micros": 10, "per": "call" } })),
            ]),
        )
        .await;
    let said = bench
        .run(json!([{ "do": "artifact", "bytes": 10 }, { "do": "model", "name": "default", "most": 10 }]))
        .await;
    assert_eq!(said, ["stored", "one two three"]);
}

#[tokio::test]
async fn a_run_is_stopped_where_it_could_come_to_cost_too_much() {
    let bench = Bench::start().await;
    bench
        .set(
            Of::Workspace,
            json!([rule("run-limit", "deny", json!({ "cost": { "over_micros": 25, "per": "run" } }))]),
        )
        .await;
    let ask = json!({ "do": "model", "name": "default", "most": 20 });
    // Each call costs 4 in the end, and 20 at most: 0+20, 4+20, then 8+20 is too much.
    let said = bench.run(json!([ask, ask, ask])).await;
    assert_eq!(said[..2], ["one two three", "one two three"]);
    assert!(
        said[2]
            .as_str()
            .unwrap()
            .contains("workspace’s policy denies it by its rule “run-limit”"),
        "{}",
        said[2]
    );
}

#[tokio::test]
async fn allow_lifts_the_default_question_and_ask_comes_before_every_kind() {
    let bench = Bench::start().await;
    bench.set(Of::Org, json!([rule("posts", "allow", any_post())])).await;
    assert_eq!(bench.run(json!([bench.http("POST")])).await, [200]);

    bench
        .set(
            Of::Org,
            json!([
                rule("a", "ask", json!({ "http": { "hosts": ["*"] } })),
                rule("b", "ask", json!({ "model": { "names": ["*"] } })),
                rule("c", "ask", json!({ "agent": { "names": ["*"] } })),
                rule("d", "ask", json!({ "artifact": { "over_bytes": 0 } })),
            ]),
        )
        .await;
    let steps = json!([
        bench.http("GET"), { "do": "model", "name": "default", "most": 10 }, { "do": "agent", "name": "helper" }, { "do": "artifact", "bytes": 3 },
    ]);
    let id = bench.begin(steps).await;
    for rule in ["org/a", "org/b", "org/c", "org/d"] {
        let asked = bench.station.until_asked(id).await;
        assert_eq!(asked.rule, rule);
        bench.station.decide(&asked, Verb::Approve, None).await;
    }
    let ended = bench.station.end(id).await;
    let entries = ended.entries.iter();
    let policies: Vec<String> = entries
        .filter_map(|entry| {
            let meta: Value = serde_json::from_str(entry.meta.get()).unwrap();
            (entry.phase.as_str() == "start" && meta["policy"].is_string()).then(|| meta["policy"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(policies, ["org 2, default-2: org/a", "org 2, default-2: org/b"]);
    assert_eq!(ended.succeeded(), json!([200, "one two three", "started", "stored"]));
    let file = bench
        .station
        .owner()
        .get(&format!("/api/v1/runs/{id}/artifacts/a.txt"))
        .await
        .expect(200);
    assert_eq!(file.body, "xxx", "what was approved is what was stored");
}

#[tokio::test]
async fn what_was_denied_by_people_is_not_done_whatever_its_kind() {
    let bench = Bench::start().await;
    bench
        .set(
            Of::Org,
            json!([
                rule("c", "ask", json!({ "agent": { "names": ["*"] } })),
                rule("d", "ask", json!({ "artifact": { "over_bytes": 0 } })),
            ]),
        )
        .await;
    let id = bench
        .begin(json!([{ "do": "agent", "name": "helper" }, { "do": "artifact", "bytes": 3 }]))
        .await;
    for _ in 0..2 {
        let asked = bench.station.until_asked(id).await;
        assert_eq!(
            asked.verbs,
            [Verb::Approve, Verb::Deny],
            "neither has arguments that a person could edit"
        );
        bench.station.decide(&asked, Verb::Deny, None).await;
    }
    let said = bench.station.end(id).await.succeeded();
    assert_eq!(
        said,
        json!(["denied: Ana denied this: because", "denied: Ana denied this: because"])
    );
    bench
        .station
        .owner()
        .get(&format!("/api/v1/runs/{id}/artifacts/a.txt"))
        .await
        .expect(404);
}

#[tokio::test]
async fn a_secret_that_is_not_there_is_never_sent_as_its_name() {
    let bench = Bench::start().await;
    let step = |name: &str| json!({ "do": "http", "method": "GET", "url": bench.site.url("/"), "headers": [["x-key", format!("{{{{secret:{name}}}}}")]] });
    let said = bench.run(json!([step("token"), step("other")])).await;
    assert!(
        said[0]
            .as_str()
            .unwrap()
            .starts_with("not_found: the request names the secret “token”"),
        "{}",
        said[0]
    );
    assert_eq!(
        said[1],
        "denied: the manifest grants no secret “other”; add it to capabilities.secrets"
    );
    assert!(bench.site.asked().is_empty());
}

#[tokio::test]
async fn two_people_must_agree_and_the_same_one_twice_does_not_count() {
    let bench = Bench::start().await;
    bench
        .set(
            Of::Org,
            json!([asking("two", any_post(), json!({ "count": 2, "min_role": "admin" }))]),
        )
        .await;
    let (admin, operator) = (bench.member(Role::Admin).await, bench.member(Role::Operator).await);
    let ana = bench.station.actor().await;
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    let refused = bench.say(&operator, &asked, Verb::Approve, None).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Refused(why) if why.contains("2 admins") && why.contains("operator")),
        "{refused}"
    );
    let once = bench.say(&ana, &asked, Verb::Approve, None).await.unwrap();
    assert_eq!((once.state, once.votes.len()), (ApprovalState::Pending, 1));
    assert!(matches!(
        bench.say(&ana, &asked, Verb::Approve, None).await,
        Err(Error::Conflict(_))
    ));
    assert!(bench.site.asked().is_empty());

    let http = bench.station.owner();
    let shown = http.get(&format!("/api/v1/approvals/{}", asked.id)).await.expect(200).json();
    assert_eq!(
        (&shown["quorum"], &shown["agreed"], &shown["min_role"]),
        (&json!(2), &json!(1), &json!("admin"))
    );
    assert_eq!(shown["votes"][0]["by_name"], "Ana");
    let mut browser = Browser::sign_in(bench.station.address, "operator@example.com", PASSWORD).await;
    for page in ["/approvals".to_owned(), format!("/approvals/{}", asked.id), format!("/runs/{id}")] {
        let page = browser.get(&page).await.expect(200);
        assert!(
            page.body.contains("1 of 2 approved: Ana") && page.body.contains("It asks 2 admins"),
            "{}",
            page.body
        );
        assert!(!page.body.contains("value=\"approve\"") && page.body.contains("your role is operator"));
    }

    let twice = bench.say(&admin, &asked, Verb::Approve, None).await.unwrap();
    assert_eq!(twice.state, ApprovalState::Decided);
    let ended = bench.station.end(id).await;
    let kinds: Vec<_> = ended
        .entries
        .iter()
        .map(|entry| entry.kind.as_str())
        .filter(|kind| kind.starts_with("approval."))
        .collect();
    assert_eq!(kinds, ["approval.voted", "approval.decided"]);
    assert_eq!(ended.succeeded(), json!([200]));
    let denied = bench.audit("approval.decide").await;
    assert_eq!(denied.iter().filter(|row| row.outcome == "denied").count(), 1);
    let page = browser.get(&format!("/approvals/{}", asked.id)).await.expect(200);
    assert!(page.body.contains("Approved by Ana and admin"), "{}", page.body);
}

#[tokio::test]
async fn two_who_approve_at_once_make_two() {
    let bench = Bench::start().await;
    bench.set(Of::Org, json!([asking("two", any_post(), json!({ "count": 2 }))])).await;
    let (one, two) = (bench.member(Role::Admin).await, bench.member(Role::Operator).await);
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    let (first, second) = tokio::join!(
        bench.say(&one, &asked, Verb::Approve, None),
        bench.say(&two, &asked, Verb::Approve, None)
    );
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert_eq!(bench.station.end(id).await.succeeded(), json!([200]));
    assert_eq!(bench.site.asked().len(), 1, "it was sent once");
}

#[tokio::test]
async fn anyone_denies_at_once_even_where_several_must_agree() {
    let bench = Bench::start().await;
    bench.set(Of::Org, json!([asking("two", any_post(), json!({ "count": 2 }))])).await;
    let operator = bench.member(Role::Operator).await;
    let ana = bench.station.actor().await;
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    bench.say(&ana, &asked, Verb::Approve, None).await.unwrap();
    bench.say(&operator, &asked, Verb::Deny, None).await.unwrap();
    let said = bench.station.end(id).await.succeeded();
    assert_eq!(said, json!(["denied: operator denied this"]));
}

#[tokio::test]
async fn an_edit_needs_as_many_people_for_the_very_same_arguments() {
    let bench = Bench::start().await;
    bench.set(Of::Org, json!([asking("two", any_post(), json!({ "count": 2 }))])).await;
    let (admin, operator) = (bench.member(Role::Admin).await, bench.member(Role::Operator).await);
    let ana = bench.station.actor().await;
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    let mut edited: Value = serde_json::from_str(&asked.arguments).unwrap();
    edited["url"] = json!(bench.site.url("/four"));
    bench.say(&ana, &asked, Verb::Approve, None).await.unwrap();
    let still = bench.say(&admin, &asked, Verb::Edit, Some(edited.clone())).await.unwrap();
    assert_eq!(still.state, ApprovalState::Pending, "one is for this and one for that");
    let mut browser = bench.station.browser().await;
    let page = browser.get(&format!("/approvals/{}", asked.id)).await.expect(200);
    assert!(
        page.body.contains("With other arguments: admin") && page.body.contains("Approve these arguments"),
        "{}",
        page.body
    );
    let decided = bench.say(&operator, &asked, Verb::Edit, Some(edited)).await.unwrap();
    assert_eq!(decided.state, ApprovalState::Decided);
    assert_eq!(bench.station.end(id).await.succeeded(), json!([200]));
    assert_eq!(bench.site.asked()[0].path, "/four");
}

#[tokio::test]
async fn who_started_a_run_does_not_decide_it_where_the_rule_says_so() {
    let bench = Bench::start().await;
    bench
        .set(
            Of::Workspace,
            json!([asking("others", any_post(), json!({ "self_approval": false }))]),
        )
        .await;
    let operator = bench.member(Role::Operator).await;
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    let path = format!("/api/v1/approvals/{}/decision", asked.id);
    let refused = bench
        .station
        .owner()
        .post(&path, &json!({ "decision": "approve" }))
        .await
        .expect(403);
    assert_eq!(refused.problem(), "forbidden");
    assert!(refused.body.contains("you started this run"), "{}", refused.body);
    let mut browser = bench.station.browser().await;
    let page = browser.get("/approvals").await.expect(200);
    assert!(
        page.body.contains("You may not decide it: you started this run") && !page.body.contains("value=\"deny\""),
        "{}",
        page.body
    );
    browser
        .submit(&format!("/approvals/{}", asked.id), &[("decision", "approve"), ("place", "queue")])
        .await
        .expect(403);
    bench.say(&operator, &asked, Verb::Approve, None).await.unwrap();
    assert_eq!(bench.station.end(id).await.succeeded(), json!([200]));
}

#[tokio::test]
async fn leave_of_fewer_people_than_the_rule_wants_is_not_enough() {
    let bench = Bench::start().await;
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    assert_eq!(asked.rule, "default.ask-before-writes");
    let (admin, operator) = (bench.member(Role::Admin).await, bench.member(Role::Operator).await);
    // The rules become stricter while the run waits: what one operator gave leave for now needs two admins.
    bench
        .set(
            Of::Org,
            json!([asking("two", any_post(), json!({ "count": 2, "min_role": "admin" }))]),
        )
        .await;
    bench.say(&operator, &asked, Verb::Approve, None).await.unwrap();
    let again = bench.station.until_asked(id).await;
    assert_eq!((again.rule.as_str(), again.approvers.count), ("org/two", 2));
    assert!(bench.site.asked().is_empty());
    let ana = bench.station.actor().await;
    bench.say(&ana, &again, Verb::Approve, None).await.unwrap();
    bench.say(&admin, &again, Verb::Approve, None).await.unwrap();
    assert_eq!(bench.station.end(id).await.succeeded(), json!([200]));
    assert_eq!(bench.site.asked().len(), 1);
}

#[tokio::test]
async fn an_edit_cannot_lead_where_others_are_to_be_asked() {
    let bench = Bench::start().await;
    let strict = json!({ "http": { "hosts": ["*"], "methods": ["POST"], "path_prefix": "/bank" } });
    bench
        .set(
            Of::Org,
            json!([
                asking("bank", strict, json!({ "min_role": "admin" })),
                rule("rest", "ask", any_post())
            ]),
        )
        .await;
    let (operator, admin) = (bench.member(Role::Operator).await, bench.member(Role::Admin).await);
    let id = bench.begin(json!([bench.http("POST")])).await;
    let asked = bench.station.until_asked(id).await;
    let mut edited: Value = serde_json::from_str(&asked.arguments).unwrap();
    edited["url"] = json!(bench.site.url("/bank/pay"));
    bench.say(&operator, &asked, Verb::Edit, Some(edited)).await.unwrap();
    let again = bench.station.until_asked(id).await;
    assert_eq!(again.rule, "org/bank");
    assert!(matches!(
        bench.say(&operator, &again, Verb::Approve, None).await,
        Err(Error::Refused(_))
    ));
    bench.say(&admin, &again, Verb::Approve, None).await.unwrap();
    assert_eq!(bench.station.end(id).await.succeeded(), json!([200]));
    assert_eq!(bench.site.asked()[0].path, "/bank/pay", "what the admin saw is what was sent");
}

#[tokio::test]
async fn a_policy_that_is_changed_holds_from_the_next_call_of_a_run() {
    let bench = Bench::start().await;
    bench.set(Of::Org, json!([rule("posts", "allow", any_post())])).await;
    let id = bench
        .begin(json!([bench.http("POST"), { "do": "sleep" }, bench.http("POST")]))
        .await;
    let asked = bench.station.until_asked(id).await;
    bench.set(Of::Org, json!([rule("no-posts", "deny", any_post())])).await;
    bench.station.decide(&asked, Verb::Approve, None).await;
    let said = bench.station.end(id).await.succeeded();
    assert_eq!(said[0], 200);
    assert!(said[2].as_str().unwrap().contains("“no-posts”"), "{said}");
    assert_eq!(bench.site.asked().len(), 1);
}

#[tokio::test]
async fn a_denial_is_audited_with_its_rule_and_repeats_are_one_row() {
    let bench = Bench::start().await;
    bench.set(Of::Org, json!([rule("no-posts", "deny", any_post())])).await;
    let id = bench
        .begin(json!([bench.http("POST"), bench.http("POST"), bench.http("POST")]))
        .await;
    let ended = bench.station.end(id).await;
    let refused = ended.entries.iter().find(|entry| entry.kind == "http.send").unwrap();
    let meta: Value = serde_json::from_str(refused.meta.get()).unwrap();
    assert_eq!((&meta["code"], &meta["rule"]), (&json!("denied"), &json!("org/no-posts")));
    assert_eq!(meta["policy"], "org 1, default-2: org/no-posts");
    let rows = bench.audit("policy.deny").await;
    assert_eq!(rows.len(), 1);
    assert_eq!((rows[0].count, rows[0].outcome.as_str()), (3, "denied"));
    let detail: Value = serde_json::from_str(&rows[0].detail).unwrap();
    assert_eq!((&detail["rule"], &detail["run"]), (&json!("org/no-posts"), &json!(id.to_string())));
    let changes = bench.audit("policy.change").await;
    let detail: Value = serde_json::from_str(&changes[0].detail).unwrap();
    assert_eq!(detail["added"], json!(["no-posts: Deny POST to any host"]));
}

#[tokio::test]
async fn two_editors_do_not_overwrite_each_other() {
    let station = TestStation::start().await;
    let (org, workspace) = (station.actor().await.org, station.actor().await.workspace);
    let owner = station.owner();
    for base in [
        format!("/api/v1/orgs/{org}/policy"),
        format!("/api/v1/orgs/{org}/workspaces/{workspace}/policy"),
    ] {
        let put = |etag: &str, rules: Value| {
            let client = if etag.is_empty() {
                owner.clone()
            } else {
                owner.with("if-match", etag)
            };
            let (base, body) = (base.clone(), json!({ "rules": rules, "note": "Why" }).to_string().into_bytes());
            async move { client.send(Method::PUT, &base, Some("application/json"), body).await }
        };
        let none = owner.get(&base).await.expect(200);
        assert_eq!((none.json()["version"].clone(), none.header("etag")), (json!(0), "\"0\""));
        let rules = json!([rule("no-posts", "deny", any_post())]);
        let first = put("\"0\"", rules.clone()).await.expect(200);
        assert_eq!((first.json()["version"].clone(), first.header("etag")), (json!(1), "\"1\""));
        assert_eq!(first.json()["words"], json!(["Deny POST to any host"]));
        let late = put("\"0\"", json!([])).await.expect(409);
        assert!(late.body.contains("version 1"), "{}", late.body);
        put("\"1\"", rules).await.expect(409);
        put("nonsense", json!([])).await.expect(400);
        put("\"1\"", json!([])).await.expect(200);
        let bad = put("", json!([rule("Bad name", "deny", json!({ "model": { "names": [] } }))]))
            .await
            .expect(422);
        let places: Vec<_> = bad.json()["errors"]
            .as_array()
            .unwrap()
            .iter()
            .map(|place| place["pointer"].clone())
            .collect();
        assert_eq!(places, ["/rules/0/id", "/rules/0/what/model/names"]);
        let versions = owner.get(&format!("{base}/versions?limit=1")).await.expect(200).json();
        assert_eq!((&versions["items"][0]["version"], &versions["next"]), (&json!(2), &json!("2")));
        let older = owner.get(&format!("{base}/versions?cursor=2")).await.expect(200).json();
        assert_eq!(older["items"][0]["note"], "Why");
        owner.get(&format!("{base}/versions/1")).await.expect(200);
        owner.get(&format!("{base}/versions/9")).await.expect(404);
        owner.get(&format!("{base}/versions/0")).await.expect(404);
    }
}

#[tokio::test]
async fn a_check_says_what_would_be_decided_and_by_which_rule() {
    let bench = Bench::start().await;
    let actor = bench.station.actor().await;
    let of_org = format!("/api/v1/orgs/{}/policy/check", actor.org);
    let of_workspace = format!("/api/v1/orgs/{}/workspaces/{}/policy/check", actor.org, actor.workspace);
    bench
        .set(
            Of::Org,
            json!([asking("two", any_post(), json!({ "count": 2, "min_role": "admin" }))]),
        )
        .await;
    bench.set(Of::Workspace, json!([rule("no-posts", "deny", any_post())])).await;
    let owner = bench.station.owner();
    let post = json!({ "what": "http", "method": "POST", "url": "https://shop.example/" });
    let org = owner.post(&of_org, &post).await.expect(200).json();
    assert_eq!(
        (&org["effect"], &org["rule"], &org["asks"]),
        (&json!("ask"), &json!("org/two"), &json!("2 admins"))
    );
    let both = owner.post(&of_workspace, &post).await.expect(200).json();
    assert_eq!((&both["effect"], &both["rule"]), (&json!("deny"), &json!("workspace/no-posts")));
    assert_eq!(both["policy"], "org 1, workspace 1, default-2");
    let mut tried = post.clone();
    tried["rules"] = json!([]);
    let draft = owner.post(&of_org, &tried).await.expect(200).json();
    assert_eq!(draft["rule"], "default.ask-before-writes");
    for bad in [
        json!({ "what": "odd" }),
        json!({ "what": "http", "method": "POST", "url": "nowhere" }),
    ] {
        owner.post(&of_org, &bad).await.expect(422);
    }
}

#[tokio::test]
async fn an_agent_is_shown_with_what_the_policy_says_to_it() {
    let bench = Bench::start().await;
    bench
        .set(Of::Org, json!([rule("no-model", "deny", json!({ "model": { "names": ["*"] } }))]))
        .await;
    let shown = bench.station.owner().get("/api/v1/agents/doer").await.expect(200).json();
    let model = shown["policy"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["what"] == "model “default”")
        .unwrap();
    assert_eq!((&model["effect"], &model["rule"]), (&json!("deny"), &json!("org/no-model")));
    let page = bench.station.browser().await.get("/agents/doer").await.expect(200);
    assert!(
        page.body.contains("What the policy says to it") && page.body.contains("org/no-model"),
        "{}",
        page.body
    );
}

#[tokio::test]
async fn a_rule_is_drafted_shown_stored_and_restored_with_forms_only() {
    let station = TestStation::start().await;
    let mut browser = station.browser().await;
    let page = browser.get("/settings/policy").await.expect(200);
    assert!(
        page.body.contains("There are none.") && page.body.contains("What holds by default"),
        "{}",
        page.body
    );
    let draft = |fields: &[(&'static str, &str)], rules: &str, base: &str| -> Vec<(String, String)> {
        let mut all = vec![("of", "org"), ("base", base), ("rules", rules)];
        all.extend_from_slice(fields);
        all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    };
    async fn post(browser: &mut Browser, path: &str, fields: Vec<(String, String)>) -> crate::support::http::Answer {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        browser.submit(path, &fields).await
    }
    let empty = r#"{"rules":[]}"#;
    let editor = post(&mut browser, "/settings/policy/draft", draft(&[("do", "add:http")], empty, "0"))
        .await
        .expect(200);
    assert!(
        editor.body.contains("name=\"hosts\"") && editor.body.contains("value=\"http-rule\""),
        "{}",
        editor.body
    );
    let typed = [
        ("do", "put"),
        ("kind", "http"),
        ("id", "bank"),
        ("effect", "ask"),
        ("hosts", "*.bank.example"),
        ("methods", "POST"),
        ("count", "2"),
        ("min_role", "admin"),
        ("rule_note", "Money"),
    ];
    let mut wrong = typed;
    wrong[4] = ("hosts", "https://bank");
    let refused = post(&mut browser, "/settings/policy/draft", draft(&wrong, empty, "0"))
        .await
        .expect(422);
    assert!(
        refused.body.contains("is no host") && refused.body.contains("https://bank"),
        "{}",
        refused.body
    );
    let shown = post(&mut browser, "/settings/policy/draft", draft(&typed, empty, "0"))
        .await
        .expect(200);
    assert!(shown.body.contains("Not stored yet"), "{}", shown.body);
    assert!(
        shown
            .body
            .contains("class=\"come\">bank: Ask 2 admins before POST to *.bank.example, not counting who started the run (Money)"),
        "{}",
        shown.body
    );
    assert!(
        shown.body.contains("Only 1 member may decide this"),
        "nobody would be left waiting unwarned"
    );
    let rules = crate::support::http::between(&shown.body, "name=\"rules\" value=\"", "\"")
        .unwrap()
        .replace("&#34;", "\"");
    assert_eq!(
        browser.get("/settings/policy").await.body.matches("po-rule\"").count(),
        0,
        "nothing holds before it is stored"
    );

    let stored = post(&mut browser, "/settings/policy", draft(&[("note", "First")], &rules, "0"))
        .await
        .expect(303);
    assert_eq!(stored.header("location"), "/settings/policy?of=org&done=policy-stored");
    let late = post(&mut browser, "/settings/policy", draft(&[], empty, "0")).await.expect(409);
    assert!(
        late.body.contains("Ana has stored version 1") && late.body.contains("class=\"gone\">bank"),
        "{}",
        late.body
    );
    let tried = browser
        .get("/settings/policy?what=http&method=POST&url=https://a.bank.example/")
        .await
        .expect(200);
    assert!(
        tried.body.contains("It would wait for 2 admins") && tried.body.contains("org/bank"),
        "{}",
        tried.body
    );

    let gone = post(&mut browser, "/settings/policy/draft", draft(&[("do", "remove:0")], &rules, "1"))
        .await
        .expect(200);
    assert!(gone.body.contains("class=\"gone\">bank"), "{}", gone.body);
    post(&mut browser, "/settings/policy", draft(&[], empty, "1")).await.expect(303);
    let versions = browser.get("/settings/policy/versions?of=org&a=1&b=2").await.expect(200);
    assert!(
        versions.body.contains("class=\"gone\">bank") && versions.body.contains("First"),
        "{}",
        versions.body
    );
    let restored = post(&mut browser, "/settings/policy/draft", draft(&[("do", "restore:1")], empty, "2"))
        .await
        .expect(200);
    assert!(restored.body.contains("class=\"come\">bank"), "{}", restored.body);

    let email = station.user(Role::Viewer).await;
    let mut viewer = Browser::sign_in(station.address, &email, PASSWORD).await;
    let page = viewer.get("/settings/policy").await.expect(200);
    assert!(!page.body.contains("name=\"do\""), "{}", page.body);
    post(&mut viewer, "/settings/policy", draft(&[], empty, "2")).await.expect(403);
}

/// Starts a helper that answers, waits to be let go on, then asks it in one way and in the other.
const ASKER: &str = "export default async function run(input, station) {
  const child = await station.agents.start('pupil', {});
  await station.approvals.request({ action: 'go on?', arguments: {}, reason: '', verbs: ['approve'], timeoutMs: 3600000, onTimeout: 'deny' });
  const told = async (ask) => { try { return (await ask()).text; } catch (error) { return `${error.code}: ${error.message}`; } };
  return [
    await told(() => station.agents.ask(child, 'one')),
    await told(async () => (await station.waits.any([await station.waits.ask(child, 'two')])).value),
  ];
}";

async fn asker(station: &TestStation) -> agentstation::domain::agent::Agent {
    let pupil = "export async function onMessage(message, station) { await station.inbox.reply(`to ${message.text}`); }";
    station.publish(script("pupil", "", pupil)).await;
    station
        .publish(script("asker", "[capabilities]\nagents = [\"pupil\"]\n", ASKER))
        .await
}

#[tokio::test]
async fn a_rule_about_an_agent_holds_for_questions_to_it_too() {
    let bench = Bench::start().await;
    let agent = asker(&bench.station).await;
    for (effect, expected) in [("deny", "denied: "), ("ask", "to ")] {
        let id = bench.station.begin(&agent, &json!({})).await;
        let go_on = bench.station.until_asked(id).await;
        bench
            .set(Of::Org, json!([rule("pupils", effect, json!({ "agent": { "names": ["pupil"] } }))]))
            .await;
        bench.station.decide(&go_on, Verb::Approve, None).await;
        if effect == "ask" {
            for action in ["agents.ask", "waits.open"] {
                let asked = bench.station.until_asked(id).await;
                assert_eq!((asked.rule.as_str(), asked.action.as_str()), ("org/pupils", action));
                bench.station.decide(&asked, Verb::Approve, None).await;
            }
        }
        let said = bench.station.end(id).await.succeeded();
        bench.set(Of::Org, json!([])).await;
        assert!(
            said.as_array()
                .unwrap()
                .iter()
                .all(|one| one.as_str().unwrap().starts_with(expected)),
            "{effect}: {said}"
        );
    }
}

#[tokio::test]
async fn what_waits_for_leave_survives_a_restart_whatever_its_kind() {
    let bench = Bench::start().await;
    bench
        .set(
            Of::Org,
            json!([
                rule("c", "ask", json!({ "agent": { "names": ["*"] } })),
                rule("d", "ask", json!({ "artifact": { "over_bytes": 0 } })),
            ]),
        )
        .await;
    let id = bench
        .begin(json!([{ "do": "artifact", "bytes": 3 }, { "do": "agent", "name": "helper" }]))
        .await;
    let mut station = bench.station;
    for _ in 0..2 {
        let asked = station.until_asked(id).await;
        let data = station.stop().await;
        station = TestStation::builder()
            .outbound(Site::reachable())
            .models(models())
            .data(data)
            .start()
            .await;
        station.decide(&asked, Verb::Approve, None).await;
    }
    assert_eq!(station.end(id).await.succeeded(), json!(["stored", "started"]));
}

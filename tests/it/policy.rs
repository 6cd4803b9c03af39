//! Policies through the real station: every kind of rule and effect in a run, and changes while a run runs.

mod pages;
mod people;

use std::sync::Arc;

use agentstation::domain::id::RunId;
use agentstation::domain::money::Price;
use agentstation::domain::origin::Origin;
use agentstation::domain::permission::{Actor, Role};
use agentstation::domain::wait::Verb;
use agentstation::llm::{Model, Models, Scripted};
use agentstation::services::approvals::Decide;
use agentstation::services::policy::Of;
use agentstation::services::{Error, approvals, policy, users};
use agentstation::store::approvals::Approval;
use agentstation::store::audit;
use serde_json::{Value, json};

use crate::support::TestStation;
use crate::support::agents::script;
use crate::support::site::{Reply, Site};

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
            .read(move |reader| audit::list(reader, &org, &audit::Filter::default(), None, 100))
            .await
            .unwrap();
        rows.into_iter().map(|row| row.entry).filter(|row| row.action == action).collect()
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
            .starts_with("not_found: the station has no secret “token”"),
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

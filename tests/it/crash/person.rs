//! Everybody who uses the station while it is killed: starts runs, decides, says things, cancels, reads; and remembers what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use reqwest::Method;
use rusqlite::{Connection, OptionalExtension as _};
use serde_json::{Value, json};

use super::outside::{Outside, answer};
use super::workload::{self, Kind};
use crate::support::http::{Answer, Http};

const WORKSPACE: &str = "/api/v1/orgs/default/workspaces/default";
/// Between two rounds of looking.
const PAUSE: Duration = Duration::from_millis(10);

/// The station is gone: nobody knows whether it did what it was asked last.
#[derive(Debug)]
pub struct Gone;

/// How far a person is with pausing a run and letting it go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Unheld,
    Paused,
    Over,
}

/// A run that somebody wants.
struct Wanted {
    kind: Kind,
    token: String,
    number: u64,
    /// Once it is known; before, it is asked for, or looked for if asking came to nothing.
    id: Option<String>,
    /// Of what is said to it, how many are known to be kept.
    said: usize,
    cancelled: bool,
    hold: Hold,
    /// What was shown of its journal.
    shown: Vec<Value>,
    ended: bool,
}

impl Wanted {
    fn has_key(&self) -> bool {
        self.number.is_multiple_of(2)
    }
}

/// What the station has said that it did.
#[derive(Default)]
struct Acknowledged {
    runs: BTreeSet<String>,
    messages: BTreeSet<String>,
    /// With the verb that was decided.
    decisions: BTreeMap<String, String>,
    cancelled: BTreeSet<String>,
    paused: BTreeSet<String>,
    /// With the state that was shown.
    ended: BTreeMap<String, String>,
}

pub struct Person<'a> {
    outside: &'a Outside,
    wanted: Vec<Wanted>,
    acknowledged: Acknowledged,
    keys: BTreeMap<String, String>,
    /// Tells their runs from those of others who use the same sites.
    name: String,
    next: u64,
    /// Requests that changed something and were answered.
    pub answered: u64,
}

impl<'a> Person<'a> {
    pub fn new(name: String, outside: &'a Outside) -> Self {
        Self {
            outside,
            wanted: Vec::new(),
            acknowledged: Acknowledged::default(),
            keys: BTreeMap::new(),
            name,
            next: 0,
            answered: 0,
        }
    }

    /// Wants a run of this kind.
    pub fn want(&mut self, kind: Kind) {
        let number = self.next;
        self.next += 1;
        self.wanted.push(Wanted {
            kind,
            token: format!("{}-{number}", self.name),
            number,
            id: None,
            said: 0,
            cancelled: false,
            hold: if number % 4 == 1 { Hold::Unheld } else { Hold::Over },
            shown: Vec::new(),
            ended: false,
        });
    }

    /// Whether everything wanted has ended.
    pub fn is_content(&self) -> bool {
        self.wanted.iter().all(|wanted| wanted.ended)
    }

    /// What has not ended, for whoever looks for a run that is stuck.
    pub fn open(&self) -> String {
        let open = self.wanted.iter().filter(|wanted| !wanted.ended);
        open.map(|wanted| format!("{:?} {} {:?}", wanted.kind, wanted.token, wanted.id))
            .collect::<Vec<_>>()
            .join("\n")
    }

    async fn ask(&mut self, http: &Http, path: &str, body: Value) -> Result<Answer, Gone> {
        let body = body.to_string().into_bytes();
        let answer = http.attempt(Method::POST, path, Some("application/json"), body).await;
        let answer = answer.map_err(|_| Gone)?;
        self.answered += 1;
        Ok(answer)
    }

    async fn read(http: &Http, path: &str) -> Result<Value, Gone> {
        let answer = http.attempt(Method::GET, path, None, Vec::new()).await.map_err(|_| Gone)?;
        Ok(answer.expect(200).json())
    }

    /// Finds out what became of the requests that the last station did not answer.
    pub async fn reconnect(&mut self, http: &Http) -> Result<(), Gone> {
        if self.wanted.iter().any(|wanted| wanted.id.is_none() && !wanted.has_key()) {
            self.find_unanswered(http).await?;
        }
        for wanted in self.wanted.iter_mut().filter(|wanted| wanted.kind == Kind::Chat && !wanted.ended) {
            let Some(id) = &wanted.id else { continue };
            let said = texts(http, id, "received").await?;
            assert_eq!(said, workload::SAID[..said.len()], "what was said to {}", wanted.token);
            assert!(said.len() >= wanted.said, "a message was lost: {said:?} of {}", wanted.said);
            wanted.said = said.len();
        }
        Ok(())
    }

    async fn find_unanswered(&mut self, http: &Http) -> Result<(), Gone> {
        let listed = Self::read(http, &format!("{WORKSPACE}/runs?limit=500")).await?;
        let known: BTreeSet<String> = self.wanted.iter().filter_map(|wanted| wanted.id.clone()).collect();
        for run in listed["items"].as_array().unwrap() {
            let id = run["id"].as_str().unwrap();
            if known.contains(id) || run.get("parent").is_some() {
                continue;
            }
            let whole = Self::read(http, &format!("/api/v1/runs/{id}")).await?;
            let token = whole["input"]["token"].as_str().unwrap();
            let unknown = self.wanted.iter_mut().find(|wanted| wanted.token == token && !wanted.has_key());
            if let Some(wanted) = unknown {
                assert_eq!(wanted.id.replace(id.to_owned()), None, "{token} was started twice");
            }
        }
        Ok(())
    }

    /// One round of everything there is to do.
    pub async fn work(&mut self, http: &Http) -> Result<(), Gone> {
        self.start(http).await?;
        self.decide(http).await?;
        for index in 0..self.wanted.len() {
            if self.wanted[index].ended {
                continue;
            }
            self.hold(http, index).await?;
            match self.wanted[index].kind {
                Kind::Chat => self.say(http, index).await?,
                Kind::Sleeper => self.cancel(http, index).await?,
                _ => {}
            }
            self.look(http, index).await?;
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }

    async fn start(&mut self, http: &Http) -> Result<(), Gone> {
        for index in 0..self.wanted.len() {
            let wanted = &self.wanted[index];
            if wanted.id.is_some() {
                continue;
            }
            let input = workload::input(wanted.kind, &wanted.token, wanted.number, &self.outside.addresses());
            let body = json!({ "agent": wanted.kind.agent(), "input": input });
            // Sent again with its key it is the same run; without, an unanswered one is looked for before.
            let keyed = http.with("idempotency-key", &wanted.token);
            let http = if wanted.has_key() { &keyed } else { http };
            let started = self.ask(http, &format!("{WORKSPACE}/runs"), body).await?.expect(202).json();
            let id = started["id"].as_str().unwrap().to_owned();
            self.acknowledged.runs.insert(id.clone());
            self.wanted[index].id = Some(id);
        }
        Ok(())
    }

    async fn decide(&mut self, http: &Http) -> Result<(), Gone> {
        let pending = Self::read(http, &format!("{WORKSPACE}/approvals?limit=500")).await?;
        for approval in pending["items"].as_array().unwrap() {
            let id = approval["id"].as_str().unwrap();
            let decision = self.decision(approval);
            let verb = decision["decision"].as_str().unwrap().to_owned();
            let answer = self.ask(http, &format!("/api/v1/approvals/{id}/decision"), decision).await?;
            // Where an earlier one was kept and not answered, or the run has been cancelled.
            if answer.status.as_u16() != 409 {
                answer.expect(200);
                self.acknowledged.decisions.insert(id.to_owned(), verb);
            }
        }
        Ok(())
    }

    /// What a sensible person says. Where nobody knows whether a write happened, they look at the other side.
    fn decision(&self, approval: &Value) -> Value {
        let arguments = &approval["arguments"];
        match approval["kind"].as_str().unwrap() {
            "question" => {
                let want = arguments["want"].as_str().unwrap();
                let edited = (want == "edit").then(|| json!({ "want": want, "word": "edited" }));
                json!({ "decision": want, "reason": "because", "arguments": edited })
            }
            "action" => json!({ "decision": "approve" }),
            _ => {
                let (method, url) = (arguments["method"].as_str().unwrap(), arguments["url"].as_str().unwrap());
                if self.outside.has(method, url) {
                    let path = url::Url::parse(url).unwrap().path().to_owned();
                    let response = json!({ "status": 200, "headers": [], "body": { "text": answer(method, &path) }, "url": url });
                    json!({ "decision": "happened", "arguments": response })
                } else {
                    json!({ "decision": "send_again" })
                }
            }
        }
    }

    async fn say(&mut self, http: &Http, index: usize) -> Result<(), Gone> {
        let wanted = &self.wanted[index];
        if let Some(text) = workload::SAID.get(wanted.said) {
            let path = format!("/api/v1/runs/{}/messages", wanted.id.clone().unwrap());
            let kept = self.ask(http, &path, json!({ "text": text })).await?.expect(202).json();
            self.acknowledged.messages.insert(kept["id"].as_str().unwrap().to_owned());
            self.wanted[index].said += 1;
        }
        Ok(())
    }

    async fn cancel(&mut self, http: &Http, index: usize) -> Result<(), Gone> {
        if self.wanted[index].cancelled {
            return Ok(());
        }
        let id = self.wanted[index].id.clone().unwrap();
        let now = Self::read(http, &format!("/api/v1/runs/{id}")).await?;
        // Some are cancelled while they ask the model, some after a station has died over that, some while they sleep.
        let in_time = match self.wanted[index].number % 3 {
            0 => now["entries"].as_u64().unwrap() > 4,
            1 => now["waiting_for"].as_array().is_some_and(|waiting| !waiting.is_empty()),
            _ => true,
        };
        if in_time {
            // What is cancelled is not held any more.
            self.acknowledged.paused.remove(&id);
            let answer = self.ask(http, &format!("/api/v1/runs/{id}/cancel"), json!({})).await?;
            assert!(
                [200, 202, 409].contains(&answer.status.as_u16()),
                "{}: {}",
                answer.status,
                answer.body
            );
            self.acknowledged.cancelled.insert(id);
            self.wanted[index].cancelled = true;
        }
        Ok(())
    }

    /// Pauses a run in one round and lets it go on in a later one.
    async fn hold(&mut self, http: &Http, index: usize) -> Result<(), Gone> {
        let id = self.wanted[index].id.clone().unwrap();
        match self.wanted[index].hold {
            Hold::Over => {}
            Hold::Unheld => {
                let answer = self.ask(http, &format!("/api/v1/runs/{id}/pause"), json!({})).await?;
                if answer.status.as_u16() == 409 {
                    self.wanted[index].hold = Hold::Over;
                    return Ok(());
                }
                answer.expect(202);
                self.acknowledged.paused.insert(id);
                self.wanted[index].hold = Hold::Paused;
            }
            Hold::Paused => {
                self.acknowledged.paused.remove(&id);
                let answer = self.ask(http, &format!("/api/v1/runs/{id}/resume"), json!({})).await?;
                assert!([202, 409].contains(&answer.status.as_u16()), "{}: {}", answer.status, answer.body);
                self.wanted[index].hold = Hold::Over;
            }
        }
        Ok(())
    }

    /// Reads a run: what was shown of it before is still there, and its end is right.
    async fn look(&mut self, http: &Http, index: usize) -> Result<(), Gone> {
        let wanted = &mut self.wanted[index];
        let id = wanted.id.clone().unwrap();
        let run = Self::read(http, &format!("/api/v1/runs/{id}")).await?;
        let has_ended = run.get("finished_at").is_some();
        if has_ended || wanted.shown.len() < 20 {
            let shown = Self::read(http, &format!("/api/v1/runs/{id}/events?limit=500")).await?["items"].clone();
            let shown = shown.as_array().unwrap().clone();
            assert_eq!(shown[..wanted.shown.len()], wanted.shown, "what was shown of {id} is still there");
            wanted.shown = shown;
        }
        if has_ended {
            let (state, output) = workload::end(wanted.kind, &wanted.token, wanted.number);
            assert_eq!(run["state"], state, "{:?} {run}", wanted.kind);
            assert_eq!(run["output"], output, "{:?} {run}", wanted.kind);
            if wanted.kind == Kind::Chat {
                assert_eq!(texts(http, &id, "replied").await?, workload::REPLIES);
            }
            wanted.ended = true;
            self.acknowledged.ended.insert(id, state.to_owned());
        }
        Ok(())
    }

    /// Checks that everything acknowledged is in a database.
    pub fn check_kept(&self, db: &Connection) {
        let row = |sql: &str, id: &String| -> Option<String> { db.query_row(sql, [id], |row| row.get(0)).optional().unwrap() };
        for run in &self.acknowledged.runs {
            assert!(row("SELECT id FROM runs WHERE id = ?1", run).is_some(), "the run {run} was lost");
        }
        for message in &self.acknowledged.messages {
            assert!(
                row("SELECT id FROM messages WHERE id = ?1", message).is_some(),
                "the message {message} was lost"
            );
        }
        for (approval, verb) in &self.acknowledged.decisions {
            let kept = row("SELECT verb FROM approvals WHERE id = ?1", approval);
            assert_eq!(kept.as_ref(), Some(verb), "the decision about {approval} was lost");
        }
        for run in &self.acknowledged.cancelled {
            let kept = row(
                "SELECT id FROM runs WHERE id = ?1 AND (cancel_requested = 1 OR finished_at IS NOT NULL)",
                run,
            );
            assert!(kept.is_some(), "that {run} is cancelled was lost");
        }
        for run in &self.acknowledged.paused {
            let kept = row("SELECT id FROM runs WHERE id = ?1 AND (holds <> 0 OR finished_at IS NOT NULL)", run);
            let state = row("SELECT agent_name || ' ' || state FROM runs WHERE id = ?1", run);
            assert!(kept.is_some(), "that {run} is paused was lost: {state:?}");
        }
        for (run, state) in &self.acknowledged.ended {
            assert_eq!(
                row("SELECT state FROM runs WHERE id = ?1", run).as_ref(),
                Some(state),
                "the end of {run} was lost"
            );
        }
    }

    /// Checks everything that has ended against what came outside and what it started, and no longer thinks of it.
    pub fn settle(&mut self, db: &Connection) {
        assert!(self.is_content(), "these are stuck:\n{}", self.open());
        let stuck: i64 = db
            .query_row("SELECT count(*) FROM runs WHERE finished_at IS NULL", [], |row| row.get(0))
            .unwrap();
        assert_eq!(stuck, 0, "a run that nobody asked for has not ended");
        let started: u64 = db
            .query_row("SELECT count(*) FROM runs WHERE parent_run_id IS NULL", [], |row| row.get(0))
            .unwrap();
        assert_eq!(started, self.next, "a run was started twice");
        for wanted in std::mem::take(&mut self.wanted) {
            let id = wanted.id.unwrap();
            let children: i64 = db
                .query_row("SELECT count(*) FROM runs WHERE parent_run_id = ?1", [&id], |row| row.get(0))
                .unwrap();
            assert_eq!(children, workload::children(wanted.kind), "the children of {id}");
            self.outside
                .check(&wanted.token, &workload::arrivals(wanted.kind, &wanted.token), &mut self.keys);
        }
    }
}

/// What was said to a session, or by it.
async fn texts(http: &Http, run: &str, direction: &str) -> Result<Vec<String>, Gone> {
    let conversation = Person::read(http, &format!("/api/v1/runs/{run}/messages?limit=500")).await?;
    let said = conversation["items"].as_array().unwrap().iter();
    Ok(said
        .filter(|each| each["direction"] == direction)
        .map(|each| each["text"].as_str().unwrap().to_owned())
        .collect())
}

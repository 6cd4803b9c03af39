//! Publishing and running agents through the use cases.

use std::time::Duration;

use agentstation::domain::agent::Agent;
use agentstation::domain::id::RunId;
use agentstation::domain::journal::EntryView;
use agentstation::domain::origin::Origin;
use agentstation::domain::retry::RetryChange;
use agentstation::domain::run::{RunState, Trigger};
use agentstation::domain::wait::{ApprovalState, Verb};
use agentstation::services::agents::{AgentRef, Target, Upload};
use agentstation::services::approvals::Decide;
use agentstation::services::runs::StartRun;
use agentstation::services::{Error, agents, approvals, runs, sessions};
use agentstation::store::approvals::Approval;
use agentstation::store::runs::Run;
use serde_json::Value;

use super::TestStation;

/// Longer than any run of a test.
const RUN_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks at something that is waited for.
const LOOK_EVERY: Duration = Duration::from_millis(10);
const PAGE: u32 = 500;

/// A run that has ended, with everything it left.
#[derive(Debug)]
pub struct Ended {
    pub run: Run,
    pub output: Option<Value>,
    /// `null` where it succeeded.
    pub error: Value,
    pub entries: Vec<EntryView>,
}

impl Ended {
    /// Why it failed; empty where it succeeded.
    pub fn reason(&self) -> &'static str {
        self.run.reason.map_or("", |reason| reason.as_str())
    }

    pub fn message(&self) -> &str {
        self.error["message"].as_str().unwrap_or_default()
    }

    /// Its output.
    #[track_caller]
    pub fn succeeded(self) -> Value {
        assert_eq!(self.run.state, RunState::Succeeded, "{}", self.error);
        self.output.unwrap()
    }

    /// Itself, if it ended so.
    #[track_caller]
    pub fn because(self, reason: &str) -> Self {
        assert_eq!(self.reason(), reason, "{}", self.error);
        self
    }
}

/// An upload of a script under the shortest manifest, with `extra` at its end.
pub fn script(name: &str, extra: &str, source: &str) -> Upload {
    Upload {
        manifest: format!("{}{extra}", super::manifest(name, "1.0.0")),
        code: source.as_bytes().to_vec(),
        ..Upload::default()
    }
}

/// An upload of a component.
pub fn component(name: &str, extra: &str, code: Vec<u8>) -> Upload {
    Upload {
        manifest: format!(
            "name = \"{name}\"\nversion = \"1.0.0\"\nsummary = \"For a test\"\nruntime = \"component\"\nentry = \"agent.wasm\"\n{extra}"
        ),
        code,
        ..Upload::default()
    }
}

impl TestStation {
    /// Waits until a run asks for a decision.
    pub async fn until_asked(&self, id: RunId) -> Approval {
        let actor = self.actor().await;
        let asked = async {
            loop {
                let of_run = approvals::of_run(&self.app, &actor, id).await.unwrap();
                if let Some(pending) = of_run.into_iter().find(|each| each.state == ApprovalState::Pending) {
                    let state = runs::get(&self.app, &actor, id).await.unwrap().state;
                    if state == RunState::Waiting {
                        return pending;
                    }
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(RUN_WITHIN, asked).await.expect("the run asks for a decision")
    }

    /// Waits until a run is in this state.
    pub async fn until_state(&self, id: RunId, state: RunState) -> Run {
        let actor = self.actor().await;
        let reached = async {
            loop {
                let run = runs::get(&self.app, &actor, id).await.unwrap();
                if run.state == state {
                    return run;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::time::timeout(RUN_WITHIN, reached)
            .await
            .unwrap_or_else(|_| panic!("the run never is {state}"))
    }

    pub async fn decide(&self, approval: &Approval, verb: Verb, arguments: Option<Value>) -> Approval {
        let decide = Decide {
            verb,
            arguments,
            reason: "because".to_owned(),
        };
        approvals::decide(&self.app, &self.actor().await, approval.id, decide, Origin::default())
            .await
            .unwrap()
    }

    /// Waits until a run has said this many things; returns them.
    pub async fn until_replies(&self, id: RunId, count: usize) -> Vec<String> {
        let actor = self.actor().await;
        let said = async {
            loop {
                let entries = runs::events(&self.app, &actor, id, 0, PAGE).await.unwrap();
                let replies: Vec<String> = entries
                    .iter()
                    .filter(|entry| entry.kind == "inbox.reply")
                    .filter_map(|entry| serde_json::from_str::<Value>(entry.request.as_ref()?.get()).ok())
                    .map(|request| request["text"].as_str().unwrap_or_default().to_owned())
                    .collect();
                if replies.len() >= count {
                    return replies;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        let Ok(replies) = tokio::time::timeout(RUN_WITHIN, said).await else {
            panic!("the run replies not {count} times: {:?}", self.entries(id).await)
        };
        replies
    }

    /// Waits until a run has started another; returns the first.
    pub async fn until_child(&self, id: RunId) -> RunId {
        self.until_entry(id, |entry| entry.kind == "agents.start").await;
        let entries = runs::events(&self.app, &self.actor().await, id, 0, PAGE).await.unwrap();
        let entry = entries.iter().find(|entry| entry.kind == "agents.start").unwrap();
        let meta: Value = serde_json::from_str(entry.meta.get()).unwrap();
        meta["run"].as_str().unwrap().parse().unwrap()
    }

    /// Posts a message as the owner.
    pub async fn say(&self, id: RunId, text: &str) {
        sessions::post(&self.app, &self.actor().await, id, text.to_owned()).await.unwrap();
    }

    pub async fn publish(&self, upload: Upload) -> Agent {
        self.try_publish(upload).await.unwrap()
    }

    pub async fn try_publish(&self, upload: Upload) -> Result<Agent, Error> {
        let stored = agents::create(&self.app, &self.actor().await, upload, Target::New, Origin::default()).await;
        stored.map(|(agent, _)| agent)
    }

    /// Uploads a further version of an agent.
    pub async fn publish_version(&self, agent: &Agent, upload: Upload) {
        agents::create(&self.app, &self.actor().await, upload, Target::Version(agent.id), Origin::default())
            .await
            .unwrap();
    }

    pub async fn begin(&self, agent: &Agent, input: &Value) -> RunId {
        self.try_begin(agent, input).await.unwrap()
    }

    pub async fn try_begin(&self, agent: &Agent, input: &Value) -> Result<RunId, Error> {
        let start = StartRun {
            agent: AgentRef::Id(agent.id),
            version: None,
            input: input.to_string(),
            trigger: Trigger::Api,
            message: None,
            priority: 0,
            retry: RetryChange::default(),
            budget_micros: None,
        };
        runs::start(&self.app, &self.actor().await, start).await
    }

    /// Waits for a run to end.
    #[track_caller]
    pub fn end(&self, id: RunId) -> impl Future<Output = Ended> {
        let caller = std::panic::Location::caller();
        async move {
            let actor = self.actor().await;
            let run = runs::wait(&self.app, &actor, id, RUN_WITHIN).await.unwrap();
            assert!(run.state.is_terminal(), "at {caller} the run is still {}", run.state);
            let (_, output) = runs::texts(&self.app, &actor, id).await.unwrap();
            Ended {
                output: output.map(|text| serde_json::from_str(&text).unwrap()),
                error: run.error.as_deref().map_or(Value::Null, |text| serde_json::from_str(text).unwrap()),
                entries: self.entries(id).await,
                run,
            }
        }
    }

    /// Runs an agent to its end.
    pub async fn run(&self, agent: &Agent, input: &Value) -> Ended {
        let id = self.begin(agent, input).await;
        self.end(id).await
    }

    /// The whole journal of a run.
    pub async fn entries(&self, id: RunId) -> Vec<EntryView> {
        let actor = self.actor().await;
        let mut entries: Vec<EntryView> = Vec::new();
        loop {
            let after = entries.last().map_or(0, |entry| entry.seq);
            let page = runs::events(&self.app, &actor, id, after, PAGE).await.unwrap();
            let done = page.len() < PAGE as usize;
            entries.extend(page);
            if done {
                return entries;
            }
        }
    }

    /// One entry with its whole request and response.
    pub async fn entry(&self, id: RunId, seq: u64) -> EntryView {
        runs::event(&self.app, &self.actor().await, id, seq).await.unwrap()
    }

    /// Waits until a run waits, and returns it as the API shows it.
    pub async fn until_waiting(&self, run: &str) -> Value {
        let id: RunId = run.parse().unwrap();
        let mut subscription = self.app.feed.subscribe(id);
        let waits = async {
            loop {
                let shown = self.owner().get(&format!("/api/v1/runs/{run}")).await.expect(200).json();
                if shown["state"] == "waiting" {
                    return shown;
                }
                subscription.changed().await;
            }
        };
        tokio::time::timeout(RUN_WITHIN, waits)
            .await
            .expect("the run comes to wait in time")
    }

    /// Waits until the journal of a run has an entry like this.
    pub async fn until_entry(&self, id: RunId, wanted: impl Fn(&EntryView) -> bool) {
        let mut subscription = self.app.feed.subscribe(id);
        let reached = async {
            while !self.entries(id).await.iter().any(&wanted) {
                subscription.changed().await;
            }
        };
        tokio::time::timeout(RUN_WITHIN, reached).await.expect("the entry comes in time");
    }
}

//! What templates show: the pieces that several pages share, made from what services return.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::agent::Agent;
use crate::domain::failure::EndReason;
use crate::domain::id::PrincipalId;
use crate::domain::manifest::Capabilities;
use crate::domain::permission::Actor;
use crate::domain::time::Timestamp;
use crate::services::agents;
use crate::store::agents::{Card, Listed};
use crate::store::runs::Run;
use crate::web::middleware::counts::Counts;
use crate::web::problem::Problem;
use crate::web::state::State;

use super::filters;

/// Of an agent's own words, what a line of a list shows.
const WHY_CHARS_MAX: usize = 160;

/// The frame around every page of someone signed in.
pub struct Shell {
    pub title: String,
    pub person: String,
    pub form_token: String,
    /// Which entry of the rail is lit: `overview`, `runs`, `dead_letters`, `sessions`, `approvals`, `agents`, `settings`, `account`, `docs`, `switch`, or none.
    pub nav: &'static str,
    pub counts: Counts,
    pub notice: Option<Notice>,
    /// Of settings and the account: the pages beside this one.
    pub tabs: Vec<Tab>,
    /// Where the person is at work, where they could be elsewhere.
    pub place: Option<String>,
}

/// One of the pages of settings or of the account.
pub struct Tab {
    pub path: &'static str,
    pub word: &'static str,
    pub current: bool,
}

pub struct Notice {
    /// `ok`, `fail` or `info`.
    pub tone: &'static str,
    pub text: String,
}

/// A time, exact and as people say it.
pub struct When {
    pub iso: String,
    pub ago: String,
}

impl When {
    pub fn new(at: Timestamp, now: Timestamp) -> Self {
        Self {
            iso: at.to_string(),
            ago: distance(at, now),
        }
    }
}

fn distance(at: Timestamp, now: Timestamp) -> String {
    let (seconds, future) = if at > now {
        (at.since(now).as_secs(), true)
    } else {
        (now.since(at).as_secs(), false)
    };
    let amount = match seconds {
        0..10 => return "just now".to_owned(),
        10..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        86_400..172_800 => "1 day".to_owned(),
        _ => format!("{} days", seconds / 86_400),
    };
    if future { format!("in {amount}") } else { format!("{amount} ago") }
}

/// One thing that an agent may touch, with its glyph.
pub struct Capability {
    pub icon: &'static str,
    pub words: String,
}

/// Everything that a manifest grants, in words.
pub fn capabilities(granted: &Capabilities) -> Vec<Capability> {
    let icons = [
        ("model", granted.models.len()),
        ("web", granted.http.len()),
        ("memory", usize::from(granted.memory)),
        ("agents", granted.agents.len()),
        ("tool", granted.tools.len()),
        ("secret", granted.secrets.len()),
    ];
    let icons = icons.into_iter().flat_map(|(icon, n)| std::iter::repeat_n(icon, n));
    // In the order of `in_words`.
    icons
        .zip(granted.in_words())
        .map(|(icon, words)| Capability { icon, words })
        .collect()
}

/// A line of a list of agents.
pub struct AgentRow {
    pub name: String,
    pub summary: String,
    pub capabilities: Vec<Capability>,
    /// Over 30 days.
    pub runs: u64,
    pub success_percent: Option<u8>,
    pub cost_per_run_micros: Option<u64>,
    pub updated: When,
}

/// A line of a list of runs.
pub struct RunRow {
    pub id: String,
    pub agent: String,
    pub version: String,
    pub state: &'static str,
    pub reason: Option<String>,
    pub started_by: String,
    pub created: When,
    pub duration_ms: Option<u64>,
    pub tokens: u64,
    pub cost_micros: u64,
}

/// The names of those who did things.
pub struct People(pub BTreeMap<PrincipalId, String>);

impl People {
    pub fn name(&self, principal: PrincipalId) -> String {
        self.0.get(&principal).cloned().unwrap_or_else(|| "somebody who left".to_owned())
    }
}

/// The lines of a list of agents, with what is known of each.
pub async fn agent_rows(state: &State, actor: &Actor, listed: &[Listed]) -> Result<Vec<AgentRow>, Problem> {
    let listed: Vec<Agent> = listed.iter().map(|listed| listed.agent.clone()).collect();
    let cards = agents::cards(&state.app, actor, &listed).await?;
    let now = state.app.clock.now();
    Ok(listed.iter().zip(cards).map(|(agent, card)| agent_row(agent, &card, now)).collect())
}

fn agent_row(agent: &Agent, card: &Card, now: Timestamp) -> AgentRow {
    let percent = |succeeded: u64| succeeded.saturating_mul(100).checked_div(card.ended);
    AgentRow {
        name: agent.name.clone(),
        summary: agent.summary.clone(),
        capabilities: capabilities(&card.capabilities),
        runs: card.runs,
        success_percent: percent(card.succeeded).and_then(|percent| u8::try_from(percent).ok()),
        cost_per_run_micros: card.cost_micros.checked_div(card.runs).filter(|micros| *micros > 0),
        updated: When::new(agent.updated_at, now),
    }
}

pub fn run_row(run: &Run, people: &People, now: Timestamp) -> RunRow {
    RunRow {
        id: run.id.to_string(),
        agent: run.agent_name.clone(),
        version: run.agent_version.clone(),
        state: run.shown().as_str(),
        reason: run.reason.map(|reason| why(run, reason)),
        started_by: people.name(run.started_by),
        created: When::new(run.created_at, now),
        duration_ms: duration_of(run, now),
        tokens: run.input_tokens.saturating_add(run.output_tokens),
        cost_micros: run.cost_micros,
    }
}

/// From its first start to its end, or to now; none where it has not started.
pub fn duration_of(run: &Run, now: Timestamp) -> Option<u64> {
    let started = run.started_at?;
    let end = run.finished_at.unwrap_or(now);
    u64::try_from(end.since(started).as_millis()).ok()
}

/// Why a run failed, in a line.
pub fn why_of(run: &Run) -> String {
    run.reason.map_or_else(|| run.shown().to_string(), |reason| why(run, reason))
}

/// Why a run ended, in a line: the agent's own words where it gave up.
fn why(run: &Run, reason: EndReason) -> String {
    let error: Value = run
        .error
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    match error.get("message").and_then(Value::as_str) {
        Some(message) if reason == EndReason::AgentError && !message.is_empty() => message.chars().take(WHY_CHARS_MAX).collect(),
        _ => first_sentence(reason.explain()),
    }
}

fn first_sentence(text: &str) -> String {
    let sentence = text.split_once(". ").map_or(text, |(first, _)| first);
    sentence.trim_end_matches('.').to_owned()
}

/// Pretty JSON; the text as it is where it is none.
pub fn pretty(json: &str) -> String {
    serde_json::from_str::<Value>(json)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| json.to_owned())
}

/// A limit's value with its unit.
pub fn limit_words(name: &str, value: u64) -> (String, String) {
    let (name, value) = match name {
        "fuel" => ("Fuel", filters::with_commas(value)),
        "memory_bytes" => ("Memory", filters::size(value)),
        "call_ms" => ("One call", filters::duration(value)),
        "run_seconds" => ("Whole run", filters::duration(value.saturating_mul(1000))),
        "calls" => ("Calls", filters::with_commas(value)),
        "journal_bytes" => ("Journal", filters::size(value)),
        other => (other, filters::with_commas(value)),
    };
    (name.to_owned(), value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::manifest::HttpGrant;

    #[test]
    fn times_read_as_a_distance() {
        let now = Timestamp::from_ms(1_000_000_000_000);
        let at = |seconds: i64| distance(Timestamp::from_ms(now.as_ms() - seconds * 1000), now);
        assert_eq!(at(3), "just now");
        assert_eq!(at(45), "45 s ago");
        assert_eq!(at(200), "3 min ago");
        assert_eq!(at(90_000), "1 day ago");
        assert_eq!(at(-7_200), "in 2 h");
    }

    #[test]
    fn each_capability_has_the_glyph_of_its_kind() {
        let granted = Capabilities {
            models: vec!["default".to_owned()],
            http: vec![HttpGrant {
                host: "example.com".to_owned(),
                path: String::new(),
                methods: vec!["GET".to_owned()],
                idempotency_header: None,
                approval: crate::domain::manifest::AskFirst::default(),
            }],
            memory: true,
            secrets: vec!["token".to_owned()],
            ..Capabilities::default()
        };
        let shown: Vec<_> = capabilities(&granted).into_iter().map(|c| (c.icon, c.words)).collect();
        assert_eq!(shown.len(), 4);
        assert_eq!(shown[1].0, "web");
        assert!(shown[1].1.contains("example.com"));
        assert_eq!(shown[3].0, "secret");
    }
}

//! The card of an approval, the same wherever one decides: on the queue, on the run's page, in a chat.

use serde_json::Value;

use crate::domain::call::Body;
use crate::domain::id::RunId;
use crate::domain::permission::{Actor, Permission};
use crate::domain::policy::{Approvers, of_approvers};
use crate::domain::time::Timestamp;
use crate::domain::wait::{ApprovalKind, ApprovalState, OnTimeout, Verb};
use crate::services::approvals;
use crate::store::approvals::Approval;
use crate::web::pages::view::{When, pretty};
use crate::web::pages::{filters, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Of an action's words, what stands in its title.
const TITLE_CHARS_MAX: usize = 300;
/// Of one argument, what stands in the table; the whole is behind the disclosure.
const VALUE_CHARS_MAX: usize = 2_000;

/// Where a form leads back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Queue,
    Run,
    Session,
}

impl Place {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Run => "run",
            Self::Session => "session",
        }
    }

    /// The address to go to once it is decided.
    pub fn after(name: &str, approval: &Approval) -> String {
        match name {
            "run" => format!("/runs/{}", approval.run),
            "session" => format!("/sessions/{}", approval.run),
            _ => format!("/approvals/{}", approval.id),
        }
    }
}

/// One argument of the action.
pub struct Argument {
    pub name: String,
    pub value: String,
}

/// What was decided, or why nothing can be any more.
pub struct Outcome {
    /// `ok`, `fail` or `info`.
    pub tone: &'static str,
    /// “Approved by Ana”
    pub words: String,
    pub at: Option<When>,
    /// “3 min after the request”
    pub after: String,
    pub reason: String,
    /// As edited, or the answer that was entered: pretty JSON.
    pub arguments: Option<String>,
}

pub struct ApprovalCard {
    pub id: String,
    pub run: String,
    pub seq: u64,
    pub agent: String,
    pub title: String,
    /// Who asks: the agent, the station's policy, or the station because it does not know.
    pub why: &'static str,
    /// The policy's rule that asks; empty where the agent does.
    pub rule: String,
    pub arguments: Vec<Argument>,
    /// Pretty JSON.
    pub raw: String,
    /// Markdown.
    pub reason: String,
    pub asked: When,
    pub due: Option<When>,
    pub then: &'static str,
    pub outcome: Option<Outcome>,
    /// Whether whoever looks at it may decide it now.
    pub open: bool,
    pub approve: bool,
    pub edit: bool,
    pub deny: bool,
    pub unknown: bool,
    /// Where the policy asks others than anyone who may decide: “2 admins”.
    pub who: Option<String>,
    /// “1 of 2 approved: Ana”
    pub progress: Option<String>,
    /// How many people have said what they think, so that a page notices.
    pub votes: usize,
    /// Other arguments that people gave leave for.
    pub proposals: Vec<Proposal>,
    /// Why whoever looks at it may not decide.
    pub barred: Option<String>,
    pub place: &'static str,
    /// What was typed, where it was refused.
    pub typed: Typed,
}

/// Arguments that somebody would have in place of those that were asked for.
pub struct Proposal {
    pub by: String,
    /// Pretty JSON.
    pub arguments: String,
    /// Whether whoever looks at it may agree to it.
    pub open: bool,
}

/// What the form had, and what is wrong with it.
#[derive(Default)]
pub struct Typed {
    pub verb: String,
    pub reason: String,
    pub arguments: Option<String>,
    pub status: String,
    pub body: String,
    pub error: Option<String>,
}

impl ApprovalCard {
    pub fn new(approval: &Approval, actor: &Actor, place: Place, now: Timestamp) -> Self {
        let offers = |verb| approval.verbs.contains(&verb);
        let pending = approval.state == ApprovalState::Pending;
        let barred = approvals::bar(approval, actor);
        let own = approval.votes.iter().find(|vote| vote.by == actor.principal);
        let open = pending && barred.is_none() && may(actor, Permission::ApprovalsDecide);
        let arguments: Value = serde_json::from_str(&approval.arguments).unwrap_or_default();
        Self {
            id: approval.id.to_string(),
            run: approval.run.to_string(),
            seq: approval.seq,
            agent: approval.agent_name.clone(),
            title: title(&approval.action, &arguments),
            why: match approval.kind {
                ApprovalKind::UnknownOutcome => "The station asks, because it does not know how this ended.",
                ApprovalKind::Action if approval.rule.is_empty() => "The agent asks for leave beforehand.",
                ApprovalKind::Action => "The station’s policy asks before this is done.",
                ApprovalKind::Question => "The agent asks.",
            },
            rule: approval.rule.clone(),
            arguments: rows(&approval.action, &arguments),
            raw: pretty(&approval.arguments),
            reason: approval.reason.clone(),
            asked: When::new(approval.created_at, now),
            due: approval.due_at.map(|due| When::new(due, now)),
            then: match approval.on_timeout {
                OnTimeout::Cancel => "then the run is cancelled",
                OnTimeout::Deny => "then it counts as denied",
            },
            outcome: outcome(approval, now),
            open,
            // Who has given leave for it need not do so again.
            approve: offers(Verb::Approve) && own.is_none_or(|vote| vote.said.verb != Verb::Approve),
            edit: offers(Verb::Edit),
            deny: offers(Verb::Deny),
            unknown: offers(Verb::Happened),
            who: (approval.approvers != Approvers::default()).then(|| of_approvers(approval.approvers)),
            progress: progress(approval),
            votes: approval.votes.len(),
            proposals: if pending {
                proposals(approval, open.then_some(actor))
            } else {
                Vec::new()
            },
            barred: barred.filter(|_| pending),
            place: place.as_str(),
            typed: Typed::default(),
        }
    }
}

/// How far several people have come.
fn progress(approval: &Approval) -> Option<String> {
    if approval.state != ApprovalState::Pending || approval.approvers.count < 2 {
        return None;
    }
    let agreed = approvals::agreed(approval);
    let names: Vec<&str> = approval
        .votes
        .iter()
        .filter(|vote| matches!(vote.said.verb, Verb::Approve | Verb::Edit))
        .map(|vote| vote.name.as_str())
        .collect();
    let need = approval.approvers.count;
    Some(if names.is_empty() {
        format!("0 of {need} approved")
    } else {
        format!("{agreed} of {need} approved: {}", names.join(", "))
    })
}

/// The edits that people stand behind, each once.
fn proposals(approval: &Approval, actor: Option<&Actor>) -> Vec<Proposal> {
    let mut found: Vec<(String, Vec<&str>, bool)> = Vec::new();
    for vote in &approval.votes {
        let Some(arguments) = &vote.said.arguments else { continue };
        let own = actor.is_some_and(|actor| actor.principal == vote.by);
        match found.iter_mut().find(|(known, ..)| known == arguments) {
            Some((_, names, mine)) => {
                names.push(&vote.name);
                *mine |= own;
            }
            None => found.push((arguments.clone(), vec![&vote.name], own)),
        }
    }
    let proposal = |(arguments, names, mine): (String, Vec<&str>, bool)| Proposal {
        by: names.join(", "),
        arguments: pretty(&arguments),
        open: actor.is_some() && !mine,
    };
    found.into_iter().map(proposal).collect()
}

/// What a run waits for people to decide, as cards.
pub async fn pending_of(state: &State, actor: &Actor, run: RunId, place: Place) -> Result<Vec<ApprovalCard>, Problem> {
    if !may(actor, Permission::ApprovalsRead) {
        return Ok(Vec::new());
    }
    let now = state.app.clock.now();
    let asked = approvals::of_run(&state.app, actor, run).await?;
    let pending = asked.iter().filter(|approval| approval.state == ApprovalState::Pending);
    Ok(pending.map(|approval| ApprovalCard::new(approval, actor, place, now)).collect())
}

fn cut(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars).chain(['…']).collect()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What will happen: “POST https://…”, or the agent's own words.
pub fn title(action: &str, arguments: &Value) -> String {
    let words = match action {
        "http.send" => format!("{} {}", text(arguments, "method").to_ascii_uppercase(), text(arguments, "url")),
        "models.chat" => format!("Ask the model “{}”", text(arguments, "model")),
        "agents.start" => format!("Start the agent “{}”", text(arguments, "agent")),
        "agents.ask" => format!("Ask the run {}", text(arguments, "run")),
        // Of what a handle can wait for, only a question is anything that others are asked about.
        "waits.open" => format!("Ask the run {}", text(arguments.get("ask").unwrap_or(&Value::Null), "run")),
        "artifacts.put" => {
            let bytes = arguments.get("bytes").and_then(Value::as_u64).unwrap_or(0);
            format!("Store the artifact “{}”, {}", text(arguments, "name"), filters::size(bytes))
        }
        "tools.call" => {
            let (tool, given) = (text(arguments, "name"), arguments.get("arguments").unwrap_or(&Value::Null));
            match text(given, "url") {
                "" => format!("Use the tool “{tool}”"),
                url => {
                    let method = Some(text(given, "method")).filter(|method| !method.is_empty()).unwrap_or("GET");
                    format!("{} {url}, with the tool “{tool}”", method.to_ascii_uppercase())
                }
            }
        }
        own => own.to_owned(),
    };
    cut(&words, TITLE_CHARS_MAX)
}

fn value_words(value: &Value) -> String {
    let words = match value {
        Value::String(text) => text.clone(),
        Value::Array(_) | Value::Object(_) => serde_json::to_string_pretty(value).unwrap_or_default(),
        other => other.to_string(),
    };
    cut(&words, VALUE_CHARS_MAX)
}

fn fields(value: &Value) -> Vec<Argument> {
    let row = |name: &str, value: &Value| Argument {
        name: name.to_owned(),
        value: value_words(value),
    };
    match value {
        Value::Object(object) => object.iter().map(|(name, value)| row(name, value)).collect(),
        Value::Null => Vec::new(),
        other => vec![row("value", other)],
    }
}

/// The arguments as a small table. Of a request, what the title does not say: headers and body.
fn rows(action: &str, arguments: &Value) -> Vec<Argument> {
    if action == "tools.call" {
        let given = arguments.get("arguments").unwrap_or(&Value::Null);
        // What the title says already is left out.
        return fields(given)
            .into_iter()
            .filter(|row| !matches!(row.name.as_str(), "url" | "method"))
            .collect();
    }
    if action != "http.send" {
        return fields(arguments);
    }
    let headers = arguments.get("headers").and_then(Value::as_array);
    let mut rows: Vec<Argument> = headers
        .into_iter()
        .flatten()
        .map(|header| Argument {
            name: text(header, "name").to_owned(),
            value: cut(text(header, "value"), VALUE_CHARS_MAX),
        })
        .collect();
    let body = arguments
        .get("body")
        .and_then(|body| serde_json::from_value::<Body>(body.clone()).ok());
    match body {
        Some(Body::Text(text)) => match serde_json::from_str::<Value>(&text) {
            Ok(Value::Object(object)) => rows.extend(fields(&Value::Object(object))),
            _ => rows.push(Argument {
                name: "body".to_owned(),
                value: cut(&text, VALUE_CHARS_MAX),
            }),
        },
        Some(Body::Base64(text)) => rows.push(Argument {
            name: "body".to_owned(),
            value: format!("{} bytes that are no text", text.len() / 4 * 3),
        }),
        None => {}
    }
    rows
}

fn outcome(approval: &Approval, now: Timestamp) -> Option<Outcome> {
    let by = deciders(approval);
    let (tone, words) = match (approval.state, approval.verb) {
        (ApprovalState::Pending, _) => return None,
        (ApprovalState::Expired, _) => ("info", "Nobody decided in time".to_owned()),
        (ApprovalState::Withdrawn, _) => ("info", "The run no longer asks for it".to_owned()),
        (ApprovalState::Decided, verb) => decided(verb, &by),
    };
    let after = approval.decided_at.map(|at| {
        let waited = u64::try_from(at.since(approval.created_at).as_millis()).unwrap_or(0);
        format!("{} after the request", lasted(waited))
    });
    Some(Outcome {
        tone,
        words,
        at: approval.decided_at.map(|at| When::new(at, now)),
        after: after.unwrap_or_default(),
        reason: approval.decided_reason.clone().unwrap_or_default(),
        arguments: approval.decided_arguments.as_deref().map(pretty),
    })
}

/// Who decided: of several who gave leave, all that stand behind what was decided.
fn deciders(approval: &Approval) -> String {
    let gave = approval
        .votes
        .iter()
        .filter(|vote| matches!(approval.verb, Some(Verb::Approve | Verb::Edit)) && vote.said.arguments == approval.decided_arguments);
    let names: Vec<&str> = gave.map(|vote| vote.name.as_str()).collect();
    match names.as_slice() {
        [] | [_] => approval.decided_by_name.clone().unwrap_or_else(|| "somebody who left".to_owned()),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn decided(verb: Option<Verb>, by: &str) -> (&'static str, String) {
    match verb {
        Some(Verb::Approve) => ("ok", format!("Approved by {by}")),
        Some(Verb::Edit) => ("ok", format!("Approved with changes by {by}")),
        Some(Verb::Happened) => ("ok", format!("It happened, says {by}")),
        Some(Verb::SendAgain) => ("ok", format!("It did not happen, says {by}: it is sent again")),
        Some(Verb::Fail) => ("fail", format!("{by} let the call fail")),
        Some(Verb::Deny) | None => ("fail", format!("Denied by {by}")),
    }
}

/// How long somebody took, in the largest unit that says it.
fn lasted(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3_600 => format!("{} min", seconds / 60),
        seconds @ 3_600..86_400 => format!("{} h", seconds / 3_600),
        seconds @ 86_400..172_800 => format!("{} day", seconds / 86_400),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_request_is_titled_by_its_method_and_address_and_its_body_is_read() {
        let request = json!({
            "method": "post", "url": "https://shop.example.com/orders", "headers": [{"name": "x-team", "value": "lamps"}],
            "body": {"text": "{\"lamps\": 4, \"for\": {\"hall\": true}}"},
        });
        assert_eq!(title("http.send", &request), "POST https://shop.example.com/orders");
        let shown: Vec<_> = rows("http.send", &request).into_iter().map(|row| (row.name, row.value)).collect();
        assert!(shown.contains(&("x-team".to_owned(), "lamps".to_owned())));
        assert!(shown.contains(&("lamps".to_owned(), "4".to_owned())));
        assert!(shown.iter().any(|(name, value)| name == "for" && value.contains("hall")));
    }

    #[test]
    fn a_tool_is_titled_by_what_it_would_do() {
        let post = json!({ "name": "http_request", "arguments": { "method": "POST", "url": "https://a.example/x", "body": "{}" } });
        assert_eq!(title("tools.call", &post), "POST https://a.example/x, with the tool “http_request”");
        let shown: Vec<_> = rows("tools.call", &post).into_iter().map(|row| row.name).collect();
        assert_eq!(shown, ["body"]);
        let sum = json!({ "name": "calculator", "arguments": { "expression": "1+1" } });
        assert_eq!(title("tools.call", &sum), "Use the tool “calculator”");
        assert_eq!(rows("tools.call", &sum)[0].value, "1+1");
    }

    #[test]
    fn an_agents_own_words_are_the_title() {
        assert_eq!(title("Order 40 chairs", &json!({"chairs": 40})), "Order 40 chairs");
        assert_eq!(title(&"x".repeat(400), &Value::Null).chars().count(), TITLE_CHARS_MAX + 1);
        assert_eq!(rows("Order 40 chairs", &json!({"chairs": 40}))[0].value, "40");
        assert!(rows("Ready?", &Value::Null).is_empty());
    }

    #[test]
    fn the_time_somebody_took_is_said_in_one_unit() {
        assert_eq!(lasted(3_200), "3 s");
        assert_eq!(lasted(200_000), "3 min");
        assert_eq!(lasted(90_000_000), "1 day");
        assert_eq!(lasted(400_000_000), "4 days");
    }
}

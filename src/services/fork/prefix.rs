//! What a fork may begin with: everything that was asked has been answered, and nothing is left open that belongs to the run itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::domain::call::{CallResult, Reply};
use crate::domain::id::RunId;
use crate::domain::journal::{Phase, is_erased, kind};
use crate::domain::wait::{Handle, Wait};
use crate::store::forks::Before;

/// Of an entry's summary, what tells which call it is, whatever it answered.
const NAMING: [&str; 5] = ["key", "name", "url", "method", "model"];

/// Whether a person may put another answer in the place of this function's. Answers that name what was made are not to be changed.
pub(super) fn may_be_edited(function: &str) -> bool {
    matches!(
        function,
        "models.chat" | "http.send" | "artifacts.list" | "approvals.request" | "inbox.receive" | "agents.ask" | "tools.call"
    ) || function.starts_with("memory.")
}

/// The summary of an entry whose answer was edited.
pub(super) fn edited_meta(entry: Option<&Before>, now: &CallResult) -> Value {
    let request: Value = entry
        .and_then(|entry| entry.request.as_deref())
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let mut meta: Map<String, Value> = NAMING
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), request.get(name).filter(|value| value.is_string())?.clone())))
        .collect();
    // A tool's arguments stand one deeper.
    if let Some(arguments) = request.get("arguments") {
        let named = NAMING
            .iter()
            .filter_map(|name| Some((*name, arguments.get(name).filter(|value| value.is_string())?)));
        meta.extend(named.map(|(name, value)| (name.to_owned(), value.clone())));
        if let Some(tool) = request.get("name") {
            meta.remove("name");
            meta.insert("tool".to_owned(), tool.clone());
        }
    }
    meta.insert("edited".to_owned(), json!(true));
    match now {
        CallResult::Failed(failure) => {
            meta.insert("code".to_owned(), json!(failure.code));
            meta.insert("message".to_owned(), json!(failure.message));
        }
        CallResult::Ok(Reply::Http(response)) => _ = meta.insert("status".to_owned(), json!(response.status)),
        CallResult::Ok(_) => {}
    }
    Value::Object(meta)
}

/// What is open at the end of a prefix.
#[derive(Default)]
struct Open {
    /// Calls without a result.
    calls: BTreeMap<(u32, u32), (u64, String)>,
    handles: BTreeMap<Handle, Wait>,
    children: BTreeSet<RunId>,
}

/// Why there can be no fork behind these entries.
pub(super) fn refusal(entries: &[Before]) -> Option<String> {
    let mut open = Open::default();
    for entry in entries {
        if let Some(why) = open.add(entry) {
            return Some(why);
        }
    }
    open.why(entries.last().map_or(0, |last| last.seq))
}

impl Open {
    /// Takes an entry in; says why there can be no fork where it can no longer be read.
    fn add(&mut self, entry: &Before) -> Option<String> {
        let call = entry.call?;
        // Steps have no result that anything waits for.
        if entry.kind == "step" {
            return None;
        }
        if entry.kind == kind::RUN_RETRIED {
            self.calls.retain(|&(open, _), _| open < call);
            return None;
        }
        let key = (call, entry.sub.unwrap_or(0));
        if entry.phase == Phase::Start {
            self.calls.insert(key, (entry.seq, entry.kind.clone()));
        } else {
            self.calls.remove(&key);
        }
        let response = entry.response.as_deref()?;
        if is_erased(response) {
            return Some(format!(
                "the answer in entry {} was erased, so the run cannot be repeated up to here",
                entry.seq
            ));
        }
        match serde_json::from_str(response) {
            Ok(CallResult::Ok(reply)) => self.answered(entry, reply),
            Ok(CallResult::Failed(_)) => {}
            Err(_) => return Some(format!("the answer in entry {} can no longer be read", entry.seq)),
        }
        None
    }

    fn answered(&mut self, entry: &Before, reply: Reply) {
        match reply {
            Reply::Handle(handle) => {
                let wait = entry.request.as_deref().and_then(|text| serde_json::from_str(text).ok());
                self.handles.insert(handle, wait.unwrap_or(Wait::Message));
            }
            Reply::Ready(Some(ready)) => {
                if let Some(Wait::Child { run }) = self.handles.remove(&ready.handle) {
                    self.children.remove(&run);
                }
            }
            Reply::Child(run) => _ = self.children.insert(run),
            Reply::Done if entry.kind == "waits.close" => {
                let closed = entry.request.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok());
                let handle = closed.and_then(|value| Handle::try_from(value.get("handle")?.as_u64()?).ok());
                if let Some(handle) = handle {
                    self.handles.remove(&handle);
                }
            }
            _ => {}
        }
    }

    fn why(self, last: u64) -> Option<String> {
        if let Some((seq, function)) = self.calls.into_values().next() {
            return Some(match function.as_str() {
                "approvals.request" => format!("at entry {last} a person is yet to decide what entry {seq} asks"),
                _ if seq == last => format!("entry {seq} begins {function}; fork from the entry with its result"),
                _ => format!("at entry {last} {function}, begun in entry {seq}, has no result yet; fork from a later entry"),
            });
        }
        if let Some(child) = self.children.first() {
            return Some(format!(
                "at entry {last} the run {child}, which it started, has not been read; a fork has no such child"
            ));
        }
        let (_, wait) = self.handles.into_iter().next()?;
        Some(match wait {
            Wait::Approval(_) => format!("at entry {last} a person is yet to decide what it asked for"),
            Wait::Timer { .. } => format!("at entry {last} it has a timer running; fork from an entry after it is due"),
            Wait::Message => format!("at entry {last} it is open for a message; fork from an entry after that"),
            Wait::Child { run } => format!("at entry {last} it waits for the run {run}; a fork has no such child"),
            Wait::Ask(ask) => format!("at entry {last} the run {} has not answered yet", ask.run),
        })
    }
}

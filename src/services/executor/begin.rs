//! How far calls get in one transaction: local effects are done, waits opened, intents written; later, what was waited for is read.

use std::collections::HashMap;

use serde_json::json;

use super::super::App;
use super::caller::{Caller, Rights};
use super::children::{self, Startable};
use super::decisions::{self, Verdict, after};
use super::money::{Afford, note_session};
use super::policing::Decided;
use super::{effects, summary};
use crate::domain::call::{ArtifactInfo, Call, CallResult, EffectClass, Reply};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::journal::{NewEntry, Payload, Phase};
use crate::domain::limits::{CALLS_AT_ONCE_MAX, WAITS_OPEN_MAX};
use crate::domain::policy::{Policies, RuleName};
use crate::domain::time::Timestamp;
use crate::domain::wait::{AskRequest, Handle, Ready, Wait};
use crate::runtime::ports::{Begun, Intended, PendingCall, Resumed};
use crate::store::approvals::NewApproval;
use crate::store::runs::{self, Touched};
use crate::store::waits::{self, Key, Kind, NewWait};
use crate::store::{self, Tx, messages};

/// What a transaction gathers: entries in order, and what is to be written once their numbers are known.
pub(super) struct Batch<'a> {
    pub app: &'a App,
    pub caller: &'a Caller,
    pub rights: &'a Rights,
    /// Agents that are to be started, by their call's place among those made at once.
    pub startable: HashMap<u32, Result<Startable, Failure>>,
    /// What tools answer that touch nothing, by their call's place.
    pub computed: HashMap<u32, Result<String, Failure>>,
    pub now: Timestamp,
    pub entries: Vec<NewEntry>,
    pub artifacts: Vec<(usize, ArtifactInfo, Vec<u8>)>,
    pub approvals: Vec<(usize, NewApproval)>,
    pub touched: Vec<Touched>,
    /// The policies that hold in this transaction, once a call was decided about.
    pub policies: Option<Policies>,
}

pub(super) type Done<T> = Result<T, store::Error>;

fn key_of(entry: &NewEntry) -> Key {
    Key {
        segment: entry.segment,
        call: entry.call.unwrap_or(0),
        sub: entry.sub.unwrap_or(0),
    }
}

/// Handles of one call: as many as can be made at once.
const PER_CALL: u32 = 64;
const _: () = assert!(PER_CALL as usize == CALLS_AT_ONCE_MAX);

/// The handle of a wait that this call opens.
const fn handle_of(key: Key) -> Handle {
    key.call.saturating_mul(PER_CALL).saturating_add(key.sub)
}

const fn key_of_handle(segment: u32, handle: Handle) -> Key {
    Key {
        segment,
        call: handle / PER_CALL,
        sub: handle % PER_CALL,
    }
}

/// Whether the call's effect is in our own database: it is done in the transaction that allows it.
pub(super) fn stays_inside(call: &Call) -> bool {
    match call {
        Call::HttpSend(_) | Call::ModelsChat(_) => false,
        // A tool that stands for no call computes, which takes its time.
        Call::ToolsCall { .. } => call.stands_for().is_some_and(|call| stays_inside(&call)),
        _ => true,
    }
}

impl<'a> Batch<'a> {
    pub(super) fn new(app: &'a App, caller: &'a Caller, rights: &'a Rights, now: Timestamp, before: Vec<NewEntry>) -> Self {
        Self {
            app,
            caller,
            rights,
            startable: HashMap::new(),
            computed: HashMap::new(),
            now,
            entries: before,
            artifacts: Vec::new(),
            approvals: Vec::new(),
            touched: Vec::new(),
            policies: None,
        }
    }

    /// One call's part.
    pub(super) fn begin(&mut self, tx: &Tx<'_>, pending: PendingCall) -> Done<Begun> {
        let key = key_of(&pending.entry);
        if pending.resumed == Resumed::Waiting && self.waits(tx, &pending, key)? {
            return Ok(Begun::Waiting(pending));
        }
        let decided = self.decide(tx, &pending.call)?;
        let class = self.rights.class(&pending.call);
        if pending.resumed == Resumed::OpenIntent && class == EffectClass::WriteOnce {
            let approvers = decided.approvers();
            let approval = decisions::unknown_outcome(self.caller, key, &pending, approvers, self.now);
            return self.wait_for_decision(tx, pending, key, approval);
        }
        if !matches!(decided, Decided::Deny(..))
            && let Err(failure) = pending.call.check_tool()
        {
            // Nobody is asked about what cannot be done.
            return Ok(self.answer_now(pending, CallResult::Failed(failure)));
        }
        let rule = match decided {
            Decided::Deny(rule, why) => return self.refuse(tx, pending, key, &rule, why),
            // An open intent had its leave.
            Decided::Ask(rule, approvers) if pending.resumed != Resumed::OpenIntent => {
                if !self.has_leave(tx, &pending, approvers)? {
                    let approval = decisions::by_rule(self.caller, key, &pending.call, (rule, approvers), self.now);
                    return self.wait_for_decision(tx, pending, key, approval);
                }
                rule
            }
            Decided::Ask(rule, _) | Decided::Allow(rule) => rule,
        };
        if pending.resumed == Resumed::OpenIntent {
            self.settle_lost(tx, &pending)?;
        }
        match self.afford(tx, &pending.call)? {
            Afford::Yes => {}
            Afford::InLine => return Ok(self.line_up(pending)),
            Afford::No(why) => return self.too_dear(tx, pending, key, why),
        }
        match pending.call.clone() {
            Call::HttpSend(_) | Call::ModelsChat(_) => self.intend(tx, pending, class, &rule),
            Call::ToolsCall { .. } => self.tool(tx, pending, key, class, &rule),
            Call::ClockSleep { ms } => self.wait_for(
                tx,
                pending,
                key,
                Kind::Timer,
                Some(after(self.now, ms)),
                json!({ "waits": "timer" }),
            ),
            Call::ApprovalsRequest(request) => match self.requested(tx, key, &request)? {
                Ok(approval) => self.wait_for_decision(tx, pending, key, approval),
                Err(failure) => Ok(self.answer(pending, CallResult::Failed(failure))),
            },
            Call::InboxReceive { timeout_ms } => {
                if let Some(waiting) = messages::next(tx, self.caller.org, self.caller.run, false)? {
                    messages::take(tx, self.caller.org, self.caller.run, waiting.number)?;
                    return Ok(self.answer(pending, CallResult::Ok(Reply::Message(Some(waiting.message)))));
                }
                self.mark_session(tx)?;
                let due = timeout_ms.map(|ms| after(self.now, ms));
                self.wait_for(tx, pending, key, Kind::Message, due, json!({ "waits": "message" }))
            }
            Call::AgentsAsk(request) => self.ask(tx, pending, key, &request),
            Call::WaitsAny { handles, timeout_ms } => self.any(tx, pending, key, &handles, timeout_ms),
            _ => {
                let result = self.local(tx, &pending, key)?;
                self.note_use(tx, &pending, &result)?;
                Ok(self.answer(pending, result))
            }
        }
    }

    /// A tool's call, once it is allowed: what it computes is there, what it does here is done, and what it does outside is intended.
    fn tool(&mut self, tx: &Tx<'_>, pending: PendingCall, key: Key, class: EffectClass, rule: &RuleName) -> Done<Begun> {
        if !stays_inside(&pending.call) {
            let result = match self.computed.remove(&key.sub) {
                Some(Ok(answer)) => CallResult::Ok(Reply::ToolResult(answer)),
                Some(Err(failure)) => CallResult::Failed(failure),
                None => return self.intend(tx, pending, class, rule),
            };
            self.note_use(tx, &pending, &result)?;
            return Ok(self.answer_now(pending, result));
        }
        let result = self.local(tx, &pending, key)?;
        self.note_use(tx, &pending, &result)?;
        Ok(self.answer_now(pending, result))
    }

    /// Notes an answer, of a call that was begun before or of one that was not.
    fn answer_now(&mut self, pending: PendingCall, result: CallResult) -> Begun {
        if pending.resumed == Resumed::No {
            self.answer(pending, result)
        } else {
            self.answer_late(&pending, result)
        }
    }

    /// Puts a question to a child, and waits for the answer.
    pub(super) fn ask(&mut self, tx: &Tx<'_>, pending: PendingCall, key: Key, request: &AskRequest) -> Done<Begun> {
        let due = request.quota.time_ms.map(|ms| after(self.now, ms));
        match children::ask(tx, self.caller, key, request, self.now, &mut self.touched)? {
            Err(failure) if pending.resumed == Resumed::No => Ok(self.answer(pending, CallResult::Failed(failure))),
            Err(failure) => Ok(self.answer_late(&pending, CallResult::Failed(failure))),
            Ok(()) => self.wait_on(tx, pending, key, Kind::Ask, request.run.to_string(), due),
        }
    }

    /// Whether what the journal says it waits for is still there.
    fn waits(&self, tx: &Tx<'_>, pending: &PendingCall, key: Key) -> Done<bool> {
        let found = waits::find(tx, self.caller.org, self.caller.run, key)?;
        Ok(found.is_some() || matches!(pending.call, Call::WaitsAny { .. }))
    }

    pub(super) fn local(&mut self, tx: &Tx<'_>, pending: &PendingCall, key: Key) -> Done<CallResult> {
        let caller = self.caller;
        let result = |result: Result<Reply, Failure>| match result {
            Ok(reply) => CallResult::Ok(reply),
            Err(failure) => CallResult::Failed(failure),
        };
        match &pending.call {
            Call::InboxReply { .. } => {
                self.mark_session(tx)?;
                Ok(CallResult::Ok(Reply::Done))
            }
            Call::AgentsStart { .. } => match self.startable.remove(&key.sub) {
                Some(Ok(child)) => {
                    let id = child.id;
                    let started = children::start(tx, caller, key, child, self.now)?;
                    if started.is_ok() {
                        self.touched.push(Touched {
                            state: Some(crate::domain::run::RunState::Queued),
                            ..Touched::entry(id, 1)
                        });
                    }
                    Ok(result(started.map(Reply::Child)))
                }
                Some(Err(failure)) => Ok(CallResult::Failed(failure)),
                None => Ok(CallResult::Failed(Failure::new(
                    FailureCode::NotFound,
                    "this station has no such agent",
                ))),
            },
            Call::ToolsDescribe {} => Ok(CallResult::Ok(Reply::Tools(self.rights.tools()))),
            Call::WaitsOpen(wait) => self.open(tx, wait, key).map(result),
            Call::WaitsClose { handle } => self.close(tx, key_of_handle(key.segment, *handle)).map(result),
            _ => effects::local(tx, caller, &pending.call, self.now),
        }
    }

    /// Notes an answer that is given in this transaction.
    fn answer(&mut self, pending: PendingCall, result: CallResult) -> Begun {
        let PendingCall { call, mut entry, body, .. } = pending;
        entry.phase = Phase::Point;
        entry.class = Some(EffectClass::Local);
        entry.meta = summary::of_result(&call, &result, None);
        entry.response = Some(Payload::Json(result.to_json()));
        let at = entry.at;
        if let CallResult::Ok(Reply::Artifact(info)) = &result {
            self.artifacts.push((self.entries.len(), info.clone(), body.unwrap_or_default()));
        }
        self.entries.push(entry);
        Begun::Answered(result, at)
    }

    /// Notes the answer of a call that has waited.
    pub(super) fn deliver(&mut self, tx: &Tx<'_>, pending: &PendingCall, key: Key, result: CallResult) -> Done<Begun> {
        waits::close(tx, self.caller.org, self.caller.run, key)?;
        Ok(self.answer_late(pending, result))
    }

    /// Notes an answer of a call that is in the journal already.
    pub(super) fn answer_late(&mut self, pending: &PendingCall, result: CallResult) -> Begun {
        let mut entry = pending.entry.clone();
        entry.at = self.now;
        entry.phase = Phase::End;
        entry.class = Some(EffectClass::Local);
        entry.request = None;
        entry.meta = summary::of_result(&pending.call, &result, None);
        entry.response = Some(Payload::Json(result.to_json()));
        if let CallResult::Ok(Reply::Artifact(info)) = &result {
            self.artifacts
                .push((self.entries.len(), info.clone(), pending.body.clone().unwrap_or_default()));
        }
        self.entries.push(entry);
        Begun::Answered(result, self.now)
    }

    /// Notes that a call waits, and for what.
    fn note_waiting(&mut self, pending: &PendingCall, due: Option<Timestamp>, mut meta: serde_json::Value) {
        let mut entry = pending.entry.clone();
        entry.at = self.now;
        entry.phase = Phase::Start;
        entry.class = Some(EffectClass::Local);
        if let (Some(meta), Some(due)) = (meta.as_object_mut(), due) {
            meta.insert("until".to_owned(), json!(due.as_ms()));
        }
        entry.meta = meta;
        self.entries.push(entry);
    }

    fn wait_for(
        &mut self,
        tx: &Tx<'_>,
        pending: PendingCall,
        key: Key,
        kind: Kind,
        due_at: Option<Timestamp>,
        meta: serde_json::Value,
    ) -> Done<Begun> {
        let wait = NewWait {
            key,
            kind,
            target: None,
            due_at,
        };
        waits::open(tx, self.caller.org, self.caller.run, &wait)?;
        self.note_waiting(&pending, due_at, meta);
        Ok(Begun::Waiting(pending))
    }

    fn wait_on(
        &mut self,
        tx: &Tx<'_>,
        pending: PendingCall,
        key: Key,
        kind: Kind,
        target: String,
        due_at: Option<Timestamp>,
    ) -> Done<Begun> {
        let meta = json!({ "waits": kind, "run": target });
        let wait = NewWait {
            key,
            kind,
            target: Some(target),
            due_at,
        };
        waits::open(tx, self.caller.org, self.caller.run, &wait)?;
        runs::entangle(tx, self.caller.org, self.caller.run)?;
        self.note_waiting(&pending, due_at, meta);
        Ok(Begun::Waiting(pending))
    }

    pub(super) fn wait_for_decision(&mut self, tx: &Tx<'_>, pending: PendingCall, key: Key, approval: NewApproval) -> Done<Begun> {
        let mut meta = summary::summary_of(&pending.call);
        if let (Some(meta), serde_json::Value::Object(more)) = (meta.as_object_mut(), decisions::summary(&approval)) {
            meta.extend(more);
        }
        self.note_waiting(&pending, approval.due_at, meta);
        self.open_decision(tx, key, approval)?;
        Ok(Begun::Waiting(pending))
    }

    /// Opens an approval that the last entry asks for.
    fn open_decision(&mut self, tx: &Tx<'_>, key: Key, approval: NewApproval) -> Done<()> {
        let wait = NewWait {
            key,
            kind: Kind::Approval,
            target: Some(approval.id.to_string()),
            due_at: approval.due_at,
        };
        waits::open(tx, self.caller.org, self.caller.run, &wait)?;
        runs::entangle(tx, self.caller.org, self.caller.run)?;
        self.approvals.push((self.entries.len().saturating_sub(1), approval));
        Ok(())
    }

    /// Has a call wait in line for money that others have reserved. It is in the journal once, however often it asks.
    pub(super) fn line_up(&mut self, mut pending: PendingCall) -> Begun {
        if pending.resumed == Resumed::No {
            self.note_waiting(&pending, None, json!({ "waits": "money" }));
            pending.resumed = Resumed::Waiting;
        }
        Begun::InLine(pending)
    }

    /// Notes that people talk with the run.
    fn mark_session(&self, tx: &Tx<'_>) -> Done<()> {
        if runs::mark_session(tx, self.caller.org, self.caller.run)? {
            note_session(tx, self.app, &self.caller.payer(), self.caller.segment, self.now)?;
        }
        Ok(())
    }

    /// Notes that an effect is about to happen, and reserves the most that it can cost.
    pub(super) fn intend(&mut self, tx: &Tx<'_>, mut pending: PendingCall, class: EffectClass, rule: &RuleName) -> Done<Begun> {
        let version = self.policies.as_ref().map(Policies::version).unwrap_or_default();
        let (reserved_micros, tries) = self.reserve(tx, &pending)?;
        pending.entry.at = self.now;
        pending.entry.phase = Phase::Start;
        // What a tool computes is computed again where its answer was lost.
        pending.entry.class = Some(if class == EffectClass::Local { EffectClass::Read } else { class });
        pending.entry.meta = summary::of_intent(&pending.call, &version, rule);
        self.entries.push(pending.entry.clone());
        Ok(Begun::Intended(Intended {
            pending,
            tries,
            reserved_micros,
        }))
    }

    /// What has come of a call that waits; `None` while nothing has.
    pub(super) fn wake(&mut self, tx: &Tx<'_>, pending: &PendingCall) -> Done<Option<Begun>> {
        let key = key_of(&pending.entry);
        if let Call::WaitsAny { handles, .. } = &pending.call {
            return match self.first(tx, key, handles)? {
                First::None => Ok(None),
                First::TimeUp => self.deliver(tx, pending, key, CallResult::Ok(Reply::Ready(None))).map(Some),
                First::Ready(ready) => {
                    let handle = key_of_handle(key.segment, ready.handle);
                    waits::close(tx, self.caller.org, self.caller.run, handle)?;
                    self.deliver(tx, pending, key, CallResult::Ok(Reply::Ready(Some(ready)))).map(Some)
                }
            };
        }
        let Some(wait) = waits::find(tx, self.caller.org, self.caller.run, key)? else {
            return Ok(None);
        };
        let Some(outcome) = wait.outcome else { return Ok(None) };
        let result = read(&outcome)?;
        let CallResult::Ok(Reply::Decision(decision)) = result else {
            return self.deliver(tx, pending, key, result).map(Some);
        };
        // What the agent itself asked is its answer; otherwise the decision is about the call.
        if matches!(pending.call, Call::ApprovalsRequest(_)) {
            return self.deliver(tx, pending, key, CallResult::Ok(Reply::Decision(decision))).map(Some);
        }
        match decisions::verdict(&pending.call, decision) {
            Verdict::Answer(result) => self.deliver(tx, pending, key, result).map(Some),
            Verdict::Go(call) => self.go(tx, pending, key, call, wait.target.as_deref()).map(Some),
        }
    }

    // ---- handles ---------------------------------------------------------------------------------------------------

    fn open(&mut self, tx: &Tx<'_>, wait: &Wait, key: Key) -> Done<Result<Reply, Failure>> {
        let (org, run) = (self.caller.org, self.caller.run);
        if waits::count(tx, org, run, key.segment)? >= WAITS_OPEN_MAX {
            let text = format!("{WAITS_OPEN_MAX} waits are open; read or close some");
            return Ok(Err(Failure::new(FailureCode::LimitExceeded, text)));
        }
        let plain = |kind, target, due_at| NewWait { key, kind, target, due_at };
        match wait {
            Wait::Timer { ms } => waits::open(tx, org, run, &plain(Kind::Timer, None, Some(after(self.now, *ms))))?,
            Wait::Approval(request) => match self.requested(tx, key, request)? {
                Err(failure) => return Ok(Err(failure)),
                // The entry of this call comes next.
                Ok(approval) => {
                    let wait = plain(Kind::Approval, Some(approval.id.to_string()), approval.due_at);
                    waits::open(tx, org, run, &wait)?;
                    runs::entangle(tx, org, run)?;
                    self.approvals.push((self.entries.len(), approval));
                }
            },
            Wait::Message => {
                self.mark_session(tx)?;
                waits::open(tx, org, run, &plain(Kind::Message, None, None))?;
                if let Some(waiting) = messages::next(tx, org, run, false)? {
                    messages::take(tx, org, run, waiting.number)?;
                    waits::complete(tx, org, run, key, &CallResult::Ok(Reply::Message(Some(waiting.message))))?;
                }
            }
            Wait::Child { run: child } => {
                if let Err(failure) = children::check(tx, self.caller, *child)? {
                    return Ok(Err(failure));
                }
                waits::open(tx, org, run, &plain(Kind::Child, Some(child.to_string()), None))?;
                runs::entangle(tx, org, run)?;
                if let Some(outcome) = runs::outcome(tx, org, *child)? {
                    waits::complete(tx, org, run, key, &outcome)?;
                }
            }
            Wait::Ask(request) => {
                if let Err(failure) = children::ask(tx, self.caller, key, request, self.now, &mut self.touched)? {
                    return Ok(Err(failure));
                }
                let due = request.quota.time_ms.map(|ms| after(self.now, ms));
                waits::open(tx, org, run, &plain(Kind::Ask, Some(request.run.to_string()), due))?;
                runs::entangle(tx, org, run)?;
            }
        }
        Ok(Ok(Reply::Handle(handle_of(key))))
    }

    fn close(&mut self, tx: &Tx<'_>, key: Key) -> Done<Result<Reply, Failure>> {
        let (org, run) = (self.caller.org, self.caller.run);
        let Some(wait) = waits::find(tx, org, run, key)? else {
            return Ok(Err(Failure::new(
                FailureCode::Invalid,
                "there is no such wait; it was read or closed before",
            )));
        };
        super::super::waits::give_up(tx, org, run, &wait, self.now, &mut self.touched)?;
        waits::close(tx, org, run, key)?;
        Ok(Ok(Reply::Done))
    }

    fn any(&mut self, tx: &Tx<'_>, pending: PendingCall, key: Key, handles: &[Handle], timeout_ms: Option<u64>) -> Done<Begun> {
        let (org, run) = (self.caller.org, self.caller.run);
        for handle in handles {
            if waits::find(tx, org, run, key_of_handle(key.segment, *handle))?.is_none() {
                let text = format!("there is no wait {handle}; it was read or closed before, or another segment opened it");
                return Ok(self.answer(pending, CallResult::Failed(Failure::new(FailureCode::Invalid, text))));
            }
        }
        if let First::Ready(ready) = self.first(tx, key, handles)? {
            waits::close(tx, org, run, key_of_handle(key.segment, ready.handle))?;
            return Ok(self.answer(pending, CallResult::Ok(Reply::Ready(Some(ready)))));
        }
        let due = timeout_ms.map(|ms| after(self.now, ms));
        self.wait_for(
            tx,
            pending,
            key,
            Kind::Timer,
            due,
            json!({ "waits": "any", "handles": handles.len() }),
        )
    }

    /// Of several waits, the one that was completed first.
    fn first(&self, tx: &Tx<'_>, key: Key, handles: &[Handle]) -> Done<First> {
        let (org, run) = (self.caller.org, self.caller.run);
        let mut first: Option<(u64, Option<Handle>, String)> = None;
        let keys = handles
            .iter()
            .map(|&handle| (Some(handle), key_of_handle(key.segment, handle)))
            .chain(std::iter::once((None, key)));
        for (handle, key) in keys {
            if let Some(wait) = waits::find(tx, org, run, key)?
                && let (Some(signal), Some(outcome)) = (wait.signal, wait.outcome)
                && first.as_ref().is_none_or(|(earlier, ..)| signal < *earlier)
            {
                first = Some((signal, handle, outcome));
            }
        }
        Ok(match first {
            None => First::None,
            Some((_, None, _)) => First::TimeUp,
            Some((_, Some(handle), outcome)) => First::Ready(Ready {
                handle,
                outcome: Box::new(read(&outcome)?),
            }),
        })
    }

    /// The rows whose completion wakes a run that waits in these calls.
    pub(super) fn awaited(pending: &[(usize, PendingCall)]) -> Vec<Key> {
        let mut keys = Vec::with_capacity(pending.len());
        for (_, pending) in pending {
            let key = key_of(&pending.entry);
            keys.push(key);
            if let Call::WaitsAny { handles, .. } = &pending.call {
                keys.extend(handles.iter().map(|&handle| key_of_handle(key.segment, handle)));
            }
        }
        keys
    }
}

enum First {
    None,
    TimeUp,
    Ready(Ready),
}

fn read(outcome: &str) -> Done<CallResult> {
    serde_json::from_str(outcome).map_err(|error| store::Error::Internal(error.into()))
}

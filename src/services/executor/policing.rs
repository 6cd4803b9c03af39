//! Deciding about calls in the transaction that begins them: the policies of this moment, what is known of the call, and what becomes of it.

use serde_json::json;

use super::super::policy as policies;
use super::begin::{Batch, Done};
use super::money::Afford;
use super::{decisions, summary};
use crate::domain::call::{Call, CallResult, EffectClass, fingerprint};
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::id::ApprovalId;
use crate::domain::journal::{Payload, Phase};
use crate::domain::permission::Credential;
pub(super) use crate::domain::policy::Decision as Decided;
use crate::domain::policy::{self, Approvers, Facts, Policies, RuleName};
use crate::domain::wait::{ApprovalKind, ApprovalRequest, Wait};
use crate::runtime::ports::{Begun, PendingCall, Resumed};
use crate::store::approvals::{self, NewApproval};
use crate::store::audit::{self, Outcome, Record};
use crate::store::waits::{self, Key};
use crate::store::{Tx, ledger, runs};

impl Batch<'_> {
    /// What holds for a call now.
    pub(super) fn decide(&mut self, tx: &Tx<'_>, call: &Call) -> Done<Decided> {
        let held = match &self.policies {
            Some(held) => held.clone(),
            None => {
                let held = policies::held(self.app, tx, self.caller.scope())?;
                self.rights.hold(held.clone());
                self.policies.insert(held).clone()
            }
        };
        let facts = self.facts(tx, call, &held)?;
        let decided = self.rights.decide(&held, call, &facts);
        Ok(if self.caller.ask_writes {
            policy::ask_before_writes(decided, self.rights.class(call))
        } else {
            decided
        })
    }

    /// What the rules need to know beside the call; nothing is read that none asks for.
    fn facts(&self, tx: &Tx<'_>, call: &Call, held: &Policies) -> Done<Facts> {
        let (org, run) = (self.caller.org, self.caller.run);
        let mut facts = Facts::default();
        match call {
            Call::ModelsChat(_) => {
                facts.call_micros = self.most_micros(call);
                if held.weigh_runs() {
                    facts.run_micros = ledger::of_run(tx, org, run)?;
                }
            }
            Call::AgentsAsk(request) | Call::WaitsOpen(Wait::Ask(request)) if held.name_agents() => {
                facts.asked_agent = runs::agent_name(tx, org, request.run)?;
            }
            _ => {}
        }
        Ok(facts)
    }

    /// The most that a call can cost.
    pub(super) fn most_micros(&self, call: &Call) -> u64 {
        self.bill(call).map_or(0, |bill| bill.most_micros)
    }

    /// Answers a call that is refused, and writes down that it was.
    pub(super) fn refuse(&mut self, tx: &Tx<'_>, pending: PendingCall, key: Key, rule: &RuleName, why: String) -> Done<Begun> {
        self.note_denial(tx, &pending, rule)?;
        let failure = Failure::new(FailureCode::Denied, why);
        let version = self.policies.as_ref().map(Policies::version).unwrap_or_default();
        let meta = [("rule", json!(rule)), ("policy", json!(format!("{version}: {rule}")))];
        self.answer_no(tx, pending, key, failure, meta)
    }

    /// Answers a call that there is no money for.
    pub(super) fn too_dear(&mut self, tx: &Tx<'_>, pending: PendingCall, key: Key, why: String) -> Done<Begun> {
        let wanted = json!(self.most_micros(&pending.call));
        let failure = Failure::new(FailureCode::BudgetExhausted, why);
        self.answer_no(tx, pending, key, failure, [("wanted_micros", wanted)])
    }

    fn answer_no<const N: usize>(
        &mut self,
        tx: &Tx<'_>,
        pending: PendingCall,
        key: Key,
        failure: Failure,
        told: [(&'static str, serde_json::Value); N],
    ) -> Done<Begun> {
        let result = CallResult::Failed(failure);
        if waits::find(tx, self.caller.org, self.caller.run, key)?.is_some() {
            waits::close(tx, self.caller.org, self.caller.run, key)?;
        }
        let PendingCall {
            call, mut entry, resumed, ..
        } = pending;
        entry.at = self.now;
        // A call that has begun before ends here; its start is in the journal.
        entry.phase = if resumed == Resumed::No { Phase::Point } else { Phase::End };
        entry.class = Some(EffectClass::Local);
        entry.meta = summary::of_result(&call, &result, None);
        if let Some(meta) = entry.meta.as_object_mut() {
            meta.extend(told.map(|(name, value)| (name.to_owned(), value)));
        }
        entry.response = Some(Payload::Json(result.to_json()));
        self.entries.push(entry);
        Ok(Begun::Answered(result, self.now))
    }

    fn note_denial(&self, tx: &Tx<'_>, pending: &PendingCall, rule: &RuleName) -> Done<()> {
        let caller = self.caller;
        let record = Record::new(&caller.org.to_string(), "policy.deny", &format!("{rule} in {}", caller.run))
            .by(caller.started_by, Credential::Local)
            .outcome(Outcome::Denied)
            .detail(json!({
                "rule": rule, "run": caller.run, "agent": caller.agent_name, "call": pending.call.function(),
            }));
        audit::record(tx, record, self.now)
    }

    /// Uses up the leave that people gave for exactly this call, where those who are to be asked were asked.
    pub(super) fn has_leave(&self, tx: &Tx<'_>, pending: &PendingCall, approvers: Approvers) -> Done<bool> {
        let print = pending.entry.fingerprint.unwrap_or_default();
        let leave = approvals::use_grant(tx, self.caller.org, self.caller.run, print, approvers, self.now)?;
        Ok(leave.is_some())
    }

    /// A decision that the agent asks for. For leave to do something, those decide whom the policy would ask.
    pub(super) fn requested(&mut self, tx: &Tx<'_>, key: Key, request: &ApprovalRequest) -> Done<Result<NewApproval, Failure>> {
        let mut approval = match decisions::requested(self.caller, key, request, self.now) {
            Ok(approval) => approval,
            Err(failure) => return Ok(Err(failure)),
        };
        if approval.kind == ApprovalKind::Action
            && let Ok(call) = Call::of_action(&request.action, &request.arguments)
            && let Decided::Ask(_, approvers) = self.decide(tx, &call)?
        {
            approval.approvers = approvers;
        }
        Ok(Ok(approval))
    }

    /// Goes on with a call that people gave leave for, perhaps with other arguments. The policies hold for what it is now: it may be refused
    /// all the same, or others may have to be asked.
    pub(super) fn go(&mut self, tx: &Tx<'_>, pending: &PendingCall, key: Key, call: Call, target: Option<&str>) -> Done<Begun> {
        let (org, run) = (self.caller.org, self.caller.run);
        let again = |call: Call| PendingCall {
            call,
            body: pending.body.clone(),
            entry: pending.entry.clone(),
            generation: pending.generation,
            resumed: Resumed::Waiting,
        };
        let rule = match self.decide(tx, &call)? {
            Decided::Deny(rule, why) => return self.refuse(tx, again(call), key, &rule, why),
            Decided::Ask(rule, approvers) => {
                let approval = target.and_then(|target| target.parse::<ApprovalId>().ok());
                let given = approval.map(|id| approvals::get(tx, org, id)).transpose()?;
                let is_enough = given.is_none_or(|given| given.kind == ApprovalKind::UnknownOutcome || given.approvers.cover(approvers));
                if !is_enough {
                    waits::close(tx, org, run, key)?;
                    let approval = decisions::by_rule(self.caller, key, &call, (rule, approvers), self.now);
                    return self.wait_for_decision(tx, again(pending.call.clone()), key, approval);
                }
                rule
            }
            Decided::Allow(rule) => rule,
        };
        // Leave is kept for when there is money.
        match self.afford(tx, &call)? {
            Afford::Yes => {}
            Afford::InLine => return Ok(Begun::InLine(again(pending.call.clone()))),
            Afford::No(why) => return self.too_dear(tx, again(call), key, why),
        }
        let arguments = call.to_json();
        let print = fingerprint(call.function(), &arguments);
        // Made by the decision; a write that is sent again has none and needs none.
        approvals::use_grant(tx, org, run, print, Approvers::default(), self.now)?;
        if !matches!(call, Call::HttpSend(_) | Call::ModelsChat(_)) {
            return self.go_inside(tx, pending, key, call);
        }
        waits::close(tx, org, run, key)?;
        let mut pending = again(call);
        pending.body = None;
        pending.resumed = Resumed::No;
        pending.entry.request = Some(Payload::Json(arguments));
        let class = self.rights.class(&pending.call);
        self.intend(tx, pending, class, &rule)
    }

    /// Does what people gave leave for where its effect is in our own database.
    fn go_inside(&mut self, tx: &Tx<'_>, pending: &PendingCall, key: Key, call: Call) -> Done<Begun> {
        let pending = PendingCall {
            call,
            body: pending.body.clone(),
            entry: pending.entry.clone(),
            generation: pending.generation,
            resumed: pending.resumed,
        };
        match pending.call.clone() {
            // It is asked only now, and then waits for the answer under the same key.
            Call::AgentsAsk(request) => {
                waits::close(tx, self.caller.org, self.caller.run, key)?;
                self.ask(tx, pending, key, &request)
            }
            // A handle is made of the call's number, so its wait takes the place of the decision's.
            Call::WaitsOpen(_) => {
                waits::close(tx, self.caller.org, self.caller.run, key)?;
                let result = self.local(tx, &pending, key)?;
                Ok(self.answer_late(&pending, result))
            }
            _ => {
                let result = self.local(tx, &pending, key)?;
                self.note_use(tx, &pending, &result)?;
                self.deliver(tx, &pending, key, result)
            }
        }
    }
}

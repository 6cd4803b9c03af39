//! Policies: what holds, changing it, and asking what would be decided.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::access::require;
use super::{App, Error, FieldError, audit};
use crate::domain::id::OrgId;
use crate::domain::limits::PAGE_MAX;
use crate::domain::manifest::Capabilities;
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Permission};
use crate::domain::policy::{self, Changed, Decision, Policies, Policy, Rules, Thing, Verdict, difference};
use crate::domain::time::Timestamp;
use crate::store::policy::{self as rows, Head, NewVersion, Stored, Whose};
use crate::store::{self, Reader, Scope, audit as log};

const WHAT: &str = "the policy";
pub const NOTE_BYTES_MAX: usize = 300;
/// Rules that an audit record names of each kind of change.
const AUDITED_RULES_MAX: usize = 20;

/// Policies as they were read last. Each look at them compares the version, so a change holds from the next call on.
#[derive(Default)]
pub struct Held(Mutex<HashMap<Whose, (Head, Arc<Policy>)>>);

impl Held {
    fn find(&self, whose: Whose, head: Head) -> Option<Arc<Policy>> {
        let held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(&whose)
            .filter(|(known, _)| *known == head)
            .map(|(_, policy)| Arc::clone(policy))
    }

    fn keep(&self, whose: Whose, head: Head, policy: &Arc<Policy>) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.insert(whose, (head, Arc::clone(policy)));
    }
}

/// The policies that hold in a workspace, as this snapshot of the database has them.
///
/// # Errors
/// The store cannot be read, or a policy in it not be understood.
pub fn held(app: &App, reader: &Reader<'_>, scope: Scope) -> Result<Policies, store::Error> {
    let one = |workspace| {
        let whose = Whose { org: scope.org, workspace };
        let Some(head) = rows::head(reader, whose)? else { return Ok(None) };
        if let Some(policy) = app.policies.find(whose, head) {
            return Ok(Some(policy));
        }
        let policy = rows::newest(reader, whose)?.map(|stored| {
            Arc::new(Policy {
                version: stored.version,
                rules: stored.rules,
            })
        });
        if let Some(policy) = &policy {
            app.policies.keep(whose, head, policy);
        }
        Ok::<_, store::Error>(policy)
    };
    Ok(Policies {
        org: one(None)?,
        workspace: one(Some(scope.workspace))?,
    })
}

/// Which of the two policies a person means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Org,
    /// The workspace that the actor is in.
    Workspace,
}

impl Of {
    const fn whose(self, actor: &Actor) -> Whose {
        Whose {
            org: actor.org,
            workspace: match self {
                Self::Org => None,
                Self::Workspace => Some(actor.workspace),
            },
        }
    }
}

/// The version that holds; version 0, without rules, where none was stored.
///
/// # Errors
/// The actor may not read policies.
pub async fn get(app: &App, actor: &Actor, of: Of) -> Result<Stored, Error> {
    require(actor, Permission::PolicyRead, actor.org, WHAT)?;
    let whose = of.whose(actor);
    let found = app.store.read(move |reader| rows::newest(reader, whose)).await?;
    Ok(found.unwrap_or_else(none))
}

const fn none() -> Stored {
    Stored {
        version: 0,
        rules: Rules { rules: Vec::new() },
        note: String::new(),
        created_by: None,
        created_by_name: None,
        created_at: Timestamp::from_ms(0),
    }
}

/// Versions from the newest on, before `before`.
///
/// # Errors
/// The actor may not read policies.
pub async fn versions(app: &App, actor: &Actor, of: Of, before: Option<u32>, limit: u32) -> Result<Vec<Stored>, Error> {
    require(actor, Permission::PolicyRead, actor.org, WHAT)?;
    let (whose, limit) = (of.whose(actor), limit.clamp(1, PAGE_MAX + 1));
    Ok(app.store.read(move |reader| rows::versions(reader, whose, before, limit)).await?)
}

/// One version; 0 is the policy before any was stored.
///
/// # Errors
/// `NotFound`.
pub async fn version(app: &App, actor: &Actor, of: Of, version: u32) -> Result<Stored, Error> {
    require(actor, Permission::PolicyRead, actor.org, WHAT)?;
    if version == 0 {
        return Ok(none());
    }
    let whose = of.whose(actor);
    Ok(app.store.read(move |reader| rows::get(reader, whose, version)).await?)
}

/// What is wrong with rules, as fields.
pub fn problems(rules: &Rules) -> Vec<FieldError> {
    let wrong = rules.check().into_iter();
    wrong
        .map(|wrong| FieldError {
            pointer: wrong.pointer,
            message: wrong.message,
        })
        .collect()
}

/// Stores a new version. With `expected`, only where that is the version that holds now.
///
/// # Errors
/// `Invalid` with each place; `Conflict` where another version holds, or where nothing would change.
pub async fn put(
    app: &App,
    actor: &Actor,
    of: Of,
    rules: Rules,
    note: String,
    expected: Option<u32>,
    origin: Origin,
) -> Result<Stored, Error> {
    require(actor, Permission::PolicyManage, actor.org, WHAT)?;
    let mut problems = problems(&rules);
    if note.len() > NOTE_BYTES_MAX || note.chars().any(char::is_control) {
        problems.push(FieldError {
            pointer: "/note".to_owned(),
            message: format!("a note is one line of at most {NOTE_BYTES_MAX} bytes"),
        });
    }
    if !problems.is_empty() {
        return Err(Error::Invalid(problems));
    }
    let (whose, actor_of, now) = (of.whose(actor), actor.clone(), app.clock.now());
    let stored = app.store.write(move |tx| {
        let before = rows::newest(tx, whose)?.unwrap_or_else(none);
        if let Some(expected) = expected.filter(|&expected| expected != before.version) {
            return Err(store::Error::Conflict(stale(&before, expected)));
        }
        if before.rules == rules {
            return Err(store::Error::Conflict("these rules hold already, so nothing was stored".to_owned()));
        }
        let new = NewVersion {
            version: before.version + 1,
            rules: rules.clone(),
            note: note.clone(),
            by: actor_of.principal,
        };
        rows::insert(tx, whose, &new, now)?;
        let target = whose.workspace.map_or_else(|| "organization".to_owned(), |id| id.to_string());
        let record = audit::of(&actor_of, "policy.change", &target, origin.clone()).detail(detail(&before, &new));
        log::record(tx, record, now)?;
        rows::get(tx, whose, new.version)
    });
    Ok(stored.await?)
}

/// Why a change is refused that was made from another version than holds.
fn stale(now: &Stored, expected: u32) -> String {
    let by = now.created_by_name.as_deref().unwrap_or("somebody");
    format!(
        "{by} has stored version {} since you read version {expected}; look at it, then make your change again",
        now.version
    )
}

fn detail(before: &Stored, new: &NewVersion) -> serde_json::Value {
    let changes = difference(&before.rules.rules, &new.rules.rules);
    let words = |pick: fn(&Changed<'_>) -> Option<String>| changes.iter().filter_map(pick).take(AUDITED_RULES_MAX).collect::<Vec<_>>();
    json!({
        "version": new.version,
        "note": new.note,
        "rules": new.rules.rules.len(),
        "removed": words(|change| match change {
            Changed::Gone(rule) => Some(format!("{}: {}", rule.id, rule.in_words())),
            _ => None,
        }),
        "added": words(|change| match change {
            Changed::New(rule) => Some(format!("{}: {}", rule.id, rule.in_words())),
            _ => None,
        }),
    })
}

/// What would be decided about each of these, in a workspace: with the organization's policy only, or with both. `draft` stands in for the
/// policy of that name. What the manifest would say is not asked: it is taken to grant it, with no more than the defaults.
///
/// # Errors
/// The actor may not read policies; `Invalid` where the draft cannot be stored.
pub async fn check(app: &App, actor: &Actor, of: Of, draft: Option<Rules>, action: &Action) -> Result<(Decision, String), Error> {
    require(actor, Permission::PolicyRead, actor.org, WHAT)?;
    let mut policies = in_force(app, actor).await?;
    if let Some(rules) = draft {
        let problems = problems(&rules);
        if !problems.is_empty() {
            return Err(Error::Invalid(problems));
        }
        let drafted = Some(Arc::new(Policy { version: 0, rules }));
        match of {
            Of::Org => policies.org = drafted,
            Of::Workspace => policies.workspace = drafted,
        }
    }
    if of == Of::Org {
        policies.workspace = None;
    }
    let version = policies.version();
    Ok((action.decide(&policies)?, version))
}

/// Something that an agent might do.
#[derive(Clone, Debug, Default)]
pub struct Action {
    /// `http`, `model`, `tool`, `secret`, `agent`, `artifact`.
    pub kind: String,
    pub name: String,
    pub url: String,
    pub method: String,
    pub bytes: u64,
    /// The most that the model call can cost.
    pub call_micros: u64,
    /// What its run has cost before it.
    pub run_micros: u64,
    /// Named in the request.
    pub secrets: Vec<String>,
}

impl Action {
    fn decide(&self, policies: &Policies) -> Result<Decision, Error> {
        let granted = |rule: &'static str| Decision::Allow(rule.into());
        let say = |thing: Thing<'_>| policies.say(&thing);
        let decided = match self.kind.as_str() {
            "model" => [
                Some(say(Thing::Model(&self.name)).unwrap_or_else(|| granted("manifest.models"))),
                say(Thing::CallCost(self.call_micros)),
                say(Thing::RunCost(self.run_micros.saturating_add(self.call_micros))),
            ]
            .into_iter()
            .flatten()
            .reduce(Decision::and),
            "tool" => say(Thing::Tool(&self.name)).or_else(|| Some(granted("manifest.tools"))),
            "agent" => say(Thing::Agent(&self.name)).or_else(|| Some(granted("manifest.agents"))),
            "secret" => say(Thing::Secret(&self.name)).or_else(|| Some(granted("manifest.secrets"))),
            "artifact" => say(Thing::Artifact(self.bytes)).or_else(|| Some(granted("own-artifacts"))),
            "http" => {
                let url = url::Url::parse(&self.url)
                    .ok()
                    .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
                    .ok_or_else(|| Error::field("/url", "write a whole address, such as https://shop.example.com/orders"))?;
                if !policy::rules::METHODS.contains(&self.method.as_str()) {
                    let known = policy::rules::METHODS.join(", ");
                    return Err(Error::field("/method", format!("it must be one of {known}")));
                }
                let secrets = self.secrets.iter().filter_map(|name| say(Thing::Secret(name)));
                let http = policy::of_request(policies, &url, &self.method);
                Some(secrets.fold(http, Decision::and))
            }
            _ => None,
        };
        decided.ok_or_else(|| Error::field("/what", "it must be one of http, model, tool, secret, agent, artifact"))
    }
}

/// The policies that hold where the actor is.
///
/// # Errors
/// The store cannot be read.
pub async fn in_force(app: &App, actor: &Actor) -> Result<Policies, Error> {
    let scope = Scope {
        org: actor.org,
        workspace: actor.workspace,
    };
    let reading = app.clone();
    Ok(app.store.read(move |reader| held(&reading, reader, scope)).await?)
}

/// What holds for everything that a manifest wants, where the actor is.
///
/// # Errors
/// The store cannot be read.
pub async fn of_capabilities(app: &App, actor: &Actor, granted: &Capabilities) -> Result<Vec<Verdict>, Error> {
    Ok(policy::of_capabilities(&in_force(app, actor).await?, granted))
}

/// How many members could decide where these are asked, so that nobody waits for people who are not there.
///
/// # Errors
/// The store cannot be read.
pub async fn members_of(app: &App, org: OrgId) -> Result<Vec<crate::domain::permission::Role>, Error> {
    Ok(app.store.read(move |reader| rows::roles(reader, org)).await?)
}

//! What the pages of API keys have in common: lines of a list, choices of scopes, and reading a new key from a form.

use std::time::Duration;

use super::may;
use super::view::When;
use crate::domain::permission::{Actor, Permission, PrincipalKind};
use crate::domain::time::Timestamp;
use crate::services::keys::{KeyInfo, NewKey};
use crate::web::extract::form::Form;
use crate::web::problem::Problem;

/// Of a key's id, enough to tell keys apart.
const ID_CHARS_SHOWN: usize = 8;

/// A line of a list of keys.
pub struct KeyRow {
    pub id: String,
    pub name: String,
    pub prefix: String,
    /// In words.
    pub scopes: String,
    /// Whose it is, in lists of everybody's.
    pub owner: Option<String>,
    /// Who made it, where that person has left.
    pub left: Option<String>,
    pub last_used: Option<When>,
    pub expires: Option<When>,
    pub expired: bool,
    /// Whether another takes its place.
    pub replaced: bool,
    pub may_rotate: bool,
}

impl KeyRow {
    pub fn new(key: KeyInfo, actor: &Actor, with_owner: bool, now: Timestamp) -> Self {
        let is_own = key.principal == actor.principal;
        let is_service = key.principal_kind == PrincipalKind::Service;
        let id: String = key.id.chars().take(ID_CHARS_SHOWN).collect();
        let expired = key.expires_at.is_some_and(|at| at <= now);
        Self {
            prefix: format!("as1_{}_{id}", if is_service { "svc" } else { "pat" }),
            scopes: match &key.scopes {
                None if is_own => "all that you may".to_owned(),
                None => "all that its role may".to_owned(),
                Some(scopes) => scopes.iter().map(|&scope| scope.in_words()).collect::<Vec<_>>().join(", "),
            },
            owner: with_owner.then_some(key.principal_name),
            left: key
                .maker_left
                .then(|| key.maker_name.unwrap_or_else(|| "somebody".to_owned()))
                .filter(|_| is_service),
            last_used: key.last_used_at.map(|at| When::new(at, now)),
            expires: key.expires_at.map(|at| When::new(at, now)),
            expired,
            replaced: key.replaced_by.is_some(),
            may_rotate: (is_own || is_service) && key.replaced_by.is_none() && !expired,
            id: key.id,
            name: key.name,
        }
    }
}

/// A scope to choose.
pub struct ScopeChoice {
    pub code: &'static str,
    pub words: &'static str,
}

/// What the actor may give a key.
pub fn scopes(actor: &Actor) -> Vec<ScopeChoice> {
    let choice = |&permission: &Permission| ScopeChoice {
        code: permission.as_str(),
        words: permission.in_words(),
    };
    let given = Permission::ALL.iter().filter(|&&permission| may(actor, permission));
    given.map(choice).collect()
}

/// A new key, as a form describes it.
///
/// # Errors
/// `invalid`
pub fn new_key(form: &Form) -> Result<NewKey, Problem> {
    let scopes: Option<Vec<Permission>> = form.all("scope").map(Permission::parse).collect();
    let scopes = scopes.ok_or_else(|| Problem::invalid("/scope", "there is no such scope"))?;
    let days: u64 = form
        .text("days")
        .parse()
        .map_err(|_| Problem::invalid("/days", "days must be a number"))?;
    Ok(NewKey {
        name: form.text("name").to_owned(),
        scopes: (!scopes.is_empty()).then_some(scopes),
        lasts: Duration::from_secs(days.saturating_mul(86_400)),
    })
}

/// What is wrong, in words for beside a field.
pub fn words_of(problem: &Problem) -> String {
    match problem.errors.as_slice() {
        [] => problem.detail.clone(),
        places => places.iter().map(|place| place.message.as_str()).collect::<Vec<_>>().join(" "),
    }
}

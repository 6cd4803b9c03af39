//! What is kept about a person: given to them whole, and erased. The journals of runs keep who did what in them; the audit log keeps
//! that it was done, without saying who the principal was.

use std::collections::VecDeque;

use serde_json::json;

use super::access::require;
use super::audit::{self, Record};
use super::members;
use super::{App, Error};
use crate::domain::id::{OrgId, PrincipalId};
use crate::domain::origin::Origin;
use crate::domain::permission::{Actor, Credential, Permission};
use crate::store::audit::{Blanked, Listed, blank};
use crate::store::{self, Reader, Tx, orgs, persons, users};

const WHAT: &str = "the person";
/// What stands where an erased person's name stood.
pub const ERASED: &str = "Erased person";
/// Things that are read at a time.
const PAGE: u32 = 200;
const AUDIT: &str = "audit_log";

/// Who asks for a person's data.
#[derive(Clone, Debug)]
pub enum Asker {
    /// The person, in a browser.
    Oneself { principal: PrincipalId, session: String },
    /// Somebody who looks after the station.
    Station(Box<Actor>),
}

impl Asker {
    fn principal(&self) -> PrincipalId {
        match self {
            Self::Oneself { principal, .. } => *principal,
            Self::Station(actor) => actor.principal,
        }
    }

    fn check(&self, person: PrincipalId) -> Result<(), Error> {
        match self {
            Self::Oneself { principal, .. } if *principal == person => Ok(()),
            Self::Oneself { .. } => Err(Error::NotFound(WHAT)),
            Self::Station(actor) => require(actor, Permission::StationManage, actor.org, WHAT),
        }
    }

    fn record(&self, action: &'static str, person: PrincipalId, origin: Origin) -> Record {
        let (by, credential, id) = match self {
            Self::Oneself { principal, session } => (*principal, Credential::Session, Some(session.clone())),
            Self::Station(actor) => (actor.principal, actor.credential, actor.credential_id.clone()),
        };
        Record::new(audit::STATION, action, &person.to_string())
            .by(by, credential)
            .credential_id(id)
            .about(audit::Subject::Principal(person))
            .origin(origin)
    }
}

/// A person's data on its way out, one JSON document in parts.
pub struct Export {
    app: App,
    person: PrincipalId,
    ready: VecDeque<String>,
    /// The parts that are left, the current one first.
    left: VecDeque<&'static str>,
    after: Option<String>,
    is_first: bool,
}

/// Begins the export of everything about a person, which the station's chain notes.
///
/// # Errors
/// `NotFound`; `Forbidden`.
pub async fn export(app: &App, asker: &Asker, person: PrincipalId, origin: Origin) -> Result<Export, Error> {
    asker.check(person)?;
    let record = asker.record("person.export", person, origin);
    let now = app.clock.now();
    app.store
        .write(move |tx| {
            if !persons::is_user(tx, person)? {
                return Err(store::Error::NotFound);
            }
            store::audit::record(tx, record, now)
        })
        .await
        .map_err(not_found)?;
    Ok(Export {
        app: app.clone(),
        person,
        ready: VecDeque::from([format!("{{\n\"exported_at\": {}", json!(now.to_string()))]),
        left: persons::parts().chain([AUDIT]).collect(),
        after: None,
        is_first: true,
    })
}

fn not_found(error: store::Error) -> Error {
    match error {
        store::Error::NotFound => Error::NotFound(WHAT),
        other => other.into(),
    }
}

impl Export {
    /// The next piece of the document; none at its end.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, Error> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece.into_bytes()));
            }
            let Some(&part) = self.left.front() else { return Ok(None) };
            let (person, after) = (self.person, self.after.take());
            let is_new = after.is_none();
            let found = self
                .app
                .store
                .read(move |reader| kept(reader, part, person, after.as_deref().unwrap_or_default()));
            let (found, next) = found.await?;
            let mut piece = String::new();
            if is_new {
                piece = format!(",\n\"{part}\": [");
                self.is_first = true;
            }
            for json in found {
                piece.push_str(if self.is_first { "\n" } else { ",\n" });
                piece.push_str(&json);
                self.is_first = false;
            }
            self.after = next;
            if self.after.is_none() {
                self.left.pop_front();
                piece.push_str(if self.left.is_empty() { "]\n}\n" } else { "]" });
            }
            self.ready.push_back(piece);
        }
    }
}

/// A page of a part, and where to go on.
fn kept(reader: &Reader<'_>, part: &str, person: PrincipalId, after: &str) -> Result<(Vec<String>, Option<String>), store::Error> {
    if part == AUDIT {
        let place = after.split_once('.').and_then(|(chain, seq)| Some((chain, seq.parse().ok()?)));
        let rows = store::audit::about(reader, person, place, PAGE)?;
        let next = rows.last().filter(|_| rows.len() == PAGE as usize);
        let next = next.map(|row| format!("{}.{}", row.entry.chain, row.entry.seq));
        return Ok((rows.iter().map(|row| row_about(row, person)).collect(), next));
    }
    let rows = persons::page(reader, part, person, after, PAGE)?;
    let next = rows.last().filter(|_| rows.len() == PAGE as usize).map(|row| row.cursor.clone());
    Ok((rows.into_iter().map(|row| row.json).collect(), next))
}

/// A row of the audit log as the person may see it: who else was part of it is not theirs to know.
fn row_about(row: &Listed, person: PrincipalId) -> String {
    let entry = &row.entry;
    let own = entry.actor == Some(person);
    let known = if own { Some(&row.actor) } else { row.subject.as_ref() };
    let known = known.filter(|known| known.principal == Some(person));
    json!({
        "chain": entry.chain, "seq": entry.seq, "at": entry.at, "action": entry.action, "outcome": entry.outcome, "count": entry.count,
        "by_you": own, "target": own.then_some(&entry.target), "credential": entry.credential.as_ref().filter(|_| own),
        "you": known,
    })
    .to_string()
}

/// What was erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Erased {
    /// Organizations that the person was a member of.
    pub memberships: usize,
    /// Rows of the audit log that no longer say who it was.
    pub audit_rows: usize,
}

/// Erases a person: their account, what proved who they were, their memberships, their name. Their runs wait to be adopted. It cannot be undone.
///
/// # Errors
/// `NotFound`; `Forbidden`; `Invalid` where `confirmed` is not the person's e-mail address; `Conflict` for the last owner of an
/// organization, and for the last who looks after the station.
pub async fn erase(app: &App, asker: &Asker, person: PrincipalId, confirmed: &str, origin: Origin) -> Result<Erased, Error> {
    asker.check(person)?;
    let (asker, confirmed, now) = (asker.clone(), users_email(confirmed), app.clock.now());
    let erased = app.store.write(move |tx| {
        let Some(user) = users::find(tx, person)? else {
            return Ok(Err(Error::NotFound(WHAT)));
        };
        if user.email != confirmed {
            return Ok(Err(Error::field("/confirm", "Type the e-mail address of the account.")));
        }
        if persons::is_last_station_admin(tx, person)? {
            return Ok(Err(Error::Conflict(
                "nobody else looks after the station; make somebody else a station admin first".to_owned(),
            )));
        }
        // Looked at before anything is changed: what was done is undone only by an error of the store.
        let orgs = orgs::of_principal(tx, person)?;
        if let Some(refused) = last_owner(tx, person, &orgs)? {
            return Ok(Err(refused));
        }
        let mut taken = Vec::new();
        for org in &orgs {
            if let Some(member) = store::members::find(tx, *org, person)? {
                match members::take_out(tx, *org, &member, asker.principal(), now)? {
                    Ok(one) => taken.push(one),
                    Err(_) => return Err(store::Error::Conflict("an organization would have no owner".to_owned())),
                }
                let record = asker.record("member.remove", person, origin.clone());
                let detail = json!({ "why": "erased", "role": member.role });
                store::audit::record(tx, record.in_chain(&org.to_string()).detail(detail), now)?;
            }
        }
        let record = asker
            .record("person.erase", person, origin)
            .detail(json!({ "memberships": orgs.len() }));
        store::audit::record(tx, record, now)?;
        persons::erase(tx, person, &user.email, ERASED, now)?;
        let Blanked(audit_rows) = blank(tx, person, Some(&user.email))?;
        let memberships = orgs.len();
        Ok(Ok((Erased { memberships, audit_rows }, taken)))
    });
    let (erased, taken) = erased.await??;
    for one in &taken {
        members::after(app, one);
    }
    app.auth.forget();
    Ok(erased)
}

fn users_email(typed: &str) -> String {
    super::users::normalize_email(typed)
}

/// The refusal for somebody who owns an organization that nobody else owns.
fn last_owner(tx: &Tx<'_>, person: PrincipalId, orgs: &[OrgId]) -> Result<Option<Error>, store::Error> {
    use crate::domain::permission::Role;
    for org in orgs {
        let is_owner = store::members::role(tx, *org, person)? == Some(Role::Owner);
        if is_owner && !store::members::has_other_owner(tx, *org, person)? {
            return Ok(Some(Error::Conflict(format!(
                "they are the last owner of the organization {org}; make somebody else an owner, or delete it, first"
            ))));
        }
    }
    Ok(None)
}

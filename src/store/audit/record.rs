//! Writing a row, in the transaction that does what it tells of: without the row nothing is done.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use rusqlite::named_params;
use sha2::Sha256;

use super::persons::{self, Part, Person};
use super::{Entry, LAST, Outcome, row, rows_from};
use crate::domain::id::PrincipalId;
use crate::domain::origin::Origin;
use crate::domain::permission::Credential;
use crate::domain::time::Timestamp;
use crate::store::hash::Hash;
use crate::store::{Error, Reader, Tx, station};

pub(super) const INSERT: &str = "INSERT INTO audit_log
    (chain, seq, at, actor, credential, credential_id, action, target, outcome, count, request_id, detail, person, hash)
    VALUES (:chain, :seq, :at, :actor, :credential, :credential_id, :action, :target, :outcome, :count, :request_id, :detail, :person, :hash)";
pub(super) const REPEAT: &str = "UPDATE audit_log SET count = :count, hash = :hash WHERE chain = :chain AND seq = :seq";
pub(super) const PERSON_OF: &str =
    "SELECT p.id, p.name, u.email FROM principals p LEFT JOIN users u ON u.principal_id = p.id WHERE p.id = :id";
pub(super) const PERSON_BY_EMAIL: &str =
    "SELECT p.id, p.name, u.email FROM users u JOIN principals p ON p.id = u.principal_id WHERE u.email = :email";

/// The same thing done again within this time is one row with a count.
const REPEAT_WITHIN: Duration = Duration::from_mins(1);

/// Whom something was done to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Principal(PrincipalId),
    /// A user, or somebody who is none yet.
    Email(String),
}

/// Something that was done, to be written in the transaction that does it.
#[derive(Clone, Debug)]
pub struct Record {
    chain: String,
    actor: Option<PrincipalId>,
    credential: Option<Credential>,
    action: &'static str,
    target: String,
    outcome: Outcome,
    credential_id: Option<String>,
    origin: Origin,
    subject: Option<Subject>,
    detail: serde_json::Value,
}

impl Record {
    /// `chain` is an organization's id, or `station`. `action` is one of [`crate::domain::audit::ACTIONS`], and `target` an id
    /// or another name that is about no person: it stays for ever.
    pub fn new(chain: &str, action: &'static str, target: &str) -> Self {
        Self {
            chain: chain.to_owned(),
            actor: None,
            credential: None,
            action,
            target: target.to_owned(),
            outcome: Outcome::Ok,
            credential_id: None,
            origin: Origin::default(),
            subject: None,
            detail: serde_json::json!({}),
        }
    }

    #[must_use]
    pub fn by(self, actor: PrincipalId, credential: Credential) -> Self {
        Self {
            actor: Some(actor),
            credential: Some(credential),
            ..self
        }
    }

    /// By nobody who is known, with this.
    #[must_use]
    pub fn with(self, credential: Credential) -> Self {
        Self {
            credential: Some(credential),
            ..self
        }
    }

    #[must_use]
    pub fn outcome(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }

    /// What changed, a small JSON object without secrets, names of people and addresses: it stays for ever. Values before and
    /// after stand under `before` and `after`.
    #[must_use]
    pub fn detail(self, detail: serde_json::Value) -> Self {
        Self { detail, ..self }
    }

    /// Which of the actor's credentials: a key's public part, a session's id.
    #[must_use]
    pub fn credential_id(self, credential_id: Option<String>) -> Self {
        Self { credential_id, ..self }
    }

    /// The request that it was part of.
    #[must_use]
    pub fn origin(self, origin: Origin) -> Self {
        Self { origin, ..self }
    }

    /// Whom it was done to. Their name and address stand where they can be erased.
    #[must_use]
    pub fn about(self, subject: Subject) -> Self {
        Self {
            subject: Some(subject),
            ..self
        }
    }

    /// The same in another chain.
    #[must_use]
    pub fn in_chain(&self, chain: &str) -> Self {
        Self {
            chain: chain.to_owned(),
            ..self.clone()
        }
    }
}

/// HMAC-SHA256 over the hash before and the row's fields, as JSON.
pub(super) fn hash(key: &[u8; 32], before: &Hash, row: &Entry) -> Result<Hash, Error> {
    let fields = serde_json::json!([
        row.chain,
        row.seq,
        row.at,
        row.actor_text,
        row.credential,
        row.credential_id,
        row.action,
        row.target,
        row.outcome,
        row.count,
        row.request_id,
        row.detail,
        row.person
    ]);
    let mut mac = Hmac::<Sha256>::new_from_slice(key).map_err(Error::internal)?;
    mac.update(before);
    mac.update(fields.to_string().as_bytes());
    Ok(mac.finalize().into_bytes().into())
}

pub(super) const NOTHING_BEFORE: Hash = [0; 32];

/// Writes a record. A repeat of the chain's last row within a minute raises its count.
pub fn record(tx: &Tx<'_>, record: Record, now: Timestamp) -> Result<(), Error> {
    let key = station::audit_key(tx)?;
    let last = tx.find(LAST, named_params! { ":chain": record.chain }, row)?;
    let people = people(tx, &record)?;
    let mut new = Entry {
        chain: record.chain,
        seq: last.as_ref().map_or(1, |last| last.seq + 1),
        at: now,
        actor: record.actor,
        actor_text: record.actor.map(|id| id.to_string()),
        credential: record.credential.map(|credential| credential.as_str().to_owned()),
        credential_id: record.credential_id,
        action: record.action.to_owned(),
        target: record.target,
        outcome: record.outcome.as_str().to_owned(),
        count: 1,
        request_id: record.origin.request_id,
        detail: record.detail.to_string(),
        person: None,
        hash: NOTHING_BEFORE,
    };
    if let Some(last) = last.clone().filter(|last| is_repeat(last, &new))
        && same_people(tx, &last, &people)?
    {
        return repeat(tx, &key, last);
    }
    new.person = persons::write(tx, &new.chain, new.seq, people)?;
    new.hash = hash(&key, &last.map_or(NOTHING_BEFORE, |last| last.hash), &new)?;
    tx.execute(
        INSERT,
        named_params! {
            ":chain": new.chain, ":seq": new.seq as i64, ":at": new.at, ":actor": new.actor, ":credential": new.credential,
            ":credential_id": new.credential_id, ":action": new.action, ":target": new.target, ":outcome": new.outcome,
            ":count": new.count as i64, ":request_id": new.request_id, ":detail": new.detail, ":person": new.person, ":hash": new.hash,
        },
    )?;
    Ok(())
}

fn repeat(tx: &Tx<'_>, key: &[u8; 32], mut last: Entry) -> Result<(), Error> {
    let before = if last.seq == 1 {
        NOTHING_BEFORE
    } else {
        let before = rows_from(tx, &last.chain, last.seq - 1, 1)?.into_iter().next();
        before.filter(|row| row.seq < last.seq).map_or(NOTHING_BEFORE, |row| row.hash)
    };
    last.count += 1;
    let hash = hash(key, &before, &last)?;
    tx.execute(
        REPEAT,
        named_params! { ":count": last.count as i64, ":hash": hash, ":chain": last.chain, ":seq": last.seq as i64 },
    )?;
    Ok(())
}

/// The persons of a record with what is known of them now.
fn people(reader: &Reader<'_>, record: &Record) -> Result<Vec<(Part, Person)>, Error> {
    let mut people = Vec::new();
    let actor = match record.actor {
        Some(id) => person_of(reader, id)?,
        None => Person::default(),
    };
    let actor = Person {
        address: record.origin.address.map(|address| address.to_string()),
        user_agent: record.origin.user_agent.clone(),
        ..actor
    };
    if actor != Person::default() {
        people.push((Part::Actor, actor));
    }
    match &record.subject {
        None => {}
        Some(Subject::Principal(id)) => people.push((Part::Subject, person_of(reader, *id)?)),
        Some(Subject::Email(email)) => {
            let known = reader.find(PERSON_BY_EMAIL, named_params! { ":email": email }, person)?;
            let unknown = Person {
                email: Some(email.clone()),
                ..Person::default()
            };
            people.push((Part::Subject, known.unwrap_or(unknown)));
        }
    }
    Ok(people)
}

fn person_of(reader: &Reader<'_>, id: PrincipalId) -> Result<Person, Error> {
    let known = reader.find(PERSON_OF, named_params! { ":id": id }, person)?;
    Ok(known.unwrap_or(Person {
        principal: Some(id),
        ..Person::default()
    }))
}

fn person(row: &rusqlite::Row<'_>) -> rusqlite::Result<Person> {
    Ok(Person {
        principal: row.get(0)?,
        name: row.get(1)?,
        email: row.get(2)?,
        ..Person::default()
    })
}

fn is_repeat(last: &Entry, new: &Entry) -> bool {
    let same = last.action == new.action
        && last.actor == new.actor
        && last.target == new.target
        && last.outcome == new.outcome
        && last.credential == new.credential
        && last.credential_id == new.credential_id
        && last.detail == new.detail;
    same && new.at.since(last.at) < REPEAT_WITHIN
}

/// Whether the last row's persons, and above all the address, are these. What kind of browser it was does not count.
fn same_people(reader: &Reader<'_>, last: &Entry, people: &[(Part, Person)]) -> Result<bool, Error> {
    let known = persons::from(reader, &last.chain, last.seq, last.seq)?;
    let essence = |part: Part, person: &Person| (part, person.principal, person.email.clone(), person.address.clone());
    let known: Vec<_> = known
        .iter()
        .filter_map(|row| row.person.as_ref().map(|person| essence(row.part, person)))
        .collect();
    let new: Vec<_> = people.iter().map(|(part, person)| essence(*part, person)).collect();
    Ok(known == new)
}

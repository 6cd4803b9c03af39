//! What of a row is about persons: beside the row, under a salted digest, so that it can be blanked and the chain still holds.

use rusqlite::{Row, named_params};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{hash_of, principal};
use crate::domain::id::PrincipalId;
use crate::store::hash::Hash;
use crate::store::tx::Cells;
use crate::store::{Error, Reader, Tx};

pub(super) const INSERT: &str = "INSERT INTO audit_persons (chain, seq, part, principal_id, email, salt, fields, digest)
    VALUES (:chain, :seq, :part, :principal, :email, :salt, :fields, :digest)";
pub(super) const FROM: &str = "SELECT seq, part, principal_id, salt, fields, digest FROM audit_persons
    WHERE chain = :chain AND seq BETWEEN :from AND :to ORDER BY seq, part";
pub(super) const BLANK: &str =
    "UPDATE audit_persons SET salt = NULL, fields = NULL, email = NULL WHERE principal_id = :principal AND fields IS NOT NULL";
pub(super) const BLANK_BY_EMAIL: &str =
    "UPDATE audit_persons SET salt = NULL, fields = NULL, email = NULL WHERE email = :email AND fields IS NOT NULL";

/// Which person of a row; in the order of their digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Actor,
    Subject,
}

impl Part {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Actor => "actor",
            Self::Subject => "subject",
        }
    }
}

/// What is known of a person at the time of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    #[serde(skip)]
    pub principal: Option<PrincipalId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Of the client, behind a trusted proxy the one that the proxy saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// A person's row.
pub(super) struct Stored {
    pub seq: u64,
    pub part: Part,
    /// `None` once they are erased.
    pub person: Option<Person>,
    pub digest: Hash,
    /// Whether the digest is that of the fields; true where these are blanked.
    pub fits: bool,
}

const SALT_BYTES: usize = 32;

fn digest(salt: &[u8], principal: Option<&str>, fields: &str) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(salt);
    hasher.update(principal.unwrap_or_default());
    hasher.update([0]);
    hasher.update(fields);
    hasher.finalize().into()
}

/// What a row says of its persons.
pub(super) fn together<'a>(digests: impl Iterator<Item = (Part, &'a Hash)>) -> Option<Hash> {
    let mut hasher = Sha256::new();
    let mut any = false;
    for (part, digest) in digests {
        hasher.update(part.as_str());
        hasher.update(digest);
        any = true;
    }
    any.then(|| hasher.finalize().into())
}

/// Stores the persons of a row and returns what the row is to say of them.
pub(super) fn write(tx: &Tx<'_>, chain: &str, seq: u64, people: Vec<(Part, Person)>) -> Result<Option<Hash>, Error> {
    let mut digests = Vec::with_capacity(people.len());
    for (part, person) in people {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| Error::Internal(error.into()))?;
        let fields = serde_json::to_string(&person).map_err(Error::internal)?;
        let principal = person.principal.map(|id| id.to_string());
        let digest = digest(&salt, principal.as_deref(), &fields);
        // Users are found by their id; of others there is only the address.
        let email = person.email.filter(|_| person.principal.is_none());
        tx.execute(
            INSERT,
            named_params! {
                ":chain": chain, ":seq": seq as i64, ":part": part.as_str(), ":principal": principal, ":email": email,
                ":salt": salt, ":fields": fields, ":digest": digest,
            },
        )?;
        digests.push((part, digest));
    }
    Ok(together(digests.iter().map(|(part, digest)| (*part, digest))))
}

/// The persons of some rows.
pub(super) fn from(reader: &Reader<'_>, chain: &str, from: u64, to: u64) -> Result<Vec<Stored>, Error> {
    reader.list(
        FROM,
        named_params! { ":chain": chain, ":from": from as i64, ":to": i64::try_from(to).unwrap_or(i64::MAX) },
        stored,
    )
}

fn stored(row: &Row<'_>) -> rusqlite::Result<Stored> {
    let mut cells = Cells::of(row);
    let seq = cells.take::<i64>()? as u64;
    let part = cells.take::<String>()?;
    let (principal, principal_text) = principal(&mut cells)?;
    let salt: Option<Vec<u8>> = cells.take()?;
    let fields: Option<String> = cells.take()?;
    let kept = hash_of(&mut cells)?.unwrap_or_default();
    let fits = match (&salt, &fields) {
        (Some(salt), Some(fields)) => digest(salt, principal_text.as_deref(), fields) == kept,
        (None, None) => true,
        _ => false,
    };
    Ok(Stored {
        seq,
        part: if part == Part::Actor.as_str() { Part::Actor } else { Part::Subject },
        person: fields.and_then(|fields| parse(principal, &fields)),
        digest: kept,
        fits,
    })
}

/// A person as stored; `None` where somebody has damaged it, which verifying finds.
pub(super) fn parse(principal: Option<PrincipalId>, fields: &str) -> Option<Person> {
    let person: Person = serde_json::from_str(fields).ok()?;
    Some(Person { principal, ..person })
}

/// How many rows no longer say who somebody was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blanked(pub usize);

/// Forgets what the audit log has about a person. The rows stay, with the principal's id.
pub fn blank(tx: &Tx<'_>, principal: PrincipalId, email: Option<&str>) -> Result<Blanked, Error> {
    let mut rows = tx.execute(BLANK, named_params! { ":principal": principal })?;
    if let Some(email) = email {
        rows += tx.execute(BLANK_BY_EMAIL, named_params! { ":email": email })?;
    }
    Ok(Blanked(rows))
}

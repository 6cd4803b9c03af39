//! Files that runs produced; the bytes are blobs.

use rusqlite::{Row, named_params};

use super::hash::Hash;
use super::{Error, Reader, Tx};
use crate::domain::call::ArtifactInfo;
use crate::domain::hex;
use crate::domain::id::{OrgId, RunId};
use crate::domain::time::Timestamp;

pub(super) const PUT: &str = "INSERT INTO artifacts (run_id, org_id, name, content_type, bytes, digest, seq, created_at)
    VALUES (:run, :org, :name, :content_type, :bytes, :digest, :seq, :now)
    ON CONFLICT (run_id, name) DO UPDATE SET content_type = excluded.content_type, bytes = excluded.bytes, digest = excluded.digest,
    seq = excluded.seq, created_at = excluded.created_at";
pub(super) const FIND: &str =
    "SELECT name, content_type, bytes, digest FROM artifacts WHERE run_id = :run AND name = :name AND org_id = :org";
pub(super) const LIST: &str = "SELECT name, content_type, bytes, digest FROM artifacts WHERE run_id = :run AND org_id = :org ORDER BY name";

fn info(row: &Row<'_>) -> rusqlite::Result<ArtifactInfo> {
    Ok(ArtifactInfo {
        name: row.get(0)?,
        content_type: row.get(1)?,
        bytes: row.get::<_, i64>(2)? as u64,
        digest: format!("sha256:{}", hex::encode(&row.get::<_, Hash>(3)?)),
    })
}

/// Names a blob as the run's artifact; the same name again replaces what lists show.
pub fn put(tx: &Tx<'_>, org: OrgId, run: RunId, artifact: &ArtifactInfo, digest: Hash, seq: u64, now: Timestamp) -> Result<(), Error> {
    tx.execute(
        PUT,
        named_params! {
            ":run": run, ":org": org, ":name": artifact.name, ":content_type": artifact.content_type, ":bytes": artifact.bytes as i64,
            ":digest": digest, ":seq": seq as i64, ":now": now,
        },
    )?;
    Ok(())
}

pub fn find(reader: &Reader<'_>, org: OrgId, run: RunId, name: &str) -> Result<Option<ArtifactInfo>, Error> {
    reader.find(FIND, named_params! { ":run": run, ":org": org, ":name": name }, info)
}

pub fn list(reader: &Reader<'_>, org: OrgId, run: RunId) -> Result<Vec<ArtifactInfo>, Error> {
    reader.list(LIST, named_params! { ":run": run, ":org": org }, info)
}

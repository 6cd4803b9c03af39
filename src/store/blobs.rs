//! Components, sources and artifacts: chunks under an organization and a digest.

use rusqlite::named_params;

use super::hash::{self, Hash, pack, unpack};
use super::{Error, Reader, Tx};
use crate::domain::id::OrgId;
use crate::domain::limits::BLOB_CHUNK_BYTES;
use crate::domain::time::Timestamp;

pub(super) const INSERT: &str =
    "INSERT OR IGNORE INTO blobs (org_id, digest, bytes, chunks, created_at) VALUES (:org, :digest, :bytes, :chunks, :now)";
pub(super) const INSERT_CHUNK: &str =
    "INSERT INTO blob_chunks (org_id, digest, chunk, compressed, body) VALUES (:org, :digest, :chunk, :compressed, :body)";
pub(super) const FIND: &str = "SELECT bytes FROM blobs WHERE org_id = :org AND digest = :digest";
pub(super) const CHUNKS: &str = "SELECT compressed, body FROM blob_chunks WHERE org_id = :org AND digest = :digest ORDER BY chunk";

/// The digest under which bytes are found.
pub fn digest(bytes: &[u8]) -> Hash {
    hash::of(bytes)
}

/// Stores bytes; what is there already is not stored again.
pub fn put(tx: &Tx<'_>, org: OrgId, bytes: &[u8], now: Timestamp) -> Result<Hash, Error> {
    let digest = hash::of(bytes);
    let chunks = bytes.chunks(BLOB_CHUNK_BYTES);
    let inserted = tx.execute(
        INSERT,
        named_params! { ":org": org, ":digest": digest, ":bytes": bytes.len() as i64, ":chunks": chunks.len() as i64, ":now": now },
    )?;
    if inserted == 1 {
        for (number, chunk) in chunks.enumerate() {
            let (compressed, packed) = pack(chunk);
            let body = packed.as_deref().unwrap_or(chunk);
            tx.execute(
                INSERT_CHUNK,
                named_params! { ":org": org, ":digest": digest, ":chunk": number as i64, ":compressed": compressed, ":body": body },
            )?;
        }
    }
    Ok(digest)
}

/// The bytes under a digest, checked against it.
pub fn get(reader: &Reader<'_>, org: OrgId, digest: &Hash) -> Result<Vec<u8>, Error> {
    let bytes: i64 = reader.get(FIND, named_params! { ":org": org, ":digest": digest }, |row| row.get(0))?;
    let chunks = reader.list(CHUNKS, named_params! { ":org": org, ":digest": digest }, |row| {
        Ok((row.get::<_, bool>(0)?, row.get::<_, Vec<u8>>(1)?))
    })?;
    let mut whole = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    for (compressed, body) in chunks {
        whole.extend(unpack(body, compressed, BLOB_CHUNK_BYTES)?);
    }
    if hash::of(&whole) == *digest {
        Ok(whole)
    } else {
        Err(Error::Corrupt("a blob does not have its digest".to_owned()))
    }
}

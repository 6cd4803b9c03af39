//! Requests, responses, inputs, outputs and states, by organization and hash: the same bytes are stored once.

use rusqlite::named_params;

use super::hash::{self, Hash, pack, unpack};
use super::{Error, Reader, Tx};
use crate::domain::id::OrgId;
use crate::domain::journal::Payload;

pub(super) const INSERT: &str = "INSERT OR IGNORE INTO payloads (org_id, hash, form, bytes, compressed, body)
    VALUES (:org, :hash, :form, :bytes, :compressed, :body)";
pub(super) const FIND: &str = "SELECT form, bytes, compressed, body FROM payloads WHERE org_id = :org AND hash = :hash";

const JSON: &str = "json";
const CHAT: &str = "chat";
const BYTES: &str = "bytes";

fn insert(tx: &Tx<'_>, org: OrgId, form: &str, hash: Hash, bytes: &[u8]) -> Result<Hash, Error> {
    let (compressed, packed) = pack(bytes);
    let body = packed.as_deref().unwrap_or(bytes);
    tx.execute(
        INSERT,
        named_params! { ":org": org, ":hash": hash, ":form": form, ":bytes": bytes.len() as i64, ":compressed": compressed, ":body": body },
    )?;
    Ok(hash)
}

/// Stores a JSON text.
pub fn put_json(tx: &Tx<'_>, org: OrgId, text: &str) -> Result<Hash, Error> {
    insert(tx, org, JSON, hash::of(text.as_bytes()), text.as_bytes())
}

/// Stores bytes.
pub fn put_bytes(tx: &Tx<'_>, org: OrgId, bytes: &[u8]) -> Result<Hash, Error> {
    insert(tx, org, BYTES, hash::of(bytes), bytes)
}

/// Stores a payload; a chat's messages each for themselves.
pub(super) fn put(tx: &Tx<'_>, org: OrgId, payload: &Payload) -> Result<Hash, Error> {
    match payload {
        Payload::Json(text) => put_json(tx, org, text),
        Payload::Chat { head, messages } => {
            let mut body = Vec::with_capacity(messages.len() * 32 + head.len());
            for message in messages {
                body.extend_from_slice(&put_json(tx, org, message)?);
            }
            let mut whole = u32::try_from(messages.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
            whole.append(&mut body);
            whole.extend_from_slice(head.as_bytes());
            // A list of hashes must never share a key with a text of the same bytes.
            let mut marked = CHAT.as_bytes().to_vec();
            marked.extend_from_slice(&whole);
            insert(tx, org, CHAT, hash::of(&marked), &whole)
        }
    }
}

fn find(reader: &Reader<'_>, org: OrgId, hash: &Hash) -> Result<(String, Vec<u8>), Error> {
    let (form, bytes, compressed, body) = reader.get(FIND, named_params! { ":org": org, ":hash": hash }, |row| {
        Ok((
            row.get::<_, String>(0)?,
            row.get::<_, i64>(1)?,
            row.get::<_, bool>(2)?,
            row.get::<_, Vec<u8>>(3)?,
        ))
    })?;
    Ok((form, unpack(body, compressed, usize::try_from(bytes).unwrap_or(0))?))
}

/// The bytes under a hash.
pub fn bytes(reader: &Reader<'_>, org: OrgId, hash: &Hash) -> Result<Vec<u8>, Error> {
    Ok(find(reader, org, hash)?.1)
}

/// The text under a hash; a chat put together again.
pub fn text(reader: &Reader<'_>, org: OrgId, hash: &Hash) -> Result<String, Error> {
    let (form, body) = find(reader, org, hash)?;
    if form == CHAT {
        return chat(reader, org, &body);
    }
    String::from_utf8(body).map_err(|_| Error::Corrupt("a stored text is no UTF-8".to_owned()))
}

fn chat(reader: &Reader<'_>, org: OrgId, body: &[u8]) -> Result<String, Error> {
    let damaged = || Error::Corrupt("a stored chat is damaged".to_owned());
    let (count, rest) = body.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (hashes, head) = rest
        .split_at_checked(u32::from_be_bytes(*count) as usize * 32)
        .ok_or_else(damaged)?;
    let mut messages = Vec::with_capacity(hashes.len() / 32);
    for hash in hashes.chunks_exact(32) {
        messages.push(text(reader, org, hash.try_into().map_err(|_| damaged())?)?);
    }
    let head = String::from_utf8(head.to_vec()).map_err(|_| damaged())?;
    Ok(Payload::Chat { head, messages }.to_json())
}

//! Secrets at rest: sealed by the organization's data key, which the master key seals. Values come in and go out to whoever sends them;
//! nothing here shows one.

mod agents;
mod owned;
mod value;

pub use self::agents::{
    Change, Info, NOTE_BYTES_MAX, NewSecret, Of, Value, ValueSource, Version, change, create, delete, destroy, get, list, rotate,
};
pub use self::owned::{Owned, open, put_owned, remove};
pub use self::value::value;
use super::sealing::Keyring;
use super::{App, Error};
use crate::config::secret::Secret;
use crate::crypto::data_key::{DataKey, SealedAt};
use crate::domain::id::{DataKeyId, OrgId, SecretId};
use crate::domain::time::Timestamp;
use crate::store::data_keys::{self, Wrapped};
use crate::store::secrets::Stored;
use crate::store::{self, Tx};

/// What a version's record is sealed for.
const FIELD: &str = "value";

const fn place(org: Option<OrgId>, secret: SecretId, number: u32) -> SealedAt {
    SealedAt {
        org,
        secret,
        number,
        field: FIELD,
    }
}

fn sealing(error: crate::crypto::Error) -> store::Error {
    store::Error::Internal(error.into())
}

/// The key that seals what an organization stores now; made where it has none.
fn data_key(tx: &Tx<'_>, keys: &Keyring, org: Option<OrgId>, now: Timestamp) -> Result<DataKey, store::Error> {
    if let Some(known) = data_keys::in_use(tx, org)? {
        return unwrap(keys, &known).map_err(sealing);
    }
    let (id, bytes) = (DataKeyId::new(now), DataKey::fresh().map_err(sealing)?);
    let wrapped = keys.seal(&DataKey::place(id, org), &bytes).map_err(sealing)?;
    data_keys::insert(tx, &Wrapped { id, org, wrapped }, &keys.fingerprint(), now)?;
    DataKey::new(id, &bytes).map_err(sealing)
}

fn unwrap(keys: &Keyring, key: &Wrapped) -> Result<DataKey, crate::crypto::Error> {
    let bytes = zeroize::Zeroizing::new(keys.open(&DataKey::place(key.id, key.org), &key.wrapped)?);
    DataKey::new(key.id, &bytes)
}

/// A version's sealed record, and the key that sealed it.
fn seal(
    tx: &Tx<'_>,
    keys: &Keyring,
    org: Option<OrgId>,
    (secret, number): (SecretId, u32),
    value: &Secret,
    now: Timestamp,
) -> Result<(DataKeyId, Vec<u8>), store::Error> {
    let key = data_key(tx, keys, org, now)?;
    let sealed = key.seal(place(org, secret, number), value.expose().as_bytes()).map_err(sealing)?;
    Ok((key.id(), sealed))
}

/// Opens a sealed version.
async fn unseal(app: &App, id: SecretId, number: u32, stored: &Stored) -> Result<Secret, Error> {
    let keys = app.sealing.key()?;
    let (Some(key), Some(sealed)) = (stored.key, &stored.sealed) else {
        return Err(Error::NotFound("the secret’s value"));
    };
    let wrapped = app.store.read(move |reader| data_keys::get(reader, key)).await?;
    let plain = unwrap(&keys, &wrapped)?.open(place(stored.org, id, number), sealed)?;
    let text = std::str::from_utf8(&plain).map_err(|_| Error::Internal("a sealed secret is no text".to_owned()))?;
    Ok(Secret::new(text))
}

//! Replacing the master key: everything that it sealed is sealed by the new one, a little at a time. What is killed in the middle goes on
//! where it stood, at the next try or when the station starts.
//!
//! The new key is on the disk before anything is sealed by it; the old one is looked for until nothing names it; and the fingerprint that
//! the station expects changes last.

use std::path::Path;

use serde_json::json;

use super::audit::STATION;
use super::sealing::Keyring;
use super::{App, Error, totp as second_factor};
use crate::config::master_key::{KEY_BYTES, KeySource};
use crate::crypto;
use crate::crypto::data_key::DataKey;
use crate::crypto::seal::MasterKey;
use crate::domain::permission::Credential;
use crate::domain::time::Timestamp;
use crate::store::audit::Record;
use crate::store::{self, Store, Tx, audit, data_keys, station, totp};
use crate::telemetry::crash_point::CrashPoint;

/// Keys that are sealed anew in one transaction.
const BATCH: u32 = 50;

/// A replacement that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Fingerprints.
    pub from: String,
    pub to: String,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotated {
    pub from: String,
    pub to: String,
    /// Where the old key is kept for backups that were made before; none where it is not in a file of ours.
    pub old_key: Option<String>,
    /// What is to be set before the next start; none where nothing is to be done.
    pub to_do: Option<String>,
}

fn refused(error: crate::config::Error) -> Error {
    Error::Refused(error.to_string())
}

/// The replacement that is not finished, and how many sealed things still name the old key.
///
/// # Errors
/// The store does not answer.
pub async fn unfinished(store: &Store) -> Result<Option<(Rotation, u64)>, Error> {
    let found = store.read(|reader| {
        let (Some(from), Some(to)) = (station::master_key(reader)?, station::next_master_key(reader)?) else {
            return Ok(None);
        };
        let left = data_keys::count_under(reader, &from)? + totp::count_under(reader, &from)?;
        Ok(Some((Rotation { from, to }, left)))
    });
    Ok(found.await?)
}

/// The keys of a replacement, from wherever they are: the one that is configured, the new one that waits beside it, the old one that is
/// kept.
pub(super) struct Found {
    pub new: Option<MasterKey>,
    pub old: Option<MasterKey>,
}

/// Looks for both keys of a replacement.
///
/// # Errors
/// What is there is no key, or others can read it.
pub(super) fn find(source: &KeySource, data: &Path, rotation: &Rotation) -> Result<Found, Error> {
    let places = [
        source.clone(),
        KeySource::File(source.pending(data)),
        KeySource::File(source.retired(data, &rotation.from)),
    ];
    let mut found = Found { new: None, old: None };
    for place in places {
        let Some(bytes) = place.read().map_err(refused)? else { continue };
        let key = MasterKey::new(&bytes)?;
        let fingerprint = key.fingerprint();
        if fingerprint == rotation.to {
            found.new.get_or_insert(key);
        } else if fingerprint == rotation.from {
            found.old.get_or_insert(key);
        }
    }
    Ok(found)
}

/// What the operator does where the key of this fingerprint has taken the old one's place and waits to be put where keys are looked for.
pub(super) fn to_do(source: &KeySource, data: &Path, expected: &str) -> Option<String> {
    let waits = source.pending(data);
    let key = MasterKey::new(&KeySource::File(waits.clone()).read().ok()??).ok()?;
    (key.fingerprint() == expected).then(|| source.to_do_with(&waits)).flatten()
}

/// Begins a replacement, or finds the one that is under way. The new key is made where none is given, and put beside the old one.
///
/// # Errors
/// `Refused` where the key in use is not there, or the new one is it; `Conflict` where another replacement is under way.
pub async fn begin(store: &Store, source: &KeySource, given: Option<[u8; KEY_BYTES]>) -> Result<Rotation, Error> {
    let given_print = given.map(|bytes| MasterKey::new(&bytes)).transpose()?.map(|key| key.fingerprint());
    if let Some((rotation, _)) = unfinished(store).await? {
        if given_print.is_some_and(|print| print != rotation.to) {
            let text = format!(
                "the key {} is being replaced by {} already: finish that first, without --new-key-file",
                rotation.from, rotation.to
            );
            return Err(Error::Conflict(text));
        }
        return Ok(rotation);
    }
    let data = store.data_dir().to_owned();
    let nothing = || Error::Refused("nothing was ever sealed here, so there is no key to replace: start the station once".to_owned());
    let from = store.read(station::master_key).await?.ok_or_else(nothing)?;
    let in_use = source.read().map_err(refused)?.map(|bytes| MasterKey::new(&bytes)).transpose()?;
    if in_use.map(|key| key.fingerprint()).as_ref() != Some(&from) {
        let text = format!(
            "the key with the fingerprint {from} is needed to replace it, and is not in {}",
            source.in_words()
        );
        return Err(Error::Refused(text));
    }
    let bytes = match given {
        Some(bytes) => bytes,
        None => crypto::random()?,
    };
    let to = MasterKey::new(&bytes)?.fingerprint();
    if to == from {
        return Err(Error::Refused(format!(
            "the new key is the one in use: both have the fingerprint {from}"
        )));
    }
    // Nothing is sealed by a key that waits here before the store names it, so what an earlier try left is not needed.
    KeySource::put(&source.pending(&data), &bytes).map_err(refused)?;
    CrashPoint::BeforeIntent.pass();
    let next = to.clone();
    store.write(move |tx| station::set_next_master_key(tx, &next)).await?;
    CrashPoint::AfterIntent.pass();
    Ok(Rotation { from, to })
}

/// Seals everything anew, and then has the station expect the new key. `tell` hears how much is left.
///
/// # Errors
/// `Refused` where a key that is needed is not there.
pub async fn finish(store: &Store, source: &KeySource, rotation: &Rotation, now: Timestamp, tell: impl Fn(u64)) -> Result<Rotated, Error> {
    let data = store.data_dir().to_owned();
    let Found { new, old } = find(source, &data, rotation)?;
    let new = new.ok_or_else(|| {
        let place = source.pending(&data).display().to_string();
        Error::Refused(format!(
            "the new key, with the fingerprint {}, is missing: put it into {place}",
            rotation.to
        ))
    })?;
    let keys = std::sync::Arc::new(Keyring::new(new, old));
    loop {
        let (mine, which) = (std::sync::Arc::clone(&keys), rotation.clone());
        let done = store.write(move |tx| step(tx, &mine, &which)).await?;
        CrashPoint::AfterResult.pass();
        if done == 0 {
            break;
        }
        tell(unfinished(store).await?.map_or(0, |(_, left)| left));
    }
    let in_file = matches!(source, KeySource::File(_));
    let retired = source.retired(&data, &rotation.from);
    if in_file {
        source.exchange(&data, &rotation.from).map_err(refused)?;
    }
    CrashPoint::AfterEffect.pass();
    let which = rotation.clone();
    store
        .write(move |tx| {
            if station::next_master_key(tx)?.as_ref() != Some(&which.to) {
                return Ok(());
            }
            station::turn_master_key(tx, &which.to)?;
            let detail = json!({ "from": which.from, "to": which.to });
            let record = Record::new(STATION, "master-key.rotate", &which.to)
                .with(Credential::Local)
                .detail(detail);
            audit::record(tx, record, now)
        })
        .await?;
    let waits = source.pending(&data);
    Ok(Rotated {
        from: rotation.from.clone(),
        to: rotation.to.clone(),
        old_key: in_file.then(|| retired.display().to_string()),
        to_do: source.to_do_with(&waits),
    })
}

/// Seals some of what the old key sealed with the new one. Returns how many; with none nothing is left.
fn step(tx: &Tx<'_>, keys: &Keyring, rotation: &Rotation) -> Result<usize, store::Error> {
    let again = |place: &str, sealed: &[u8]| -> Result<Vec<u8>, store::Error> {
        let failed = |error: crypto::Error| store::Error::Internal(error.into());
        let plain = zeroize::Zeroizing::new(keys.open(place, sealed).map_err(failed)?);
        keys.seal(place, &plain).map_err(failed)
    };
    let under = data_keys::under(tx, &rotation.from, BATCH)?;
    for key in &under {
        let wrapped = again(&DataKey::place(key.id, key.org), &key.wrapped)?;
        data_keys::rewrap(tx, &data_keys::Wrapped { wrapped, ..key.clone() }, &rotation.from, &rotation.to)?;
    }
    if !under.is_empty() {
        return Ok(under.len());
    }
    let secrets = totp::under(tx, &rotation.from, BATCH)?;
    for (principal, sealed) in &secrets {
        totp::reseal(tx, *principal, &again(&second_factor::place(*principal), sealed)?)?;
    }
    Ok(secrets.len())
}

/// Finishes in the background what a command began and did not end.
pub(super) async fn finish_in_background(app: App) {
    let found = unfinished(&app.store).await;
    let Ok(Some((rotation, left))) = found else { return };
    tracing::info!(
        from = rotation.from,
        to = rotation.to,
        left,
        "the master key is being replaced; that goes on"
    );
    let tell = |left| tracing::info!(left, "sealed anew by the new master key");
    match finish(&app.store, app.config.master_key(), &rotation, app.clock.now(), tell).await {
        Ok(rotated) => {
            tracing::info!(to = rotated.to, "the master key is replaced");
            if let Some(to_do) = rotated.to_do {
                tracing::warn!("{to_do}");
            }
        }
        Err(error) => {
            tracing::error!(%error, "the master key cannot be replaced to its end; agentstation key rotate-master goes on with it");
        }
    }
}

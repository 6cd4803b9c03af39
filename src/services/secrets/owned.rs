//! Secrets of the station's own parts: keys of model providers, addresses of channels. Agents cannot name them.

use super::super::sealing::Keyring;
use super::super::{App, Error};
use super::{seal, unseal};
use crate::config::secret::Secret;
use crate::domain::id::{OrgId, PrincipalId, SecretId};
use crate::domain::secret::Purpose;
use crate::domain::time::Timestamp;
use crate::store::secrets::{self, Body, New};
use crate::store::{self, Tx};

/// Whose secret it is, and under which name: of a provider or channel its id.
#[derive(Clone, Copy, Debug)]
pub struct Owned<'a> {
    /// None is the station.
    pub org: Option<OrgId>,
    /// Provider or channel.
    pub purpose: Purpose,
    pub name: &'a str,
    pub by: Option<PrincipalId>,
}

/// Seals a value in the transaction that stores what needs it. Where there is one of this name already, the value takes the old one's
/// place, which is destroyed. `keys` are from `app.sealing.key()?`, taken before the transaction.
pub fn put_owned(tx: &Tx<'_>, keys: &Keyring, owned: Owned<'_>, value: &Secret, now: Timestamp) -> Result<SecretId, store::Error> {
    let Owned { org, purpose, name, by } = owned;
    let known = secrets::named(tx, org, None, purpose, name)?.map(|known| known.id);
    let (id, number) = match known {
        Some(id) => (id, secrets::next_number(tx, id)?),
        None => {
            let new = New {
                id: SecretId::new(now),
                org,
                workspace: None,
                name,
                purpose,
                note: "",
                bindings: &[],
                by,
            };
            secrets::insert(tx, &new, now)?;
            (new.id, 1)
        }
    };
    let (key, sealed) = seal(tx, keys, org, (id, number), value, now)?;
    secrets::add_version(tx, id, number, &Body::Sealed { key, sealed: &sealed }, by, now)?;
    if known.is_some() {
        secrets::turn_to(tx, id, number, now)?;
        secrets::destroy_before(tx, id, number, now)?;
    }
    Ok(id)
}

/// The value that holds now, for the one place that sends it.
///
/// # Errors
/// `Sealed` where the station's key is not there; `NotFound`.
pub async fn open(app: &App, id: SecretId) -> Result<Secret, Error> {
    let found = app.store.read(move |reader| {
        let number = secrets::current(reader, id)?;
        Ok((number, secrets::version(reader, id, number)?))
    });
    let (number, stored) = found.await?;
    unseal(app, id, number, &stored).await
}

/// Deletes a value with what had it.
pub fn remove(tx: &Tx<'_>, id: SecretId) -> Result<(), store::Error> {
    secrets::delete(tx, id)
}

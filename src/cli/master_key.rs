//! `key rotate-master`: a new master key in the place of the old one.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

use super::{Exit, say, station};
use crate::config::Config;
use crate::config::master_key::KeySource;
use crate::domain::time::{Clock as _, SystemClock};
use crate::services::master_key;
use crate::store;

pub async fn rotate(config: Config, new_key_file: Option<PathBuf>) -> anyhow::Result<Exit> {
    #[cfg(debug_assertions)]
    config.crash_at().map_or(Ok(()), crate::telemetry::crash_point::arm)?;
    let given = match new_key_file {
        None => None,
        Some(path) => {
            let key = KeySource::File(path.clone()).read()?;
            Some(key.with_context(|| format!("there is no file {}", path.display()))?)
        }
    };
    let opened = station::store(&config);
    if let Err(error) = &opened
        && let Some(store::Error::Locked(_)) = error.downcast_ref()
    {
        bail!("a station is using the data directory: stop it, run this again, then start it; it finishes what is left");
    }
    let (store, source) = (opened?, config.master_key());
    let rotation = master_key::begin(&store, source, given).await?;
    say(&format!("replacing the master key {} by {}", rotation.from, rotation.to));
    let tell = |left| say(&format!("{left} left to be sealed anew"));
    let rotated = master_key::finish(&store, source, &rotation, SystemClock.now(), tell).await;
    store.close().await?;
    let rotated = rotated?;
    say(&format!(
        "the master key is replaced; the new one has the fingerprint {}",
        rotated.to
    ));
    if let Some(old) = rotated.old_key {
        say(&format!(
            "the old one is in {old}: backups from before need it, delete it together with the last of them"
        ));
    }
    if let Some(to_do) = rotated.to_do {
        say(&to_do);
    }
    Ok(Exit::Success)
}

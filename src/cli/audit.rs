//! `audit`: whether the chains of the audit log are whole, their newest rows, and their rows as a file. Works beside a serving station.

use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use serde_json::json;

use super::args::{AuditCommand, AuditFormat, Output};
use super::{Exit, data, say, station};
use crate::config::Config;
use crate::domain::permission::Credential;
use crate::services::audit::{self, Checkpoint, Export, Filter, Format, Record, STATION, Verified};
use crate::store::{self, Options, Store};

/// A file of checkpoints is not longer than this.
const CHECKPOINTS_BYTES_MAX: u64 = 1 << 20;

pub async fn audit(config: Config, command: AuditCommand) -> anyhow::Result<Exit> {
    if !config.data.join(store::DATABASE_FILE).exists() {
        say(&format!(
            "agentstation: {} holds no station; name its directory with --data",
            config.data.display()
        ));
        return Ok(Exit::Usage);
    }
    match command {
        AuditCommand::Verify { chain, checkpoint, output } => {
            let kept = match checkpoint.as_deref().map(read_checkpoints).transpose() {
                Ok(kept) => kept.unwrap_or_default(),
                Err(error) => return Ok(wrong(&error)),
            };
            let store = beside(&config).await?;
            let chains = match chains(&store, chain, &kept).await {
                Ok(chains) => chains,
                Err(error) => return Ok(wrong(&error)),
            };
            verify(&store, chains, &kept, output).await
        }
        AuditCommand::Checkpoint { chain } => {
            let store = beside(&config).await?;
            match chains(&store, chain, &[]).await {
                Ok(chains) => checkpoint(&store, chains).await,
                Err(error) => Ok(wrong(&error)),
            }
        }
        AuditCommand::Export { chain, format } => {
            let store = station::store_or_beside(&config).await?;
            let done = match chain_named(&store, &chain).await {
                Ok(chain) => export(&store, chain, format).await,
                Err(error) => Ok(wrong(&error)),
            };
            store.close().await?;
            done
        }
    }
}

fn wrong(error: &anyhow::Error) -> Exit {
    say(&format!("agentstation: {error:#}"));
    Exit::Usage
}

/// The store, to be looked at only: a log that is to be proved is not written to.
async fn beside(config: &Config) -> anyhow::Result<Store> {
    let options = Options {
        readers: config.store.readers,
        ..Options::new(config.data.clone())
    };
    Ok(Store::open_beside(options, station::clock()).await?)
}

/// One checkpoint a line.
fn read_checkpoints(file: &Path) -> anyhow::Result<Vec<Checkpoint>> {
    let bytes = std::fs::metadata(file)
        .with_context(|| format!("{} cannot be read", file.display()))?
        .len();
    anyhow::ensure!(bytes <= CHECKPOINTS_BYTES_MAX, "{} is no file of checkpoints", file.display());
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let kept: Vec<Checkpoint> = lines.map(serde_json::from_str).collect::<Result<_, _>>().with_context(|| {
        format!(
            "{} is no file of checkpoints, as “agentstation audit checkpoint” prints them",
            file.display()
        )
    })?;
    anyhow::ensure!(!kept.is_empty(), "{} has no checkpoint", file.display());
    Ok(kept)
}

/// The chain of an organization's short name or id, or the station's.
async fn chain_named(store: &Store, name: &str) -> anyhow::Result<String> {
    if name == STATION {
        return Ok(name.to_owned());
    }
    let lookup = name.to_owned();
    let known = store.read(move |reader| store::orgs::id_of(reader, &lookup)).await?;
    if let Some(id) = known {
        return Ok(id.to_string());
    }
    // Of an organization that was deleted, the chain is left.
    let chains = store.read(store::audit::chains).await?;
    chains
        .into_iter()
        .find(|chain| chain == name)
        .with_context(|| format!("there is no organization {name}; give its short name, its id, or “station”"))
}

/// The chain that is asked for, or all that there are or were.
async fn chains(store: &Store, name: Option<String>, kept: &[Checkpoint]) -> anyhow::Result<Vec<String>> {
    if let Some(name) = name {
        let chain = match kept.iter().find(|checkpoint| checkpoint.chain == name) {
            // Of a chain that is gone altogether, the checkpoint is left.
            Some(checkpoint) => checkpoint.chain.clone(),
            None => chain_named(store, &name).await?,
        };
        anyhow::ensure!(
            kept.is_empty() || kept.iter().any(|checkpoint| checkpoint.chain == chain),
            "the file has no checkpoint of {name}"
        );
        return Ok(vec![chain]);
    }
    let mut all = store.read(store::audit::chains).await?;
    for checkpoint in kept {
        if !all.contains(&checkpoint.chain) {
            all.push(checkpoint.chain.clone());
        }
    }
    Ok(all)
}

async fn verify(store: &Store, chains: Vec<String>, kept: &[Checkpoint], output: Output) -> anyhow::Result<Exit> {
    let mut all: Vec<Verified> = Vec::new();
    for chain in chains {
        let own: Vec<_> = kept
            .iter()
            .filter(|checkpoint| checkpoint.chain == chain)
            .cloned()
            .map(Some)
            .collect();
        let against = if own.is_empty() { vec![None] } else { own };
        let mut found: Option<Verified> = None;
        for checkpoint in against {
            let verified = audit::walk(store, &chain, checkpoint).await?;
            // Of several checkpoints the first that does not hold counts.
            if found.as_ref().is_none_or(|found| found.intact) {
                found = Some(verified);
            }
        }
        all.extend(found);
    }
    let intact = all.iter().all(|verified| verified.intact);
    match output {
        Output::Json => data(&serde_json::to_string_pretty(&json!({ "intact": intact, "chains": all }))?)?,
        Output::Text => {
            for verified in &all {
                data(&line(verified))?;
            }
            if kept.is_empty() {
                say(
                    "Without a checkpoint a cut end is not seen: keep what “agentstation audit checkpoint” prints, and verify with --checkpoint.",
                );
            }
        }
    }
    Ok(if intact { Exit::Success } else { Exit::Failure })
}

fn line(verified: &Verified) -> String {
    let Verified { chain, rows, broken, .. } = verified;
    match broken {
        None => format!("{chain}: {rows} rows intact"),
        Some(broken) => format!("{chain}: BROKEN: {}", broken.in_words()),
    }
}

async fn checkpoint(store: &Store, chains: Vec<String>) -> anyhow::Result<Exit> {
    for chain in chains {
        let head = store.read(move |reader| store::audit::head(reader, &chain)).await?;
        if let Some(head) = head {
            data(&serde_json::to_string(&head)?)?;
        }
    }
    Ok(Exit::Success)
}

async fn export(store: &Store, chain: String, format: AuditFormat) -> anyhow::Result<Exit> {
    if store.is_read_only() {
        say("a station is serving this directory, so that the export is not noted in the log");
    } else {
        let record = Record::new(&chain, "audit.export", &chain)
            .with(Credential::Local)
            .detail(json!({ "format": Format::from(format) }));
        let now = store.now();
        store.write(move |tx| store::audit::record(tx, record, now)).await?;
    }
    let mut export = Export::new(store.clone(), chain, Filter::default(), format.into())?;
    let mut out = std::io::stdout().lock();
    while let Some(part) = export.next().await? {
        out.write_all(&part)?;
    }
    out.flush()?;
    Ok(Exit::Success)
}

impl From<AuditFormat> for Format {
    fn from(format: AuditFormat) -> Self {
        match format {
            AuditFormat::Jsonl => Self::Jsonl,
            AuditFormat::Csv => Self::Csv,
        }
    }
}

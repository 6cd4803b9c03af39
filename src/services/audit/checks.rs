//! Whether a chain is whole, and its newest row to be kept elsewhere.

use serde::Serialize;

use super::{Broken, Chain, Checkpoint};
use crate::domain::permission::Actor;
use crate::services::{App, Error};
use crate::store::audit::{self, Verdict, Walk};
use crate::store::{self, Store};

/// What a walk along a chain found.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    pub chain: String,
    pub intact: bool,
    /// Rows that are as they were written, from the first on.
    pub rows: u64,
    /// Whether the chain was also held against a checkpoint; without one, a missing end is not seen.
    pub against_checkpoint: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broken: Option<Broken>,
    /// The last row that holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<Checkpoint>,
}

/// Walks a chain that the actor may read, past a checkpoint where there is one.
///
/// # Errors
/// `Forbidden`; `Conflict` where the checkpoint is of another chain.
pub async fn verify(app: &App, actor: &Actor, chain: Chain, checkpoint: Option<Checkpoint>) -> Result<Verified, Error> {
    let chain = chain.name(actor)?;
    Ok(walk(&app.store, &chain, checkpoint).await?)
}

/// Walks any chain of a store, in short reads, beside whoever writes it.
///
/// # Errors
/// The store does not answer.
pub async fn walk(store: &Store, chain: &str, checkpoint: Option<Checkpoint>) -> Result<Verified, store::Error> {
    let against_checkpoint = checkpoint.is_some();
    let mut walk = Walk::new(chain, checkpoint);
    let verdict = loop {
        let (back, verdict) = store
            .read(move |reader| {
                let verdict = walk.step(reader)?;
                Ok((walk, verdict))
            })
            .await?;
        walk = back;
        if let Some(verdict) = verdict {
            break verdict;
        }
    };
    let Verdict { rows, broken, head } = verdict;
    Ok(Verified {
        chain: chain.to_owned(),
        intact: broken.is_none(),
        rows,
        against_checkpoint,
        broken,
        head,
    })
}

/// The newest row of a chain that the actor may read.
///
/// # Errors
/// `Forbidden`.
pub async fn head(app: &App, actor: &Actor, chain: Chain) -> Result<Option<Checkpoint>, Error> {
    let chain = chain.name(actor)?;
    Ok(app.store.read(move |reader| audit::head(reader, &chain)).await?)
}

/// Writes the newest row of every chain to the log, which stands outside the database: from there it can be held against the chain.
///
/// # Errors
/// The store does not answer.
pub async fn log_heads(app: &App) -> Result<(), Error> {
    let heads = app.store.read(|reader| {
        let mut heads = Vec::new();
        for chain in audit::chains(reader)? {
            heads.extend(audit::head(reader, &chain)?);
        }
        Ok(heads)
    });
    for Checkpoint { chain, seq, count, hash } in heads.await? {
        tracing::info!(chain, seq, count, hash, "audit checkpoint");
    }
    Ok(())
}

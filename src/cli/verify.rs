//! `run verify`: a finished run of the data directory, executed again without the outside world. Works beside a serving station, too.

use std::time::Duration;

use anyhow::Context as _;

use super::args::Output;
use super::{Exit, data, say, station};
use crate::config::Config;
use crate::domain::origin::Origin;
use crate::services::verify::{self, Outcome, Verified};
use crate::services::{App, Error, users};

/// Nobody else waits for it.
const WITHIN: Duration = Duration::from_hours(1);

pub async fn verify(config: Config, id: &str, org: String, output: Output) -> anyhow::Result<Exit> {
    let run = id
        .parse()
        .ok()
        .with_context(|| format!("{id} is no run's id; they look like run_01kaj5q3y0e8wavk8q3n4x5y6z"))?;
    if !config.data.join(crate::store::DATABASE_FILE).exists() {
        anyhow::bail!("{} holds no station; name its directory with --data", config.data.display());
    }
    let address = config.server.listen;
    let store = station::store_or_beside(&config).await?;
    if store.is_read_only() {
        say(&format!(
            "a station is serving this directory, so its timeline will not show the result; \
             POST http://{address}/api/v1/runs/{id}/verify does the same and notes it"
        ));
    }
    let app = station::permanent(config, store, None).await?;
    let verified = execute(&app, run, org).await;
    app.stop().await;
    match verified {
        Ok(verified) => {
            match output {
                Output::Json => data(&serde_json::to_string_pretty(&verified)?)?,
                Output::Text => print(&verified)?,
            }
            Ok(match verified.result {
                Outcome::Identical | Outcome::IdenticalUpTo => Exit::Success,
                Outcome::Differs | Outcome::Unverifiable => Exit::Failure,
            })
        }
        Err(Error::NotFound(_)) => anyhow::bail!("{id} was not found; look at --data and --org"),
        Err(error) => Err(error.into()),
    }
}

async fn execute(app: &App, run: crate::domain::id::RunId, org: String) -> Result<Verified, Error> {
    let owner = users::local_owner(app, org).await?;
    verify::verify(app, &owner, run, WITHIN, Origin::default()).await
}

fn print(verified: &Verified) -> std::io::Result<()> {
    let head = match verified.reason {
        Some(reason) => format!("identical up to {reason}"),
        None => verified.result.to_string(),
    };
    data(&head)?;
    if let Some(found) = &verified.difference {
        data(&format!("recorded: {}", found.recorded))?;
        data(&format!("now:      {}", found.now))?;
    }
    say(&verified.text);
    Ok(())
}

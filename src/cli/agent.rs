//! `agent check`: what an upload would say, without a station.

use anyhow::Context as _;

use super::args::{Agent, AgentCommand, Output};
use super::{Exit, data, files, say, station};
use crate::config::Config;
use crate::services::agents;

pub async fn agent(config: Config, agent: Agent) -> anyhow::Result<Exit> {
    let AgentCommand::Check { path, output } = agent.command;
    let upload = files::agent(&path)?;
    let station = station::temporary(config).await?;
    let checked = agents::check(&station.app, upload).await;
    station.close().await;
    let checked = checked.context("the check could not be done")?;
    match output {
        Output::Json => data(&serde_json::to_string_pretty(&checked.findings)?)?,
        Output::Text => {
            for finding in &checked.findings {
                data(&finding.to_string())?;
            }
            if checked.findings.is_empty() {
                let name = checked
                    .manifest
                    .as_ref()
                    .map_or_else(String::new, |manifest| format!("{} {}", manifest.name, manifest.version));
                say(&format!("{name}: nothing to say against it"));
            }
        }
    }
    Ok(if checked.has_errors() { Exit::Failure } else { Exit::Success })
}

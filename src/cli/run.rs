//! `run`: an agent without a server. Its timeline goes to stderr as it happens, its output to stdout.

mod attend;
mod lines;

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use serde_json::json;

use self::attend::Attendant;
use super::args::{Output, Run, RunCommand};
use super::station::{self, Station};
use super::{Exit, data, files, say, verify};
use crate::config::Config;
use crate::domain::id::{AgentId, RunId};
use crate::domain::limits::INPUT_BYTES_MAX;
use crate::domain::origin::Origin;
use crate::domain::retry::RetryChange;
use crate::domain::run::{RunState, Trigger};
use crate::services::agents::{AgentRef, Target};
use crate::services::{self, agents, runs};

pub async fn run(config: Config, args: Run) -> anyhow::Result<Exit> {
    if let Some(RunCommand::Verify { id, org, output }) = args.command {
        return verify::verify(config, &id, org, output).await;
    }
    let Some(path) = &args.path else {
        bail!("name an agent's folder, or a .js or .wasm file");
    };
    let upload = files::agent(path)?;
    let children = files::children(path, &upload)?;
    let input = input(&args)?;
    let station = station::temporary(config.without_retries()).await?;
    let exit = execute(&station, &args, upload, children, input).await;
    station.close().await;
    exit
}

fn input(args: &Run) -> anyhow::Result<String> {
    match (&args.input, &args.input_file) {
        (Some(text), _) => Ok(text.clone()),
        (None, None) => Ok("{}".to_owned()),
        (None, Some(path)) => {
            let mut text = String::new();
            let limit = INPUT_BYTES_MAX as u64 + 1;
            if path == Path::new("-") {
                std::io::stdin()
                    .lock()
                    .take(limit)
                    .read_to_string(&mut text)
                    .context("stdin is no UTF-8 text")?;
            } else {
                let file = std::fs::File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
                file.take(limit)
                    .read_to_string(&mut text)
                    .with_context(|| format!("{} is no UTF-8 text", path.display()))?;
            }
            Ok(text)
        }
    }
}

async fn execute(
    station: &Station,
    args: &Run,
    upload: agents::Upload,
    children: Vec<agents::Upload>,
    input: String,
) -> anyhow::Result<Exit> {
    let (app, actor) = (&station.app, &station.actor);
    let Some(agent) = create(station, upload).await? else {
        return Ok(Exit::Failure);
    };
    for child in children {
        if create(station, child).await?.is_none() {
            return Ok(Exit::Failure);
        }
    }
    let start = runs::StartRun {
        agent: AgentRef::Id(agent),
        version: None,
        input,
        trigger: Trigger::Cli,
        message: None,
        priority: 0,
        retry: RetryChange::default(),
        budget_micros: None,
    };
    let id = match runs::start(app, actor, start).await {
        Ok(id) => id,
        Err(services::Error::Invalid(fields)) => {
            for field in fields {
                let place = if field.pointer.is_empty() { "the input" } else { &field.pointer };
                say(&format!("{place}: {}", field.message));
            }
            return Ok(Exit::Failure);
        }
        Err(error) => return Err(error.into()),
    };
    Attendant::new(station, args, id).follow().await?;
    let run = runs::get(app, actor, id).await?;
    let (_, output) = runs::texts(app, actor, id).await?;
    if let Some(directory) = &args.artifacts {
        write_artifacts(station, id, directory).await?;
    }
    let error = run
        .error
        .as_deref()
        .and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    match args.output {
        Output::Json => {
            let duration_ms = run.finished_at.map(|at| at.since(run.created_at).as_millis());
            let output: Option<serde_json::Value> = output.as_deref().map(serde_json::from_str).transpose()?;
            let usage = json!({
                "fuel": run.fuel,
                "input_tokens": run.input_tokens,
                "output_tokens": run.output_tokens,
                "cost_micros": run.cost_micros,
            });
            let whole = json!({
                "id": run.id,
                "state": run.state,
                "reason": run.reason,
                "output": output,
                "error": error,
                "usage": usage,
                "duration_ms": duration_ms,
            });
            data(&serde_json::to_string_pretty(&whole)?)?;
        }
        Output::Text => {
            if let Some(output) = output {
                data(&readable(&output))?;
            }
            if let Some(stack) = error
                .as_ref()
                .and_then(|error| error.get("stack"))
                .and_then(serde_json::Value::as_str)
            {
                say(stack);
            }
            if let Some(reason) = run.reason {
                say(reason.explain());
            }
        }
    }
    Ok(match run.state {
        // One that waits is a session whose messages have ended; it could go on.
        RunState::Succeeded | RunState::Waiting => Exit::Success,
        _ => Exit::Failure,
    })
}

/// Stores an agent in the throw-away station; none where it has findings, which are told.
async fn create(station: &Station, upload: agents::Upload) -> anyhow::Result<Option<AgentId>> {
    match agents::create(&station.app, &station.actor, upload, Target::New, Origin::default()).await {
        Ok((agent, _)) => Ok(Some(agent.id)),
        Err(services::Error::Rejected(findings)) => {
            for finding in findings {
                say(&finding.to_string());
            }
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// JSON laid out for reading.
fn readable(json: &str) -> String {
    serde_json::from_str::<serde_json::Value>(json)
        .and_then(|value| serde_json::to_string_pretty(&value))
        .unwrap_or_else(|_| json.to_owned())
}

async fn write_artifacts(station: &Station, id: RunId, directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    for info in runs::artifacts(&station.app, &station.actor, id).await? {
        // Names have no slashes and no leading dot; a name that has is refused when the agent puts it.
        if info.name.contains(['/', '\\']) || info.name.starts_with('.') {
            bail!("the artifact {:?} has no file name", info.name);
        }
        let (_, body) = runs::artifact(&station.app, &station.actor, id, info.name.clone()).await?;
        let path = directory.join(&info.name);
        std::fs::write(&path, body).with_context(|| format!("cannot write {}", path.display()))?;
        say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

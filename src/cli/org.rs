//! `org`: organizations, from the shell of the machine, on a data directory that no station is serving.

use anyhow::Context as _;
use serde_json::json;

use super::admin::{printable, with_app};
use super::args::{Org, OrgCommand, Output};
use super::{Exit, data, say};
use crate::config::Config;
use crate::domain::plan::Plan;
use crate::domain::time::Timestamp;
use crate::services::orgs::{self, NewOrg, Overseen};
use crate::services::{App, Error};

/// Organizations that are read at a time.
const PAGE: u32 = 500;

pub async fn org(config: Config, org: Org) -> anyhow::Result<Exit> {
    match org.command {
        OrgCommand::List { output } => with_app(config, async |app| list(app, output).await).await,
        OrgCommand::Create { slug, name, plan, owner } => {
            let plan = Plan::parse(&plan).with_context(|| format!("{plan} is no plan: choose free, pro or enterprise"))?;
            with_app(config, async |app| {
                let new = NewOrg {
                    name: name.unwrap_or_else(|| slug.clone()),
                    slug,
                    plan,
                    owner: Some(owner.clone()),
                };
                let made = orgs::create_in_shell(app, new).await?;
                say(&format!("{owner} owns {} now", made.slug));
                Ok(())
            })
            .await
        }
        OrgCommand::Restore { slug } => {
            with_app(config, async |app| {
                let restored = orgs::restore_in_shell(app, slug).await?;
                say(&format!("{} is back; runs that were cancelled stay cancelled", restored.slug));
                Ok(())
            })
            .await
        }
    }
}

async fn list(app: &App, output: Output) -> Result<(), Error> {
    let mut after = String::new();
    loop {
        let page = orgs::all_in_shell(app, after.clone(), PAGE).await?;
        for overseen in &page {
            data(&line(overseen, output)).map_err(|error| Error::Internal(error.to_string()))?;
        }
        match page.last() {
            Some(last) if page.len() == PAGE as usize => after.clone_from(&last.org.slug),
            _ => return Ok(()),
        }
    }
}

fn line(overseen: &Overseen, output: Output) -> String {
    let org = &overseen.org;
    match output {
        Output::Text => {
            let deleted = org.purge_at.map_or_else(String::new, |at| format!("  being deleted, gone at {at}"));
            format!("{}  {}  {}  members: {}{deleted}", org.slug, printable(&org.name), org.plan, overseen.members)
        }
        Output::Json => json!({
            "id": org.id, "slug": org.slug, "name": org.name, "plan": org.plan.as_str(), "members": overseen.members, "runs": overseen.runs,
            "stored_bytes": org.stored_bytes, "deleted_at": org.deleted_at.map(Timestamp::as_ms), "purge_at": org.purge_at.map(Timestamp::as_ms),
        })
        .to_string(),
    }
}

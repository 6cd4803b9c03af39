//! Testing a connection: the models that a provider has, or what to do about it.

use serde_json::json;
use url::Url;

use super::super::models::server;
use super::super::{App, Error, secrets};
use super::{Of, WHAT, named, record};
use crate::domain::id::ProviderId;
use crate::domain::origin::Origin;
use crate::domain::permission::Actor;
use crate::domain::provider::Preset;
use crate::llm::Unlisted;
use crate::net;
use crate::store;
use crate::store::providers::{self as rows, Stored};

/// What came of asking a provider for its models.
#[derive(Clone, Debug)]
pub struct Tested {
    /// As it is stored now, with its models where it named them.
    pub provider: Stored,
    /// What is wrong; none where it answered.
    pub advice: Option<Advice>,
}

/// What is wrong with a connection, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    pub problem: String,
    pub hint: String,
}

/// Asks a provider for its models, and keeps them.
///
/// # Errors
/// `Forbidden`, `NotFound`. What is wrong with the connection is no error.
pub async fn test(app: &App, actor: &Actor, of: Of, provider: ProviderId, origin: Origin) -> Result<Tested, Error> {
    let owner = of.owner(actor, WHAT, true)?;
    let row = app
        .store
        .read(move |reader| rows::get(reader, owner, provider))
        .await
        .map_err(named)?;
    let asked = ask(app, &row).await;
    let (actor, now) = (actor.clone(), app.clock.now());
    let advice = asked.as_ref().err().cloned();
    let stored = app.store.write(move |tx| {
        let detail = match &asked {
            Ok(models) => {
                rows::set_models(tx, &row, models, now)?;
                json!({ "name": row.name, "models": models.len() })
            }
            Err(advice) => json!({ "name": row.name, "problem": advice.problem }),
        };
        store::audit::record(tx, record(&actor, &row, "provider.test", &origin).detail(detail), now)?;
        rows::get(tx, owner, provider)
    });
    Ok(Tested {
        provider: stored.await.map_err(named)?,
        advice,
    })
}

async fn ask(app: &App, row: &Stored) -> Result<Vec<String>, Advice> {
    let server = server(row, &app.client).map_err(|problem| Advice {
        problem,
        hint: "Change the address, or the rules.".to_owned(),
    })?;
    let key = match row.key {
        None => None,
        Some(id) => Some(secrets::open(app, id).await.map_err(|error| Advice {
            problem: format!("the key cannot be opened: {error}"),
            hint: "Bring back the station’s master key, or give the provider’s key again.".to_owned(),
        })?),
    };
    server.models(key.as_ref()).await.map_err(|unlisted| advice(row, &unlisted))
}

fn advice(row: &Stored, unlisted: &Unlisted) -> Advice {
    let preset = Preset::of(&row.preset);
    let hint = match unlisted {
        Unlisted::NoKey(_) => "Give the provider’s key.".to_owned(),
        Unlisted::Unreachable(error) => unreachable(row, error),
        Unlisted::Refused(401 | 403, _) if row.key.is_none() => {
            "It wants a key, and this provider has none here: make one at the provider, and paste it under Key.".to_owned()
        }
        Unlisted::Refused(401 | 403, _) => {
            "It does not take the key: look whether it is whole, of the right account, and not revoked; then replace it here.".to_owned()
        }
        Unlisted::Refused(404 | 405, _) | Unlisted::Unreadable => path_hint(row, preset),
        Unlisted::Refused(402, _) => "The account has no money left: top it up at the provider.".to_owned(),
        Unlisted::Refused(429, _) => {
            "It takes no more requests for now: test again in a minute, or raise the limits at the provider.".to_owned()
        }
        Unlisted::Refused(500.., _) => "The provider itself fails: test again in a minute, and look at its status page.".to_owned(),
        Unlisted::Refused(..) => "Look whether the address is where the API begins.".to_owned(),
    };
    Advice {
        problem: unlisted.to_string(),
        hint,
    }
}

fn path_hint(row: &Stored, preset: Option<&Preset>) -> String {
    let path = Url::parse(&row.base_url)
        .map(|url| url.path().trim_end_matches('/').to_owned())
        .unwrap_or_default();
    let usual = preset
        .map(|preset| preset.base_url)
        .filter(|url| !url.is_empty() && *url != row.base_url);
    if !path.ends_with("/v1") && row.kind == crate::domain::provider::ProviderKind::Openai {
        return format!("The address probably misses its end: try {}/v1", row.base_url.trim_end_matches('/'));
    }
    match usual {
        Some(usual) => format!("This is not where the API begins; usually it is {usual}"),
        None => "This is not where the API begins, or the server lists no models. If it has none to list, models can be named without."
            .to_owned(),
    }
}

fn unreachable(row: &Stored, error: &net::Error) -> String {
    let text = error.to_string();
    let lower = text.to_ascii_lowercase();
    if matches!(error, net::Error::Denied(_)) {
        return "An organization’s provider may be at public addresses only. A station administrator adds one inside the network as the station’s \
                own, or opens its range with outbound.open_cidrs."
            .to_owned();
    }
    if ["certificate", "unknownissuer", "notvalidforname", "expired"]
        .iter()
        .any(|word| lower.contains(word))
    {
        return "This machine does not trust the server’s certificate: renew it, or install the authority that issued it in the system’s store."
            .to_owned();
    }
    if lower.contains("corrupt message") || lower.contains("invalidcontenttype") {
        return "The server does not speak TLS there: the address may have to begin with http://, or name another port.".to_owned();
    }
    if lower.contains("cannot find") || lower.contains("dns") || lower.contains("lookup") || lower.contains("name or service") {
        return "There is no such name: look for a slip in the address, and whether this machine can look up names.".to_owned();
    }
    let host = Url::parse(&row.base_url)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .unwrap_or_default();
    if ["127.0.0.1", "localhost", "[::1]"].contains(&host.as_str()) {
        return format!(
            "Is it running, and at this port? Where the station runs in Docker, {host} is the container itself: use host.docker.internal, and let \
             the server listen on all addresses (Ollama: OLLAMA_HOST=0.0.0.0)."
        );
    }
    match error {
        net::Error::Timeout(_) => "It is there and does not answer: is it still loading a model, or is something in between?".to_owned(),
        _ => "Is it running, is the address right, and does a firewall let this machine reach it?".to_owned(),
    }
}

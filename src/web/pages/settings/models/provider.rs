//! `/settings/models/providers/…` and `/settings/models/station/…`: adding, changing, testing and removing a provider.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use super::PATH;
use crate::config::secret::Secret;
use crate::domain::permission::Permission;
use crate::domain::provider::{PRESETS, Preset, ProviderKind, ProviderLimits};
use crate::services::Error;
use crate::services::providers::{self, Advice, Change, LIMITS, NewKey, NewProvider, Of, Stored};
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, Proved, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::keys::words_of;
use crate::web::pages::settings::organization::{is_mistake, wrong_with};
use crate::web::pages::view::{Shell, When};
use crate::web::pages::{filters, html, html_of, may, see_other, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Models that the page names; the others are counted.
const MODELS_SHOWN: usize = 100;

#[derive(Template)]
#[template(path = "pages/settings/models_provider.html")]
struct ProviderPage {
    shell: Shell,
    /// Where the form goes.
    path: String,
    is_station: bool,
    /// Whether the station's own can be added instead.
    may_station: bool,
    /// Where one is still to be chosen.
    presets: Vec<PresetRow>,
    /// The one that is chosen.
    preset: Option<&'static Preset>,
    /// Of one that is there.
    stored: Option<StoredRow>,
    is_scripted: bool,
    fields: Fields,
    limits: Vec<LimitRow>,
    limits_open: bool,
    error: String,
    advice: Option<Advice>,
}

struct PresetRow {
    code: &'static str,
    name: &'static str,
    words: &'static str,
}

struct StoredRow {
    name: String,
    version: u32,
    has_key: bool,
    enabled: bool,
    models: Vec<String>,
    more_models: usize,
    tested: Option<When>,
}

#[derive(Default)]
struct Fields {
    name: String,
    name_error: String,
    base_url: String,
    base_url_error: String,
    key_error: String,
    rules: String,
    rules_error: String,
    free: bool,
    free_error: String,
}

struct LimitRow {
    name: &'static str,
    words: &'static str,
    value: u64,
    min: u64,
    max: u64,
    error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Choice {
    preset: String,
}

/// What the page has to say besides what is stored.
#[derive(Default)]
struct Said<'a> {
    preset: &'a str,
    stored: Option<Stored>,
    form: Option<&'a Form>,
    problem: Option<&'a Problem>,
    advice: Option<Advice>,
}

fn base(of: Of) -> &'static str {
    match of {
        Of::Org => "/settings/models/providers",
        Of::Station => "/settings/models/station",
    }
}

macro_rules! pages {
    ($of:expr, $may:ident, $show_new:ident, $create:ident, $show:ident, $change:ident, $test:ident, $remove:ident) => {
        /// `GET …/new`
        pub async fn $show_new(
            auth: Authorized<permission::$may>,
            state: web::Data<State>,
            query: Query<Choice>,
            request: HttpRequest,
        ) -> Result<HttpResponse, Problem> {
            let said = Said {
                preset: &query.0.preset,
                ..Said::default()
            };
            html(&page(&auth.known, &state, &request, $of, said).await?)
        }

        /// `POST …/new`
        pub async fn $create(
            auth: Proved<permission::$may>,
            state: web::Data<State>,
            form: Form,
            request: HttpRequest,
        ) -> Result<HttpResponse, Problem> {
            created(&auth.known, &state, $of, &form, &request).await
        }

        /// `GET …/{provider}`
        pub async fn $show(
            auth: Authorized<permission::$may>,
            state: web::Data<State>,
            segments: Segments,
            request: HttpRequest,
        ) -> Result<HttpResponse, Problem> {
            let stored = providers::get(&state.app, auth.actor(), $of, segments.provider()?).await?;
            let said = Said {
                stored: Some(stored),
                ..Said::default()
            };
            html(&page(&auth.known, &state, &request, $of, said).await?)
        }

        /// `POST …/{provider}`
        pub async fn $change(
            auth: Proved<permission::$may>,
            state: web::Data<State>,
            segments: Segments,
            form: Form,
            request: HttpRequest,
        ) -> Result<HttpResponse, Problem> {
            changed(&auth.known, &state, $of, &segments, &form, &request).await
        }

        /// `POST …/{provider}/test`
        pub async fn $test(
            auth: Authorized<permission::$may>,
            state: web::Data<State>,
            segments: Segments,
            _form: Form,
            request: HttpRequest,
        ) -> Result<HttpResponse, Problem> {
            let origin = Context::origin(&request);
            let tested = providers::test(&state.app, auth.actor(), $of, segments.provider()?, origin).await?;
            let Some(advice) = tested.advice else {
                return Ok(see_other(format!(
                    "{}/{}?done=provider-tested",
                    base($of),
                    tested.provider.id
                )));
            };
            let said = Said {
                stored: Some(tested.provider),
                advice: Some(advice),
                ..Said::default()
            };
            html(&page(&auth.known, &state, &request, $of, said).await?)
        }

        /// `POST …/{provider}/remove`
        pub async fn $remove(
            auth: Proved<permission::$may>,
            state: web::Data<State>,
            segments: Segments,
            _form: Form,
            request: HttpRequest,
        ) -> Result<HttpResponse, Problem> {
            let provider = segments.provider()?;
            match providers::remove(&state.app, auth.actor(), $of, provider, None, Context::origin(&request)).await {
                Ok(()) => Ok(see_other(format!("{PATH}?done=provider-removed"))),
                Err(error @ Error::Conflict(_)) => {
                    let problem = Problem::from(error);
                    let stored = providers::get(&state.app, auth.actor(), $of, provider).await?;
                    let said = Said {
                        stored: Some(stored),
                        problem: Some(&problem),
                        ..Said::default()
                    };
                    html_of(&problem, &page(&auth.known, &state, &request, $of, said).await?)
                }
                Err(error) => Err(error.into()),
            }
        }
    };
}

pages!(Of::Org, ModelsManage, show_new, create, show, change, test, remove);
pages!(
    Of::Station,
    StationManage,
    show_new_of_station,
    create_of_station,
    show_of_station,
    change_of_station,
    test_of_station,
    remove_of_station
);

/// The limits of the form; what is no number is 0, which none may be but the tokens of a minute.
fn limits_of(form: &Form) -> ProviderLimits {
    let number = |name: &str| {
        form.text(name)
            .trim()
            .parse::<u64>()
            .unwrap_or(if name == "tokens_per_minute" { u64::MAX } else { 0 })
    };
    let small = |name: &str| u32::try_from(number(name)).unwrap_or(u32::MAX);
    ProviderLimits {
        connect_ms: number("connect_ms"),
        first_token_ms: number("first_token_ms"),
        idle_ms: number("idle_ms"),
        call_ms: number("call_ms"),
        concurrency: small("concurrency"),
        tokens_per_minute: small("tokens_per_minute"),
        max_output_tokens: small("max_output_tokens"),
    }
}

fn key_of(form: &Form) -> Option<Secret> {
    form.raw("key").filter(|key| !key.trim().is_empty()).map(Secret::new)
}

async fn created(known: &Known, state: &State, of: Of, form: &Form, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let new = NewProvider {
        name: form.text("name").to_owned(),
        preset: form.text("preset").to_owned(),
        base_url: form.text("base_url").to_owned(),
        key: key_of(form),
        rules: form.raw("rules").unwrap_or_default().replace("\r\n", "\n"),
        free: Some(!form.text("free").is_empty()),
        limits: limits_of(form),
    };
    match providers::create(&state.app, &known.actor, of, new, Context::origin(request)).await {
        Ok(stored) => Ok(see_other(format!("{}/{}?done=provider-created", base(of), stored.id))),
        Err(error) if is_mistake(&error) => {
            let problem = Problem::from(error);
            let said = Said {
                preset: form.text("preset"),
                form: Some(form),
                problem: Some(&problem),
                ..Said::default()
            };
            html_of(&problem, &page(known, state, request, of, said).await?)
        }
        Err(error) => Err(error.into()),
    }
}

async fn changed(
    known: &Known,
    state: &State,
    of: Of,
    segments: &Segments,
    form: &Form,
    request: &HttpRequest,
) -> Result<HttpResponse, Problem> {
    let provider = segments.provider()?;
    let change = Change {
        base_url: form.raw("base_url").map(str::to_owned),
        key: match key_of(form) {
            Some(key) => Some(NewKey::Set(key)),
            None => (!form.text("remove_key").is_empty()).then_some(NewKey::Remove),
        },
        rules: form.raw("rules").map(|rules| rules.replace("\r\n", "\n")),
        free: Some(!form.text("free").is_empty()),
        enabled: Some(!form.text("enabled").is_empty()),
        limits: Some(limits_of(form)),
    };
    let expected = form.text("version").parse().ok();
    match providers::change(&state.app, &known.actor, of, provider, change, expected, Context::origin(request)).await {
        Ok(_) => Ok(see_other(format!("{}/{provider}?done=saved", base(of)))),
        Err(error) if is_mistake(&error) && !matches!(error, Error::NotFound(_)) => {
            let problem = Problem::from(error);
            let stored = providers::get(&state.app, &known.actor, of, provider).await?;
            let said = Said {
                stored: Some(stored),
                form: Some(form),
                problem: Some(&problem),
                ..Said::default()
            };
            html_of(&problem, &page(known, state, request, of, said).await?)
        }
        Err(error) => Err(error.into()),
    }
}

const fn words_about(preset: &Preset) -> &'static str {
    match preset.kind {
        ProviderKind::Scripted => "Answers by rules that you write; for trying things out. Costs nothing.",
        _ if preset.wants_key => "Needs a key. Calls cost money.",
        _ if preset.free => "On your own machines. Costs nothing.",
        _ => "You know its address.",
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest, of: Of, said: Said<'_>) -> Result<ProviderPage, Problem> {
    let now = state.app.clock.now();
    let stored = said.stored;
    let preset = Preset::of(stored.as_ref().map_or(said.preset, |stored| &stored.preset));
    let wrong = |pointer: &str| said.problem.map(|problem| wrong_with(problem, pointer)).unwrap_or_default();
    let name = stored.as_ref().map(|stored| stored.name.clone());
    let typed = |field: &str, otherwise: String| said.form.map_or(otherwise, |form| form.raw(field).unwrap_or_default().to_owned());
    let checked = |field: &str, otherwise: bool| said.form.map_or(otherwise, |form| !form.text(field).is_empty());
    let fields = Fields {
        name: typed("name", preset.map(|preset| preset.code.replace('.', "-")).unwrap_or_default()),
        name_error: wrong("/name"),
        base_url: typed(
            "base_url",
            stored.as_ref().map_or_else(
                || preset.map(|preset| preset.base_url.to_owned()).unwrap_or_default(),
                |stored| stored.base_url.clone(),
            ),
        ),
        base_url_error: wrong("/base_url"),
        key_error: wrong("/key"),
        rules: typed("rules", stored.as_ref().map(|stored| stored.rules.clone()).unwrap_or_default()),
        rules_error: wrong("/rules"),
        free: checked(
            "free",
            stored
                .as_ref()
                .map_or_else(|| preset.is_some_and(|preset| preset.free), |stored| stored.free),
        ),
        free_error: wrong("/free"),
    };
    let values = said
        .form
        .map_or_else(|| stored.as_ref().map(|stored| stored.limits).unwrap_or_default(), limits_of);
    let limits: Vec<LimitRow> = LIMITS
        .iter()
        .map(|range| LimitRow {
            name: range.field,
            words: range.words,
            value: (range.of)(&values),
            min: range.min,
            max: range.max,
            error: wrong(&format!("/limits/{}", range.field)),
        })
        .collect();
    let title = name.clone().unwrap_or_else(|| "New provider".to_owned());
    let path = stored
        .as_ref()
        .map_or_else(|| format!("{}/new", base(of)), |stored| format!("{}/{}", base(of), stored.id));
    let row = |stored: Stored| StoredRow {
        name: stored.name,
        version: stored.version,
        has_key: stored.key.is_some(),
        enabled: checked("enabled", stored.enabled),
        more_models: stored.models.len().saturating_sub(MODELS_SHOWN),
        models: stored.models.into_iter().take(MODELS_SHOWN).collect(),
        tested: stored.models_at.map(|at| When::new(at, now)),
    };
    Ok(ProviderPage {
        shell: settings_shell(state, request, known, title, PATH),
        path,
        is_station: of == Of::Station,
        may_station: may(&known.actor, Permission::StationManage),
        presets: PRESETS
            .iter()
            .map(|preset| PresetRow {
                code: preset.code,
                name: preset.name,
                words: words_about(preset),
            })
            .collect(),
        is_scripted: preset.is_some_and(|preset| preset.kind == ProviderKind::Scripted),
        preset,
        stored: stored.map(row),
        fields,
        limits_open: limits.iter().any(|limit| !limit.error.is_empty()),
        limits,
        error: match said.problem {
            Some(problem) if problem.errors.is_empty() => words_of(problem),
            Some(problem) => wrong_with(problem, "/preset"),
            None => String::new(),
        },
        advice: said.advice,
    })
}

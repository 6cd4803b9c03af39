//! Prices: what was set, setting one, removing one, and the list that ships with the program.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::Segments;
use crate::domain::money::Price;
use crate::domain::permission::Actor;
use crate::domain::price::{Listed, Tariff, Tier};
use crate::domain::time::Timestamp;
use crate::services::prices::{self, NewPrice, Of};
use crate::services::reprice::{self, Reprice, Repriced};
use crate::store::prices::Stored;
use crate::web::context::Context;
use crate::web::extract::body::{Json, object, objects};
use crate::web::extract::form::check_header_token;
use crate::web::extract::paging::Page;
use crate::web::extract::{Authorized, Proved, may};
use crate::web::problem::Problem;
use crate::web::state::State;

/// Micro-dollars for a million tokens of each kind: $2.50 is 2500000. Of what is no model, `output_micros` is the price of a million units.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = TokenPrices)]
pub struct PricesBody {
    /// Input that no cache answered.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub input_micros: u64,
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub cache_read_micros: u64,
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub cache_write_micros: u64,
    /// Output, reasoning included.
    #[schema(minimum = 0, maximum = 1_000_000_000_000_i64)]
    pub output_micros: u64,
}

impl From<Price> for PricesBody {
    fn from(price: Price) -> Self {
        Self {
            input_micros: price.input_micros,
            cache_read_micros: price.cache_read_micros,
            cache_write_micros: price.cache_write_micros,
            output_micros: price.output_micros,
        }
    }
}

impl From<PricesBody> for Price {
    fn from(body: PricesBody) -> Self {
        Self {
            input_micros: body.input_micros,
            cache_read_micros: body.cache_read_micros,
            cache_write_micros: body.cache_write_micros,
            output_micros: body.output_micros,
        }
    }
}

/// Other prices for the whole of a call with more input than this.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PriceTier)]
pub struct TierBody {
    #[schema(maximum = 1_000_000_000)]
    pub over_input_tokens: u64,
    #[serde(deserialize_with = "object")]
    pub prices: PricesBody,
}

/// What a model costs from a time on.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Price)]
pub struct PriceBody {
    /// Absent in the shipped list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A provider's preset or name; `*` for any; `station` for what is no model.
    pub provider: String,
    /// A model's name, in which `*` stands for any characters; with the provider `station` one of `http`, `tool`, `fuel`, `storage`, `session`.
    pub model: String,
    /// Milliseconds since 1970 UTC from which on it holds.
    pub from: i64,
    pub prices: PricesBody,
    /// From few to many tokens.
    pub tiers: Vec<TierBody>,
    pub note: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<i64>,
}

fn tiers(tariff: &Tariff) -> Vec<TierBody> {
    let tiers = tariff.tiers.iter();
    tiers
        .map(|tier| TierBody {
            over_input_tokens: tier.over_input_tokens,
            prices: tier.price.into(),
        })
        .collect()
}

impl From<Stored> for PriceBody {
    fn from(stored: Stored) -> Self {
        Self {
            id: Some(stored.id.to_string()),
            from: stored.from.as_ms(),
            prices: stored.tariff.price.into(),
            tiers: tiers(&stored.tariff),
            provider: stored.provider,
            model: stored.model,
            note: stored.note,
            created_by: stored.created_by.map(|by| by.to_string()),
            created_by_name: stored.created_by_name,
            created_at: Some(stored.created_at.as_ms()),
        }
    }
}

impl From<&Listed> for PriceBody {
    fn from(line: &Listed) -> Self {
        Self {
            id: None,
            provider: line.provider.clone(),
            model: line.model.clone(),
            from: line.from.as_ms(),
            prices: line.tariff.price.into(),
            tiers: tiers(&line.tariff),
            note: String::new(),
            created_by: None,
            created_by_name: None,
            created_at: None,
        }
    }
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewPrice)]
pub struct NewPriceBody {
    /// A provider's preset or name; `*` for any; `station` for what is no model.
    #[schema(min_length = 1, max_length = 200, pattern = "^([!-)+-~]+|\\*)$")]
    pub provider: String,
    /// A model's name, in which `*` stands for any characters.
    #[schema(min_length = 1, max_length = 200, pattern = "^[!-~]+$")]
    pub model: String,
    /// Milliseconds since 1970 UTC from which on it holds; now where it is not given.
    #[serde(default)]
    #[schema(minimum = 0)]
    pub from: Option<i64>,
    #[serde(deserialize_with = "object")]
    pub prices: PricesBody,
    /// From few to many tokens, at most 8.
    #[serde(default, deserialize_with = "objects")]
    #[schema(max_items = 8)]
    pub tiers: Vec<TierBody>,
    #[serde(default)]
    #[schema(max_length = 300)]
    pub note: String,
}

impl From<NewPriceBody> for NewPrice {
    fn from(body: NewPriceBody) -> Self {
        let tier = |tier: &TierBody| Tier {
            over_input_tokens: tier.over_input_tokens,
            price: tier.prices.into(),
        };
        Self {
            provider: body.provider,
            model: body.model,
            from: body.from.map(Timestamp::from_ms),
            tariff: Tariff {
                price: body.prices.into(),
                tiers: body.tiers.iter().map(tier).collect(),
            },
            note: body.note,
        }
    }
}

/// The list that ships with the program.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ShippedPrices)]
pub struct ShippedBody {
    /// The day whose prices these are, such as 2025-11-01.
    pub as_of: String,
    pub items: Vec<PriceBody>,
}

async fn listed(state: &State, actor: &Actor, of: Of) -> Result<HttpResponse, Problem> {
    let found = prices::list(&state.app, actor, of).await?;
    Ok(HttpResponse::Ok().json(Page {
        items: found.into_iter().map(PriceBody::from).collect(),
        next: None,
    }))
}

async fn put(state: &State, actor: &Actor, of: Of, body: NewPriceBody, request: &HttpRequest) -> Result<HttpResponse, Problem> {
    let (stored, is_new) = prices::set(&state.app, actor, of, body.into(), Context::origin(request)).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
    Ok(HttpResponse::build(status).json(PriceBody::from(stored)))
}

/// Lists the organization's own prices, by provider and model. They hold before the station's and the shipped ones.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/prices", tag = "money", operation_id = "listPrices",
    params(("org" = String, Path, description = "Id or short name")),
    responses(
        (status = 200, description = "All of them, at most 1000", body = Page<PriceBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list(auth: Authorized<may::ModelsRead>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    listed(&state, auth.actor(), Of::Org).await
}

/// Sets a price from a time on; one for the same model from the same time is replaced. What was charged before stays until it is priced anew.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/prices", tag = "money", operation_id = "setPrice",
    params(("org" = String, Path, description = "Id or short name")),
    request_body = NewPriceBody,
    responses(
        (status = 200, description = "The price, which was replaced", body = PriceBody),
        (status = 201, description = "The price, which is new", body = PriceBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn set(
    auth: Proved<may::ModelsManage>,
    state: web::Data<State>,
    body: Json<NewPriceBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    put(&state, auth.actor(), Of::Org, body.value, &request).await
}

/// Shows one of the organization's own prices.
#[utoipa::path(
    get, path = "/api/v1/orgs/{org}/prices/{price}", tag = "money", operation_id = "getPrice",
    params(("org" = String, Path, description = "Id or short name"), ("price" = String, Path, description = "The price's id")),
    responses(
        (status = 200, description = "The price", body = PriceBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn show(auth: Authorized<may::ModelsRead>, state: web::Data<State>, segments: Segments) -> Result<HttpResponse, Problem> {
    let price = prices::get(&state.app, auth.actor(), Of::Org, segments.price()?).await?;
    Ok(HttpResponse::Ok().json(PriceBody::from(price)))
}

/// Removes one of the organization's own prices: what held before it holds again. What was charged stays until it is priced anew.
#[utoipa::path(
    delete, path = "/api/v1/orgs/{org}/prices/{price}", tag = "money", operation_id = "removePrice",
    params(("org" = String, Path, description = "Id or short name"), ("price" = String, Path, description = "The price's id")),
    responses(
        (status = 204, description = "It is removed"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn remove(
    auth: Proved<may::ModelsManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    prices::remove(&state.app, auth.actor(), Of::Org, segments.price()?, Context::origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

/// Shows the price list that ships with the program. What an organization or the station sets holds before it.
#[utoipa::path(
    get, path = "/api/v1/prices/shipped", tag = "money", operation_id = "getShippedPrices",
    responses(
        (status = 200, description = "The list", body = ShippedBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn shipped(_auth: Authorized<may::ModelsRead>) -> Result<HttpResponse, Problem> {
    let shipped = prices::shipped();
    Ok(HttpResponse::Ok().json(ShippedBody {
        as_of: shipped.as_of.clone(),
        items: shipped.lines.iter().map(PriceBody::from).collect(),
    }))
}

/// Lists the station's prices, which hold for every organization that has set none of its own.
#[utoipa::path(
    get, path = "/api/v1/station/prices", tag = "station", operation_id = "listStationPrices",
    responses(
        (status = 200, description = "All of them, at most 1000", body = Page<PriceBody>),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn list_station(auth: Authorized<may::StationManage>, state: web::Data<State>) -> Result<HttpResponse, Problem> {
    listed(&state, auth.actor(), Of::Station).await
}

/// Sets a price of the station from a time on; one for the same model from the same time is replaced.
#[utoipa::path(
    post, path = "/api/v1/station/prices", tag = "station", operation_id = "setStationPrice",
    request_body = NewPriceBody,
    responses(
        (status = 200, description = "The price, which was replaced", body = PriceBody),
        (status = 201, description = "The price, which is new", body = PriceBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn set_station(
    auth: Proved<may::StationManage>,
    state: web::Data<State>,
    body: Json<NewPriceBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    put(&state, auth.actor(), Of::Station, body.value, &request).await
}

/// Removes one of the station's prices.
#[utoipa::path(
    delete, path = "/api/v1/station/prices/{price}", tag = "station", operation_id = "removeStationPrice",
    params(("price" = String, Path, description = "The price's id")),
    responses(
        (status = 204, description = "It is removed"),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn remove_station(
    auth: Proved<may::StationManage>,
    state: web::Data<State>,
    segments: Segments,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    check_header_token(&request)?;
    prices::remove(&state.app, auth.actor(), Of::Station, segments.price()?, Context::origin(&request)).await?;
    Ok(HttpResponse::NoContent().finish())
}

#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Reprice)]
pub struct RepriceBody {
    /// Milliseconds since 1970 UTC; calls that were begun from then on.
    #[schema(minimum = 0)]
    pub from: i64,
    /// Not included.
    #[schema(minimum = 0)]
    pub to: i64,
    /// Only of this provider, by preset or name.
    #[serde(default)]
    pub provider: Option<String>,
    /// Only of this model.
    #[serde(default)]
    pub model: Option<String>,
    /// Only say what would change.
    #[serde(default)]
    pub dry_run: bool,
}

/// What pricing anew came to.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(as = Repriced)]
pub struct RepricedBody {
    /// Lines of the ledger that were looked at.
    pub lines: u64,
    /// Lines that cost something else now.
    pub corrected: u64,
    /// Lines that keep their cost, because nobody says what the model costs, or how much was used of it.
    pub unpriced: u64,
    /// Micro-dollars.
    pub before_micros: i64,
    pub after_micros: i64,
}

impl From<Repriced> for RepricedBody {
    fn from(repriced: Repriced) -> Self {
        Self {
            lines: repriced.lines,
            corrected: repriced.corrected,
            unpriced: repriced.unpriced,
            before_micros: repriced.before_micros,
            after_micros: repriced.after_micros,
        }
    }
}

/// Prices anew what was spent in a time, by the prices of now: adds corrections to the ledger, and changes no line. Done again it changes
/// nothing more. Needs `costs:read` too.
#[utoipa::path(
    post, path = "/api/v1/orgs/{org}/prices/reprice", tag = "money", operation_id = "reprice",
    params(("org" = String, Path, description = "Id or short name")),
    request_body = RepriceBody,
    responses(
        (status = 200, description = "What it came to", body = RepricedBody),
        (status = "default", description = "A problem", body = crate::web::problem::ProblemBody, content_type = "application/problem+json"),
    )
)]
pub async fn reprice(
    auth: Proved<may::ModelsManage>,
    state: web::Data<State>,
    body: Json<RepriceBody>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let body = body.value;
    let what = Reprice {
        from: Timestamp::from_ms(body.from),
        to: Timestamp::from_ms(body.to),
        provider: body.provider,
        model: body.model,
        dry_run: body.dry_run,
    };
    let repriced = reprice::reprice(&state.app, auth.actor(), what, Context::origin(&request)).await?;
    Ok(HttpResponse::Ok().json(RepricedBody::from(repriced)))
}

//! `/settings/prices`: what models cost, by whom it was said, and pricing anew what was spent.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use serde::Deserialize;

use crate::domain::id::PriceId;
use crate::domain::money::Price;
use crate::domain::permission::Permission;
use crate::domain::price::{Listed, Tariff, Tier};
use crate::domain::time::Timestamp;
use crate::services::prices::{self, NewPrice, Of};
use crate::services::reprice::{self, Reprice, Repriced};
use crate::services::{Error, FieldError};
use crate::store::prices::Stored;
use crate::web::api::Segments;
use crate::web::context::Context;
use crate::web::extract::form::Form;
use crate::web::extract::paging::Query;
use crate::web::extract::{Authorized, Proved, may as permission};
use crate::web::middleware::identity::Known;
use crate::web::pages::costs::{in_dollars, micros_of, signed};
use crate::web::pages::keys::words_of;
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, html, html_of, may, see_other, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const PATH: &str = "/settings/prices";
const DAY_MS: i64 = 86_400_000;

#[derive(Template)]
#[template(path = "pages/settings/prices.html")]
struct PricesPage {
    shell: Shell,
    /// What was set here, or what was looked for.
    rows: Vec<Row>,
    /// The list that ships, where nothing was looked for.
    shipped: Vec<Row>,
    total: usize,
    query: String,
    may_set: bool,
    may_station: bool,
    form: Fields,
    error: Option<String>,
    reprice: RepriceFields,
    reprice_error: Option<String>,
    repriced: Option<Outcome>,
}

struct Row {
    source: &'static str,
    provider: String,
    model: String,
    from: String,
    prices: [String; 4],
    tiers: Vec<String>,
    note: String,
    /// Of what can be removed here.
    remove: Option<String>,
    over: String,
}

/// The form of a price as it is filled in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fields {
    /// Of the list.
    q: String,
    provider: String,
    model: String,
    from: String,
    input: String,
    cache_read: String,
    cache_write: String,
    output: String,
    over: String,
    tier_input: String,
    tier_cache_read: String,
    tier_cache_write: String,
    tier_output: String,
    note: String,
    of: String,
    done: String,
}

#[derive(Clone, Debug, Default)]
struct RepriceFields {
    from: String,
    to: String,
    provider: String,
    model: String,
}

/// What pricing anew comes, or came, to.
struct Outcome {
    applied: bool,
    lines: u64,
    corrected: u64,
    unpriced: u64,
    before: String,
    after: String,
    difference: String,
}

impl Outcome {
    fn new(found: Repriced, applied: bool) -> Self {
        Self {
            applied,
            lines: found.lines,
            corrected: found.corrected,
            unpriced: found.unpriced,
            before: signed(found.before_micros),
            after: signed(found.after_micros),
            difference: signed(found.after_micros - found.before_micros),
        }
    }
}

#[derive(Default)]
struct Said {
    form: Fields,
    error: Option<String>,
    reprice: RepriceFields,
    reprice_error: Option<String>,
    repriced: Option<Outcome>,
}

/// `GET /settings/prices`
pub async fn show(
    auth: Authorized<permission::ModelsRead>,
    state: web::Data<State>,
    query: Query<Fields>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let said = Said {
        form: query.0,
        ..Said::default()
    };
    html(&page(&auth.known, &state, &request, said).await?)
}

/// `POST /settings/prices`: sets a price.
pub async fn set(
    auth: Proved<permission::ModelsManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let fields = Fields::read(&form);
    let of = if fields.of == "station" { Of::Station } else { Of::Org };
    let done = match fields.price() {
        Ok(new) => prices::set(&state.app, auth.actor(), of, new, Context::origin(&request))
            .await
            .map(drop),
        Err(wrong) => Err(Error::Invalid(wrong)),
    };
    match done {
        Ok(()) => Ok(see_other("/settings/prices?done=price-set")),
        Err(error @ (Error::Invalid(_) | Error::TooLarge(_) | Error::Conflict(_))) => {
            let problem = Problem::from(error);
            let said = Said {
                error: Some(words_of(&problem)),
                form: fields,
                ..Said::default()
            };
            html_of(&problem, &page(&auth.known, &state, &request, said).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// `POST /settings/prices/{price}/remove`
pub async fn remove(
    auth: Proved<permission::ModelsManage>,
    state: web::Data<State>,
    segments: Segments,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let price: PriceId = segments.text("price").parse().map_err(|_| Problem::not_found())?;
    let of = if form.text("of") == "station" { Of::Station } else { Of::Org };
    prices::remove(&state.app, auth.actor(), of, price, Context::origin(&request)).await?;
    Ok(see_other("/settings/prices?done=price-removed"))
}

/// `POST /settings/prices/reprice`: says what pricing a time anew would add, or does it.
pub async fn reprice(
    auth: Proved<permission::ModelsManage>,
    state: web::Data<State>,
    form: Form,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let fields = RepriceFields {
        from: form.text("from").to_owned(),
        to: form.text("to").to_owned(),
        provider: form.text("provider").to_owned(),
        model: form.text("model").to_owned(),
    };
    let applied = form.text("do") == "apply";
    let done = match fields.what(!applied) {
        Ok(what) => reprice::reprice(&state.app, auth.actor(), what, Context::origin(&request)).await,
        Err(error) => Err(error),
    };
    match done {
        Ok(found) => {
            let said = Said {
                repriced: Some(Outcome::new(found, applied)),
                reprice: fields,
                ..Said::default()
            };
            html(&page(&auth.known, &state, &request, said).await?)
        }
        Err(error @ (Error::Invalid(_) | Error::Conflict(_))) => {
            let problem = Problem::from(error);
            let said = Said {
                reprice_error: Some(words_of(&problem)),
                reprice: fields,
                ..Said::default()
            };
            html_of(&problem, &page(&auth.known, &state, &request, said).await?)
        }
        Err(error) => Err(error.into()),
    }
}

/// The first moment of a day in UTC.
fn day(text: &str) -> Option<Timestamp> {
    let date: jiff::civil::Date = text.parse().ok()?;
    let begins = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_ms(begins.timestamp().as_millisecond()))
}

fn date_of(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.as_ms()).map_or_else(|_| at.to_string(), |at| at.strftime("%Y-%m-%d").to_string())
}

impl RepriceFields {
    fn what(&self, dry_run: bool) -> Result<Reprice, Error> {
        let one = |pointer: &str, text: &str| day(text).ok_or_else(|| Error::field(pointer, "choose a day"));
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let last = one("/to", &self.to)?;
        Ok(Reprice {
            from: one("/from", &self.from)?,
            // The last day as a whole.
            to: Timestamp::from_ms(last.as_ms().saturating_add(DAY_MS)),
            provider: given(&self.provider),
            model: given(&self.model),
            dry_run,
        })
    }
}

impl Fields {
    fn read(form: &Form) -> Self {
        let text = |name: &str| form.text(name).to_owned();
        Self {
            q: String::new(),
            provider: text("provider"),
            model: text("model"),
            from: text("from"),
            input: text("input"),
            cache_read: text("cache_read"),
            cache_write: text("cache_write"),
            output: text("output"),
            over: text("over"),
            tier_input: text("tier_input"),
            tier_cache_read: text("tier_cache_read"),
            tier_cache_write: text("tier_cache_write"),
            tier_output: text("tier_output"),
            note: text("note"),
            of: text("of"),
            done: String::new(),
        }
    }

    fn price(&self) -> Result<NewPrice, Vec<FieldError>> {
        let mut wrong = Vec::new();
        let mut micros = |name: &str, text: &str, other: u64| {
            if text.is_empty() {
                return other;
            }
            micros_of(text).unwrap_or_else(|| {
                wrong.push(FieldError {
                    pointer: format!("/{name}"),
                    message: format!("{text:?} is no price: write dollars for a million tokens, such as 0.15."),
                });
                0
            })
        };
        let input = micros("input", &self.input, 0);
        let price = Price {
            input_micros: input,
            // Where nobody says otherwise, what a cache does costs like any input.
            cache_read_micros: micros("cache_read", &self.cache_read, input),
            cache_write_micros: micros("cache_write", &self.cache_write, input),
            output_micros: micros("output", &self.output, 0),
        };
        let mut tiers = Vec::new();
        if !self.over.is_empty() {
            let tier_input = micros("tier_input", &self.tier_input, price.input_micros);
            let tier = Price {
                input_micros: tier_input,
                cache_read_micros: micros("tier_cache_read", &self.tier_cache_read, price.cache_read_micros),
                cache_write_micros: micros("tier_cache_write", &self.tier_cache_write, price.cache_write_micros),
                output_micros: micros("tier_output", &self.tier_output, price.output_micros),
            };
            match self.over.parse() {
                Ok(over_input_tokens) => tiers.push(Tier {
                    over_input_tokens,
                    price: tier,
                }),
                Err(_) => wrong.push(FieldError {
                    pointer: "/over".to_owned(),
                    message: "write from how many tokens of input on another price holds, such as 200000.".to_owned(),
                }),
            }
        }
        let from = Some(self.from.as_str()).filter(|from| !from.is_empty()).map(|from| {
            day(from).unwrap_or_else(|| {
                wrong.push(FieldError {
                    pointer: "/from".to_owned(),
                    message: "choose a day, or leave it empty for now.".to_owned(),
                });
                Timestamp::from_ms(0)
            })
        });
        if self.input.is_empty() && self.output.is_empty() {
            wrong.push(FieldError {
                pointer: "/input".to_owned(),
                message: "say what input and output cost; write 0 where it is free.".to_owned(),
            });
        }
        if !wrong.is_empty() {
            return Err(wrong);
        }
        Ok(NewPrice {
            provider: self.provider.clone(),
            model: self.model.clone(),
            from,
            tariff: Tariff { price, tiers },
            note: self.note.clone(),
        })
    }
}

fn row(source: &'static str, (provider, model, from): (&str, &str, Timestamp), tariff: &Tariff, note: &str, remove: Option<String>) -> Row {
    let words = |price: &Price| {
        [
            price.input_micros,
            price.cache_read_micros,
            price.cache_write_micros,
            price.output_micros,
        ]
        .map(in_dollars)
    };
    let prices = words(&tariff.price);
    let tier = |tier: &Tier| {
        let [input, cache_read, cache_write, output] = words(&tier.price);
        format!(
            "over {} tokens of input: {input} input, {cache_read} and {cache_write} cache, {output} output",
            filters::with_commas(tier.over_input_tokens)
        )
    };
    let mut over = url::form_urlencoded::Serializer::new(String::new());
    let plain = |micros: u64| in_dollars(micros).trim_start_matches('$').to_owned();
    over.append_pair("provider", provider)
        .append_pair("model", model)
        .append_pair("input", &plain(tariff.price.input_micros))
        .append_pair("cache_read", &plain(tariff.price.cache_read_micros))
        .append_pair("cache_write", &plain(tariff.price.cache_write_micros))
        .append_pair("output", &plain(tariff.price.output_micros));
    if let Some(tier) = tariff.tiers.first() {
        over.append_pair("over", &tier.over_input_tokens.to_string())
            .append_pair("tier_input", &plain(tier.price.input_micros))
            .append_pair("tier_cache_read", &plain(tier.price.cache_read_micros))
            .append_pair("tier_cache_write", &plain(tier.price.cache_write_micros))
            .append_pair("tier_output", &plain(tier.price.output_micros));
    }
    Row {
        source,
        provider: provider.to_owned(),
        model: model.to_owned(),
        from: if from.as_ms() == 0 { "always".to_owned() } else { date_of(from) },
        prices,
        tiers: tariff.tiers.iter().map(tier).collect(),
        note: note.to_owned(),
        remove,
        over: format!("{PATH}?{}#set", over.finish()),
    }
}

async fn page(known: &Known, state: &State, request: &HttpRequest, said: Said) -> Result<PricesPage, Problem> {
    let actor = &known.actor;
    let may_set = may(actor, Permission::ModelsManage);
    let may_station = may(actor, Permission::StationManage);
    let set_row = |source, removable: bool, stored: &Stored| {
        let remove = (may_set && removable).then(|| stored.id.to_string());
        row(
            source,
            (&stored.provider, &stored.model, stored.from),
            &stored.tariff,
            &stored.note,
            remove,
        )
    };
    let own = prices::list(&state.app, actor, Of::Org).await?;
    let station = prices::of_station(&state.app, actor).await?;
    let shipped_row = |listed: &Listed| row("shipped", (&listed.provider, &listed.model, listed.from), &listed.tariff, "", None);
    let mut rows: Vec<Row> = own.iter().map(|stored| set_row("yours", true, stored)).collect();
    rows.extend(station.iter().map(|stored| set_row("station", may_station, stored)));
    let mut shipped: Vec<Row> = prices::shipped().lines.iter().map(shipped_row).collect();
    let total = rows.len() + shipped.len();
    let query = said.form.q.trim().to_lowercase();
    if !query.is_empty() {
        rows.append(&mut shipped);
    }
    rows.retain(|row| query.is_empty() || row.model.to_lowercase().contains(&query) || row.provider.to_lowercase().contains(&query));
    Ok(PricesPage {
        shell: settings_shell(state, request, known, "Prices", PATH),
        rows,
        shipped,
        total,
        query: said.form.q.clone(),
        may_set,
        may_station,
        form: said.form,
        error: said.error,
        reprice: said.reprice,
        reprice_error: said.reprice_error,
        repriced: said.repriced,
    })
}

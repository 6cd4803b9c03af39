//! What stands in the form of a form agent, as it was typed, and the manifest that it makes.

use super::new::Found;
use crate::domain::form::{self, FIELDS_MAX, Field, FieldKind, OFFERED};
use crate::domain::limits::AgentLimits;
use crate::domain::manifest::{AskFirst, Capabilities, HttpGrant, Manifest, RuntimeKind};
use crate::web::extract::form::Form;

const ENTRY: &str = "agent.js";
const SCHEMA: &str = "input.schema.json";
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const HOSTS_MAX: usize = 64;
/// Dollars that a run may cost where the form was not touched.
const DOLLARS_DEFAULT: &str = "0.50";

/// Something to mend, and the field of the page that it is about; empty where none is.
pub(super) struct Wrong {
    pub at: String,
    pub message: String,
}

impl Wrong {
    fn new(at: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            at: at.into(),
            message: message.into(),
        }
    }
}

/// How a finding about the manifest begins, and the field that it is about.
const FIELDS: [(&str, &str); 9] = [
    ("name ", "name"),
    ("there is already an agent", "name"),
    ("version ", "version"),
    ("summary ", "summary"),
    ("form.instructions", "instructions"),
    ("form.output-tokens", "output_tokens"),
    ("form.cost-micros", "dollars"),
    ("limits.cost", "dollars"),
    ("capabilities.secrets", "secrets"),
];

impl From<Found> for Wrong {
    fn from(found: Found) -> Self {
        let field = FIELDS.iter().find(|(begins, _)| found.message.starts_with(begins));
        let at = field.map_or("", |(_, at)| *at);
        let mut letters = found.message.chars();
        let first = letters.next().map(|first| first.to_uppercase().to_string()).unwrap_or_default();
        // “form.turns …” is a key, and stays as it is written.
        let is_key = found.message.split(' ').next().is_some_and(|word| word.contains('.'));
        let message = if is_key { found.message.clone() } else { first + letters.as_str() };
        Self::new(at, message)
    }
}

/// A host that the agent may reach.
pub(super) struct HostRow {
    pub host: String,
    /// Every method, and whether it is granted.
    pub methods: Vec<(&'static str, bool)>,
    pub path: String,
    /// Whether a write is sent without asking a person.
    pub never_asks: bool,
}

impl HostRow {
    fn blank() -> Self {
        Self {
            host: String::new(),
            methods: METHODS.map(|method| (method, matches!(method, "GET" | "HEAD"))).to_vec(),
            path: String::new(),
            never_asks: false,
        }
    }
}

/// A field of the input.
pub(super) struct FieldRow {
    pub name: String,
    pub title: String,
    pub kind: FieldKind,
    pub required: bool,
}

/// The form as it was typed.
pub(super) struct Draft {
    pub name: String,
    pub version: String,
    pub summary: String,
    pub instructions: String,
    pub model: String,
    /// The first tool of each offer that was chosen.
    pub tools: Vec<String>,
    /// Of those, which a person is asked about.
    pub asks: Vec<String>,
    pub hosts: Vec<HostRow>,
    pub fields: Vec<FieldRow>,
    /// Names.
    pub secrets: Vec<String>,
    pub turns: String,
    pub dollars: String,
    pub output_tokens: String,
}

impl Draft {
    /// What a new form begins with.
    pub fn new() -> Self {
        Self {
            name: String::new(),
            version: "0.1.0".to_owned(),
            summary: String::new(),
            instructions: String::new(),
            model: "default".to_owned(),
            tools: vec!["calculator".to_owned()],
            asks: Vec::new(),
            hosts: vec![HostRow::blank()],
            fields: rows(&form::Form::default_fields()),
            secrets: Vec::new(),
            turns: form::TURNS_DEFAULT.to_string(),
            dollars: DOLLARS_DEFAULT.to_owned(),
            output_tokens: String::new(),
        }
    }

    /// The form that made a manifest.
    pub fn of(manifest: &Manifest, version: &semver::Version) -> Self {
        let granted = &manifest.capabilities;
        let first = |names: &[String]| -> Vec<String> {
            let offers = OFFERED
                .iter()
                .filter(|offer| offer.tools.iter().any(|tool| names.iter().any(|name| name == tool)));
            offers
                .filter_map(|offer| offer.tools.first())
                .map(|&tool| tool.to_owned())
                .collect()
        };
        let host = |grant: &HttpGrant| HostRow {
            host: grant.host.clone(),
            methods: METHODS
                .map(|method| (method, grant.methods.iter().any(|granted| granted == method)))
                .to_vec(),
            path: grant.path.clone(),
            never_asks: grant.approval == AskFirst::Never,
        };
        let mut hosts: Vec<HostRow> = granted.http.iter().map(host).collect();
        if hosts.is_empty() {
            hosts.push(HostRow::blank());
        }
        let form = manifest.form.as_ref();
        Self {
            name: manifest.name.clone(),
            version: version.to_string(),
            summary: manifest.summary.clone(),
            instructions: form.map(|form| form.instructions.clone()).unwrap_or_default(),
            model: granted.models.first().cloned().unwrap_or_default(),
            tools: first(&granted.tools),
            asks: first(&granted.ask),
            hosts,
            fields: form.map(|form| rows(&form.fields)).unwrap_or_default(),
            secrets: granted.secrets.clone(),
            turns: form.map(|form| form.turns.to_string()).unwrap_or_default(),
            dollars: form.and_then(|form| form.cost_micros).map(dollars).unwrap_or_default(),
            output_tokens: form
                .and_then(|form| form.output_tokens)
                .map(|tokens| tokens.to_string())
                .unwrap_or_default(),
        }
    }

    /// Reads what was sent.
    pub fn read(sent: &Form) -> Self {
        let text = |name: &str| sent.text(name).to_owned();
        let all = |name: &str| -> Vec<String> { sent.all(name).map(str::to_owned).collect() };
        let row = |kind: &str, i: usize, name: &str| format!("{kind}.{i}.{name}");
        let host = |i: usize| {
            let host = sent.raw(&row("host", i, "host"))?.trim().to_owned();
            let granted = all(&row("host", i, "method"));
            Some(HostRow {
                host,
                methods: METHODS.map(|method| (method, granted.iter().any(|given| given == method))).to_vec(),
                path: text(&row("host", i, "path")),
                never_asks: sent.text(&row("host", i, "approval")) == "never",
            })
        };
        let field = |i: usize| {
            let title = sent.raw(&row("field", i, "title"))?.trim().to_owned();
            Some(FieldRow {
                name: text(&row("field", i, "name")),
                title,
                kind: FieldKind::parse(sent.text(&row("field", i, "kind"))).unwrap_or(FieldKind::Text),
                required: !sent.text(&row("field", i, "required")).is_empty(),
            })
        };
        Self {
            name: text("name"),
            version: text("version"),
            summary: text("summary"),
            // A text area sends the line ends of another system.
            instructions: sent.raw("instructions").unwrap_or_default().replace("\r\n", "\n").trim().to_owned(),
            model: text("model"),
            tools: all("tool"),
            asks: all("ask"),
            hosts: (0..=HOSTS_MAX).map_while(host).collect(),
            fields: (0..=FIELDS_MAX).map_while(field).collect(),
            secrets: named(sent.all("secret"), sent.text("secrets")),
            turns: text("turns"),
            dollars: text("dollars"),
            output_tokens: text("output_tokens"),
        }
    }

    /// Adds or takes away a row, where the button says so.
    pub fn rearrange(&mut self, wanted: &str) -> bool {
        let at = |prefix: &str| wanted.strip_prefix(prefix).and_then(|index| index.parse::<usize>().ok());
        if wanted == "add-host" {
            self.hosts.push(HostRow::blank());
        } else if wanted == "add-field" {
            self.fields.push(FieldRow {
                name: String::new(),
                title: String::new(),
                kind: FieldKind::Text,
                required: false,
            });
        } else if let Some(at) = at("remove-host:") {
            if at < self.hosts.len() {
                self.hosts.remove(at);
            }
        } else if let Some(at) = at("remove-field:") {
            if at < self.fields.len() {
                self.fields.remove(at);
            }
        } else {
            return false;
        }
        true
    }

    /// The manifest of this form. What a form does not show is as in `base`.
    ///
    /// # Errors
    /// What is to be mended; the rest is checked with the manifest.
    pub fn manifest(&self, base: Option<&Manifest>) -> Result<Manifest, Vec<Wrong>> {
        let mut wrong = Vec::new();
        let version = semver::Version::parse(&self.version).unwrap_or_else(|_| {
            wrong.push(Wrong::new("version", "The version is three numbers with dots, such as 1.2.0."));
            semver::Version::new(0, 0, 0)
        });
        if self.summary.is_empty() {
            wrong.push(Wrong::new("summary", "Say in one sentence what the agent does."));
        }
        if self.instructions.is_empty() {
            wrong.push(Wrong::new("instructions", "Say what the agent is to do."));
        }
        if self.model.is_empty() {
            wrong.push(Wrong::new("model", "Choose a model; one must be set up first."));
        }
        let turns = number(&self.turns, "turns", "turns", &mut wrong).unwrap_or(form::TURNS_DEFAULT);
        if !(form::TURNS_MIN..=form::TURNS_MAX).contains(&turns) {
            let (least, most) = (form::TURNS_MIN, form::TURNS_MAX);
            wrong.push(Wrong::new("turns", format!("Turns must be between {least} and {most}.")));
        }
        let output_tokens = number(&self.output_tokens, "output_tokens", "tokens of one reply", &mut wrong);
        let cost_micros = self.cost_micros(&mut wrong);
        let tools = Self::chosen(&self.tools, base.map(|base| base.capabilities.tools.as_slice()));
        let asks = self.asked(&tools, base);
        let mut manifest = base
            .cloned()
            .unwrap_or_else(|| Manifest::bare(&self.name, RuntimeKind::Javascript, ENTRY));
        manifest.version = version;
        manifest.summary.clone_from(&self.summary);
        manifest.input = Some(manifest.input.unwrap_or_else(|| SCHEMA.to_owned()));
        manifest.capabilities = Capabilities {
            models: vec![self.model.clone()],
            http: self.grants(base, &mut wrong),
            memory: tools.iter().any(|tool| tool.starts_with("memory_")),
            secrets: self.secrets.clone(),
            tools,
            ask: asks,
            ..manifest.capabilities
        };
        // The form's own limit has the agent answer with what it has; this one holds whatever it does.
        manifest.limits.cost_micros = cost_micros.unwrap_or(AgentLimits::CEILING.cost_micros);
        manifest.form = Some(form::Form {
            instructions: self.instructions.clone(),
            turns,
            output_tokens,
            cost_micros,
            fields: self.input_fields(),
        });
        if wrong.is_empty() { Ok(manifest) } else { Err(wrong) }
    }

    /// The tools of what was chosen, then those of before that no offer has.
    fn chosen(chosen: &[String], before: Option<&[String]>) -> Vec<String> {
        let offers = OFFERED
            .iter()
            .filter(|offer| offer.tools.first().is_some_and(|first| chosen.iter().any(|name| name == first)));
        let mut tools: Vec<String> = offers.flat_map(|offer| offer.tools).map(|&tool| tool.to_owned()).collect();
        let offered = |name: &String| OFFERED.iter().any(|offer| offer.tools.contains(&name.as_str()));
        tools.extend(before.into_iter().flatten().filter(|name| !offered(name)).cloned());
        tools
    }

    fn asked(&self, tools: &[String], base: Option<&Manifest>) -> Vec<String> {
        // Of those for memory, a person is asked about the one that changes it.
        let mut asks = Self::chosen(&self.asks, base.map(|base| base.capabilities.ask.as_slice()));
        asks.retain(|name| tools.contains(name) && !matches!(name.as_str(), "memory_get" | "memory_search"));
        asks
    }

    fn grants(&self, base: Option<&Manifest>, wrong: &mut Vec<Wrong>) -> Vec<HttpGrant> {
        let mut grants = Vec::new();
        for (i, row) in self.hosts.iter().enumerate().filter(|(_, row)| !row.host.is_empty()) {
            let methods: Vec<String> = row
                .methods
                .iter()
                .filter(|(_, granted)| *granted)
                .map(|(method, _)| (*method).to_owned())
                .collect();
            if methods.is_empty() {
                wrong.push(Wrong::new(
                    format!("host-{i}"),
                    format!("Choose what may be sent to {}: at least one method.", row.host),
                ));
            }
            let before = base.and_then(|base| {
                base.capabilities
                    .http
                    .iter()
                    .find(|grant| grant.host == row.host && grant.path == row.path)
            });
            grants.push(HttpGrant {
                host: row.host.clone(),
                methods,
                path: row.path.clone(),
                idempotency_header: before.and_then(|grant| grant.idempotency_header.clone()),
                approval: if row.never_asks { AskFirst::Never } else { AskFirst::Writes },
            });
        }
        grants
    }

    fn input_fields(&self) -> Vec<Field> {
        let filled = self.fields.iter().filter(|row| !row.title.is_empty());
        let fields: Vec<Field> = filled
            .map(|row| Field {
                name: if row.name.is_empty() {
                    form::field_name(&row.title)
                } else {
                    row.name.clone()
                },
                title: row.title.clone(),
                kind: row.kind,
                required: row.required,
            })
            .collect();
        if fields.is_empty() { form::Form::default_fields() } else { fields }
    }

    fn cost_micros(&self, wrong: &mut Vec<Wrong>) -> Option<u64> {
        if self.dollars.is_empty() {
            return None;
        }
        let micros = micros(&self.dollars).filter(|&micros| micros > 0);
        if micros.is_none() {
            wrong.push(Wrong::new("dollars", "What a run may cost is an amount in dollars, such as 0.50."));
        }
        micros
    }
}

/// Names that were chosen, then those that were typed with commas between them; each once.
fn named<'a>(chosen: impl Iterator<Item = &'a str>, typed: &'a str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for name in chosen.chain(typed.split([',', ' '])).map(str::trim) {
        if !name.is_empty() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

fn rows(fields: &[Field]) -> Vec<FieldRow> {
    let row = |field: &Field| FieldRow {
        name: field.name.clone(),
        title: field.title.clone(),
        kind: field.kind,
        required: field.required,
    };
    fields.iter().map(row).collect()
}

fn number(text: &str, at: &str, what: &str, wrong: &mut Vec<Wrong>) -> Option<u32> {
    if text.is_empty() {
        return None;
    }
    let number = text.parse().ok();
    if number.is_none() {
        wrong.push(Wrong::new(at, format!("The number of {what} is a whole number.")));
    }
    number
}

/// Reads `0.50` as millionths.
fn micros(text: &str) -> Option<u64> {
    let text = text.trim_start_matches('$').trim();
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    if text.is_empty() || text == "." || part.len() > 6 || !digits(whole) || !digits(part) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(part)
}

/// Writes millionths as `0.50`.
fn dollars(micros: u64) -> String {
    let (whole, part) = (micros / 1_000_000, format!("{:06}", micros % 1_000_000));
    let part = part.trim_end_matches('0');
    format!("{whole}.{part:0<2}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly_and_written_as_they_are_read() {
        for (text, exact) in [("0.50", 500_000), ("$12", 12_000_000), (".000001", 1), ("1.25", 1_250_000)] {
            assert_eq!(micros(text), Some(exact), "{text}");
            assert_eq!(micros(&dollars(exact)), Some(exact), "{text}");
        }
        assert_eq!(dollars(500_000), "0.50");
        for text in ["", ".", "1.2.3", "-1", "1e3", "0.0000001", "99999999999999999999", "1,5"] {
            assert_eq!(micros(text), None, "{text}");
        }
    }

    #[test]
    fn a_form_opens_with_what_it_made() {
        let mut draft = Draft::new();
        draft.name = "sorter".to_owned();
        draft.summary = "Sorts".to_owned();
        draft.instructions = "Sort.".to_owned();
        draft.tools = vec!["memory_get".to_owned(), "http_request".to_owned()];
        draft.asks = vec!["memory_get".to_owned()];
        draft.hosts[0].host = "example.com".to_owned();
        draft.hosts[0].path = "/v1".to_owned();
        let made = draft.manifest(None).map_err(|wrong| wrong[0].message.clone()).unwrap();
        assert_eq!(
            made.capabilities.tools,
            ["http_request", "memory_get", "memory_put", "memory_search"]
        );
        assert_eq!(made.capabilities.ask, ["memory_put"]);
        assert!(made.capabilities.memory);
        let read = Manifest::parse(&made.text()).unwrap();
        let again = Draft::of(&read, &read.version);
        assert_eq!(again.tools, ["http_request", "memory_get"]);
        assert_eq!(again.asks, ["memory_get"]);
        assert_eq!(again.dollars, "0.50");
        assert_eq!(again.manifest(Some(&read)).map_err(|wrong| wrong[0].message.clone()).unwrap(), read);
    }

    #[test]
    fn what_the_form_does_not_show_is_kept() {
        let text = "name = \"a\"\nversion = \"1.0.0\"\nsummary = \"s\"\nruntime = \"javascript\"\nentry = \"main.js\"\ncategory = \"office\"\n\
                    [capabilities]\nmodels = [\"fast\"]\nagents = [\"other\"]\ntools = [\"calculator\"]\n\
                    http = [{ host = \"h.example\", methods = [\"POST\"], idempotency-header = \"X-Key\" }]\n[limits]\ncalls = 50\n[form]\ninstructions = \"Do.\"\n";
        let base = Manifest::parse(text).unwrap();
        let mut draft = Draft::of(&base, &semver::Version::new(1, 0, 1));
        draft.instructions = "Do it.".to_owned();
        let made = draft.manifest(Some(&base)).map_err(|wrong| wrong[0].message.clone()).unwrap();
        assert_eq!(
            (made.entry.as_str(), made.category.as_str(), made.limits.calls),
            ("main.js", "office", 50)
        );
        assert_eq!(made.capabilities.agents, ["other"]);
        assert_eq!(made.capabilities.http, base.capabilities.http);
        assert_eq!(made.version, semver::Version::new(1, 0, 1));
    }
}

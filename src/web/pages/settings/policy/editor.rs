//! The page of one rule: what is typed there, and the rule that it makes.

use actix_web::HttpRequest;
use askama::Template;

use super::KINDS;
use crate::domain::permission::Role;
use crate::domain::policy::rules::{Artifact, Cost, Http, METHODS, Names, Per};
use crate::domain::policy::{Approvers, Effect, Rule, Rules, What};
use crate::services::FieldError;
use crate::web::extract::form::Form;
use crate::web::middleware::identity::Known;
use crate::web::pages::view::Shell;
use crate::web::pages::{filters, settings_shell};
use crate::web::problem::Problem;
use crate::web::state::State;

const UNITS: [(&str, u64); 4] = [("bytes", 1), ("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30)];

#[derive(Template)]
#[template(path = "pages/settings/policy_rule.html")]
pub(super) struct RulePage {
    shell: Shell,
    of: String,
    base: String,
    json: String,
    note: String,
    /// Of a rule that is changed.
    at: Option<usize>,
    fields: Fields,
    kind_word: &'static str,
    methods: Vec<(&'static str, bool)>,
    units: [&'static str; 4],
    roles: [(&'static str, &'static str); 4],
}

/// What was typed, as it was.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub kind: String,
    pub id: String,
    pub effect: String,
    /// One a line.
    pub names: String,
    pub hosts: String,
    pub methods: Vec<String>,
    pub path_prefix: String,
    pub amount: String,
    pub unit: String,
    pub per: String,
    pub min_role: String,
    pub count: String,
    pub self_approval: bool,
    pub note: String,
    /// What is wrong, by the field's place in the rule.
    pub errors: Vec<(String, String)>,
}

impl Fields {
    /// Of a new rule.
    pub(super) fn blank(kind: &str, rules: &Rules) -> Self {
        Self {
            kind: kind.to_owned(),
            id: rules.free_id(&format!("{kind}-rule")),
            effect: Effect::Ask.to_string(),
            unit: "MB".to_owned(),
            per: Per::Call.to_string(),
            min_role: Role::Operator.to_string(),
            count: "1".to_owned(),
            self_approval: true,
            ..Self::default()
        }
    }

    pub(super) fn of(rule: &Rule) -> Self {
        let asked = rule.asked();
        let mut fields = Self {
            kind: rule.what.kind().to_owned(),
            id: rule.id.clone(),
            effect: rule.effect.to_string(),
            unit: "MB".to_owned(),
            per: Per::Call.to_string(),
            min_role: asked.min_role.to_string(),
            count: asked.count.to_string(),
            self_approval: asked.self_approval,
            note: rule.note.clone(),
            ..Self::default()
        };
        match &rule.what {
            What::Model(names) | What::Tool(names) | What::Secret(names) | What::Agent(names) => fields.names = names.names.join("\n"),
            What::Http(http) => {
                fields.hosts = http.hosts.join("\n");
                fields.methods.clone_from(&http.methods);
                fields.path_prefix.clone_from(&http.path_prefix);
            }
            What::Artifact(artifact) => {
                let bytes = artifact.over_bytes;
                let (unit, size) = UNITS
                    .into_iter()
                    .rev()
                    .find(|(_, size)| bytes >= *size && bytes.is_multiple_of(*size))
                    .unwrap_or(("bytes", 1));
                fields.amount = (bytes / size).to_string();
                unit.clone_into(&mut fields.unit);
            }
            What::Cost(cost) => {
                fields.amount = dollars(cost.over_micros);
                fields.per = cost.per.to_string();
            }
        }
        fields
    }

    pub(super) fn read(form: &Form) -> Self {
        let text = |name: &str| form.text(name).to_owned();
        Self {
            kind: text("kind"),
            id: text("id"),
            effect: text("effect"),
            names: form.raw("names").unwrap_or_default().to_owned(),
            hosts: form.raw("hosts").unwrap_or_default().to_owned(),
            methods: form.all("methods").map(str::to_owned).collect(),
            path_prefix: text("path_prefix"),
            amount: text("amount"),
            unit: text("unit"),
            per: text("per"),
            min_role: text("min_role"),
            count: text("count"),
            self_approval: form.raw("self_approval").is_some(),
            note: text("rule_note"),
            errors: Vec::new(),
        }
    }

    /// With what is wrong beside the fields.
    pub(super) fn with(mut self, problem: &Problem) -> Self {
        let errors = problem.errors.iter();
        self.errors = errors
            .map(|place| (place.pointer.clone().unwrap_or_default(), place.message.clone()))
            .collect();
        self
    }

    /// What is wrong at or below a place.
    pub(super) fn error(&self, pointer: &str) -> String {
        let found = self.errors.iter().filter(|(at, _)| at.starts_with(pointer));
        found.map(|(_, message)| message.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// The rule that was typed.
    ///
    /// # Errors
    /// What cannot be read at all; the rest is for [`Rule::check`].
    pub(super) fn rule(&self) -> Result<Rule, Vec<FieldError>> {
        let mut wrong = Vec::new();
        let mut bad = |pointer: &str, message: &str| {
            wrong.push(FieldError {
                pointer: pointer.to_owned(),
                message: message.to_owned(),
            });
        };
        let effect = Effect::parse(&self.effect);
        if effect.is_none() {
            bad("/effect", "choose allow, ask or deny");
        }
        let names = || Names { names: list(&self.names) };
        let what = match self.kind.as_str() {
            "model" => Some(What::Model(names())),
            "tool" => Some(What::Tool(names())),
            "secret" => Some(What::Secret(names())),
            "agent" => Some(What::Agent(names())),
            "http" => Some(What::Http(Http {
                hosts: list(&self.hosts).into_iter().map(|host| host.to_ascii_lowercase()).collect(),
                methods: self.methods.clone(),
                path_prefix: self.path_prefix.clone(),
            })),
            "artifact" => self.bytes().map(|over_bytes| What::Artifact(Artifact { over_bytes })).or_else(|| {
                bad("/what/artifact/over_bytes", "write a whole number");
                None
            }),
            "cost" => match (micros(&self.amount), Per::parse(&self.per)) {
                (Some(over_micros), Some(per)) => Some(What::Cost(Cost { over_micros, per })),
                _ => {
                    bad("/what/cost/over_micros", "write an amount in dollars, such as 0.50");
                    None
                }
            },
            _ => {
                bad("/what", "there is no such kind of rule");
                None
            }
        };
        let approvers = if effect == Some(Effect::Ask) {
            let min_role = Role::parse(&self.min_role);
            let count = self.count.parse().ok();
            if min_role.is_none() {
                bad("/approvers/min_role", "choose a role");
            }
            if count.is_none() {
                bad("/approvers/count", "write how many people must agree");
            }
            min_role.zip(count).map(|(min_role, count)| Approvers {
                min_role,
                count,
                self_approval: self.self_approval,
            })
        } else {
            None
        };
        match (effect, what) {
            (Some(effect), Some(what)) if wrong.is_empty() => Ok(Rule {
                id: self.id.clone(),
                effect,
                what,
                approvers,
                note: self.note.clone(),
            }),
            _ => Err(wrong),
        }
    }

    fn bytes(&self) -> Option<u64> {
        let (_, size) = UNITS.into_iter().find(|(unit, _)| *unit == self.unit)?;
        self.amount.parse::<u64>().ok()?.checked_mul(size)
    }
}

/// What stands on lines, or between commas.
fn list(text: &str) -> Vec<String> {
    text.split(['\n', ','])
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Dollars as typed, in millionths.
pub(super) fn micros(text: &str) -> Option<u64> {
    let text = text.trim().trim_start_matches('$');
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() || part.len() > 6 || !digits(whole) || !digits(part) || (whole.is_empty() && part.is_empty()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part: u64 = format!("{part:0<6}").parse().ok()?;
    whole.checked_mul(1_000_000)?.checked_add(part)
}

fn dollars(micros: u64) -> String {
    let part = format!("{:06}", micros % 1_000_000);
    let part = part.trim_end_matches('0');
    format!("{}.{part:0<2}", micros / 1_000_000)
}

/// The page of a new rule, or of the one at this place of the draft that the form carries.
pub(super) fn page(
    known: &Known,
    state: &State,
    request: &HttpRequest,
    form: &Form,
    fields: Fields,
    at: Option<usize>,
) -> Result<RulePage, Problem> {
    let (_, kind_word) = KINDS
        .into_iter()
        .find(|(kind, _)| *kind == fields.kind)
        .ok_or_else(|| Problem::invalid("/kind", "there is no such kind of rule"))?;
    let title = if at.is_some() { "Change a rule" } else { "New rule" };
    Ok(RulePage {
        shell: settings_shell(state, request, known, title, "/settings/policy"),
        of: form.text("of").to_owned(),
        base: form.text("base").to_owned(),
        json: form.raw("rules").unwrap_or_default().to_owned(),
        note: form.text("note").to_owned(),
        at,
        methods: METHODS
            .into_iter()
            .map(|method| (method, fields.methods.iter().any(|chosen| chosen == method)))
            .collect(),
        units: UNITS.map(|(unit, _)| unit),
        roles: [
            ("operator", "Operator or higher"),
            ("builder", "Builder or higher"),
            ("admin", "Admin or owner"),
            ("owner", "Owner"),
        ],
        kind_word,
        fields,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_read_exactly_and_written_again_as_they_were() {
        for (text, micros_of) in [
            ("1", 1_000_000),
            ("0.5", 500_000),
            (".25", 250_000),
            ("$2.000001", 2_000_001),
            ("0", 0),
        ] {
            assert_eq!(micros(text), Some(micros_of), "{text}");
        }
        for text in ["", "-1", "1,5", "0.1234567", "x", "1e3", ".", "99999999999999999999"] {
            assert_eq!(micros(text), None, "{text}");
        }
        for amount in [0, 10_000, 1_500_000, 2_000_001] {
            assert_eq!(micros(&dollars(amount)), Some(amount));
        }
        assert_eq!(dollars(1_500_000), "1.50");
    }

    #[test]
    fn a_rule_that_is_opened_and_put_back_is_the_same() {
        let rule = |what| Rule {
            id: "a".to_owned(),
            effect: Effect::Ask,
            what,
            approvers: Some(Approvers {
                min_role: Role::Admin,
                count: 2,
                self_approval: false,
            }),
            note: "Because".to_owned(),
        };
        for what in [
            What::Model(Names {
                names: vec!["a".to_owned(), "b*".to_owned()],
            }),
            What::Http(Http {
                hosts: vec!["*.bank.example".to_owned()],
                methods: vec!["POST".to_owned()],
                path_prefix: "/pay".to_owned(),
            }),
            What::Artifact(Artifact { over_bytes: 5 << 20 }),
            What::Cost(Cost {
                over_micros: 1_250_000,
                per: Per::Run,
            }),
        ] {
            let rule = rule(what);
            assert_eq!(Fields::of(&rule).rule().unwrap(), rule);
        }
    }
}

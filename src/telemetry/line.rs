//! One event, one line.

use std::fmt::{self, Write as _};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::text;
use crate::domain::time::{SharedClock, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Human { colour: bool },
    Json,
}

/// Writes each event as a line.
pub(super) struct Lines<W> {
    format: Format,
    clock: SharedClock,
    write: W,
}

impl<W: Fn(&str)> Lines<W> {
    pub(super) fn new(format: Format, clock: SharedClock, write: W) -> Self {
        Self { format, clock, write }
    }
}

/// The fields of a span or an event, in the order in which they were recorded.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), Value::String(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&str) + 'static,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);
        let Fields(mut own) = own;
        let mut fields = Map::new();
        for span in context
            .event_scope(event)
            .into_iter()
            .flat_map(tracing_subscriber::registry::Scope::from_root)
        {
            if let Some(Fields(outer)) = span.extensions().get::<Fields>() {
                fields.extend(outer.clone());
            }
        }
        // Events of crates that use `log` carry their own target and place.
        let target = match own.remove("log.target") {
            Some(Value::String(target)) => target,
            _ => event.metadata().target().to_owned(),
        };
        own.retain(|name, _| !name.starts_with("log."));
        let message = match own.remove("message") {
            Some(Value::String(message)) => message,
            _ => String::new(),
        };
        fields.extend(own);
        let line = Line {
            at: self.clock.now(),
            level: *event.metadata().level(),
            target,
            message,
            fields,
        };
        (self.write)(&match self.format {
            Format::Human { colour } => line.human(colour),
            Format::Json => line.json(),
        });
    }
}

struct Line {
    at: Timestamp,
    level: Level,
    target: String,
    message: String,
    fields: Map<String, Value>,
}

impl Line {
    fn json(self) -> String {
        let mut object = Map::new();
        object.insert("time".to_owned(), self.at.to_string().into());
        object.insert("level".to_owned(), self.level.as_str().to_ascii_lowercase().into());
        object.insert("message".to_owned(), self.message.into());
        object.insert("target".to_owned(), self.target.into());
        for (name, value) in self.fields {
            object.entry(name).or_insert(value);
        }
        format!("{}\n", text::json(&Value::Object(object).to_string()))
    }

    fn human(self, colour: bool) -> String {
        let paint = |code: &'static str| if colour { code } else { "" };
        let level = match self.level {
            Level::ERROR => "\x1b[31m",
            Level::WARN => "\x1b[33m",
            Level::INFO => "\x1b[32m",
            _ => "\x1b[2m",
        };
        let (level, dim, plain) = (paint(level), paint("\x1b[2m"), paint("\x1b[0m"));
        let mut line = format!(
            "{dim}{}{plain} {level}{:5}{plain} {}",
            self.at,
            self.level.as_str(),
            text::one_line(&self.message)
        );
        for (name, value) in &self.fields {
            let value = match value {
                Value::String(value) => text::one_line(value).into_owned(),
                other => other.to_string(),
            };
            // Writing to a String cannot fail.
            _ = write!(line, " {dim}{name}={plain}{value}");
        }
        line.push('\n');
        line
    }
}

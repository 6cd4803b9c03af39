//! `timeline`: what the agent tells the people who watch.

use serde_json::json;
use wasmtime::component::LinkerInstance;

use super::super::bindings::wit::timeline::{Level, ProgressUpdate};
use super::super::exchange::TimelineCall;
use super::{Guest, cut, enter, trap};
use crate::domain::journal::{Payload, Phase};
use crate::domain::limits::{LOG_BYTES_MAX, META_BYTES_MAX, NAME_BYTES_MAX, STEP_NAME_BYTES_MAX};

/// Of a message, what stands in the summary; the rest is in the payload.
const MESSAGE_IN_META_BYTES: usize = META_BYTES_MAX / 2;

const fn level_name(level: Level) -> &'static str {
    match level {
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// JSON as it is, anything else as a JSON string.
fn as_json(text: String) -> serde_json::Value {
    serde_json::from_str(&text).unwrap_or(serde_json::Value::String(text))
}

fn log(level: Level, message: String, fields: Option<String>) -> TimelineCall {
    let message = cut(message, LOG_BYTES_MAX);
    let level = level_name(level);
    let fields = fields.map(|fields| as_json(cut(fields, LOG_BYTES_MAX)));
    let short = cut(message.clone(), MESSAGE_IN_META_BYTES);
    let full = json!({ "level": level, "message": message, "fields": fields });
    let request = (short.len() != message.len() || fields.is_some()).then(|| Payload::Json(full.to_string()));
    TimelineCall {
        kind: "log",
        phase: Phase::Point,
        arguments: full.to_string(),
        meta: json!({ "level": level, "message": short }),
        request,
        audience: 0,
    }
}

fn progress(update: ProgressUpdate) -> TimelineCall {
    let meta = json!({ "done": update.done, "total": update.total, "message": cut(update.message, MESSAGE_IN_META_BYTES) });
    TimelineCall {
        kind: "progress",
        phase: Phase::Point,
        arguments: meta.to_string(),
        meta,
        request: None,
        audience: 0,
    }
}

fn emit(kind: String, data: String, audience: u32) -> TimelineCall {
    let kind = cut(kind, NAME_BYTES_MAX);
    let data = as_json(cut(data, LOG_BYTES_MAX)).to_string();
    let arguments = json!({ "kind": kind, "data": data, "audience": audience }).to_string();
    TimelineCall {
        kind: "emit",
        phase: Phase::Point,
        arguments,
        meta: json!({ "kind": kind }),
        request: Some(Payload::Json(data)),
        audience,
    }
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap_async("log", |store, (level, message, fields): (Level, String, Option<String>)| {
        Box::new(async move {
            let (fuel, exchange) = enter(&store)?;
            exchange.timeline(log(level, message, fields), fuel).await.map_err(trap)?;
            Ok(())
        })
    })?;
    linker.func_wrap_async("step-start", |store, (name,): (String,)| {
        Box::new(async move {
            let (fuel, exchange) = enter(&store)?;
            Ok((exchange.step_start(&cut(name, STEP_NAME_BYTES_MAX), fuel).await.map_err(trap)?,))
        })
    })?;
    linker.func_wrap_async("step-end", |store, (step, failed): (u32, bool)| {
        Box::new(async move {
            let (fuel, exchange) = enter(&store)?;
            exchange.step_end(step, failed, fuel).await.map_err(trap)
        })
    })?;
    linker.func_wrap_async("progress", |store, (update,): (ProgressUpdate,)| {
        Box::new(async move {
            let (fuel, exchange) = enter(&store)?;
            exchange.timeline(progress(update), fuel).await.map_err(trap)?;
            Ok(())
        })
    })?;
    linker.func_wrap_async("emit", |store, (kind, data, audience): (String, String, u32)| {
        Box::new(async move {
            let (fuel, exchange) = enter(&store)?;
            exchange.timeline(emit(kind, data, audience), fuel).await.map_err(trap)?;
            Ok(())
        })
    })
}

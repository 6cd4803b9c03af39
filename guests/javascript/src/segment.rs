//! One segment: the file is evaluated, its export called, and its calls made until it returns.

use rquickjs::function::IntoArgs;
use rquickjs::promise::PromiseState;
use rquickjs::{Ctx, IntoJs, Module, Object, Promise, Result as JsResult, Undefined, Value};

use crate::abi::agentstation::agent::types::{Continuation, Event, Wake};
use crate::abi::{Outcome, ScriptFailure, Start};
use crate::engine::Engine;
use crate::fault::File;
use crate::{calls, fault};

const NEVER_SETTLES: &str = "the agent waits for a promise that nothing will resolve";

pub fn run(engine: &Engine, ctx: &Ctx<'_>, name: &str, source: String, start: Start) -> Result<Outcome, ScriptFailure> {
    let file = File { name, source: &source };
    let failed = |error| fault::from_error(engine, ctx, file, &error);
    let (module, evaluated) = Module::declare(ctx.clone(), name, source.as_str())
        .and_then(Module::eval)
        .map_err(failed)?;
    settle(engine, ctx, file, &evaluated)?;

    let agent = module.namespace().map_err(failed)?;
    let arguments = (
        agent,
        start.input,
        read_state(start.state)?,
        write_event(ctx, start.event).map_err(failed)?,
    );
    let segment = call(engine, ctx, arguments).map_err(failed)?;
    let outcome = settle(engine, ctx, file, &segment)?;
    if let Some(reason) = fault::unhandled(ctx) {
        let mut failure = fault::from_reason(engine, ctx, file, reason);
        failure.failure.message.push_str(" (in a promise that nothing awaited)");
        return Err(failure);
    }
    read_outcome(&outcome).map_err(failed)
}

fn call<'js>(engine: &Engine, ctx: &Ctx<'js>, arguments: impl IntoArgs<'js>) -> JsResult<Promise<'js>> {
    engine.prelude(ctx, "start")?.call(arguments)
}

/// Runs everything there is to run, then gives what the promise was resolved with.
fn settle<'js>(engine: &Engine, ctx: &Ctx<'js>, file: File<'_>, promise: &Promise<'js>) -> Result<Value<'js>, ScriptFailure> {
    calls::drain(ctx).map_err(|error| fault::from_error(engine, ctx, file, &error))?;
    match promise.result::<Value<'js>>() {
        Some(Ok(value)) => Ok(value),
        Some(Err(error)) => Err(fault::from_error(engine, ctx, file, &error)),
        None => {
            debug_assert_eq!(promise.state(), PromiseState::Pending);
            Err(fault::plain(NEVER_SETTLES))
        }
    }
}

fn read_state(state: Option<Vec<u8>>) -> Result<Option<String>, ScriptFailure> {
    state
        .map(String::from_utf8)
        .transpose()
        .map_err(|_| fault::plain("the state of the segment before is not JSON"))
}

fn write_event<'js>(ctx: &Ctx<'js>, event: Option<Event>) -> JsResult<Value<'js>> {
    let Some(event) = event else { return Undefined.into_js(ctx) };
    let to = Object::new(ctx.clone())?;
    let extra = match event {
        Event::Message(message) => {
            to.set("type", "message")?;
            to.set("id", message.id)?;
            to.set("text", message.text)?;
            to.set("sender", message.sender)?;
            to.set("sentMs", milliseconds(message.sent_ms))?;
            message.extra
        }
        Event::Timer(timer) => {
            to.set("type", "timer")?;
            to.set("dueMs", milliseconds(timer.due_ms))?;
            timer.extra
        }
    };
    if let Some(extra) = extra {
        to.set("extra", extra)?;
    }
    Ok(to.into_value())
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds stay below 2^53")]
const fn milliseconds(since_1970: u64) -> f64 {
    since_1970 as f64
}

fn read_outcome<'js>(outcome: &Value<'js>) -> JsResult<Outcome> {
    let outcome: Object<'js> = outcome.get()?;
    if let Some(output) = outcome.get::<_, Option<String>>("done")? {
        return Ok(Outcome::Done(output));
    }
    let state = outcome.get::<_, String>("state")?.into_bytes();
    let wake: Value<'js> = outcome.get("wake")?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "prelude.js lets whole numbers below 2^53 through"
    )]
    let wake = match wake.as_number() {
        Some(at) => Wake::At(at as u64),
        None if wake.get::<String>()? == "message" => Wake::Message,
        None => Wake::Now,
    };
    Ok(Outcome::Next(Continuation { state, wake }))
}

//! What went wrong, in words, with its place in the user's own file.

use std::cell::RefCell;

use rquickjs::{Ctx, Error, Object, Persistent, Value};

use crate::abi::{Failure, ScriptFailure};
use crate::engine::Engine;
use crate::memory;

/// The code of a failure that the agent's own code caused.
const AGENT_ERROR: &str = "agent_error";

/// The code of a failure that a limit caused.
const LIMIT_EXCEEDED: &str = "limit_exceeded";

/// What QuickJS says when its memory is full; the station knows the end of a run for this reason by it.
const OUT_OF_MEMORY: &str = "InternalError: out of memory";

/// What the errors of QuickJS itself begin with.
const INTERNAL: &str = "InternalError: ";

/// The user's file.
#[derive(Clone, Copy)]
pub struct File<'a> {
    pub name: &'a str,
    pub source: &'a str,
}

/// A line and column from 1; zero where unknown.
#[derive(Clone, Copy, Default)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// A promise that was rejected before anything waited for it, and the reason.
type Rejection = (Persistent<Value<'static>>, Persistent<Value<'static>>);

thread_local! {
    static REJECTIONS: RefCell<Vec<Rejection>> = const { RefCell::new(Vec::new()) };
}

/// Told by QuickJS of promises rejected with no one waiting, and of those that someone waited for later.
pub fn track_rejection<'js>(ctx: Ctx<'js>, promise: Value<'js>, reason: Value<'js>, handled: bool) {
    REJECTIONS.with_borrow_mut(|rejections| {
        if handled {
            rejections.retain(|(held, _)| held.clone().restore(&ctx).is_ok_and(|held| held != promise));
        } else {
            rejections.push((Persistent::save(&ctx, promise), Persistent::save(&ctx, reason)));
        }
    });
}

/// The reason of the first promise that was rejected and that nothing has waited for.
pub fn unhandled<'js>(ctx: &Ctx<'js>) -> Option<Value<'js>> {
    REJECTIONS.with_borrow(|rejections| rejections.first().and_then(|(_, reason)| reason.clone().restore(ctx).ok()))
}

/// The value behind an error of the interpreter.
pub fn thrown<'js>(ctx: &Ctx<'js>, error: &Error) -> Option<Value<'js>> {
    error.is_exception().then(|| ctx.catch())
}

/// A failure of the agent's own making, in our words.
pub fn plain(message: impl Into<String>) -> ScriptFailure {
    let failure = Failure {
        code: AGENT_ERROR.to_owned(),
        message: message.into(),
        retryable: false,
    };
    ScriptFailure {
        failure,
        line: 0,
        column: 0,
        stack: String::new(),
    }
}

/// An error of the interpreter as a failure in the file.
pub fn from_error(engine: &Engine, ctx: &Ctx<'_>, file: File<'_>, error: &Error) -> ScriptFailure {
    match thrown(ctx, error) {
        Some(reason) => from_reason(engine, ctx, file, reason),
        None => plain(error.to_string()),
    }
}

/// A thrown value as a failure in the file.
pub fn from_reason<'js>(engine: &Engine, ctx: &Ctx<'js>, file: File<'_>, reason: Value<'js>) -> ScriptFailure {
    let full = memory::is_full();
    // With nothing left, QuickJS throws null for want of an error, or an error for want of its message.
    let starved = full && reason.is_null();
    memory::open_reserve();
    let Ok(told) = engine
        .prelude(ctx, "describe")
        .and_then(|describe| describe.call::<_, Object<'js>>((reason,)))
    else {
        ctx.catch();
        return plain("the agent threw a value that cannot be described");
    };
    let text = |key| told.get::<_, String>(key).unwrap_or_default();
    let (mut code, mut message) = (text("code"), text("message"));
    if starved || (full && message.starts_with(INTERNAL)) {
        LIMIT_EXCEEDED.clone_into(&mut code);
        message = format!("{OUT_OF_MEMORY}: an agent's JavaScript may take {} MiB", memory::BYTES_MAX >> 20);
    }
    if let Some(module) = unresolved_import(&message) {
        message = format!("{} imports \"{module}\", but an agent is one file and imports nothing", file.name);
    }
    let (place, stack) = read_stack(file.name, &text("stack"));
    if message == "TypeError: not a function"
        && let Some(callee) = read_callee(file.source, place)
    {
        message = format!("TypeError: {callee} is not a function");
    }
    let retryable = told.get("retryable").unwrap_or_default();
    ScriptFailure {
        failure: Failure { code, message, retryable },
        line: place.line,
        column: place.column,
        stack,
    }
}

/// The name of the module in QuickJS's message about an import it cannot resolve.
pub fn unresolved_import(message: &str) -> Option<&str> {
    message.strip_prefix("ReferenceError: could not load module '")?.strip_suffix('\'')
}

/// The place of the innermost frame in the file `name`, and all frames in it, one a line.
pub fn read_stack(name: &str, stack: &str) -> (Place, String) {
    let mut first = None;
    let mut kept = String::new();
    for frame in stack.lines().map(str::trim) {
        if let Some(place) = read_frame(name, frame) {
            first.get_or_insert(place);
            if !kept.is_empty() {
                kept.push('\n');
            }
            kept.push_str(frame);
        }
    }
    (first.unwrap_or_default(), kept)
}

/// Reads `at work (agent.js:3:11)` and `at agent.js:3:11`; none for frames of other files.
fn read_frame(name: &str, frame: &str) -> Option<Place> {
    let location = frame.strip_prefix("at ")?;
    let location = match location.strip_suffix(')') {
        Some(inner) => inner.rsplit_once(" (").map_or(inner, |(_, place)| place),
        None => location,
    };
    let (line, column) = location.strip_prefix(name)?.strip_prefix(':')?.split_once(':')?;
    Some(Place {
        line: line.parse().ok()?,
        column: column.parse().ok()?,
    })
}

/// The names and dots around a place, such as `station.models.chat`; QuickJS does not say what was called.
fn read_callee(source: &str, place: Place) -> Option<&str> {
    let line = source.lines().nth(usize::try_from(place.line).ok()?.checked_sub(1)?)?;
    let column = line.char_indices().nth(usize::try_from(place.column).ok()?.checked_sub(1)?)?.0;
    // Where a plain name is called, QuickJS points at the space before it.
    let at = column + line.get(column..)?.find(|each: char| !each.is_whitespace())?;
    let (before, after) = line.split_at_checked(at)?;
    let part = |each: char| each.is_alphanumeric() || matches!(each, '_' | '$' | '.');
    let start = before.trim_end_matches(part).len();
    let end = at + (after.len() - after.trim_start_matches(part).len());
    line.get(start..end)
        .filter(|callee| callee.starts_with(|first: char| part(first) && first != '.'))
}

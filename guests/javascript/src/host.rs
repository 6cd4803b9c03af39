//! What prelude.js calls and gets at once: the timeline, the clock, chance, and text as bytes.

use std::cell::Cell;

use rquickjs::{BigInt, Ctx, Exception, Function, Object, Result, TypedArray};

use crate::abi::agentstation::agent::{clock, random, timeline};

thread_local! {
    /// Whether there is a station to ask; not while the component is being built.
    static LIVE: Cell<bool> = const { Cell::new(false) };
    /// State of `Math.random`, seeded by the station at its first use.
    static CHANCE: Cell<Option<u64>> = const { Cell::new(None) };
}

pub fn go_live() {
    LIVE.set(true);
}

/// The object that prelude.js knows as `host`.
pub fn object<'js>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    host.set("log", Function::new(ctx.clone(), log)?)?;
    host.set("stepStart", Function::new(ctx.clone(), |name: String| timeline::step_start(&name))?)?;
    host.set(
        "stepEnd",
        Function::new(ctx.clone(), |step: u32, failed: bool| timeline::step_end(step, failed))?,
    )?;
    host.set("progress", Function::new(ctx.clone(), progress)?)?;
    host.set("emit", Function::new(ctx.clone(), emit)?)?;
    #[expect(clippy::cast_precision_loss, reason = "milliseconds stay below 2^53 for 285,000 years")]
    host.set("now", Function::new(ctx.clone(), || clock::now() as f64)?)?;
    host.set(
        "u64",
        Function::new(ctx.clone(), |ctx: Ctx<'js>| BigInt::from_u64(ctx, random::u64()))?,
    )?;
    host.set("random", Function::new(ctx.clone(), fraction)?)?;
    // QuickJS's own search takes seven times as long, and every value that leaves is searched.
    host.set(
        "contains",
        Function::new(ctx.clone(), |text: String, part: String| text.contains(&part))?,
    )?;
    host.set("encode", Function::new(ctx.clone(), encode)?)?;
    host.set("decode", Function::new(ctx.clone(), decode)?)?;
    Ok(host)
}

fn log(level: u8, message: String, fields: Option<String>) {
    let level = match level {
        0 => timeline::Level::Debug,
        2 => timeline::Level::Warn,
        3 => timeline::Level::Error,
        _ => timeline::Level::Info,
    };
    timeline::log(level, &message, fields.as_deref());
}

fn progress(done: f64, total: f64, message: String, extra: Option<String>) {
    timeline::progress(&timeline::ProgressUpdate {
        done,
        total,
        message,
        extra,
    });
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "prelude.js lets whole numbers below 2^32 through"
)]
fn emit(kind: String, data: String, audience: f64) {
    timeline::emit(&kind, &data, audience as u32);
}

/// `Math.random`: splitmix64 from one number of the station, so that a loop of a million costs no calls.
#[expect(clippy::cast_precision_loss, reason = "53 bits are what a double holds")]
fn fraction() -> f64 {
    let state = CHANCE.get().unwrap_or_else(random::u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    CHANCE.set(Some(state));
    let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^= mixed >> 31;
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

fn encode(ctx: Ctx<'_>, text: String) -> Result<TypedArray<'_, u8>> {
    TypedArray::new(ctx, text.into_bytes())
}

fn decode<'js>(ctx: Ctx<'js>, bytes: TypedArray<'js, u8>, fatal: bool) -> Result<String> {
    let bytes = read_bytes(&bytes);
    if fatal {
        String::from_utf8(bytes).map_err(|_| Exception::throw_type(&ctx, "the bytes are not UTF-8"))
    } else {
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// A copy of the bytes; empty where the buffer was given away.
pub fn read_bytes(array: &TypedArray<'_, u8>) -> Vec<u8> {
    #[expect(unsafe_code, reason = "the slice is copied before any JavaScript can run and move the buffer")]
    let slice = unsafe { array.as_bytes() };
    slice.unwrap_or_default().to_vec()
}

/// The clock QuickJS was built with: `Date`. Microseconds since 1970.
#[expect(unsafe_code, reason = "the symbol that rquickjs-sys links to")]
#[expect(clippy::cast_precision_loss, reason = "microseconds stay below 2^53 until the year 2255")]
#[unsafe(no_mangle)]
extern "C" fn __rquickjs_host_now_us() -> f64 {
    if LIVE.get() { (clock::now() * 1000) as f64 } else { 0.0 }
}

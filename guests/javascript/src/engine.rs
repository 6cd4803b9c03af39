//! The interpreter, with its globals, made once at build time and frozen into the component.

use std::cell::OnceCell;

use rquickjs::context::EvalOptions;
use rquickjs::{Context, Ctx, Function, Object, Persistent, Runtime};

use crate::{calls, fault, host, memory};

/// The name of prelude.js, waiting.js and tools.js in stacks, where their frames are left out.
const PRELUDE_NAME: &str = "station";

pub struct Engine {
    context: Context,
    prelude: Persistent<Object<'static>>,
}

thread_local! {
    /// Leaked: an instance ends with its segment, and dropping an interpreter costs time for nothing.
    static ENGINE: OnceCell<&'static Engine> = const { OnceCell::new() };
}

/// Lends the interpreter and its one context.
pub fn with<T>(body: impl FnOnce(&'static Engine, &Ctx<'_>) -> T) -> T {
    let engine = ENGINE.with(|cell| *cell.get_or_init(|| Box::leak(Box::new(Engine::new()))));
    engine.context.with(|ctx| body(engine, &ctx))
}

/// What the build calls once before it freezes the memory (guests/encode).
#[expect(unsafe_code, reason = "an export under the name the build looks for")]
#[unsafe(export_name = "initialize")]
extern "C" fn initialize() {
    with(|_, _| ());
    host::go_live();
}

/// The function that a file of the prelude is.
fn function_of<'js>(ctx: &Ctx<'js>, source: &str) -> rquickjs::Result<Function<'js>> {
    let mut options = EvalOptions::default();
    options.filename = Some(PRELUDE_NAME.to_owned());
    ctx.eval_with_options(source, options)
}

impl Engine {
    fn new() -> Self {
        let built = Runtime::new_with_alloc(memory::Heap).and_then(|runtime| {
            // QuickJS cannot see how deep WebAssembly's own stack is; too deep a recursion traps there instead.
            runtime.set_max_stack_size(0);
            let context = Context::full(&runtime)?;
            let prelude = context.with(|ctx| {
                let make = function_of(&ctx, include_str!("prelude.js"))?;
                let waiting = function_of(&ctx, include_str!("waiting.js"))?;
                let looping = function_of(&ctx, include_str!("tools.js"))?;
                let host = host::object(&ctx)?;
                host.set("call", Function::new(ctx.clone(), calls::enqueue)?)?;
                let prelude: Object<'_> = make.call((host, waiting, looping))?;
                rquickjs::Result::Ok(Persistent::save(&ctx, prelude))
            })?;
            runtime.run_gc();
            runtime.set_host_promise_rejection_tracker(Some(Box::new(fault::track_rejection)));
            Ok(Self { context, prelude })
        });
        // Only the build can see this fail: a component with a broken prelude is never written.
        built.unwrap_or_else(|error| panic!("the prelude does not run: {error}"))
    }

    /// A function of what prelude.js returned.
    pub fn prelude<'js>(&self, ctx: &Ctx<'js>, name: &str) -> rquickjs::Result<Function<'js>> {
        self.prelude.clone().restore(ctx)?.get(name)
    }
}

//! Turns a core module that cargo built into the agent component that is shipped.
//!
//! `encode CORE.wasm COMPONENT.wasm [INIT]`: where INIT names an export, that function runs once here and the module's
//! memory after it is what every instance starts with, so that a start-up costs nothing at run time.

use std::env::args_os;
use std::fs;
use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::task::{Context as TaskContext, Poll, Waker};

use anyhow::{Context, Result, anyhow, bail};
use wasmtime::{Engine, Extern, Instance, Linker, Module, Store, Val};
use wasmtime_wizer::{InstanceState, SnapshotVal, ValType, Wizer};
use wit_component::ComponentEncoder;

fn main() -> Result<()> {
    let args: Vec<_> = args_os().skip(1).collect();
    let (core, component, init) = match args.as_slice() {
        [core, component] => (core, component, None),
        [core, component, init] => (core, component, init.to_str()),
        _ => bail!("usage: encode CORE.wasm COMPONENT.wasm [INIT]"),
    };
    let mut module = fs::read(core).with_context(|| format!("cannot read {}", Path::new(core).display()))?;
    if let Some(init) = init {
        module = preinitialize(&module, init).map_err(|error| anyhow!("cannot run the start-up: {error:?}"))?;
    }
    let mut encoder = ComponentEncoder::default();
    encoder.validate(true).module(&module)?;
    let bytes = encoder.encode().context("the module is not an agent")?;
    fs::write(component, bytes).with_context(|| format!("cannot write {}", Path::new(component).display()))
}

/// The module with its memory and globals as they are after `init`; the export `init` is gone.
fn preinitialize(module: &[u8], init: &str) -> wasmtime::Result<Vec<u8>> {
    let mut wizer = Wizer::new();
    wizer.init_func(init);
    let (context, instrumented) = wizer.instrument(module)?;

    let engine = Engine::default();
    let compiled = Module::new(&engine, &instrumented)?;
    let mut linker = Linker::new(&engine);
    // A start-up that asks the outside world would freeze its answer into every run.
    linker.define_unknown_imports_as_traps(&compiled)?;
    let mut store = Store::new(&engine, ());
    let instance = linker.instantiate(&mut store, &compiled)?;
    wasmtime::ensure!(
        instance.get_export(&mut store, "_initialize").is_none(),
        "the module has a constructor of its own"
    );
    instance.get_typed_func::<(), ()>(&mut store, init)?.call(&mut store, ())?;

    finish(wizer.snapshot(&context, &mut State { store, instance }))
}

/// What the snapshot reads.
struct State {
    store: Store<()>,
    instance: Instance,
}

impl InstanceState for State {
    async fn global_get(&mut self, name: &str, _: ValType) -> SnapshotVal {
        let value = match self.instance.get_export(&mut self.store, name) {
            Some(Extern::Global(global)) => global.get(&mut self.store),
            _ => Val::I32(0),
        };
        match value {
            Val::I32(bits) => SnapshotVal::I32(bits),
            Val::I64(bits) => SnapshotVal::I64(bits),
            Val::F32(bits) => SnapshotVal::F32(bits),
            Val::F64(bits) => SnapshotVal::F64(bits),
            other => unreachable!("instrumented modules hold numbers only, not {other:?}"),
        }
    }

    async fn memory_contents(&mut self, name: &str, contents: impl FnOnce(&[u8]) + Send) {
        match self.instance.get_memory(&mut self.store, name) {
            Some(memory) => contents(memory.data(&self.store)),
            None => contents(&[]),
        }
    }
}

/// Nothing in a snapshot waits, so its future is ready when first asked.
fn finish<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut TaskContext::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("the snapshot waits for nothing"),
    }
}

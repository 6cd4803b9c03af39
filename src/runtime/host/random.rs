//! `random`: derived from the segment's seed, so that no entry is needed.

use wasmtime::component::LinkerInstance;

use super::Guest;

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap("u64", |store, (): ()| Ok((store.data().exchange.random(),)))
}

//! `clock`: derived from the journal, so that no entry is needed.

use wasmtime::component::LinkerInstance;

use super::Guest;

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap("now", |store, (): ()| {
        let ms = store.data().exchange.now().as_ms();
        Ok((u64::try_from(ms).unwrap_or(0),))
    })
}

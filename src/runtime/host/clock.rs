//! `clock`: the time of the journal, and waiting for a later one.

use wasmtime::component::LinkerInstance;

use super::{Guest, Prepared, done, one};
use crate::domain::call::Call;
use crate::domain::limits::WAIT_MS_MAX;

#[expect(clippy::unnecessary_wraps, reason = "calls are prepared alike")]
pub(super) fn sleep(ms: u64) -> Prepared {
    Ok((Call::ClockSleep { ms: ms.min(WAIT_MS_MAX) }, None))
}

pub(super) fn link(linker: &mut LinkerInstance<'_, Guest>) -> wasmtime::Result<()> {
    linker.func_wrap("now", |store, (): ()| {
        let ms = store.data().exchange.now().as_ms();
        Ok((u64::try_from(ms).unwrap_or(0),))
    })?;
    linker.func_wrap_async("sleep", |store, (ms,): (u64,)| {
        Box::new(async move { Ok((done(one(store, sleep(ms)).await?.0),)) })
    })
}

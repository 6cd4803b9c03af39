//! The outside of a script that is only parsed: there is none.

use futures_util::future::BoxFuture;

use super::ports::{Begun, Intended, PendingCall, Performed, Port, PortError, Woken};
use crate::domain::call::CallResult;
use crate::domain::failure::{Failure, FailureCode};
use crate::domain::journal::NewEntry;
use crate::domain::time::Timestamp;

pub(super) struct NoWorld;

const REFUSED: &str = "nothing is called while a script is checked";

fn refused() -> PortError {
    PortError::Unavailable(REFUSED.to_owned())
}

impl Port for NoWorld {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn enqueue(&self, _: Vec<NewEntry>) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(std::future::ready(Err(refused())))
    }

    fn begin(&self, _: Vec<NewEntry>, _: Vec<PendingCall>) -> BoxFuture<'_, Result<Vec<Begun>, PortError>> {
        Box::pin(std::future::ready(Err(refused())))
    }

    fn wait(&self, _: Vec<(usize, PendingCall)>) -> BoxFuture<'_, Result<Woken, PortError>> {
        Box::pin(std::future::ready(Err(refused())))
    }

    fn perform<'a>(&'a self, _: &'a Intended) -> BoxFuture<'a, Performed> {
        Box::pin(std::future::ready(Performed::free(CallResult::Failed(Failure::new(
            FailureCode::Denied,
            REFUSED,
        )))))
    }

    fn finish(&self, _: Intended, performed: Performed, _: Timestamp) -> BoxFuture<'_, Result<CallResult, PortError>> {
        Box::pin(std::future::ready(Ok(performed.result)))
    }

    fn artifact_bytes(&self, _: &str) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        Box::pin(std::future::ready(Err(refused())))
    }
}

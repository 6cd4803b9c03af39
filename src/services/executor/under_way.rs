//! Model calls that were sent and have no result yet: what they have used, for when they are given up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::super::models::Progress;
use crate::domain::money::Charged;
use crate::runtime::ports::Intended;

/// Segment, call, place within the call, and try.
pub(super) type Try = (u32, u32, u32, u32);

/// Which try of which call this is.
pub(super) fn try_of(intended: &Intended) -> Try {
    let entry = &intended.pending.entry;
    (entry.segment, entry.call.unwrap_or(0), entry.sub.unwrap_or(0), intended.tries)
}

/// The calls of one run.
#[derive(Default)]
pub(super) struct UnderWay(Mutex<HashMap<Try, Arc<Progress>>>);

impl UnderWay {
    /// Where a call that begins leaves what it has used.
    pub fn begin(&self, intended: &Intended) -> Arc<Progress> {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(calls.entry(try_of(intended)).or_default())
    }

    /// A call has ended. What was given up is charged for what went by, where that is known.
    pub fn end(&self, ended: Try, charged: &mut Charged) {
        let progress = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&ended);
        if *charged == Charged::Unknown
            && let Some(charges) = progress.and_then(|progress| progress.charges())
        {
            *charged = Charged::Known(charges);
        }
    }
}

//! Sockets: who may have how many, and the one for a run's timeline.

pub mod runs;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::domain::id::PrincipalId;

/// Of one principal.
const OWN_MAX: u32 = 8;
/// Of everyone.
const ALL_MAX: u32 = 2_000;

#[derive(Default)]
struct Open {
    all: u32,
    by_principal: HashMap<PrincipalId, u32>,
}

/// Counts the open sockets and streams of all workers.
#[derive(Clone, Default)]
pub struct Sockets {
    open: Arc<Mutex<Open>>,
}

/// A place among the open sockets, given back when it is dropped.
pub struct Seat {
    sockets: Sockets,
    principal: PrincipalId,
}

impl Sockets {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for one more, where there is one.
    pub fn take(&self, principal: PrincipalId) -> Option<Seat> {
        let mut open = self.lock();
        let own = open.by_principal.get(&principal).copied().unwrap_or(0);
        if own >= OWN_MAX || open.all >= ALL_MAX {
            return None;
        }
        open.all += 1;
        open.by_principal.insert(principal, own + 1);
        Some(Seat {
            sockets: self.clone(),
            principal,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.sockets.lock();
        open.all = open.all.saturating_sub(1);
        if let Some(own) = open.by_principal.get_mut(&self.principal) {
            *own -= 1;
            if *own == 0 {
                open.by_principal.remove(&self.principal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::time::Timestamp;

    #[test]
    fn one_principal_cannot_take_all_places_and_gives_them_back() {
        let sockets = Sockets::default();
        let (ana, bob) = (PrincipalId::new(Timestamp::from_ms(1)), PrincipalId::new(Timestamp::from_ms(2)));
        let seats: Vec<_> = (0..OWN_MAX).map(|_| sockets.take(ana).unwrap()).collect();
        assert!(sockets.take(ana).is_none());
        assert!(sockets.take(bob).is_some());
        drop(seats);
        assert!(sockets.take(ana).is_some());
        assert!(sockets.lock().by_principal.is_empty());
    }
}

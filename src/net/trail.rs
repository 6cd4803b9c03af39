//! Whom a request reached: one line for each hop, written as it goes, so that it is there however the request ends.

use std::sync::{Arc, Mutex, PoisonError};

use crate::domain::contact::Contact;

/// The hops of one request, in order.
#[derive(Clone, Debug, Default)]
pub struct Trail(Arc<Mutex<Vec<Contact>>>);

impl Trail {
    fn with<T>(&self, work: impl FnOnce(&mut Vec<Contact>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn begin(&self, contact: Contact) {
        self.with(|contacts| contacts.push(contact));
    }

    /// Counts what came from the newest hop.
    pub(super) fn receive(&self, bytes: usize) {
        self.with(|contacts| {
            if let Some(last) = contacts.last_mut() {
                last.received_bytes += bytes as u64;
            }
        });
    }

    /// What is on it so far.
    pub fn contacts(&self) -> Vec<Contact> {
        self.with(|contacts| contacts.clone())
    }
}

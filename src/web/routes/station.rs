//! The station itself: organizations and their plans, mail, security, the API reference.

use super::Line;

pub(super) fn lines() -> Vec<Line> {
    Vec::new()
}

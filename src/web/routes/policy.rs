//! What agents may do.

use super::Line;

pub(super) fn lines() -> Vec<Line> {
    Vec::new()
}

//! Members, invitations and roles.

use super::Line;

pub(super) fn lines() -> Vec<Line> {
    Vec::new()
}

//! What changed between two policies, rule by rule.

use super::rules::Rule;

/// A rule of one policy or of both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed<'a> {
    Same(&'a Rule),
    Gone(&'a Rule),
    New(&'a Rule),
}

/// The rules of both in order; one that was changed or moved is gone from its place and new in another.
pub fn difference<'a>(was: &'a [Rule], now: &'a [Rule]) -> Vec<Changed<'a>> {
    // The longest common run of rules, from the end: at most RULES_MAX squared.
    let width = now.len() + 1;
    let mut common = vec![0_u16; (was.len() + 1) * width];
    let at = |i: usize, j: usize| i * width + j;
    let get = |common: &[u16], i: usize, j: usize| common.get(at(i, j)).copied().unwrap_or(0);
    for (i, old) in was.iter().enumerate().rev() {
        for (j, new) in now.iter().enumerate().rev() {
            let best = if old == new {
                get(&common, i + 1, j + 1) + 1
            } else {
                get(&common, i + 1, j).max(get(&common, i, j + 1))
            };
            if let Some(cell) = common.get_mut(at(i, j)) {
                *cell = best;
            }
        }
    }
    let (mut i, mut j, mut changed) = (0, 0, Vec::with_capacity(was.len().max(now.len())));
    loop {
        match (was.get(i), now.get(j)) {
            (Some(old), Some(new)) if old == new => {
                changed.push(Changed::Same(new));
                (i, j) = (i + 1, j + 1);
            }
            (Some(old), Some(_)) if get(&common, i + 1, j) >= get(&common, i, j + 1) => {
                changed.push(Changed::Gone(old));
                i += 1;
            }
            (Some(old), None) => {
                changed.push(Changed::Gone(old));
                i += 1;
            }
            (_, Some(new)) => {
                changed.push(Changed::New(new));
                j += 1;
            }
            (None, None) => return changed,
        }
    }
}

//! Finds secrets in what comes back, however they are written, and puts their names in their place.
//!
//! A secret is looked for as it is, escaped for addresses, JSON or HTML, in part or twice, in hexadecimal and in base64 at each of its
//! three alignments. Who receives a secret can always change it beyond that: that it is sent to bound hosts only is the real guard.

#[cfg(test)]
mod tests;
mod views;

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

use self::views::{Escape, View};
use crate::config::secret::Secret;
use crate::domain::hex;
use crate::domain::secret::SECRET_BYTES_MIN;

/// How often escapes are undone within escapes.
const DEPTH: usize = 3;

/// The secrets that are looked for.
#[derive(Default)]
pub struct Redactor {
    secrets: Vec<(String, Secret)>,
    /// Plain, in hexadecimal and in base64, in whatever case: the names of hosts lose theirs.
    patterns: Option<AhoCorasick>,
    patterns_of: Vec<Pattern>,
}

#[derive(Clone, Copy)]
struct Pattern {
    secret: usize,
    /// Digits of base64 on each side that hold bits of the secret's first and last bytes beside others'.
    before: usize,
    after: usize,
}

impl Redactor {
    /// Looks for these, given with their names. Shorter ones than secrets may be are left out: they stand in ordinary text.
    pub fn new(secrets: impl IntoIterator<Item = (String, Secret)>) -> Self {
        let mut all: Vec<(String, Secret)> = Vec::new();
        for (name, secret) in secrets {
            if secret.expose().len() >= SECRET_BYTES_MIN && !all.iter().any(|(_, known)| *known == secret) {
                all.push((name, secret));
            }
        }
        let mut exact: Vec<(Zeroizing<Vec<u8>>, Pattern)> = Vec::new();
        for (i, (_, secret)) in all.iter().enumerate() {
            let plain = secret.expose().as_bytes();
            let whole = Pattern {
                secret: i,
                before: 0,
                after: 0,
            };
            exact.push((Zeroizing::new(plain.to_vec()), whole));
            // Where the secret itself holds what looks like an escape, it reads otherwise in a view where escapes are undone.
            for escape in [Escape::Any, Escape::Url, Escape::Json, Escape::Html] {
                let mut view = View::of(plain.to_vec());
                for _ in 0..DEPTH {
                    let Some(next) = view.unescaped(escape) else { break };
                    if next.bytes.len() >= SECRET_BYTES_MIN / 2 {
                        exact.push((Zeroizing::new(next.bytes.clone()), whole));
                    }
                    view = next;
                }
            }
            exact.extend(in_base64(plain).map(|(text, before, after)| (text, Pattern { secret: i, before, after })));
            exact.push((Zeroizing::new(hex::encode(plain).into_bytes()), whole));
        }
        let patterns = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .ascii_case_insensitive(true)
            .build(exact.iter().map(|(text, _)| text.as_slice()))
            .ok();
        Self {
            patterns,
            patterns_of: exact.iter().map(|(_, pattern)| *pattern).collect(),
            secrets: all,
        }
    }

    /// Whether there is nothing to look for.
    pub const fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }

    /// What is looked for.
    pub fn secrets(&self) -> &[(String, Secret)] {
        &self.secrets
    }

    /// A text without the secrets; none where it has none.
    pub fn text(&self, text: &str) -> Option<String> {
        // Whole escapes and whole characters are replaced, so what is left is text.
        self.bytes(text.as_bytes())
            .map(|bytes| String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
    }

    /// Bytes without the secrets; none where they have none.
    pub fn bytes(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let found = self.find(bytes);
        if found.is_empty() {
            return None;
        }
        let mut clean = Vec::with_capacity(bytes.len());
        let mut at = 0;
        for (range, secret) in found {
            clean.extend_from_slice(bytes.get(at..range.start).unwrap_or_default());
            let name = self.secrets.get(secret).map_or("", |(name, _)| name);
            clean.extend_from_slice(format!("[secret {name}]").as_bytes());
            at = range.end;
        }
        clean.extend_from_slice(bytes.get(at..).unwrap_or_default());
        Some(clean)
    }

    /// Where secrets stand, from the first on, none within another.
    fn find(&self, bytes: &[u8]) -> Vec<(Range<usize>, usize)> {
        if self.is_empty() || bytes.is_empty() {
            return Vec::new();
        }
        let mut found = Vec::new();
        let text = View::of(bytes.to_vec());
        self.look(&text, &mut found);
        for escape in [Escape::Any, Escape::Url, Escape::Json, Escape::Html] {
            let mut view = text.unescaped(escape);
            for _ in 0..DEPTH {
                let Some(here) = view else { break };
                self.look(&here, &mut found);
                view = here.unescaped(escape);
            }
        }
        merged(found)
    }

    fn look(&self, view: &View, found: &mut Vec<(Range<usize>, usize)>) {
        self.look_at(view, found);
        if let Some(joined) = view.joined() {
            self.look_at(&joined, found);
        }
    }

    fn look_at(&self, view: &View, found: &mut Vec<(Range<usize>, usize)>) {
        let matches = self.patterns.iter().flat_map(|patterns| patterns.find_iter(&view.bytes));
        for each in matches {
            let Some(pattern) = self.patterns_of.get(each.pattern().as_usize()) else {
                continue;
            };
            let digit = |at: Option<usize>| at.and_then(|at| view.bytes.get(at)).is_some_and(|&byte| is_base64(byte));
            let (mut start, mut end) = (each.start(), each.end());
            for _ in 0..pattern.before {
                if digit(start.checked_sub(1)) {
                    start -= 1;
                }
            }
            for _ in 0..pattern.after {
                if digit(Some(end)) {
                    end += 1;
                }
            }
            found.push((view.place(start..end), pattern.secret));
        }
    }
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// The digits that only the secret decides, after 0, 1 and 2 other bytes, in both alphabets; and how many beside them it decides in part.
fn in_base64(plain: &[u8]) -> impl Iterator<Item = (Zeroizing<Vec<u8>>, usize, usize)> + '_ {
    (0..3_usize).flat_map(move |shift| {
        let mut shifted = Zeroizing::new(vec![0_u8; shift]);
        shifted.extend_from_slice(plain);
        // Of the first group, the digits up to and with the one that has bits of what stands before; likewise at the end.
        let first = (shift * 8).div_ceil(6);
        let last = shifted.len() * 8 / 6;
        let (before, after) = (usize::from(shift > 0), usize::from(shifted.len() % 3 > 0));
        [STANDARD_NO_PAD.encode(&*shifted), URL_SAFE_NO_PAD.encode(&*shifted)]
            .into_iter()
            .filter_map(move |text| {
                let text = Zeroizing::new(text);
                let digits = text.as_bytes().get(first..last)?.to_vec();
                Some((Zeroizing::new(digits), before, after))
            })
    })
}

/// Ranges in order; those that touch each other as one.
fn merged(mut found: Vec<(Range<usize>, usize)>) -> Vec<(Range<usize>, usize)> {
    found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
    let mut all: Vec<(Range<usize>, usize)> = Vec::new();
    for (range, secret) in found.into_iter().filter(|(range, _)| !range.is_empty()) {
        match all.last_mut() {
            Some((last, _)) if range.start < last.end => last.end = last.end.max(range.end),
            _ => all.push((range, secret)),
        }
    }
    all
}

/// Text that comes in pieces and is shown as it comes. What may be the beginning of a secret is kept back until it is known.
#[derive(Default)]
pub struct Pieces(Zeroizing<String>);

/// Of each byte of a secret, the bytes that it takes where it is escaped for JSON.
const ESCAPED_BYTES: usize = 6;

impl Pieces {
    /// What can be shown now.
    pub fn push(&mut self, redactor: &Redactor, piece: &str) -> Option<String> {
        if redactor.is_empty() {
            return Some(piece.to_owned());
        }
        self.0.push_str(piece);
        let longest = redactor.secrets.iter().map(|(_, secret)| secret.expose().len()).max().unwrap_or(0);
        let mut cut = self.0.floor_char_boundary(self.0.len().saturating_sub(longest * ESCAPED_BYTES));
        let found = redactor.find(self.0.as_bytes());
        if let Some((range, _)) = found.iter().find(|(range, _)| range.start < cut && cut < range.end) {
            cut = range.start;
        }
        let ready = Zeroizing::new(self.0.get(..cut).filter(|ready| !ready.is_empty())?.to_owned());
        self.0.drain(..cut);
        Some(redactor.text(&ready).unwrap_or_else(|| ready.to_string()))
    }
}

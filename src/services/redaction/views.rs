//! Bytes as they read once their escapes are undone, each with where it stood: a secret that was escaped, in part or twice, reads plain.

use std::ops::Range;

/// Bytes, and for each where it stands in the text that is looked through.
pub(super) struct View {
    pub bytes: Vec<u8>,
    /// Where each byte begins and ends there; none where the view is that text itself.
    spans: Option<Vec<(usize, usize)>>,
}

/// How bytes are escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Escape {
    /// `%2F`, and `+` for a space.
    Url,
    /// `\n`, `\u002f`, `\/`, `\x2f`.
    Json,
    /// `&amp;`, `&#47;`, `&#x2f;`.
    Html,
    /// Whatever of these stands there.
    Any,
}

impl View {
    pub(super) const fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, spans: None }
    }

    /// Where a range of this view stands in the text.
    pub(super) fn place(&self, range: Range<usize>) -> Range<usize> {
        let Some(spans) = &self.spans else { return range };
        let start = spans.get(range.start).map_or(0, |span| span.0);
        let end = range
            .end
            .checked_sub(1)
            .and_then(|last| spans.get(last))
            .map_or(start, |span| span.1);
        start..end
    }

    fn made(&self, decode: impl Fn(&[u8]) -> Option<(Decoded, usize)>) -> Option<Self> {
        let mut bytes = Vec::with_capacity(self.bytes.len());
        let mut spans = Vec::with_capacity(self.bytes.len());
        let mut changed = false;
        let mut at = 0;
        while let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (decoded, length) = match decode(rest) {
                Some(found) => {
                    changed = true;
                    found
                }
                None => (Decoded::byte(rest.first().copied().unwrap_or_default()), 1),
            };
            let span = self.place(at..at + length);
            for &byte in decoded.bytes() {
                bytes.push(byte);
                spans.push((span.start, span.end));
            }
            at += length;
        }
        changed.then_some(Self { bytes, spans: Some(spans) })
    }

    /// With these escapes undone once; none where there are none.
    pub(super) fn unescaped(&self, escape: Escape) -> Option<Self> {
        let marks: &[u8] = match escape {
            Escape::Url => b"%+",
            Escape::Json => b"\\",
            Escape::Html => b"&",
            Escape::Any => b"%+\\&",
        };
        if !self.bytes.iter().any(|byte| marks.contains(byte)) {
            return None;
        }
        self.made(|rest| match (escape, rest.first()) {
            (Escape::Url | Escape::Any, Some(b'%' | b'+')) => url(rest),
            (Escape::Json | Escape::Any, Some(b'\\')) => json(rest),
            (Escape::Html | Escape::Any, Some(b'&')) => html(rest),
            _ => None,
        })
    }

    /// Without what separates groups of hexadecimal or base64 digits.
    pub(super) fn joined(&self) -> Option<Self> {
        let drops = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b':' | b'-' | b',');
        if !self.bytes.iter().any(drops) {
            return None;
        }
        self.made(|rest| rest.first().filter(|byte| drops(byte)).map(|_| (Decoded::NOTHING, 1)))
    }
}

/// At most the bytes of one character.
struct Decoded {
    bytes: [u8; 4],
    length: usize,
}

impl Decoded {
    const NOTHING: Self = Self { bytes: [0; 4], length: 0 };

    const fn byte(byte: u8) -> Self {
        Self {
            bytes: [byte, 0, 0, 0],
            length: 1,
        }
    }

    fn character(code: u32) -> Option<Self> {
        let mut bytes = [0; 4];
        let length = char::from_u32(code)?.encode_utf8(&mut bytes).len();
        Some(Self { bytes, length })
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

fn digits(text: Option<&[u8]>) -> Option<u32> {
    let text = std::str::from_utf8(text?).ok()?;
    let is_hex = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

fn url(rest: &[u8]) -> Option<(Decoded, usize)> {
    if rest.first() == Some(&b'+') {
        return Some((Decoded::byte(b' '), 1));
    }
    let byte = u8::try_from(digits(rest.get(1..3))?).ok()?;
    Some((Decoded::byte(byte), 3))
}

fn json(rest: &[u8]) -> Option<(Decoded, usize)> {
    let plain = |byte| Some((Decoded::byte(byte), 2));
    match rest.get(1)? {
        b'n' => plain(b'\n'),
        b'r' => plain(b'\r'),
        b't' => plain(b'\t'),
        b'b' => plain(8),
        b'f' => plain(12),
        &byte @ (b'"' | b'\\' | b'/' | b'\'') => plain(byte),
        b'x' => Some((Decoded::byte(u8::try_from(digits(rest.get(2..4))?).ok()?), 4)),
        b'u' => {
            let high = digits(rest.get(2..6))?;
            if !(0xd800..0xdc00).contains(&high) {
                return Some((Decoded::character(high)?, 6));
            }
            let low = digits(rest.get(8..12).filter(|_| rest.get(6..8) == Some(b"\\u")))?;
            let code = 0x1_0000 + ((high - 0xd800) << 10) + low.checked_sub(0xdc00)?;
            Some((Decoded::character(code)?, 12))
        }
        _ => None,
    }
}

fn html(rest: &[u8]) -> Option<(Decoded, usize)> {
    let end = rest.iter().take(12).position(|&byte| byte == b';')?;
    let name = std::str::from_utf8(rest.get(1..end)?).ok()?;
    let decoded = match name {
        "amp" => Decoded::byte(b'&'),
        "lt" => Decoded::byte(b'<'),
        "gt" => Decoded::byte(b'>'),
        "quot" => Decoded::byte(b'"'),
        "apos" => Decoded::byte(b'\''),
        "sol" => Decoded::byte(b'/'),
        "equals" => Decoded::byte(b'='),
        "plus" => Decoded::byte(b'+'),
        "nbsp" => Decoded::character(0xa0)?,
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(hex) => digits(Some(hex.as_bytes()))?,
                None => number.parse().ok()?,
            };
            Decoded::character(code)?
        }
    };
    Some((decoded, end + 1))
}

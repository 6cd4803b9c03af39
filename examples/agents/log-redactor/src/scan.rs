//! Finds what should not be in a log, by hand-written scanners: one pass, no backtracking, no surprises in fuel.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Email,
    Ip,
    Card,
    Iban,
    Token,
    Secret,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Ip => "ip",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Token => "token",
            Self::Secret => "secret",
        }
    }

    pub const fn words(self) -> &'static str {
        match self {
            Self::Email => "mail addresses",
            Self::Ip => "IP addresses",
            Self::Card => "card numbers",
            Self::Iban => "bank accounts",
            Self::Token => "access tokens",
            Self::Secret => "passwords and keys",
        }
    }
}

/// Bytes `start..end` of a line.
#[derive(Debug, PartialEq, Eq)]
pub struct Span {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// Names whose value is a secret, as in `password=…` or `"api_key": "…"`.
const SECRET_NAMES: [&str; 9] = [
    "password",
    "passwd",
    "pwd",
    "secret",
    "api_key",
    "apikey",
    "api-key",
    "client_secret",
    "private_key",
];

/// What tokens begin with; most services mark theirs.
const TOKEN_PREFIXES: [&str; 9] = ["Bearer ", "Basic ", "sk-", "ghp_", "github_pat_", "xoxb-", "AKIA", "eyJ", "glpat-"];

const TOKEN_BYTES_MIN: usize = 12;

/// What is found in a line, from left to right, without overlap.
pub fn find(line: &str) -> Vec<Span> {
    let bytes = line.as_bytes();
    let mut spans = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let fresh = at == 0 || !is_word(byte(bytes, at - 1));
        let found = if fresh { at_start_of_word(line, bytes, at) } else { None };
        match found {
            Some(span) if span.end > span.start => {
                at = span.end;
                spans.push(span);
            }
            _ => at += 1,
        }
    }
    spans
}

fn at_start_of_word(line: &str, bytes: &[u8], at: usize) -> Option<Span> {
    secret(line, bytes, at)
        .or_else(|| token(line, bytes, at))
        .or_else(|| email(bytes, at))
        .or_else(|| iban(bytes, at))
        .or_else(|| ip(bytes, at))
        .or_else(|| card(bytes, at))
}

/// `password=hunter2`, `"api_key": "…"`: the value only.
fn secret(line: &str, bytes: &[u8], at: usize) -> Option<Span> {
    let name = SECRET_NAMES
        .iter()
        .find(|name| line.get(at..at + name.len()).is_some_and(|text| text.eq_ignore_ascii_case(name)))?;
    let mut start = at + name.len();
    let skip = |start: &mut usize, wanted: &[u8]| {
        while wanted.contains(&byte(bytes, *start)) {
            *start += 1
        }
    };
    skip(&mut start, b"\"' ");
    if !matches!(byte(bytes, start), b'=' | b':') {
        return None;
    }
    start += 1;
    skip(&mut start, b"\"' ");
    let end = run(bytes, start, |each| {
        !matches!(each, b'"' | b'\'' | b' ' | b',' | b';' | b'&' | b'}' | b')')
    });
    Some(Span {
        kind: Kind::Secret,
        start,
        end,
    })
}

fn token(line: &str, bytes: &[u8], at: usize) -> Option<Span> {
    let prefix = TOKEN_PREFIXES
        .iter()
        .find(|prefix| line.get(at..).is_some_and(|rest| rest.starts_with(**prefix)))?;
    let start = if prefix.ends_with(' ') { at + prefix.len() } else { at };
    let end = run(bytes, start, |each| {
        is_word(each) || matches!(each, b'-' | b'.' | b'+' | b'/' | b'=')
    });
    (end - start >= TOKEN_BYTES_MIN).then_some(Span {
        kind: Kind::Token,
        start,
        end,
    })
}

fn email(bytes: &[u8], at: usize) -> Option<Span> {
    let local = run(bytes, at, |each| is_word(each) || matches!(each, b'.' | b'+' | b'-'));
    if local == at || byte(bytes, local) != b'@' {
        return None;
    }
    let mut end = run(bytes, local + 1, |each| each.is_ascii_alphanumeric() || matches!(each, b'.' | b'-'));
    while end > local && matches!(byte(bytes, end - 1), b'.' | b'-') {
        end -= 1;
    }
    let domain = bytes.get(local + 1..end)?;
    let top = domain.rsplit(|each| *each == b'.').next()?;
    (domain.contains(&b'.') && top.len() >= 2 && top.iter().all(u8::is_ascii_alphabetic)).then_some(Span {
        kind: Kind::Email,
        start: at,
        end,
    })
}

fn ip(bytes: &[u8], at: usize) -> Option<Span> {
    if at > 0 && byte(bytes, at - 1) == b'.' {
        return None;
    }
    let end = run(bytes, at, |each| each.is_ascii_hexdigit() || matches!(each, b'.' | b':'));
    let text = std::str::from_utf8(bytes.get(at..end)?).ok()?;
    // An address may carry a port or end a sentence.
    let candidates = [
        text,
        text.trim_end_matches(['.', ':']),
        text.split_once(':').map_or("", |(host, _)| host),
    ];
    // `a::b` is an address by the letter, and a path in every Rust log: one digit is asked for.
    let address = candidates
        .into_iter()
        .find(|text| text.contains(|each: char| each.is_ascii_digit()) && text.parse::<std::net::IpAddr>().is_ok())?;
    (!is_word(byte(bytes, at + address.len()))).then_some(Span {
        kind: Kind::Ip,
        start: at,
        end: at + address.len(),
    })
}

/// Two letters, two check digits and up to 30 letters or digits, spaced or not, whose checksum is right.
fn iban(bytes: &[u8], at: usize) -> Option<Span> {
    let end = grouped(bytes, at, |each| each.is_ascii_uppercase() || each.is_ascii_digit());
    let code: Vec<u8> = bytes.get(at..end)?.iter().copied().filter(|each| *each != b' ').collect();
    let [first, second, third, fourth, ..] = code.as_slice() else {
        return None;
    };
    let shaped = first.is_ascii_uppercase() && second.is_ascii_uppercase() && third.is_ascii_digit() && fourth.is_ascii_digit();
    if !shaped || !(15..=34).contains(&code.len()) {
        return None;
    }
    let remainder = code.iter().skip(4).chain(code.iter().take(4)).fold(0_u32, |rest, each| match each {
        b'0'..=b'9' => (rest * 10 + u32::from(each - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    (remainder == 1).then_some(Span {
        kind: Kind::Iban,
        start: at,
        end,
    })
}

/// 13 to 19 digits, spaced or dashed or not, whose Luhn checksum is right.
fn card(bytes: &[u8], at: usize) -> Option<Span> {
    let end = grouped(bytes, at, |each| each.is_ascii_digit());
    let digits: Vec<u32> = bytes
        .get(at..end)?
        .iter()
        .filter(|each| each.is_ascii_digit())
        .map(|each| u32::from(each - b'0'))
        .collect();
    if !(13..=19).contains(&digits.len()) || is_word(byte(bytes, end)) || digits.iter().all(|digit| Some(digit) == digits.first()) {
        return None;
    }
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| if place % 2 == 0 { *digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    sum.is_multiple_of(10).then_some(Span {
        kind: Kind::Card,
        start: at,
        end,
    })
}

/// Where a run ends that may be broken by single spaces or dashes.
fn grouped(bytes: &[u8], at: usize, wanted: impl Fn(u8) -> bool) -> usize {
    let mut end = run(bytes, at, &wanted);
    while end > at && matches!(byte(bytes, end), b' ' | b'-') && wanted(byte(bytes, end + 1)) {
        end = run(bytes, end + 1, &wanted);
    }
    end
}

fn run(bytes: &[u8], start: usize, wanted: impl Fn(u8) -> bool) -> usize {
    bytes
        .get(start..)
        .map_or(start, |rest| start + rest.iter().take_while(|each| wanted(**each)).count())
}

/// The byte at a place; 0 behind the end.
fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &[(Kind, &str)]) {
        let found: Vec<_> = find(line)
            .into_iter()
            .map(|span| (span.kind, &line[span.start..span.end]))
            .collect();
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn personal_data_is_found() {
        check("from ana.b+x@mail.example.org.", &[(Kind::Email, "ana.b+x@mail.example.org")]);
        check(
            "198.51.100.7:8080 and [2001:db8::17] done",
            &[(Kind::Ip, "198.51.100.7"), (Kind::Ip, "2001:db8::17")],
        );
        check("card 4111 1111 1111 1111, ok", &[(Kind::Card, "4111 1111 1111 1111")]);
        check("to DE89 3704 0044 0532 0130 00.", &[(Kind::Iban, "DE89 3704 0044 0532 0130 00")]);
    }

    #[test]
    fn secrets_are_found_without_their_names() {
        check("login password=hunter2&x=1", &[(Kind::Secret, "hunter2")]);
        check(r#"{"api_key": "k-123", "n": 1}"#, &[(Kind::Secret, "k-123")]);
        check("Authorization: Bearer abc.def.ghi-jkl", &[(Kind::Token, "abc.def.ghi-jkl")]);
        check("key ghp_0123456789abcdef used", &[(Kind::Token, "ghp_0123456789abcdef")]);
    }

    #[test]
    fn what_only_looks_alike_is_left() {
        for line in [
            "at 2025-10-14T07:41:09Z took 12.5 ms",
            "order 4111 1111 1111 1112",
            "version 1.2.3.4.5",
            "user@localhost",
            "DE00 3704 0044 0532 0130 00",
            "sk-short",
            "a::b",
        ] {
            check(line, &[]);
        }
    }
}

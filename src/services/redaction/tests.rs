use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;

use super::*;

fn redactor(secret: &str) -> Redactor {
    Redactor::new([("token".to_owned(), Secret::new(secret))])
}

fn url_encoded(text: &str, every: usize, upper: bool) -> String {
    text.bytes()
        .enumerate()
        .map(|(i, byte)| match (byte.is_ascii_alphanumeric() && i % every != 0, upper) {
            (true, _) => char::from(byte).to_string(),
            (false, true) => format!("%{byte:02X}"),
            (false, false) => format!("%{byte:02x}"),
        })
        .collect()
}

fn json_encoded(text: &str, every: usize) -> String {
    text.encode_utf16()
        .enumerate()
        .map(|(i, unit)| match u8::try_from(unit) {
            Ok(byte) if byte.is_ascii_alphanumeric() && i % every != 0 => char::from(byte).to_string(),
            _ => format!("\\u{unit:04x}"),
        })
        .collect()
}

fn html_encoded(text: &str, every: usize) -> String {
    text.chars()
        .enumerate()
        .map(|(i, c)| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '"' => "&quot;".to_owned(),
            c if i % every == 0 => format!("&#x{:x};", u32::from(c)),
            c if i % every == 1 => format!("&#{};", u32::from(c)),
            c => c.to_string(),
        })
        .collect()
}

/// However somebody who means no harm writes a secret.
fn written(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut all = vec![secret.to_owned(), hex::encode(bytes), hex::encode(bytes).to_uppercase()];
    for shift in 0..3 {
        for tail in 0..3 {
            let mut around = vec![b'x'; shift];
            around.extend(bytes);
            around.extend(vec![b'y'; tail]);
            all.extend([STANDARD.encode(&around), URL_SAFE.encode(&around), STANDARD_NO_PAD.encode(&around)]);
        }
    }
    for every in [1, 3, 1_000] {
        all.extend([url_encoded(secret, every, true), url_encoded(secret, every, false)]);
        all.extend([json_encoded(secret, every), html_encoded(secret, every)]);
    }
    let quoted = serde_json::to_string(secret).unwrap();
    let plain = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap().to_owned();
    all.push(serde_json::to_string(&plain).unwrap());
    all.push(plain);
    all.push(url_encoded(&url_encoded(secret, 1, true), 1, true));
    all.push(url::form_urlencoded::byte_serialize(bytes).collect());
    all.push(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"));
    let base64 = STANDARD.encode(bytes);
    all.push(
        base64
            .as_bytes()
            .chunks(10)
            .map(|line| String::from_utf8_lossy(line))
            .collect::<Vec<_>>()
            .join("\r\n"),
    );
    all
}

/// The longest run of the secret that is still to be read in a text.
fn left_of(secret: &str, text: &str) -> usize {
    (1..=secret.len())
        .rev()
        .find(|&length| {
            secret
                .as_bytes()
                .windows(length)
                .any(|part| text.as_bytes().windows(length).any(|here| here == part))
        })
        .unwrap_or(0)
}

#[test]
fn a_secret_is_found_however_it_is_written_and_nothing_else_is_touched() {
    let secret = "sk-Proj_9f/2+c=\"é\\n&<w%41";
    let redactor = redactor(secret);
    for text in written(secret) {
        let clean = redactor.text(&format!("before {text} after")).unwrap_or_default();
        let (before, after) = clean.split_once("[secret token]").unwrap_or_else(|| panic!("{text}: {clean}"));
        // In base64, digits of the bytes beside it may be left.
        let is_left = |text: &str| text.trim_end_matches('=').len() <= 4 && text.trim_end_matches('=').bytes().all(is_base64);
        let fits = before.strip_prefix("before ").is_some_and(|left| is_left(left.trim_matches('"')));
        assert!(
            fits && after.strip_suffix(" after").is_some_and(|left| is_left(left.trim_matches('"'))),
            "{text}: {clean}"
        );
    }
    for text in ["", "sk-Proj_9f/2+c", "%zz \\u12 &#; &amp", "c2stUHJv"] {
        assert_eq!(redactor.text(text), None, "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_are_looked_through_too() {
    let redactor = redactor("hunter2hunter2");
    let mut bytes = vec![0xff, 0, 0xfe];
    bytes.extend(b"hunter2hunter2");
    bytes.push(0x80);
    assert_eq!(
        redactor.bytes(&bytes).unwrap(),
        [&[0xff, 0, 0xfe][..], b"[secret token]", &[0x80]].concat()
    );
}

#[test]
fn of_several_secrets_each_is_found_and_one_within_another_leaves_nothing_of_it() {
    let redactor = Redactor::new([
        ("short".to_owned(), Secret::new("abcdefgh")),
        ("long".to_owned(), Secret::new("xxabcdefghyy")),
        ("other".to_owned(), Secret::new("12345678")),
        ("tiny".to_owned(), Secret::new("a")),
    ]);
    assert_eq!(
        redactor.text("xxabcdefghyy abcdefgh 12345678 a").unwrap(),
        "[secret long] [secret short] [secret other] a"
    );
}

#[test]
fn a_secret_that_comes_in_pieces_is_not_shown_in_pieces() {
    let secret = "sk-live-0123456789";
    let redactor = redactor(secret);
    let text = format!("The key is {secret}, and once more {secret}. {}", "And so on. ".repeat(30));
    for size in [1, 2, 5, 11, 400] {
        let mut pieces = Pieces::default();
        let chunks = text.as_bytes().chunks(size).map(|chunk| std::str::from_utf8(chunk).unwrap());
        let shown: String = chunks.filter_map(|chunk| pieces.push(&redactor, chunk)).collect();
        assert!(
            shown.starts_with("The key is [secret token], and once more [secret token]. And"),
            "{size}: {shown}"
        );
        assert!(!shown.contains("0123"), "{size}: {shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn no_generated_secret_is_missed_in_any_encoding(secret in "[ -~]{8,80}", before in "[ -~]{0,20}", after in "[ -~]{0,20}") {
        let redactor = redactor(&secret);
        for text in written(&secret) {
            // Digits beside it would belong to what it is written in.
            let clean = redactor.text(&format!("{before} {text} {after}")).unwrap_or_default();
            prop_assert!(!clean.is_empty() && !clean.contains(&text), "{} in {}", text, clean);
        }
    }

    #[test]
    fn what_has_no_secret_stays_as_it_is(text in "[a-z0-9%&;\\\\u+ ]{0,200}") {
        let redactor = redactor("A-SECRET-THAT-IS-NOT-THERE");
        prop_assert_eq!(redactor.text(&text), None);
    }

    #[test]
    fn a_random_key_leaves_nothing_to_read(secret in "[A-Za-z0-9]{24,64}") {
        let redactor = redactor(&secret);
        let clean = redactor.text(&format!("key={secret}&next")).unwrap();
        prop_assert!(left_of(&secret, &clean) < 6, "{}", clean);
    }
}

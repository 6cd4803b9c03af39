//! Where a request may send a browser on to: pages of ours, never another site.

/// Bytes of such a path.
const PATH_BYTES_MAX: usize = 2_048;

/// `next` where it is a path of this station, with query and fragment; otherwise the first page.
pub fn local_path(next: &str) -> String {
    // Browsers read `//` and `/\` as the beginning of a host, and drop tabs and line ends before they look.
    let is_local = next.starts_with('/')
        && !next.starts_with("//")
        && next.len() <= PATH_BYTES_MAX
        && next.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_local { next.to_owned() } else { "/".to_owned() }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    #[test]
    fn one_is_sent_on_within_the_station_only() {
        assert_eq!(local_path("/runs?state=failed#last"), "/runs?state=failed#last");
        for next in [
            "",
            "runs",
            "//evil.example",
            "https://evil.example",
            "/\\evil.example",
            "/\t/evil.example",
            "/a\r\nset-cookie: x",
            "/\u{2028}a",
            "javascript:1",
            " /runs",
        ] {
            assert_eq!(local_path(next), "/", "{next}");
        }
        assert_eq!(local_path(&format!("/{}", "a".repeat(PATH_BYTES_MAX))), "/");
    }

    proptest! {
        #[test]
        fn whatever_is_asked_for_leads_to_this_station(next in "[/\\\\:@.?#%a-z0-9 \\t\\r\\n]{0,40}|\\PC{0,40}") {
            let base = Url::parse("https://station.example/sign-in?next=x").unwrap();
            let led = base.join(&local_path(&next)).unwrap();
            prop_assert_eq!(led.origin(), base.origin());
        }
    }
}

//! Whether a host that was granted is the host of an address.

use url::Url;

/// Whether `pattern` grants the address's host and port: an exact name, `*.example.com` for every name below it,
/// `host:8443` for a port of its own. Without a port it grants the scheme's usual one.
pub fn allows(pattern: &str, url: &Url) -> bool {
    let Some(host) = url.host_str() else { return false };
    let host = host.strip_suffix('.').unwrap_or(host);
    let (name, port) = match pattern.rsplit_once(':') {
        Some((name, port)) => match port.parse::<u16>() {
            Ok(port) => (name, Some(port)),
            Err(_) => return false,
        },
        None => (pattern, None),
    };
    let usual = match url.scheme() {
        "https" => 443,
        "http" => 80,
        _ => return false,
    };
    if url.port_or_known_default() != Some(port.unwrap_or(usual)) {
        return false;
    }
    match name.strip_prefix("*.") {
        Some(parent) => host
            .strip_suffix(parent)
            .and_then(|below| below.strip_suffix('.'))
            .is_some_and(|below| !below.is_empty()),
        None => host.eq_ignore_ascii_case(name),
    }
}

/// Whether a path begins so, read as most servers read it: escapes undone, several slashes as one.
pub fn path_begins(path: &str, prefix: &str) -> bool {
    prefix.is_empty() || plain_path(path).starts_with(prefix.as_bytes())
}

/// Bytes of a path that is granted.
pub const PATH_BYTES_MAX: usize = 200;

/// Whether `text` can be granted as a path: empty for every path, or a path in its plain form.
pub fn is_path_prefix(text: &str) -> bool {
    text.is_empty()
        || (text.starts_with('/')
            && text.len() <= PATH_BYTES_MAX
            && !text.contains(['?', '#', '%', '\\', ';'])
            && !text.contains("//")
            && !text.chars().any(|c| c.is_whitespace() || c.is_control())
            && !text.split('/').any(|part| part == "." || part == ".."))
}

/// Escapes that are undone until a path no longer changes; more is nothing that a path needs.
const ESCAPES_DEEP_MAX: usize = 4;

/// Whether a path is `prefix` or below it, however a server may read it: `/v1` takes `/v1` and `/v1/a`, not `/v10`. A path that some servers
/// read as leading elsewhere (an escaped `..`, a backslash, a parameter behind dots) is below nothing. For leave; see [`path_begins`] for rules.
pub fn path_within(path: &str, prefix: &str) -> bool {
    if prefix.is_empty() {
        return true;
    }
    let mut read = path.as_bytes().to_vec();
    for _ in 0..=ESCAPES_DEEP_MAX {
        if !is_plainly_within(&read, prefix.as_bytes()) {
            return false;
        }
        let deeper = unescaped(&read);
        if deeper == read {
            return true;
        }
        read = deeper;
    }
    false
}

fn is_plainly_within(path: &[u8], prefix: &[u8]) -> bool {
    let leads_away = path.contains(&b'\\')
        || path
            .split(|&byte| byte == b'/')
            .any(|part| matches!(part.split(|&byte| byte == b';').next(), Some(b"." | b"..")));
    let Some(rest) = path.strip_prefix(prefix) else { return false };
    !leads_away && (rest.is_empty() || prefix.ends_with(b"/") || rest.starts_with(b"/") || rest.starts_with(b";"))
}

fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        match (first, after) {
            (b'%', [high, low, behind @ ..]) if let (Some(high), Some(low)) = (nibble(*high), nibble(*low)) => {
                plain.push(high << 4 | low);
                rest = behind;
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

fn plain_path(path: &str) -> Vec<u8> {
    let mut plain: Vec<u8> = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, after @ ..] = rest {
        let (byte, after) = match (first, after) {
            (b'%', [high, low, after @ ..]) => match (nibble(*high), nibble(*low)) {
                (Some(high), Some(low)) => (high << 4 | low, after),
                _ => (*first, rest.get(1..).unwrap_or_default()),
            },
            _ => (*first, after),
        };
        if byte != b'/' || plain.last() != Some(&b'/') {
            plain.push(byte);
        }
        rest = after;
    }
    plain
}

const fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_covers_its_host_and_port_only() {
        let cases = [
            ("example.com", "https://example.com/a", true),
            ("example.com", "https://EXAMPLE.com./a", true),
            ("example.com", "https://example.com:443/", true),
            ("example.com", "http://example.com/", true),
            ("example.com", "https://example.com:8443/", false),
            ("example.com:8443", "https://example.com:8443/", true),
            ("example.com:8443", "https://example.com/", false),
            ("example.com", "https://a.example.com/", false),
            ("example.com", "https://example.com.evil.net/", false),
            ("example.com", "https://evilexample.com/", false),
            ("example.com", "https://example.com@evil.net/", false),
            ("*.example.com", "https://a.example.com/", true),
            ("*.example.com", "https://a.b.example.com/", true),
            ("*.example.com", "https://example.com/", false),
            ("*.example.com", "https://evilexample.com/", false),
            ("127.0.0.1:9", "http://127.0.0.1:9/", true),
            ("127.0.0.1:9", "http://0x7f.1:9/", true),
            ("example.com", "ftp://example.com/", false),
            ("example.com", "data:text/plain,example.com", false),
        ];
        for (pattern, address, granted) in cases {
            assert_eq!(allows(pattern, &Url::parse(address).unwrap()), granted, "{pattern} {address}");
        }
    }

    #[test]
    fn a_granted_path_covers_itself_and_what_is_below_it_however_it_is_written() {
        let cases = [
            ("/v1", "/v1", true),
            ("/v1", "/v1/items", true),
            ("/v1", "/%76%31/items", true),
            ("/v1", "/v1/a%20b/%C3%A9", true),
            ("/v1/", "/v1/items", true),
            ("/v1/", "/v1", false),
            ("/v1", "/v10", false),
            ("/v1", "/V1", false),
            ("/v1", "/", false),
            ("/v1", "//v1/items", false),
            ("/v1", "/v1/../admin", false),
            ("/v1", "/v1/%2e%2e/admin", false),
            ("/v1", "/v1/..%2fadmin", false),
            ("/v1", "/v1/..%2Fadmin", false),
            ("/v1", "/v1/%252e%252e%252fadmin", false),
            ("/v1", "/v1/%25252e%25252e/admin", false),
            ("/v1", "/v1/..;/admin", false),
            ("/v1", "/v1/..;a=b/admin", false),
            ("/v1", "/v1/%2e%2e%3b/admin", false),
            ("/v1", "/v1/..%5cadmin", false),
            ("/v1", "/v1/%5c..%5cadmin", false),
            ("/v1", "/admin/%2e%2e/v1", false),
            ("/v1", "/admin%2f..%2fv1", false),
            ("/v1", "/v1/%2525252525252e", false),
            ("", "/anything/%2e%2e", true),
        ];
        for (prefix, path, within) in cases {
            assert_eq!(path_within(path, prefix), within, "{prefix} {path}");
            // As it arrives: the address has been read before.
            let url = Url::parse(&format!("https://a.example{path}")).unwrap();
            assert!(!path_within(url.path(), prefix) || within || !path.contains(".."), "{prefix} {url}");
        }
        let leads_back = Url::parse("https://a.example/v1/../admin").unwrap();
        assert!(!path_within(leads_back.path(), "/v1") && path_within(leads_back.path(), "/admin"));
    }

    #[test]
    fn only_a_plain_path_can_be_granted() {
        for good in ["", "/", "/v1", "/v1/", "/a-b/c.d"] {
            assert!(is_path_prefix(good), "{good}");
        }
        for bad in ["v1", "/v1?x", "/v1#x", "/%76", "/a//b", "/a/../b", "/a/.", "/a b", "/a\\b", "/a;b"] {
            assert!(!is_path_prefix(bad), "{bad}");
        }
        assert!(!is_path_prefix(&format!("/{}", "x".repeat(PATH_BYTES_MAX))));
    }
}

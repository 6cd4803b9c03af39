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
}

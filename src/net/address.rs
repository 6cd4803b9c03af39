//! Which addresses agents may reach: public ones, and what the operator opened.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use crate::config::cidr::Cidr;

/// Ranges that are not the public internet, with what they are. `::ffff:0:0/96` and `64:ff9b::/96` are read as the
/// IPv4 address they carry.
const FORBIDDEN: &[(&str, &str)] = &[
    ("0.0.0.0/8", "this machine"),
    ("10.0.0.0/8", "a private address"),
    ("100.64.0.0/10", "a carrier's private address"),
    ("127.0.0.0/8", "this machine"),
    ("169.254.0.0/16", "a link-local address, where clouds keep credentials"),
    ("172.16.0.0/12", "a private address"),
    ("192.0.0.0/24", "a reserved address"),
    ("192.0.2.0/24", "a reserved address"),
    ("192.88.99.0/24", "a reserved address"),
    ("192.168.0.0/16", "a private address"),
    ("198.18.0.0/15", "a reserved address"),
    ("198.51.100.0/24", "a reserved address"),
    ("203.0.113.0/24", "a reserved address"),
    ("224.0.0.0/4", "a multicast address"),
    ("240.0.0.0/4", "a reserved address"),
    ("::1/128", "this machine"),
    ("::/96", "a reserved address"),
    ("::ffff:0:0:0/96", "a translated address"),
    ("64:ff9b:1::/48", "a translated private address"),
    ("100::/64", "a reserved address"),
    ("2001::/23", "a reserved address"),
    ("2001:db8::/32", "a reserved address"),
    ("2002::/16", "a tunnelled address"),
    ("3fff::/20", "a reserved address"),
    ("fc00::/7", "a private address"),
    ("fe80::/10", "a link-local address"),
    ("fec0::/10", "a private address"),
    ("ff00::/8", "a multicast address"),
];

static RANGES: LazyLock<Vec<(Cidr, &str)>> = LazyLock::new(|| {
    FORBIDDEN
        .iter()
        .filter_map(|&(range, what)| Some((range.parse().ok()?, what)))
        .collect()
});

/// What stands in for a public address's refusal where only opened ranges will do.
pub(super) const NOT_OPENED: &str = "an address that was not opened";

/// What `address` is, where it is not a public one.
fn special(address: IpAddr) -> Option<&'static str> {
    let address = translated(address.to_canonical());
    RANGES.iter().find(|(range, _)| range.contains(address)).map(|&(_, what)| what)
}

/// The IPv4 address behind NAT64's well-known prefix.
fn translated(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low))),
            _ => address,
        },
        IpAddr::V4(_) => address,
    }
}

/// What the operator opened, and where the station itself listens.
#[derive(Clone, Debug, Default)]
pub(super) struct Reach {
    pub open: Vec<Cidr>,
    pub own: Vec<SocketAddr>,
}

impl Reach {
    pub fn is_open(&self, address: IpAddr) -> bool {
        let address = translated(address.to_canonical());
        self.open.iter().any(|range| range.contains(address))
    }

    /// Whether agents may connect there; `only_open` where a public address is not enough.
    ///
    /// # Errors
    /// What the address is, to go into a sentence.
    pub fn vet(&self, address: SocketAddr, only_open: bool) -> Result<(), &'static str> {
        let special = special(address.ip());
        if self.own.iter().any(|own| is_own(*own, address, special.is_some())) {
            return Err("this station itself");
        }
        match special {
            _ if self.is_open(address.ip()) => Ok(()),
            Some(what) => Err(what),
            None if only_open => Err(NOT_OPENED),
            None => Ok(()),
        }
    }
}

fn is_own(own: SocketAddr, address: SocketAddr, is_special: bool) -> bool {
    own.port() == address.port() && (own.ip().to_canonical() == address.ip().to_canonical() || (own.ip().is_unspecified() && is_special))
}

/// Names that mean something inside a network only.
pub(super) fn is_inside_name(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    matches!(last, "localhost" | "local" | "internal" | "localdomain" | "lan" | "home" | "corp") || !host.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_read_and_its_first_and_last_address_refused() {
        assert_eq!(RANGES.len(), FORBIDDEN.len());
        let cases = [
            ("0.0.0.0", "0.255.255.255"),
            ("10.0.0.0", "10.255.255.255"),
            ("100.64.0.0", "100.127.255.255"),
            ("127.0.0.0", "127.255.255.255"),
            ("169.254.0.0", "169.254.169.254"),
            ("172.16.0.0", "172.31.255.255"),
            ("192.0.0.0", "192.0.0.255"),
            ("192.0.2.0", "192.0.2.255"),
            ("192.88.99.0", "192.88.99.255"),
            ("192.168.0.0", "192.168.255.255"),
            ("198.18.0.0", "198.19.255.255"),
            ("198.51.100.0", "198.51.100.255"),
            ("203.0.113.0", "203.0.113.255"),
            ("224.0.0.0", "239.255.255.255"),
            ("240.0.0.0", "255.255.255.255"),
            ("::", "::1"),
            ("::ffff:127.0.0.1", "::ffff:10.0.0.1"),
            ("::0.0.0.2", "::255.255.255.255"),
            ("64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254"),
            ("64:ff9b:1::", "64:ff9b:1:ffff::"),
            ("::ffff:0:127.0.0.1", "::ffff:0:255.255.255.255"),
            ("100::", "100::ffff:ffff:ffff:ffff"),
            ("2001::", "2001:1ff::"),
            ("2001:db8::", "2001:db8:ffff::"),
            ("2002::", "2002:7f00:1::"),
            ("3fff::", "3fff:fff::"),
            ("fc00::", "fd00:ec2::254"),
            ("fe80::", "febf::1"),
            ("fec0::", "feff::1"),
            ("ff00::", "ffff::1"),
        ];
        for (first, last) in cases {
            for address in [first, last] {
                assert!(special(address.parse().unwrap()).is_some(), "{address}");
            }
        }
    }

    #[test]
    fn public_addresses_beside_the_ranges_are_reachable() {
        let public = [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.169.0.0",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ];
        for address in public {
            assert_eq!(special(address.parse().unwrap()), None, "{address}");
        }
    }

    #[test]
    fn an_opened_range_is_reachable_but_for_the_station_itself() {
        let reach = Reach {
            open: vec!["127.0.0.0/8".parse().unwrap()],
            own: vec!["127.0.0.1:8700".parse().unwrap(), "0.0.0.0:9000".parse().unwrap()],
        };
        let vet = |address: &str| reach.vet(address.parse().unwrap(), false);
        assert_eq!(vet("127.0.0.1:80"), Ok(()));
        assert_eq!(vet("[::ffff:127.0.0.1]:80"), Ok(()));
        assert!(vet("10.0.0.1:80").is_err());
        assert_eq!(vet("127.0.0.1:8700"), Err("this station itself"));
        assert_eq!(vet("[::ffff:127.0.0.1]:8700"), Err("this station itself"));
        assert_eq!(vet("127.9.9.9:9000"), Err("this station itself"));
        assert_eq!(vet("1.1.1.1:9000"), Ok(()));
        assert_eq!(reach.vet("1.1.1.1:80".parse().unwrap(), true), Err(NOT_OPENED));
    }

    #[test]
    fn names_without_a_public_meaning_are_known() {
        for host in ["localhost", "a.localhost", "printer.local", "metadata.google.internal", "intranet"] {
            assert!(is_inside_name(host), "{host}");
        }
        assert!(!is_inside_name("example.com") && !is_inside_name("internal.example.com"));
    }
}

//! The address that a request comes from, also behind a proxy.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use poem::http::HeaderMap;
use poem::{Addr, Request};

const X_FORWARDED_FOR: &str = "x-forwarded-for";
/// The bits of an IPv6 address that identify a subscriber, who has all addresses that begin with
/// them.
const IPV6_PREFIX_BITS: u32 = 64;

/// The address of the client, in the data of each request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientAddress(pub IpAddr);

impl ClientAddress {
    /// The name of the rate limits' subject: an IPv4 address, or the /64 of an IPv6 address.
    pub fn subject(&self) -> String {
        match self.0 {
            IpAddr::V4(address) => format!("address:{address}"),
            IpAddr::V6(address) => {
                let host_bits = u128::BITS - IPV6_PREFIX_BITS;
                let network = Ipv6Addr::from_bits(address.to_bits() >> host_bits << host_bits);
                format!("address:{network}/{IPV6_PREFIX_BITS}")
            }
        }
    }
}

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The networks of our own proxies. Only of what they say is `X-Forwarded-For` believed: anybody
/// can send that header.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// The nearest address that is not a proxy of ours: each proxy adds, at the right, from whom it
    /// has the request.
    pub fn client_of(&self, request: &Request) -> ClientAddress {
        let peer = match &request.remote_addr().0 {
            Addr::SocketAddr(peer) => peer.ip().to_canonical(),
            // Only in tests that do without a socket.
            _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        };
        self.client_behind(peer, request.headers())
    }

    fn client_behind(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddress {
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
        let mut client = peer;
        while self.contains(client) {
            // Behind what cannot be read there is nothing to be believed.
            let Some(before) = hops.next().and_then(address_of_hop) else { break };
            client = before;
        }
        ClientAddress(client)
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

impl FromStr for TrustedProxies {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split([',', ' ']).filter(|part| !part.is_empty());
        parts.map(network).collect::<Result<_, _>>().map(Self)
    }
}

fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().ok().or_else(|| Some(IpNet::from(text.parse::<IpAddr>().ok()?)));
    network.ok_or_else(|| "expected 10.0.0.0/8 or 10.0.0.1, separated by commas".to_owned())
}

/// Some proxies add the port.
fn address_of_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let address = hop
        .parse()
        .or_else(|_| hop.parse::<SocketAddr>().map(|it| it.ip()))
        .or_else(|_| hop.trim_start_matches('[').trim_end_matches(']').parse());
    address.ok().map(|it: IpAddr| it.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, peer: &str, forwarded: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(X_FORWARDED_FOR, line.parse().expect("the tests know headers"));
        }
        let peer: IpAddr = peer.parse().expect("the tests know addresses");
        let proxies: TrustedProxies = trusted.parse().expect("the tests know networks");
        proxies.client_behind(peer.to_canonical(), &headers).to_string()
    }

    #[test]
    fn the_client_is_the_nearest_address_that_is_no_proxy_of_ours() {
        let table = [
            // Nobody is trusted: the peer, whatever it says.
            ("", "203.0.113.9", &["1.2.3.4"][..], "203.0.113.9"),
            ("", "127.0.0.1", &["1.2.3.4"], "127.0.0.1"),
            // A stranger says that it is a proxy.
            ("10.0.0.0/8", "203.0.113.9", &["1.2.3.4"], "203.0.113.9"),
            // Our proxy tells; what the client forged stands further left.
            ("10.0.0.0/8", "10.0.0.1", &["1.2.3.4"], "1.2.3.4"),
            ("10.0.0.0/8", "10.0.0.1", &["6.6.6.6, 1.2.3.4"], "1.2.3.4"),
            ("10.0.0.0/8", "10.0.0.1", &["6.6.6.6", "1.2.3.4"], "1.2.3.4"),
            ("10.0.0.0/8", "10.0.0.1", &["6.6.6.6, 10.9.9.9, 1.2.3.4"], "1.2.3.4"),
            // Two proxies of ours.
            ("10.0.0.0/8", "10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
            // Nothing, or nothing that can be read.
            ("10.0.0.0/8", "10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.1", &["1.2.3.4, unknown"], "10.0.0.1"),
            ("10.0.0.0/8", "10.0.0.1", &["1.2.3.4, "], "10.0.0.1"),
            // All are ours.
            ("10.0.0.0/8", "10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            // Forms of addresses.
            ("127.0.0.1,::1", "::1", &["1.2.3.4:567"], "1.2.3.4"),
            ("127.0.0.1 ::1", "::1", &["[2001:db8::1]:567"], "2001:db8::1"),
            ("::1", "::1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.0/8", "::ffff:10.0.0.1", &["::ffff:1.2.3.4"], "1.2.3.4"),
        ];
        for (trusted, peer, forwarded, expected) in table {
            assert_eq!(client(trusted, peer, forwarded), expected, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["10.0.0.0/33", "everybody", "10.0.0.0/8;", "*", "1.2.3.4/"] {
            assert!(text.parse::<TrustedProxies>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_of_one_subscriber_are_limited_together() {
        let subject = |address: &str| {
            ClientAddress(address.parse().expect("the tests know addresses")).subject()
        };
        assert_eq!(subject("2001:db8:0:1::1"), subject("2001:db8:0:1:ffff::2"));
        assert_ne!(subject("2001:db8:0:1::1"), subject("2001:db8:0:2::1"));
        assert_ne!(subject("192.0.2.1"), subject("192.0.2.2"));
    }
}

//! Addresses that webhooks may be sent to.
//!
//! Users choose URLs, and we call them from inside: without these rules a webhook would reach what
//! only we can reach, such as the metadata service of a cloud. Sources: the IANA registries of
//! special-purpose addresses, for IPv4 (RFC 6890) and IPv6, and the RFCs named below.
//!
//! A prefix of a network's own that translates to IPv4 (RFC 6052, other than `64:ff9b::/96`) cannot
//! be told from any other: who runs one must keep it from reaching private addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::target::Reach;

const fn v4(a: u8, b: u8, c: u8, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), prefix)
}

const fn v6(first: [u16; 4], prefix: u8) -> Ipv6Net {
    let [a, b, c, d] = first;
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0), prefix)
}

/// IPv4 that is not public.
const NOT_PUBLIC_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 8),       // "this network", RFC 791
    v4(10, 0, 0, 8),      // private, RFC 1918
    v4(100, 64, 0, 10),   // shared by a provider's customers, RFC 6598
    v4(127, 0, 0, 8),     // loopback, RFC 1122
    v4(169, 254, 0, 16),  // link-local, and the metadata of clouds, RFC 3927
    v4(172, 16, 0, 12),   // private, RFC 1918
    v4(192, 0, 0, 24),    // protocol assignments, RFC 6890
    v4(192, 0, 2, 24),    // documentation, RFC 5737
    v4(192, 88, 99, 24),  // 6to4 relays, RFC 7526
    v4(192, 168, 0, 16),  // private, RFC 1918
    v4(198, 18, 0, 15),   // benchmarks, RFC 2544
    v4(198, 51, 100, 24), // documentation, RFC 5737
    v4(203, 0, 113, 24),  // documentation, RFC 5737
    v4(224, 0, 0, 4),     // multicast, RFC 5771
    v4(240, 0, 0, 4),     // reserved, and broadcast, RFC 1112
];

/// Global unicast, RFC 4291: all else of IPv6 is loopback, private, link-local, multicast,
/// reserved, or IPv4 in disguise (mapped, compatible, SIIT), which [`NAT64`] alone may be.
const GLOBAL_V6: Ipv6Net = v6([0x2000, 0, 0, 0], 3);
/// IPv4 as an IPv6-only network sees it, RFC 6052: judged by the IPv4 address in it.
const NAT64: Ipv6Net = v6([0x64, 0xff9b, 0, 0], 96);
/// Global unicast that is not public.
const NOT_PUBLIC_V6: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0, 0], 23), // protocol assignments, Teredo among them, RFC 2928
    v6([0x2001, 0xdb8, 0, 0], 32), // documentation, RFC 3849
    v6([0x2002, 0, 0, 0], 16), // 6to4, IPv4 in disguise, RFC 3056
    v6([0x3fff, 0, 0, 0], 20), // documentation, RFC 9637
];
/// Interface ids of ISATAP, in all but the bit that tells if they are unique, RFC 5214: the last 32
/// bits are IPv4.
const ISATAP: u16 = 0x5efe;

/// IPv4 that [`Reach::PrivateToo`] adds.
const PRIVATE_V4: [Ipv4Net; 5] = [
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(172, 16, 0, 12),
    v4(192, 168, 0, 16),
];
/// IPv6 that [`Reach::PrivateToo`] adds: unique local addresses, RFC 4193.
const PRIVATE_V6: Ipv6Net = v6([0xfc00, 0, 0, 0], 7);
/// The metadata services of clouds that live among private addresses: Alibaba's, Amazon's.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(100, 100, 100, 200);
const METADATA_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Tells whether webhooks may be sent to an address. Link-local addresses and the metadata services
/// of clouds never may.
pub fn is_allowed(address: IpAddr, reach: Reach) -> bool {
    match reach {
        Reach::PublicOnly => is_public(address),
        Reach::PrivateToo => is_public(address) || is_private(address),
    }
}

/// Tells whether an address is one of the public Internet.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) if NAT64.contains(&v6) => is_public_v4(last_32_bits(v6)),
        IpAddr::V6(v6) => {
            let is_isatap = v6.segments()[5] == ISATAP && v6.segments()[4] & !0x0200 == 0;
            GLOBAL_V6.contains(&v6)
                && !NOT_PUBLIC_V6.iter().any(|net| net.contains(&v6))
                && (!is_isatap || is_public_v4(last_32_bits(v6)))
        }
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    !NOT_PUBLIC_V4.iter().any(|net| net.contains(&address))
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4 != METADATA_V4 && PRIVATE_V4.iter().any(|net| net.contains(&v4)),
        IpAddr::V6(v6) => v6.is_loopback() || (v6 != METADATA_V6 && PRIVATE_V6.contains(&v6)),
    }
}

fn last_32_bits(address: Ipv6Addr) -> Ipv4Addr {
    let [.., a, b, c, d] = address.octets();
    Ipv4Addr::new(a, b, c, d)
}

//! Which addresses are public, from the registries of special-purpose addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// What of IPv4 is not public: the IANA registry of special-purpose addresses (RFC 6890), multicast and
/// what is reserved.
pub(super) const V4_NOT_PUBLIC: [Ipv4Net; 15] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 0, 2, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([198, 51, 100, 0], 24),
    v4([203, 0, 113, 0], 24),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
];

/// What of IPv6 is public, besides `V6_NAT64`: global unicast.
const V6_PUBLIC: Ipv6Net = v6([0x2000, 0, 0], 3);

/// What of global unicast is not public: protocol assignments with Teredo and ORCHID, documentation, 6to4.
pub(super) const V6_NOT_PUBLIC: [Ipv6Net; 4] = [
    v6([0x2001, 0, 0], 23),
    v6([0x2001, 0xdb8, 0], 32),
    v6([0x2002, 0, 0], 16),
    v6([0x3fff, 0, 0], 20),
];

/// The well-known prefix by which IPv6 reaches IPv4 (RFC 6052): as public as the address that it holds.
const V6_NAT64: Ipv6Net = v6([0x64, 0xff9b, 0], 96);

/// Where machines in a cloud learn what they may do: these are refused unless they are listed one by one.
pub(super) const METADATA: [IpAddr; 9] = [
    metadata_v4([169, 254, 169, 254]),
    metadata_v4([169, 254, 170, 2]),
    metadata_v4([169, 254, 170, 23]),
    metadata_v4([100, 100, 100, 200]),
    metadata_v4([168, 63, 129, 16]),
    metadata_v4([192, 0, 0, 192]),
    metadata_v6([0xfd00, 0xec2], 0x254),
    metadata_v6([0xfd00, 0xec2], 0x23),
    metadata_v6([0xfd20, 0xce], 0x254),
];

/// Whether `address` lies in what the whole internet reaches; of an address that holds others this says
/// nothing about those.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !V4_NOT_PUBLIC.iter().any(|net| net.contains(&address)),
        IpAddr::V6(address) => {
            let special = V6_NOT_PUBLIC.iter().any(|net| net.contains(&address));
            V6_NAT64.contains(&address) || (V6_PUBLIC.contains(&address) && !special)
        }
    }
}

/// The IPv4 addresses that an IPv6 address leads to by one way or another: mapped, compatible, NAT64, 6to4,
/// Teredo (the server and the client) and ISATAP.
pub(super) fn embedded(address: IpAddr) -> Vec<IpAddr> {
    let IpAddr::V6(address) = address else {
        return Vec::new();
    };
    let segments = address.segments();
    let pair = |at: usize| {
        let bits = u32::from(segments[at]) << 16 | u32::from(segments[at + 1]);
        Ipv4Addr::from_bits(bits)
    };
    let last = pair(6);
    let found = match segments {
        [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0, 0, 0, 0, 0xffff, 0, ..] => vec![last],
        [0x64, 0xff9b, ..] => vec![last],
        [0x2002, ..] => vec![pair(1)],
        [0x2001, 0, ..] => vec![pair(2), Ipv4Addr::from_bits(!last.to_bits())],
        [_, _, _, _, 0 | 0x200, 0x5efe, ..] => vec![last],
        _ => Vec::new(),
    };
    found.into_iter().map(IpAddr::V4).collect()
}

const fn v4([a, b, c, d]: [u8; 4], bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), bits)
}

const fn v6([a, b, c]: [u16; 3], bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0), bits)
}

const fn metadata_v4([a, b, c, d]: [u8; 4]) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(a, b, c, d))
}

const fn metadata_v6([a, b]: [u16; 2], last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, last))
}

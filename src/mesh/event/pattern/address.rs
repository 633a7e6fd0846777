//! Addresses and the networks they lie in, as EventBridge reads both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// The network that `text` (`10.0.0.0/24`, `2001:db8::/32`) is; what is set to the right of its mask does
/// not count.
pub(super) fn network(text: &str) -> Result<IpNet, &'static str> {
    const FORM: &str =
        "write an address, a slash and the bits of the mask, such as 10.0.0.0/24 or 2001:db8::/32";
    let (start, bits) = text.split_once('/').ok_or(FORM)?;
    if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(FORM);
    }
    let start = address(start).ok_or(FORM)?;
    let most = if start.is_ipv4() { 31 } else { 127 };
    match bits.parse::<u8>() {
        Ok(bits) if bits <= most => IpNet::new(start, bits)
            .map(|network| network.trunc())
            .map_err(|_| FORM),
        _ => Err(
            "the mask has at most 31 bits for IPv4 and 127 for IPv6; name a single address as a plain string",
        ),
    }
}

/// The address that `text` is: four decimal numbers (a leading zero is no octal), or groups of hexadecimal
/// digits. Zones and a dotted tail are none of EventBridge's forms.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b':';
        let address = text.bytes().all(plain).then(|| text.parse::<Ipv6Addr>());
        return address?.ok().map(IpAddr::V6);
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let digits = part.trim_start_matches('0');
        *octet = if digits.is_empty() {
            0
        } else {
            digits.parse().ok()?
        };
    }
    let address = IpAddr::V4(Ipv4Addr::from(octets));
    parts.next().is_none().then_some(address)
}

//! What the operator lets addresses of integrations reach besides what is public.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

/// The longest name of a host, in characters.
const HOST_CHARS_MAX: usize = 253;

/// A host, an address or a network that is not public and may be reached all the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EgressRule {
    /// A host by its name, in lower case and without a last dot, whatever address it has.
    Host(String),
    /// The addresses of a network; a single address is a network of one.
    Network(IpNet),
}

/// Why a text is no such rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "must be a host such as mcp.corp.example, an address such as 10.1.2.3, or a network such as 10.1.0.0/16"
)]
pub struct InvalidEgressRule;

impl EgressRule {
    /// Whether the rule lists `host`: a name in lower case without a last dot.
    pub fn lists_host(&self, host: &str) -> bool {
        matches!(self, Self::Host(listed) if listed == host)
    }

    /// Whether the rule lists `address`, alone or with others.
    pub fn lists(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(&address))
    }

    /// Whether the rule lists `address` and no other.
    pub fn lists_exactly(&self, address: IpAddr) -> bool {
        matches!(self, Self::Network(network)
            if network.prefix_len() == network.max_prefix_len() && network.addr() == address)
    }
}

impl FromStr for EgressRule {
    type Err = InvalidEgressRule;

    fn from_str(text: &str) -> Result<Self, InvalidEgressRule> {
        let bare = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse::<IpAddr>() {
            return Ok(Self::Network(address.to_canonical().into()));
        }
        if let Ok(network) = text.parse::<IpNet>() {
            return Ok(Self::Network(network.trunc()));
        }
        let host = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match is_host(&host) {
            true => Ok(Self::Host(host)),
            false => Err(InvalidEgressRule),
        }
    }
}

impl fmt::Display for EgressRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => formatter.write_str(host),
            Self::Network(network) => network.fmt(formatter),
        }
    }
}

/// Whether `text` is the name of a host. A last label of digits is an address in a spelling of its own,
/// which a rule would not be found by.
fn is_host(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(allowed);
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    text.len() <= HOST_CHARS_MAX && text.split('.').all(is_label) && !is_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_host_an_address_or_a_network() {
        let rule = |text: &str| text.parse::<EgressRule>().unwrap();
        assert_eq!(
            rule("MCP.corp.example."),
            EgressRule::Host("mcp.corp.example".to_owned())
        );
        assert!(rule("mcp.corp.example").lists_host("mcp.corp.example"));
        assert!(!rule("mcp.corp.example").lists_host("x.mcp.corp.example"));
        for (text, shown) in [
            ("10.1.2.3", "10.1.2.3/32"),
            ("[fd00::1]", "fd00::1/128"),
            ("10.1.2.3/16", "10.1.0.0/16"),
            ("::ffff:10.1.2.3", "10.1.2.3/32"),
        ] {
            assert_eq!(rule(text).to_string(), shown);
        }
        let address: IpAddr = "10.1.2.3".parse().unwrap();
        assert!(rule("10.1.2.3").lists_exactly(address) && rule("10.0.0.0/8").lists(address));
        assert!(!rule("10.0.0.0/8").lists_exactly(address));
    }

    #[test]
    fn what_would_never_be_found_is_no_rule() {
        let long = format!("{}.example", "x".repeat(64));
        for bad in [
            "",
            ".",
            "a..b",
            "https://a.example",
            "a.example:443",
            "10.1",
            "0x7f.1",
            "1.2.3.4.5",
            "*.corp.example",
            "10.0.0.0/33",
            "ä.example",
            "user@a.example",
            "a.0x1",
            &long,
        ] {
            bad.parse::<EgressRule>().unwrap_err();
        }
    }
}

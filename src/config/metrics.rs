//! Where figures of the whole process are shown to its operators, and of how many tenants.

use std::net::SocketAddr;

use super::check;
use super::setting::{METRICS_BIND, METRICS_TENANTS};
use super::source::{Reader, Shown};

/// Where figures of the whole process are shown, and of how many tenants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MetricsSettings {
    /// The address that answers `/metrics` and `/health` to whoever reaches it; nothing is counted without it.
    pub bind: Option<SocketAddr>,
    /// How many of the busiest tenants are named.
    pub tenants: usize,
}

impl MetricsSettings {
    /// The most tenants that are named.
    pub const TENANTS_MOST: u32 = 100;

    pub(crate) fn read(reader: &mut Reader) -> Self {
        let bind = reader.read(&METRICS_BIND, None, |text| address(text).map(Some));
        let tenants = reader.read(&METRICS_TENANTS, 0, |text| {
            check::number(text, 0..=Self::TENANTS_MOST)
        });
        Self {
            bind: bind.map(|Address(address)| address),
            tenants: tenants as usize,
        }
    }
}

/// An address with a port.
struct Address(SocketAddr);

fn address(text: &str) -> Result<Address, String> {
    let wrong = |_| "it must be an IP address and a port, such as 127.0.0.1:9090".to_owned();
    text.parse().map(Address).map_err(wrong)
}

impl Shown for Address {
    fn shown(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::given;

    fn read(variables: &[(&str, &str)]) -> Result<MetricsSettings, String> {
        let config = given(variables).config();
        config
            .map(|config| config.metrics)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn nothing_is_shown_unless_somebody_wants_it() {
        assert_eq!(read(&[]), Ok(MetricsSettings::default()));
        let settings = read(&[
            ("AGENT_MESH_METRICS_BIND", "[::1]:9090"),
            ("AGENT_MESH_METRICS_TENANTS", "100"),
        ]);
        let settings = settings.unwrap();
        assert_eq!(
            settings.bind,
            Some(SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], 9090)))
        );
        assert_eq!(settings.tenants, 100);
    }

    #[test]
    fn what_cannot_be_meant_is_a_mistake() {
        for (variable, value) in [
            ("AGENT_MESH_METRICS_BIND", "localhost:9090"),
            ("AGENT_MESH_METRICS_BIND", "127.0.0.1"),
            ("AGENT_MESH_METRICS_TENANTS", "101"),
            ("AGENT_MESH_METRICS_TENANTS", "-1"),
        ] {
            let told = read(&[(variable, value)]).unwrap_err();
            assert!(told.contains(variable), "{told}");
        }
    }
}

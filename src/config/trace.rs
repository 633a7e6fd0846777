//! Where traces are sent, and which: the variables that OpenTelemetry has for it.

use super::check;
use super::setting::{
    OTEL_ENDPOINT, OTEL_SERVICE_NAME, OTEL_TRACES_ENDPOINT, OTEL_TRACES_SAMPLER,
    OTEL_TRACES_SAMPLER_ARG,
};
use super::source::{Reader, Shown};

/// The path under a collector's address that takes traces.
const TRACES_PATH: &str = "v1/traces";

/// The longest name of a service: bytes.
const SERVICE_NAME_BYTES_MAX: usize = 128;

/// Where traces are sent, and which.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceSettings {
    /// The URL that takes them, OTLP over HTTP.
    pub endpoint: String,
    /// Which are recorded.
    pub sampler: Sampler,
    /// What the process is called in them.
    pub service_name: String,
}

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// All.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// This share of them, 0 to 1.
    Ratio(f64),
    /// Those that the caller records, and all where the caller names none.
    ParentOrOn,
    /// Those that the caller records.
    ParentOrOff,
    /// Those that the caller records, and this share where the caller names none.
    ParentOrRatio(f64),
}

/// The words of the setting.
#[derive(Clone, Copy)]
enum Mode {
    AlwaysOn,
    AlwaysOff,
    Ratio,
    ParentOrOn,
    ParentOrOff,
    ParentOrRatio,
}

impl TraceSettings {
    /// What is sent where; nothing where no collector is named.
    pub(crate) fn read(reader: &mut Reader) -> Option<Self> {
        let base = reader.read(&OTEL_ENDPOINT, None, |text| url(text).map(Some));
        let own = reader.read(&OTEL_TRACES_ENDPOINT, None, |text| url(text).map(Some));
        let words = [
            ("always_on", Mode::AlwaysOn),
            ("always_off", Mode::AlwaysOff),
            ("traceidratio", Mode::Ratio),
            ("parentbased_always_on", Mode::ParentOrOn),
            ("parentbased_always_off", Mode::ParentOrOff),
            ("parentbased_traceidratio", Mode::ParentOrRatio),
        ];
        let mode = reader.read(&OTEL_TRACES_SAMPLER, Mode::ParentOrOn, |text| {
            check::word(text, &words)
        });
        let Share(share) = reader.read(&OTEL_TRACES_SAMPLER_ARG, Share(1.0), Share::parse);
        let service_name = reader.read(
            &OTEL_SERVICE_NAME,
            super::SERVER_NAME.to_owned(),
            service_name,
        );
        let endpoint = own
            .or_else(|| base.map(|base| format!("{}/{TRACES_PATH}", base.trim_end_matches('/'))))?;
        Some(Self {
            endpoint,
            sampler: mode.sampler(share),
            service_name,
        })
    }
}

impl Mode {
    const fn sampler(self, share: f64) -> Sampler {
        match self {
            Self::AlwaysOn => Sampler::AlwaysOn,
            Self::AlwaysOff => Sampler::AlwaysOff,
            Self::Ratio => Sampler::Ratio(share),
            Self::ParentOrOn => Sampler::ParentOrOn,
            Self::ParentOrOff => Sampler::ParentOrOff,
            Self::ParentOrRatio => Sampler::ParentOrRatio(share),
        }
    }
}

/// A share of a whole.
struct Share(f64);

impl Share {
    fn parse(text: &str) -> Result<Self, String> {
        let share: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
        match (0.0..=1.0).contains(&share) {
            true => Ok(Self(share)),
            false => Err("it is not from 0 to 1".to_owned()),
        }
    }
}

/// A collector's address. A name or a password in it would end up in logs; headers are the place for them.
fn url(text: &str) -> Result<String, String> {
    let uri: http::Uri = text.parse().map_err(|_| "it is no URL".to_owned())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => Err(
            "it must not hold a user name or a password; OTEL_EXPORTER_OTLP_HEADERS is for them"
                .to_owned(),
        ),
        Some(_) if is_http => Ok(text.to_owned()),
        _ => Err("it must be an http or https URL".to_owned()),
    }
}

fn service_name(text: &str) -> Result<String, String> {
    match text.len() <= SERVICE_NAME_BYTES_MAX {
        true => Ok(text.to_owned()),
        false => Err(format!("it is over {SERVICE_NAME_BYTES_MAX} bytes")),
    }
}

impl Shown for Mode {
    fn shown(&self) -> Option<String> {
        let name = match self {
            Self::AlwaysOn => "always_on",
            Self::AlwaysOff => "always_off",
            Self::Ratio => "traceidratio",
            Self::ParentOrOn => "parentbased_always_on",
            Self::ParentOrOff => "parentbased_always_off",
            Self::ParentOrRatio => "parentbased_traceidratio",
        };
        Some(name.to_owned())
    }
}

impl Shown for Share {
    fn shown(&self) -> Option<String> {
        Some(self.0.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::given;

    fn read(variables: &[(&str, &str)]) -> Result<Option<TraceSettings>, String> {
        let config = given(variables).config();
        config
            .map(|config| config.traces)
            .map_err(|errors| errors.to_string())
    }

    #[test]
    fn without_a_collector_there_are_no_traces() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_TRACES_SAMPLER", "always_on")]), Ok(None));
    }

    #[test]
    fn the_address_of_a_collector_takes_traces_below_it() {
        for base in ["http://127.0.0.1:4318", "http://127.0.0.1:4318/"] {
            let settings = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", base)])
                .unwrap()
                .unwrap();
            assert_eq!(settings.endpoint, "http://127.0.0.1:4318/v1/traces");
            assert_eq!(settings.sampler, Sampler::ParentOrOn);
            assert_eq!(settings.service_name, "agent-mesh");
        }
        let both = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "https://traces.example/in",
            ),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
        ];
        let settings = read(&both).unwrap().unwrap();
        assert_eq!(settings.endpoint, "https://traces.example/in");
        assert_eq!(settings.sampler, Sampler::ParentOrRatio(0.25));
    }

    #[test]
    fn what_cannot_be_meant_is_a_mistake() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "ftp://127.0.0.1"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "https://me:pass@traces.example",
            ),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER_ARG", "1.01"),
            ("OTEL_TRACES_SAMPLER_ARG", "NaN"),
        ] {
            let told = read(&[(variable, value)]).unwrap_err();
            assert!(told.contains(variable), "{told}");
        }
    }
}

//! Why a call was not admitted, in the caller's terms.

use std::time::Duration;

use serde_json::Value;

use super::cost::Direction;
use crate::mesh::{Error, ErrorKind};

/// A limit that can refuse a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Requests of the tenant per minute.
    RequestsPerMinute,
    /// Calls of the tenant at once.
    CallsInFlight,
    /// Calls of all tenants at once, of which the tenant has its share.
    ServerCallsInFlight,
    /// Units per second of an AWS service in one direction.
    Rate(Direction),
}

impl Limit {
    /// The name in `tenants.toml`, in errors and in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests_per_minute",
            Self::CallsInFlight => "calls_in_flight",
            Self::ServerCallsInFlight => "server_calls_in_flight",
            Self::Rate(direction) => direction.name(),
        }
    }

    /// What `allowed` and `remaining` count.
    pub const fn unit(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests per minute",
            Self::CallsInFlight | Self::ServerCallsInFlight => "calls at once",
            Self::Rate(direction) => match direction {
                Direction::DynamodbRead => "read units per second",
                Direction::DynamodbWrite => "write units per second",
                Direction::S3List => "pages per second",
                Direction::Eventbridge => "entries per second",
                Direction::Upstream => "calls per second",
                Direction::S3Get
                | Direction::S3Put
                | Direction::Sns
                | Direction::States
                | Direction::Secrets => "requests per second",
            },
        }
    }
}

/// A call that was not admitted, and cost nothing. Where several limits refuse it, the one is named that
/// does so the longest, and a limit of rate before one of concurrency.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The limit.
    pub limit: Limit,
    /// Its value, in its own units.
    pub allowed: u32,
    /// What is left of it, in the same units, rounded down to thousandths.
    pub remaining: f64,
    /// What the call needed of it.
    pub needed: f64,
    /// After how long, in whole milliseconds, no limit of rate would refuse the same call, if nothing
    /// else is admitted until then; a millisecond earlier one would. `None` where nobody can know: when
    /// others' calls end, or under a limit of 0, which refuses for ever.
    pub retry_after: Option<Duration>,
}

impl Refusal {
    /// `RATE_LIMITED`, or `OVERLOADED` for what is in flight.
    pub const fn kind(&self) -> ErrorKind {
        match self.limit {
            Limit::RequestsPerMinute | Limit::Rate(_) => ErrorKind::RateLimited,
            Limit::CallsInFlight | Limit::ServerCallsInFlight => ErrorKind::Overloaded,
        }
    }

    fn message(&self) -> String {
        let Self {
            limit,
            allowed,
            needed,
            remaining,
            ..
        } = self;
        let (name, unit) = (limit.name(), limit.unit());
        match limit {
            _ if *allowed == 0 => {
                format!("This tenant's limit `{name}` is 0, so no such call is ever admitted.")
            }
            Limit::RequestsPerMinute => {
                format!("This tenant has used up its limit `{name}` of {allowed} {unit}.")
            }
            Limit::CallsInFlight => {
                format!("{allowed} calls of this tenant are in flight, as many as `{name}` allows.")
            }
            Limit::ServerCallsInFlight => {
                "The server is busy, and this tenant has its share of the calls in flight.".into()
            }
            Limit::Rate(_) if *needed > f64::from(*allowed) => format!(
                "This call needs {needed} of `{name}`, more than the {allowed} of a whole second \
                 ({unit}): it is admitted only when all of them are left, and {remaining} are."
            ),
            Limit::Rate(_) => format!(
                "This call needs {needed} of `{name}`, and {remaining} are left of {allowed} {unit}."
            ),
        }
    }

    fn advice(&self) -> String {
        let name = self.limit.name();
        let raise = format!("ask whoever runs the server to raise this tenant's limit `{name}`");
        match (self.limit, self.retry_after) {
            (Limit::ServerCallsInFlight, _) => {
                "Make fewer calls at once, and call again when one of them has ended.".into()
            }
            _ if self.allowed == 0 => format!("If it is needed, {raise}."),
            (_, Some(wait)) => format!(
                "Call again in {} ms. If that happens often, {raise}.",
                wait.as_millis()
            ),
            (_, None) => {
                format!("Call again when one of them has ended. If that happens often, {raise}.")
            }
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = Self::new(refusal.kind(), refusal.message())
            .fix(refusal.advice())
            .detail("limit", refusal.limit.name())
            .detail("allowed", refusal.allowed)
            .detail("remaining", number(refusal.remaining))
            .detail("unit", refusal.limit.unit());
        match refusal.retry_after {
            Some(wait) => error.retry_after(wait),
            None => error,
        }
    }
}

/// A whole number without a fraction, as JSON.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "only a whole number from 0 to the largest u32 is cast"
)]
fn number(amount: f64) -> Value {
    if amount.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&amount) {
        Value::from(amount as u32)
    } else {
        Value::from(amount)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(limit: Limit, allowed: u32) -> Refusal {
        Refusal {
            limit,
            allowed,
            remaining: 0.0,
            needed: 1.0,
            retry_after: Some(Duration::from_millis(250)),
        }
    }

    #[test]
    fn a_refusal_of_rate_says_what_is_needed_left_and_when_to_come_back() {
        let error = Error::from(Refusal {
            remaining: 3.5,
            needed: 12.0,
            ..refusal(Limit::Rate(Direction::DynamodbRead), 1000)
        });
        assert_eq!(error.kind(), ErrorKind::RateLimited);
        assert_eq!(
            error.message(),
            "This call needs 12 of `dynamodb_read`, and 3.5 are left of 1000 read units per second."
        );
        assert_eq!(
            error.fix_text(),
            Some(
                "Call again in 250 ms. If that happens often, ask whoever runs the server to raise \
                 this tenant's limit `dynamodb_read`."
            )
        );
        assert_eq!(error.wait(), Some(Duration::from_millis(250)));
        assert_eq!(
            Value::from(error.details().clone()),
            json!({"limit": "dynamodb_read", "allowed": 1000, "remaining": 3.5,
                "unit": "read units per second"})
        );
    }

    #[test]
    fn a_refusal_of_concurrency_promises_no_time() {
        for limit in [Limit::CallsInFlight, Limit::ServerCallsInFlight] {
            let error = Error::from(Refusal {
                retry_after: None,
                ..refusal(limit, 64)
            });
            assert_eq!(error.kind(), ErrorKind::Overloaded);
            assert_eq!(error.wait(), None);
            assert_eq!(error.details()["remaining"], json!(0), "a whole number");
            assert!(error.fix_text().unwrap().contains("ended"), "{error}");
        }
    }

    #[test]
    fn a_limit_of_zero_does_not_ask_to_wait() {
        for limit in [
            Limit::RequestsPerMinute,
            Limit::CallsInFlight,
            Limit::Rate(Direction::Sns),
        ] {
            let error = Error::from(Refusal {
                retry_after: None,
                ..refusal(limit, 0)
            });
            assert!(error.message().contains("is 0"), "{error}");
            assert!(!error.fix_text().unwrap().contains("again"), "{error}");
        }
    }
}

//! What a call costs: units per AWS service and direction.

use crate::mesh::tenant::Limits;

/// An AWS service and the direction in which a call uses it; each has a bucket of its own per tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Read units of DynamoDB, of 4 KiB each.
    DynamodbRead,
    /// Write units of DynamoDB, of 1 KiB each.
    DynamodbWrite,
    /// Reads of S3 objects.
    S3Get,
    /// Writes of S3 objects, or of their parts.
    S3Put,
    /// Pages of S3 listings.
    S3List,
    /// Entries put on the event bus.
    Eventbridge,
    /// Requests to SNS.
    Sns,
    /// Requests to Step Functions.
    States,
    /// Requests to the secret store.
    Secrets,
    /// Calls of integrated servers.
    Upstream,
}

impl Direction {
    /// Every direction, in the order of the contract.
    pub const ALL: [Self; 10] = [
        Self::DynamodbRead,
        Self::DynamodbWrite,
        Self::S3Get,
        Self::S3Put,
        Self::S3List,
        Self::Eventbridge,
        Self::Sns,
        Self::States,
        Self::Secrets,
        Self::Upstream,
    ];

    /// The name of its limit in `tenants.toml` and in errors.
    pub const fn name(self) -> &'static str {
        match self {
            Self::DynamodbRead => "dynamodb_read",
            Self::DynamodbWrite => "dynamodb_write",
            Self::S3Get => "s3_get",
            Self::S3Put => "s3_put",
            Self::S3List => "s3_list",
            Self::Eventbridge => "eventbridge",
            Self::Sns => "sns",
            Self::States => "states",
            Self::Secrets => "secrets",
            Self::Upstream => "upstream",
        }
    }

    /// Units per second that `limits` allow.
    pub const fn rate(self, limits: &Limits) -> u32 {
        match self {
            Self::DynamodbRead => limits.dynamodb_read,
            Self::DynamodbWrite => limits.dynamodb_write,
            Self::S3Get => limits.s3_get,
            Self::S3Put => limits.s3_put,
            Self::S3List => limits.s3_list,
            Self::Eventbridge => limits.eventbridge,
            Self::Sns => limits.sns,
            Self::States => limits.states,
            Self::Secrets => limits.secrets,
            Self::Upstream => limits.upstream,
        }
    }
}

/// What a call costs, in thousandths of a unit per direction. One direction can cost at most
/// [`UNITS_MAX`] units; more counts as that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost([u32; Direction::ALL.len()]);

/// The most units of one direction that one call is charged for: what a `u32` holds in thousandths. It
/// is four hundred times the most that a call can cause (10,000 parts of one object).
pub const UNITS_MAX: f64 = u32::MAX as f64 / 1000.0;

impl Cost {
    /// A call that costs nothing but its place and its request.
    pub const NONE: Self = Self([0; Direction::ALL.len()]);

    /// `units` of one direction.
    pub fn of(direction: Direction, units: f64) -> Self {
        Self::NONE.and(direction, units)
    }

    /// The same and `units` more of `direction`, rounded up to thousandths. What is negative or no number
    /// counts as 0.
    #[must_use]
    pub fn and(mut self, direction: Direction, units: f64) -> Self {
        let held = &mut self.0[direction as usize];
        *held = held.saturating_add(thousandths(units));
        self
    }

    /// Units of `direction`.
    pub fn units(&self, direction: Direction) -> f64 {
        f64::from(self.thousandths(direction)) / 1000.0
    }

    pub(super) fn thousandths(&self, direction: Direction) -> u32 {
        self.0[direction as usize]
    }

    pub(super) fn set_thousandths(&mut self, direction: Direction, thousandths: u32) {
        self.0[direction as usize] = thousandths;
    }
}

/// `units` in thousandths, rounded up; a float's own error (0.1 + 0.2) does not round one up.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a cast from f64 saturates, and turns what is no number into 0"
)]
pub(super) fn thousandths(units: f64) -> u32 {
    (units * 1000.0 - 1e-6).ceil() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_add_up_and_are_rounded_up_to_thousandths() {
        let cost = Cost::of(Direction::DynamodbRead, 0.5).and(Direction::DynamodbRead, 1.0);
        assert_eq!(cost.thousandths(Direction::DynamodbRead), 1500);
        assert_eq!(cost.thousandths(Direction::DynamodbWrite), 0);
        assert_eq!(thousandths(0.0001), 1);
        assert_eq!(thousandths(0.1 + 0.2), 300);
        assert_eq!(thousandths(128.5), 128_500);
    }

    #[test]
    fn what_is_no_amount_costs_nothing_and_what_is_too_much_saturates() {
        for none in [0.0, -0.0, -1.0, f64::NAN, f64::NEG_INFINITY] {
            assert_eq!(thousandths(none), 0, "{none}");
        }
        assert_eq!(thousandths(UNITS_MAX), u32::MAX);
        assert_eq!(thousandths(UNITS_MAX + 1.0), u32::MAX);
        assert_eq!(thousandths(f64::INFINITY), u32::MAX);
        let full = Cost::of(Direction::Sns, f64::INFINITY).and(Direction::Sns, 1.0);
        assert_eq!(full.thousandths(Direction::Sns), u32::MAX);
    }

    #[test]
    fn every_direction_stands_at_its_own_place_and_reads_its_own_limit() {
        let mut rates = Vec::new();
        for (position, direction) in Direction::ALL.into_iter().enumerate() {
            assert_eq!(direction as usize, position);
            rates.push(direction.rate(&Limits::default()));
        }
        assert_eq!(rates, [1000, 500, 500, 350, 10, 1000, 100, 100, 100, 200]);
    }
}

//! Numbers: when two are the same, and which lie in a range.

use serde_json::Number;

/// What equal numbers have in common, however they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NumberKey {
    Whole(i128),
    /// The bits of a double that is no whole number, or too large for one.
    Other(u64),
}

/// Up to here, and no further, a double is turned into a whole number without a loss.
const WHOLE_MAX: f64 = 1e38;

impl NumberKey {
    pub(super) fn of(number: &Number) -> Self {
        if let Some(whole) = number.as_i64() {
            return Self::Whole(whole.into());
        }
        if let Some(whole) = number.as_u64() {
            return Self::Whole(whole.into());
        }
        // There is nothing else that a number can be.
        let double = number.as_f64().unwrap_or(f64::NAN);
        if double.fract() == 0.0 && double.abs() <= WHOLE_MAX {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
            return Self::Whole(double as i128);
        }
        Self::Other(double.to_bits())
    }
}

/// The numbers between two bounds, or on one side of one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    pub(super) bottom: Option<Bound>,
    pub(super) top: Option<Bound>,
}

/// Where a range ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound {
    pub(super) value: f64,
    /// Whether the value itself is in the range.
    pub(super) inclusive: bool,
}

impl Range {
    pub(super) fn holds(&self, number: &Number) -> bool {
        let Some(value) = number.as_f64() else {
            return false;
        };
        let above = self
            .bottom
            .is_none_or(|bound| value > bound.value || (bound.inclusive && value == bound.value));
        let below = self
            .top
            .is_none_or(|bound| value < bound.value || (bound.inclusive && value == bound.value));
        above && below
    }
}

/// The double that `number` is exactly, or none where it would become another number.
pub(super) fn exact_double(number: &Number) -> Option<f64> {
    let double = number.as_f64()?;
    let whole = number
        .as_i64()
        .map(i128::from)
        .or_else(|| number.as_u64().map(i128::from));
    match whole {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "it is whole and below 2^64"
        )]
        Some(whole) if double as i128 != whole => None,
        _ => Some(double),
    }
}

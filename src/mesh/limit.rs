//! What a call may use: buckets of rate, concurrency, quotas.
//!
//! The rules, in the order in which a call meets them:
//!
//! 1. `requests_per_minute`: a bucket that holds a minute's worth, so that a limit of 10 admits ten calls
//!    at once and then one every six seconds. Over a long time the limit is exact; within any one minute
//!    it is at most twice the limit.
//! 2. `calls_in_flight`: per tenant, and [`limiter::CALLS_IN_FLIGHT_MAX`] in all, of which each tenant
//!    gets a fair share when they are scarce ([`in_flight`]).
//! 3. One bucket per [`Direction`]: it holds one second's worth. A cost above that passes when the bucket
//!    is full, and leaves it in debt.
//!
//! All of them are looked at before any is taken, so what is refused costs nothing anywhere. A limit of 0
//! admits nothing, ever. Time counts in whole milliseconds, costs in thousandths of a unit; with these two
//! the arithmetic is exact, and so is the time after which a refused call would be admitted.

pub mod admission;
pub mod artifact_quota;
mod bucket;
pub mod cost;
pub mod in_flight;
pub mod limiter;
pub mod quota;
pub mod refusal;
pub mod roster;

pub use admission::Admission;
pub use artifact_quota::{ArtifactQuota, ArtifactUse};
pub use cost::{Cost, Direction};
pub use limiter::Limiter;
pub use quota::Quota;
pub use refusal::{Limit, Refusal};
pub use roster::{Roster, RosterOf, RosterUnits};

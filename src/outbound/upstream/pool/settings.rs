//! How many connections there may be, how long each lives, and how one that fails is tried again.

use std::time::Duration;

use crate::mesh::upstream::CONNECT_TIME_MAX;

/// The most child processes of all tenants, each of which may use tens of megabytes.
pub const CHILDREN_MAX: usize = 256;

/// The most connections of all tenants, children included.
pub const CONNECTIONS_MAX: usize = 2048;

/// The most connections of one tenant, children included: what a quarter of all would be.
pub const TENANT_CONNECTIONS_MAX: usize = 512;

/// The most calls in flight on one connection: what all calls of a tenant may be, four times over.
pub const CALLS_MAX: usize = 256;

/// How long a connection that nobody uses stays open.
pub const IDLE_MAX: Duration = Duration::from_secs(600);

/// How old a connection may become; it then ends as soon as no call is in flight.
pub const LIFETIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long a connection that is too old, or that another has taken the place of, may still be busy before it ends
/// all the same.
pub const OVERTIME_MAX: Duration = Duration::from_secs(600);

/// How long a connection has to last for its end not to count as a failed attempt, unless a call was answered on
/// it.
pub const SETTLED_AFTER: Duration = Duration::from_secs(10);

/// How long a broken connection still tells its tools.
pub const GRACE: Duration = Duration::from_secs(120);

/// The wait after the first failed attempt to connect; it doubles with each further one.
pub const BACKOFF_FIRST: Duration = Duration::from_millis(500);

/// The longest wait between attempts to connect.
pub const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How many failed attempts within [`FAILURE_WINDOW`] open the circuit breaker.
pub const FAILURES_MAX: usize = 5;

/// For how long a failed attempt counts.
pub const FAILURE_WINDOW: Duration = Duration::from_secs(300);

/// How long an answer to `server/discover` is waited for before the older handshake is tried.
pub const DISCOVER_WAIT: Duration = Duration::from_secs(2);

/// How long ending one connection may take before it is dropped.
pub const CLOSE_TIME_MAX: Duration = Duration::from_secs(5);

/// The bounds of a pool. The defaults are the constants of this module.
#[derive(Clone, Debug)]
pub struct PoolSettings {
    /// The most child processes of all tenants.
    pub children_max: usize,
    /// The most connections of all tenants, children included.
    pub connections_max: usize,
    /// The most connections of one tenant.
    pub tenant_connections_max: usize,
    /// The most calls in flight on one connection; one more is refused unsent.
    pub calls_max: usize,
    /// How long a connection that nobody uses stays open.
    pub idle_max: Duration,
    /// How old a connection may become.
    pub lifetime_max: Duration,
    /// How long a connection that is too old or replaced may still be busy.
    pub overtime_max: Duration,
    /// How long a connection has to last for its end not to count as a failed attempt.
    pub settled_after: Duration,
    /// How long a broken connection still tells its tools.
    pub grace: Duration,
    /// The wait after the first failed attempt to connect.
    pub backoff_first: Duration,
    /// The longest wait between attempts to connect.
    pub backoff_max: Duration,
    /// How many failed attempts open the circuit breaker.
    pub failures_max: usize,
    /// For how long a failed attempt counts.
    pub failure_window: Duration,
    /// How long connecting may take in all.
    pub connect_time_max: Duration,
    /// How long an answer to `server/discover` is waited for.
    pub discover_wait: Duration,
    /// How long ending one connection may take.
    pub close_time_max: Duration,
}

impl Default for PoolSettings {
    fn default() -> Self {
        Self {
            children_max: CHILDREN_MAX,
            connections_max: CONNECTIONS_MAX,
            tenant_connections_max: TENANT_CONNECTIONS_MAX,
            calls_max: CALLS_MAX,
            idle_max: IDLE_MAX,
            lifetime_max: LIFETIME_MAX,
            overtime_max: OVERTIME_MAX,
            settled_after: SETTLED_AFTER,
            grace: GRACE,
            backoff_first: BACKOFF_FIRST,
            backoff_max: BACKOFF_MAX,
            failures_max: FAILURES_MAX,
            failure_window: FAILURE_WINDOW,
            connect_time_max: CONNECT_TIME_MAX,
            discover_wait: DISCOVER_WAIT,
            close_time_max: CLOSE_TIME_MAX,
        }
    }
}

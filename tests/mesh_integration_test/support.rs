//! What the tests stand on: a world with a cloud and tenants, clients of it, and what their answers must be.

pub(crate) mod answer;
pub(crate) mod bus;
pub(crate) mod caller;
pub(crate) mod calls;
pub(crate) mod client;
pub(crate) mod schema;
pub(crate) mod served;
pub(crate) mod token;
pub(crate) mod upstreams;
pub(crate) mod world;

pub(crate) use answer::{Failure, Fault};
pub(crate) use caller::Caller;
pub(crate) use world::{Plan, World};

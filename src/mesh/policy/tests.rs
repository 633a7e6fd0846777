//! The policy against a service that the test answers for.

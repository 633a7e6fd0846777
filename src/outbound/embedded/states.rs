//! The embedded Step Functions: state machines, read and run in the folder.

pub(crate) mod asl;

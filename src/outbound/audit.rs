//! The audit log: a file of JSON lines, each bound to the one before it by its hash.
//!
//! One process writes one file. The first one takes the file of the settings; one that runs beside it takes
//! `<name>.2.jsonl` and so on, and each goes on with the chain that it finds there.

pub mod line;
pub mod verify;

mod files;
mod log;
mod writer;

#[cfg(test)]
mod tests;

pub use files::WRITERS_MAX;
pub use line::{InvalidKey, Seal};
pub use log::{AuditFile, AuditFileSettings, KEPT_MAX, SYNC_INTERVAL};

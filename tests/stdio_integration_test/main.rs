//! The real binary as a client meets it: pipes, signals, crashes, several processes, foreign clients.
//!
//! What a machine lacks is named in a line that begins with `left out: `, or is a failure where
//! `AGENT_MESH_TEST_REQUIRE` (names separated by commas) asks for it: `python`, `typescript`, `inspector`,
//! `conformance`, `promtool` and `schemathesis`, which `scripts/test-tools.sh` installs, `tmpfs`, which takes root, and
//! `landlock`, which takes a newer
//! kernel.
#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests read what their own environment asks for"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "everything here is a test"
)]

mod audit;
mod children;
mod client;
mod commands;
mod conformance;
mod dashboard;
mod demo;
mod docs;
mod folder;
mod foreign;
mod idempotency;
mod integrations;
mod kill;
mod lifecycle;
mod lines;
mod logging;
mod operator;
mod requirement;
mod rest;
mod revisions;
mod rules;
mod secrets;
mod server;
mod serving;
mod sharing;
mod sockets;
mod token;
mod unread;
mod watching;
mod workflows;

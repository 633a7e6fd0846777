//! Whole calls in process: a client's lines over the memory transport, the embedded cloud below.
//!
//! Every answer of a tool that any of these tests receives is held to the contract on its way: see
//! `support/answer.rs`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "what a test cannot do is its failure, and a test tells one story"
)]

mod support;

mod acting;
mod alerts;
mod artifact_bounds;
mod artifacts;
mod cursors;
mod dashboard;
mod direct_tools;
mod errors;
mod events;
mod history;
mod idempotency;
mod identity;
mod integrations;
mod isolation;
mod kv;
mod limits;
mod listening;
mod model;
mod oversight;
mod protocol;
mod resources;
mod rest;
mod rules;
mod sign_in;
mod tables;
mod tasks;
mod tools;
mod watching;
mod workflows;

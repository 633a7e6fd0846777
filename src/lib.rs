//! The path of a call, module by module, in the order a call meets them.

pub mod cli;
pub mod config;
pub mod telemetry;

pub mod inbound;
pub mod mesh;
pub mod outbound;

pub mod app;
pub mod platform;

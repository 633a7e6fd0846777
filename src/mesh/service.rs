//! The services: the rules of one family each, over handles made from an admitted call.

pub mod address;
pub mod artifacts;
pub mod cursor;
pub mod events;
pub mod integrations;
pub mod kv;
pub mod proxy;
pub mod resources;
pub mod workflows;

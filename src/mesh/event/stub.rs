//! Temporary.
#![allow(missing_docs)]
use super::{Committed, Event};
use crate::mesh::store::{Bucket, Table};
use crate::mesh::tenant::{TenantId, TenantRecord};
use crate::mesh::{Clock, Error};
use std::sync::Arc;
use std::time::Duration;
pub struct Publisher;
pub struct Rollup;
#[derive(PartialEq, Clone, Copy)]
pub enum EventReads {
    Each,
    Rollup,
}
pub struct History;
pub struct State {
    pub oldest_age: Option<Duration>,
    pub last_error: Option<String>,
}
impl Publisher {
    pub async fn stored(&self, _: &TenantId, _: Duration) -> bool {
        true
    }
    pub async fn published(&self, _: Committed) {}
    pub fn state(&self) -> State {
        State {
            oldest_age: None,
            last_error: None,
        }
    }
    pub async fn drain(&self, _: Duration) {}
}
impl Rollup {
    pub fn refused(&self, _: Event) {}
    pub fn read(&self, _: Event) {}
}
impl History {
    pub fn new(
        _: Arc<dyn Table>,
        _: Arc<dyn Bucket>,
        _: &Arc<TenantRecord>,
        _: Arc<dyn Clock>,
    ) -> Self {
        Self
    }
}

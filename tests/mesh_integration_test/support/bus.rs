//! Listens at the bus of a world's cloud.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_mesh::outbound::embedded::{EmbeddedCloud, EventSink, TakenEvent};
use serde_json::Value;

use super::World;
use super::client::patiently;

/// Everything that the bus has taken since it was listened at.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<Vec<TakenEvent>>>);

impl EventSink for Heard {
    fn take(&self, event: TakenEvent) {
        self.0.lock().unwrap().push(event);
    }
}

impl Heard {
    /// Listens from now on.
    pub(crate) fn at(world: &World) -> Self {
        Self::of(world.cloud())
    }

    /// Listens from now on at the bus of `cloud`.
    pub(crate) fn of(cloud: &EmbeddedCloud) -> Self {
        let heard = Self::default();
        assert!(
            cloud.set_event_sink(Arc::new(heard.clone())),
            "one listens already"
        );
        heard
    }

    /// Every event so far whose detail fits, with its detail.
    pub(crate) fn so_far(&self, fits: impl Fn(&Value) -> bool) -> Vec<(TakenEvent, Value)> {
        let heard = self.0.lock().unwrap();
        let with_detail = |event: &TakenEvent| {
            let detail: Value = serde_json::from_str(&event.detail).expect("a detail is JSON");
            (event.clone(), detail)
        };
        heard
            .iter()
            .map(with_detail)
            .filter(|(_, detail)| fits(detail))
            .collect()
    }

    /// Waits until `count` events have come whose detail fits.
    pub(crate) async fn wait(
        &self,
        count: usize,
        fits: impl Fn(&Value) -> bool,
    ) -> Vec<(TakenEvent, Value)> {
        patiently(async {
            loop {
                let found = self.so_far(&fits);
                if found.len() >= count {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
    }
}

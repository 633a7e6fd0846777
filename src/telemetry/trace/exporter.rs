//! Sends spans to a collector, and says once when it cannot and once when it can again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_otlp::{
    Protocol, SpanExporter as OtlpExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{SpanData, SpanExporter};
use tokio::runtime::{Builder, Runtime};

use crate::config::TraceSettings;

/// How long one batch may take to be sent.
const SEND_TIME_MAX: Duration = Duration::from_secs(10);

/// Sends spans over OTLP.
///
/// The thread that batches spans is no runtime's, and the client needs one: it has one of its own, which runs
/// only while a batch is sent.
pub(super) struct Exporter {
    inner: OtlpExporter,
    runtime: Mutex<Option<Runtime>>,
    is_failing: AtomicBool,
}

impl Exporter {
    pub(super) fn new(settings: &TraceSettings) -> Result<Self, String> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let client = reqwest::Client::builder()
            .timeout(SEND_TIME_MAX)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| error.to_string())?;
        let inner = OtlpExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(settings.endpoint.clone())
            .with_timeout(SEND_TIME_MAX)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            inner,
            runtime: Mutex::new(Some(runtime)),
            is_failing: AtomicBool::new(false),
        })
    }

    fn send(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(runtime) = runtime.as_ref() else {
            return Err(OTelSdkError::AlreadyShutdown);
        };
        // Its timer, too, is of that runtime, and so is made within it.
        let sending = async { tokio::time::timeout(SEND_TIME_MAX, self.inner.export(batch)).await };
        runtime
            .block_on(sending)
            .unwrap_or(Err(OTelSdkError::Timeout(SEND_TIME_MAX)))
    }

    fn tell(&self, sent: &OTelSdkResult) {
        let was_failing = self.is_failing.swap(sent.is_err(), Ordering::Relaxed);
        match sent {
            Err(error) if !was_failing => {
                tracing::warn!(%error, "spans cannot be sent to the collector; calls go on, and spans that find no room are dropped");
            }
            Ok(()) if was_failing => tracing::info!("spans are sent to the collector again"),
            _ => {}
        }
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Exporter").finish_non_exhaustive()
    }
}

impl SpanExporter for Exporter {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let sent = self.send(batch);
        self.tell(&sent);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let ended = self.inner.shutdown_with_timeout(timeout);
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = runtime.take() {
            runtime.shutdown_background();
        }
        ended
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

//! People are told once that telemetry does not arrive. The SDK tells nobody.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::Temporality;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::trace::{SpanData, SpanExporter};

/// Why sending fails, and whether that was told. All clones are one.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<State>);

#[derive(Debug, Default)]
struct State {
    last: Mutex<Option<String>>,
    is_told: AtomicBool,
}

impl Told {
    /// Notes why an attempt has failed. The next one may succeed.
    pub(super) fn note(&self, why: String) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// Tells that something was not sent, with the reason that was noted last.
    pub(super) fn say(&self, else_why: &str) {
        if self.0.is_told.swap(true, Ordering::Relaxed) {
            return;
        }
        let last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        tracing::warn!(
            "traces or metrics do not arrive at OTEL_EXPORTER_OTLP_ENDPOINT: {}\n  remedy: see whether the address is right, and \
             whether the collector is at work. It hinders nothing else, and is not told again",
            last.as_deref().unwrap_or(else_why)
        );
    }
}

/// An exporter that tells when nothing arrives.
#[derive(Debug)]
pub(super) struct Telling<E> {
    exporter: E,
    told: Told,
}

impl<E> Telling<E> {
    pub(super) fn new(exporter: E, told: Told) -> Self {
        Self { exporter, told }
    }

    fn told(&self, sent: OTelSdkResult) -> OTelSdkResult {
        if let Err(error) = &sent {
            self.told.say(&error.to_string());
        }
        sent
    }
}

impl<E: SpanExporter> SpanExporter for Telling<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.told(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Telling<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        // Before a run measures anything there is nothing to be sent.
        if metrics.scope_metrics().next().is_none() {
            return Ok(());
        }
        self.told(self.exporter.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

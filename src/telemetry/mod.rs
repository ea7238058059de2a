//! OpenTelemetry: the spans of a run as traces, and what it measures as metrics, by OTLP over HTTP. The program that wants them asks
//! for them ([`Telemetry::start`]); the usual variables of the environment say whether, and where to ([`settings`]).
//!
//! A collector that cannot be reached is told once, fails nothing, and keeps the program for [`PATIENCE`] at most.

use std::collections::HashMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use opentelemetry::metrics::{AsyncInstrument, MeterProvider as _};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{ContextGuard, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, MetricExporter, SpanExporter, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::metrics::{ALL, Kind, Meters, Metric};
use crate::spans::TARGET;

mod client;
mod settings;
mod told;

use client::Client;
use settings::{Settings, Signal};
use told::{Telling, Told};

/// How long the program may be kept at its end until all is sent.
const PATIENCE: Duration = Duration::from_secs(5);

/// The name of what makes the spans and metrics.
const SCOPE: &str = "acequia";

/// What sends traces and metrics, as long as the program lasts.
pub struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    told: Told,
    /// Makes what begins on this thread a part of the trace that the environment names.
    _joined: ContextGuard,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry")
            .field("traces", &self.traces.is_some())
            .field("metrics", &self.metrics.is_some())
            .finish_non_exhaustive()
    }
}

impl Telemetry {
    /// Begins to send what these meters say, if the environment asks for metrics, and what [`layer`](Self::layer) is handed, if it
    /// asks for traces. Returns `None` if it asks for neither; and what of it cannot be done.
    pub fn start(meters: &Meters) -> (Option<Self>, Vec<String>) {
        let settings = Settings::read(|name| std::env::var(name).ok());
        let mut problems = settings.problems.clone();
        let told = Told::default();
        let client = |signal| Client::new(settings.timeout(signal), &told);
        let traces = settings.is_wanted(Signal::Traces).then(|| {
            let exporter = SpanExporter::builder().with_http();
            exporter.with_http_client(client(Signal::Traces)).build()
        });
        let traces = traces.and_then(|built| usable(built, Signal::Traces, &mut problems));
        let metrics = settings.is_wanted(Signal::Metrics).then(|| {
            let exporter = MetricExporter::builder().with_http();
            exporter.with_http_client(client(Signal::Metrics)).build()
        });
        let metrics = metrics.and_then(|built| usable(built, Signal::Metrics, &mut problems));
        if traces.is_none() && metrics.is_none() {
            return (None, problems);
        }
        let resource = resource(&settings);
        let traces = traces.map(|exporter| {
            SdkTracerProvider::builder()
                .with_batch_exporter(Telling::new(exporter, told.clone()))
                .with_resource(resource.clone())
                .build()
        });
        let metrics = metrics.map(|exporter| {
            let provider = SdkMeterProvider::builder()
                .with_periodic_exporter(Telling::new(exporter, told.clone()))
                .with_resource(resource)
                .build();
            for metric in ALL {
                observe(&provider, *metric, meters);
            }
            provider
        });
        let telemetry = Self {
            traces,
            metrics,
            told,
            _joined: joined(&settings).attach(),
        };
        (Some(telemetry), problems)
    }

    /// Takes acequia's spans, and nothing else: other events of a log may have what nobody else must see.
    pub fn layer<S>(&self) -> Option<impl Layer<S> + use<S>>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let traces = self.traces.as_ref()?;
        let layer = tracing_opentelemetry::layer()
            .with_tracer(traces.tracer(SCOPE))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_context_activation(false);
        let own = filter_fn(|metadata| metadata.is_span() && metadata.target() == TARGET);
        Some(layer.with_filter(own))
    }

    /// Sends what is left, for [`PATIENCE`] at most.
    pub fn finish(self) {
        let Self {
            traces,
            metrics,
            told,
            _joined,
        } = self;
        let end = Instant::now() + PATIENCE;
        let (done, ended) = mpsc::channel();
        let mut left = 0;
        let mut close = |close: Box<dyn FnOnce() + Send>| {
            let done = done.clone();
            left += 1;
            std::thread::spawn(move || {
                close();
                // Whoever waited may have gone.
                let _ = done.send(());
            });
        };
        if let Some(traces) = traces {
            close(Box::new(move || {
                let _ = traces.shutdown_with_timeout(PATIENCE * 2);
            }));
        }
        if let Some(metrics) = metrics {
            close(Box::new(move || {
                let _ = metrics.shutdown();
            }));
        }
        for _ in 0..left {
            let time = end.saturating_duration_since(Instant::now());
            if ended.recv_timeout(time).is_err() {
                told.say(&format!(
                    "it did not take all within {} s",
                    PATIENCE.as_secs()
                ));
                return;
            }
        }
    }
}

/// What is wrong in the environment. The value of a variable may be a secret, so that only its name is told.
fn what_is_wrong(error: &ExporterBuildError) -> String {
    match error {
        ExporterBuildError::InvalidConfiguration(what) => {
            let name = what.split(':').next().unwrap_or_default();
            format!("what {name} says is not understood")
        }
        ExporterBuildError::InternalFailure(_) => "what sends them could not be started".to_owned(),
    }
}

/// What sends a signal; if it cannot be built, why is a problem.
fn usable<E>(
    built: Result<E, ExporterBuildError>,
    signal: Signal,
    problems: &mut Vec<String>,
) -> Option<E> {
    let failed = |error| {
        let what = what_is_wrong(&error);
        problems.push(format!("no {} are sent: {what}", signal.name()));
    };
    built.map_err(failed).ok()
}

/// Has a metric be asked for whenever metrics are sent.
fn observe(provider: &SdkMeterProvider, metric: Metric, meters: &Meters) {
    let (meter, meters) = (provider.meter(SCOPE), meters.clone());
    let measure = move |observer: &dyn AsyncInstrument<f64>| {
        for (labels, value) in meters.samples().of(metric) {
            let labels = labels.iter();
            let labels: Vec<KeyValue> = labels
                .map(|(name, value)| KeyValue::new(*name, value.clone()))
                .collect();
            observer.observe(value, &labels);
        }
    };
    let unit = unit(metric.name);
    // The provider keeps what is built.
    match metric.kind {
        Kind::Gauge => {
            let gauge = meter.f64_observable_gauge(metric.name);
            let gauge = gauge.with_description(metric.help).with_unit(unit);
            let _ = gauge.with_callback(measure).build();
        }
        Kind::Counter => {
            let counter = meter.f64_observable_counter(metric.name);
            let counter = counter.with_description(metric.help).with_unit(unit);
            let _ = counter.with_callback(measure).build();
        }
    }
}

/// The unit of a metric as UCUM writes it; Prometheus has it in the name.
fn unit(name: &str) -> &'static str {
    if name.contains("_seconds") {
        "s"
    } else if name.contains("_bytes") {
        "By"
    } else {
        ""
    }
}

/// What the spans and metrics are of: as the environment says, else `acequia`.
fn resource(settings: &Settings) -> Resource {
    let resource = Resource::builder();
    let resource = if settings.has_service_name {
        resource
    } else {
        resource.with_service_name("acequia")
    };
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    resource.with_attribute(version).build()
}

/// The trace that the environment names, as that of an orchestrator's task.
fn joined(settings: &Settings) -> opentelemetry::Context {
    let carrier: HashMap<String, String> = settings.parent.clone().into_iter().collect();
    TraceContextPropagator::new().extract(&carrier)
}

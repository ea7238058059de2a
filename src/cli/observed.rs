//! Who else sees what a command does: OpenTelemetry, where it is built in and the environment asks for it.

use acequia::metrics::Meters;

use super::logging::Taker;

/// What watches a command, until it has ended.
#[derive(Default)]
pub(super) struct Observed {
    /// What a run measures.
    pub(super) meters: Meters,
    #[cfg(feature = "otel")]
    telemetry: Option<acequia::telemetry::Telemetry>,
}

impl Observed {
    /// Begins, if the environment asks for it. Returns as well what takes the spans, and what cannot be done.
    #[cfg(feature = "otel")]
    pub(super) fn start() -> (Self, Option<Taker>, Vec<String>) {
        let meters = Meters::default();
        let (telemetry, problems) = acequia::telemetry::Telemetry::start(&meters);
        let layer = telemetry
            .as_ref()
            .and_then(acequia::telemetry::Telemetry::layer);
        let taker = layer.map(|layer| -> Taker { Box::new(layer) });
        (Self { meters, telemetry }, taker, problems)
    }

    /// Nobody does.
    #[cfg(not(feature = "otel"))]
    pub(super) fn start() -> (Self, Option<Taker>, Vec<String>) {
        (Self::default(), None, Vec::new())
    }

    /// The command has ended.
    pub(super) fn finish(&mut self) {
        #[cfg(feature = "otel")]
        if let Some(telemetry) = self.telemetry.take() {
            telemetry.finish();
        }
    }
}

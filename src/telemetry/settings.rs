//! What the environment says of telemetry: OpenTelemetry's own variables. Endpoints, headers, sampling, and how often is sent, the
//! SDK reads itself. No I/O.

use std::time::Duration;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// As messages call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }

    /// A variable for this signal alone: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`.
    fn own(self, what: &str) -> String {
        format!("OTEL_EXPORTER_OTLP_{}_{what}", self.name().to_uppercase())
    }
}

/// How long a request may take, unless the environment says otherwise (as the specification has it).
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Settings {
    traces: Option<Duration>,
    metrics: Option<Duration>,
    /// Whether the environment names the service.
    pub(super) has_service_name: bool,
    /// The headers of the trace to be a part of.
    pub(super) parent: Vec<(String, String)>,
    /// What is asked for and not done.
    pub(super) problems: Vec<String>,
}

impl Settings {
    /// Reads variables; one that is empty counts as unset.
    pub(super) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name: &str| {
            let value = variable(name)?;
            let value = value.trim();
            (!value.is_empty()).then(|| value.to_owned())
        };
        let mut settings = Self::default();
        if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return settings;
        }
        settings.traces = settings.wanted(Signal::Traces, &variable);
        settings.metrics = settings.wanted(Signal::Metrics, &variable);
        settings.has_service_name = variable("OTEL_SERVICE_NAME").is_some()
            || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| {
                let mut attributes = attributes.split(',');
                attributes.any(|attribute| attribute.trim().starts_with("service.name="))
            });
        let headers = [("TRACEPARENT", "traceparent"), ("TRACESTATE", "tracestate")];
        let headers = headers.into_iter();
        settings.parent = headers
            .filter_map(|(name, header)| Some((header.to_owned(), variable(name)?)))
            .collect();
        settings
    }

    /// How long a request with a signal may take, if the signal is wanted and can be sent.
    fn wanted(
        &mut self,
        signal: Signal,
        variable: &impl Fn(&str) -> Option<String>,
    ) -> Option<Duration> {
        let either = |what: &str| {
            let own = signal.own(what);
            let general = format!("OTEL_EXPORTER_OTLP_{what}");
            let named = |name: String| Some((variable(&name)?, name));
            named(own).or_else(|| named(general))
        };
        let exporter = format!("OTEL_{}_EXPORTER", signal.name().to_uppercase());
        match variable(&exporter) {
            Some(exporters) if exporters.split(',').any(|one| one.trim() == "otlp") => {}
            Some(none) if none == "none" => return None,
            Some(_) => {
                self.problems.push(format!(
                    "no {} are sent: acequia has no exporter but `otlp`, and {exporter} names another",
                    signal.name()
                ));
                return None;
            }
            None => {
                either("ENDPOINT")?;
            }
        }
        if let Some((protocol, name)) = either("PROTOCOL")
            && protocol != "http/protobuf"
        {
            self.problems.push(format!(
                "no {} are sent: {name} asks for another protocol than http/protobuf, and acequia speaks that alone. A collector \
                 usually takes it at port 4318",
                signal.name()
            ));
            return None;
        }
        let timeout = either("TIMEOUT").and_then(|(millis, _)| millis.parse().ok());
        Some(timeout.map_or(TIMEOUT, Duration::from_millis))
    }

    /// Whether a signal is wanted.
    pub(super) fn is_wanted(&self, signal: Signal) -> bool {
        self.of(signal).is_some()
    }

    /// How long a request with a signal may take.
    pub(super) fn timeout(&self, signal: Signal) -> Duration {
        self.of(signal).unwrap_or(TIMEOUT)
    }

    fn of(&self, signal: Signal) -> Option<Duration> {
        match signal {
            Signal::Traces => self.traces,
            Signal::Metrics => self.metrics,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        Settings::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_is_sent_unless_the_environment_asks_for_it() {
        const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        for (variables, traces, metrics, problems) in [
            (&[][..], false, false, 0),
            (&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")], false, false, 0),
            (&[ENDPOINT], true, true, 0),
            (&[ENDPOINT, ("OTEL_SDK_DISABLED", "TRUE")], false, false, 0),
            (&[ENDPOINT, ("OTEL_SDK_DISABLED", "false")], true, true, 0),
            (
                &[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none")],
                false,
                true,
                0,
            ),
            (&[("OTEL_METRICS_EXPORTER", "otlp")], false, true, 0),
            (
                &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://localhost:1/x")],
                true,
                false,
                0,
            ),
            (
                &[ENDPOINT, ("OTEL_METRICS_EXPORTER", "console")],
                true,
                false,
                1,
            ),
            (
                &[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
                false,
                false,
                2,
            ),
            (
                &[
                    ENDPOINT,
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
                    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
                ],
                true,
                false,
                1,
            ),
        ] {
            let settings = read(variables);
            assert_eq!(settings.is_wanted(Signal::Traces), traces, "{variables:?}");
            assert_eq!(
                settings.is_wanted(Signal::Metrics),
                metrics,
                "{variables:?}"
            );
            assert_eq!(settings.problems.len(), problems, "{settings:?}");
        }
    }

    #[test]
    fn a_service_is_named_in_either_variable() {
        assert!(
            !read(&[("OTEL_RESOURCE_ATTRIBUTES", "team=data,my.service.name=x")]).has_service_name
        );
        assert!(
            read(&[("OTEL_RESOURCE_ATTRIBUTES", "team=data, service.name=x")]).has_service_name
        );
        assert!(read(&[("OTEL_SERVICE_NAME", "x")]).has_service_name);
    }
}

//! Prometheus' text format, version 0.0.4. No I/O.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A metric: its name, what it is, and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metric {
    /// Its name.
    pub(crate) name: &'static str,
    /// `gauge` or `counter`.
    pub(crate) kind: &'static str,
    /// What it says.
    pub(crate) help: &'static str,
}

/// Metrics with their values.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    metrics: Vec<(Metric, BTreeMap<String, f64>)>,
}

impl Samples {
    /// Adds a value with its labels.
    pub(crate) fn add(&mut self, metric: Metric, labels: &[(&str, &str)], value: f64) {
        let labels = labels_text(labels);
        let known = self.metrics.iter_mut().find(|(known, _)| *known == metric);
        match known {
            Some((_, values)) => {
                values.insert(labels, value);
            }
            None => self
                .metrics
                .push((metric, BTreeMap::from([(labels, value)]))),
        }
    }

    /// Names a metric that may have a value from before alone.
    pub(crate) fn declare(&mut self, metric: Metric) {
        if !self.metrics.iter().any(|(known, _)| *known == metric) {
            self.metrics.push((metric, BTreeMap::new()));
        }
    }

    /// Takes over what an earlier text says of these metrics under labels that have no value yet.
    pub(crate) fn take_over(&mut self, earlier: &str) {
        for line in earlier.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let (Some((name, labels)), Ok(value)) = (series.split_once('{'), value.parse()) else {
                continue;
            };
            let named = self
                .metrics
                .iter_mut()
                .find(|(metric, _)| metric.name == name);
            if let Some((_, values)) = named {
                values.entry(format!("{{{labels}")).or_insert(value);
            }
        }
    }

    /// The text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (metric, values) in self.metrics.iter().filter(|(_, values)| !values.is_empty()) {
            // Writing to a String does not fail.
            let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
            let _ = writeln!(text, "# TYPE {} {}", metric.name, metric.kind);
            for (labels, value) in values {
                let _ = writeln!(text, "{}{labels} {value}", metric.name);
            }
        }
        text
    }
}

/// Labels as they stand behind a name: `{pipeline="formacion",stream="ventas"}`.
fn labels_text(labels: &[(&str, &str)]) -> String {
    let escaped = |value: &str| {
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    };
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
        .collect();
    format!("{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: Metric = Metric {
        name: "acequia_rows",
        kind: "gauge",
        help: "Rows.",
    };

    #[test]
    fn labels_are_escaped_and_what_is_not_measured_anew_stays() {
        let mut samples = Samples::default();
        samples.add(
            ROWS,
            &[("stream", "a"), ("odd", "\"\\\n ñ")],
            1_234_567_890.0,
        );
        let text = samples.text();
        assert_eq!(
            text,
            "# HELP acequia_rows Rows.\n# TYPE acequia_rows gauge\nacequia_rows{stream=\"a\",odd=\"\\\"\\\\\\n ñ\"} 1234567890\n"
        );
        let mut later = Samples::default();
        later.add(ROWS, &[("stream", "b")], 2.5);
        later.take_over(&format!(
            "{text}other{{}} 1\nacequia_rows{{stream=\"b\"}} 7\nrubbish\n"
        ));
        assert_eq!(
            later.text().lines().skip(2).collect::<Vec<_>>(),
            [
                "acequia_rows{stream=\"a\",odd=\"\\\"\\\\\\n ñ\"} 1234567890",
                "acequia_rows{stream=\"b\"} 2.5"
            ]
        );
    }
}

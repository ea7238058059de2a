//! Prometheus' text format, version 0.0.4. No I/O.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::samples::{Kind, Labels, Samples};

impl Samples {
    /// The text. It has as well what an earlier text says of these metrics under labels that have no value now.
    pub(super) fn text_after(&self, earlier: &str) -> String {
        let mut lines: Vec<BTreeMap<String, f64>> = self
            .metrics
            .iter()
            .map(|(_, values)| {
                let values = values.iter();
                values
                    .map(|(labels, value)| (labels_text(labels), *value))
                    .collect()
            })
            .collect();
        for line in earlier.lines() {
            let Some((series, value)) = line.rsplit_once(' ') else {
                continue;
            };
            let (Some((name, labels)), Ok(value)) = (series.split_once('{'), value.parse()) else {
                continue;
            };
            let mut known = self.metrics.iter().zip(&mut lines);
            if let Some((_, lines)) = known.find(|((metric, _), _)| metric.name == name) {
                lines.entry(format!("{{{labels}")).or_insert(value);
            }
        }
        let mut text = String::new();
        let metrics = self.metrics.iter().map(|(metric, _)| metric);
        for (metric, lines) in metrics.zip(lines).filter(|(_, lines)| !lines.is_empty()) {
            let kind = match metric.kind {
                Kind::Gauge => "gauge",
                Kind::Counter => "counter",
            };
            // Writing to a String does not fail.
            let _ = writeln!(text, "# HELP {} {}", metric.name, metric.help);
            let _ = writeln!(text, "# TYPE {} {kind}", metric.name);
            for (labels, value) in lines {
                let _ = writeln!(text, "{}{labels} {value}", metric.name);
            }
        }
        text
    }

    /// The text.
    pub(super) fn text(&self) -> String {
        self.text_after("")
    }
}

/// Labels as they stand behind a name: `{pipeline="formacion",stream="ventas"}`.
fn labels_text(labels: &Labels) -> String {
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
    use crate::metrics::samples::Metric;

    const ROWS: Metric = Metric {
        name: "acequia_rows",
        kind: Kind::Gauge,
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
        let later = later.text_after(&format!(
            "{text}other{{}} 1\nacequia_rows{{stream=\"b\"}} 7\nrubbish\n"
        ));
        assert_eq!(
            later.lines().skip(2).collect::<Vec<_>>(),
            [
                "acequia_rows{stream=\"a\",odd=\"\\\"\\\\\\n ñ\"} 1234567890",
                "acequia_rows{stream=\"b\"} 2.5"
            ]
        );
    }
}

//! Metrics with their values, whatever becomes of them. No I/O.

use std::collections::BTreeMap;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that rises and falls.
    Gauge,
    /// A count that only rises, as long as the process lasts.
    Counter,
}

/// A metric: its name, what it is, and what it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, as Prometheus writes such names: with the unit, and `_total` at the end of a count.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it says, in a sentence.
    pub help: &'static str,
}

/// What a value is of: names of labels with their values, as in `stream` and `ventas`.
pub type Labels = Vec<(&'static str, String)>;

/// Metrics with their values.
#[derive(Debug, Clone, Default)]
pub struct Samples {
    /// In the order in which they were named first.
    pub(super) metrics: Vec<(Metric, BTreeMap<Labels, f64>)>,
}

impl Samples {
    /// Adds a value with its labels. It takes the place of one with the same.
    pub(crate) fn add(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: f64) {
        let labels = labels
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()));
        let labels: Labels = labels.collect();
        self.with(metric, |values| {
            values.insert(labels, value);
        });
    }

    /// Names a metric that may have a value from before alone.
    pub(crate) fn declare(&mut self, metric: Metric) {
        self.with(metric, |_| {});
    }

    /// Adds all of others, which take the place of the same ones.
    pub(crate) fn extend(&mut self, others: Self) {
        for (metric, values) in others.metrics {
            self.with(metric, |known| known.extend(values));
        }
    }

    /// The values of a metric, each with its labels.
    pub fn of(&self, metric: Metric) -> impl Iterator<Item = (&Labels, f64)> {
        let known = self
            .metrics
            .iter()
            .filter(move |(known, _)| *known == metric);
        known.flat_map(|(_, values)| values.iter().map(|(labels, value)| (labels, *value)))
    }

    fn with(&mut self, metric: Metric, change: impl FnOnce(&mut BTreeMap<Labels, f64>)) {
        let mut known = self.metrics.iter_mut();
        if let Some((_, values)) = known.find(|(known, _)| *known == metric) {
            change(values);
        } else {
            let mut values = BTreeMap::new();
            change(&mut values);
            self.metrics.push((metric, values));
        }
    }
}

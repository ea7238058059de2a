//! The progress of a run. The library counts; a program takes snapshots to show them.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use crate::names::StreamName;

/// The phase of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not begun.
    Waiting,
    /// Reading rows and landing them.
    Extracting,
    /// Landed; waiting for the destination, or being applied by it.
    Loading,
    /// The load is committed.
    Done,
    /// Ended with an error.
    Failed,
}

/// Counts a stream's rows and bytes. It is cheap to clone; all clones count together.
#[derive(Debug, Clone)]
pub struct Counters(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    phase: AtomicU8,
    rows: AtomicU64,
    bytes: AtomicU64,
    /// 0 if the number is unknown.
    estimated_rows: AtomicU64,
    /// When the stream began, and when it ended.
    span: RwLock<(Option<Instant>, Option<Instant>)>,
}

/// The progress of all streams of a run. It is cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<RwLock<Vec<(StreamName, Counters)>>>);

/// The progress of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamProgress {
    /// The stream.
    pub stream: StreamName,
    /// The stream's phase.
    pub phase: Phase,
    /// Rows landed.
    pub rows: u64,
    /// Bytes landed.
    pub bytes: u64,
    /// The expected number of rows, if it is known.
    pub estimated_rows: Option<u64>,
    /// The time since the stream began, until it ended.
    pub elapsed: Duration,
}

impl Default for Counters {
    fn default() -> Self {
        Self(Arc::new(Counts {
            phase: AtomicU8::new(Phase::Waiting as u8),
            rows: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            estimated_rows: AtomicU64::new(0),
            span: RwLock::new((None, None)),
        }))
    }
}

impl Counters {
    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        if let Ok(mut span) = self.0.span.write() {
            match phase {
                Phase::Waiting | Phase::Loading => {}
                Phase::Extracting => {
                    span.0.get_or_insert_with(Instant::now);
                }
                Phase::Done | Phase::Failed => {
                    span.1.get_or_insert_with(Instant::now);
                }
            }
        }
        self.0.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Sets the expected number of rows.
    pub fn expect_rows(&self, rows: u64) {
        self.0.estimated_rows.store(rows, Ordering::Relaxed);
    }

    /// Counts rows landed.
    pub fn add_rows(&self, rows: u64) {
        self.0.rows.fetch_add(rows, Ordering::Relaxed);
    }

    /// Counts bytes landed.
    pub fn add_bytes(&self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Forgets what was counted: the stream is read anew.
    pub fn begin_anew(&self) {
        self.0.rows.store(0, Ordering::Relaxed);
        self.0.bytes.store(0, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.0.phase.load(Ordering::Relaxed) {
            1 => Phase::Extracting,
            2 => Phase::Loading,
            3 => Phase::Done,
            4 => Phase::Failed,
            _ => Phase::Waiting,
        }
    }
}

impl Progress {
    /// Adds a stream.
    pub fn add(&self, stream: &StreamName) -> Counters {
        let counters = Counters::default();
        if let Ok(mut streams) = self.0.write() {
            streams.push((stream.clone(), counters.clone()));
        }
        counters
    }

    /// A snapshot of each stream's progress.
    pub fn snapshot(&self) -> Vec<StreamProgress> {
        let Ok(streams) = self.0.read() else {
            return Vec::new();
        };
        streams
            .iter()
            .map(|(stream, counters)| {
                let estimated = counters.0.estimated_rows.load(Ordering::Relaxed);
                let elapsed = match counters.0.span.read().as_deref() {
                    Ok((Some(began), ended)) => {
                        ended.unwrap_or_else(Instant::now).duration_since(*began)
                    }
                    _ => Duration::ZERO,
                };
                StreamProgress {
                    stream: stream.clone(),
                    phase: counters.phase(),
                    rows: counters.0.rows.load(Ordering::Relaxed),
                    bytes: counters.0.bytes.load(Ordering::Relaxed),
                    estimated_rows: (estimated > 0).then_some(estimated),
                    elapsed,
                }
            })
            .collect()
    }
}

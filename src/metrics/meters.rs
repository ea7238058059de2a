//! Where a run says what it measures, for whoever asks.

use std::sync::{Arc, Mutex, PoisonError};

use super::samples::Samples;

type Measure = Arc<dyn Fn() -> Samples + Send + Sync>;

/// What a run measures: nothing before it begins, what it is at while it follows, and what it was once it is over. It is cheap to
/// clone, and all clones are of one run.
#[derive(Clone, Default)]
pub struct Meters(Arc<Mutex<Option<Measure>>>);

impl Meters {
    /// The values as they are now.
    pub fn samples(&self) -> Samples {
        let measure = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        measure.map_or_else(Samples::default, |measure| measure())
    }

    /// From now on, this is what is measured.
    pub(crate) fn measure(&self, measure: impl Fn() -> Samples + Send + Sync + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(measure));
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meters")
    }
}

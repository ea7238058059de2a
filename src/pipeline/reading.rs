//! Asks a destination that is opened to be read.

use crate::config::Pipeline;
use crate::destination::{self, Destination};
use crate::error::{Error, Result};

/// Asks the pipeline's destination without changing or creating anything. `None` if it has no ledger yet: nothing was ever
/// loaded.
pub(super) async fn reading<T: Send + 'static>(
    pipeline: &Pipeline,
    ask: impl FnOnce(&mut dyn Destination) -> Result<T> + Send + 'static,
) -> Result<Option<T>> {
    let (destination, dataset) = (pipeline.destination.clone(), pipeline.dataset.clone());
    let asked = tokio::task::spawn_blocking(move || {
        let opened = destination::open_read_only(&destination, &dataset)?;
        opened.map(|mut opened| ask(opened.as_mut())).transpose()
    });
    asked
        .await
        .map_err(|error| Error::internal("the destination's thread ended").cause(error))?
}

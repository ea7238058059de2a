//! What a source has to be copied (`acequia discover`, `acequia init --from`).

use super::contained::contained;
use crate::config;
use crate::discovery::Discovery;
use crate::error::Result;
use crate::source::Source;

/// Looks what a source has to be copied, and how each table or object is best read. `name` is the source's. Nothing is changed.
///
/// # Errors
/// The source cannot be reached, or does not tell what it has.
pub async fn discover(name: &str, source: &config::Source) -> Result<Discovery> {
    contained(Source::discover(name, source)).await
}

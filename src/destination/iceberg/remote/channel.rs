//! What sends statements to an engine that runs elsewhere.

use crate::destination::Interrupter;
use crate::destination::sql::TextRow;
use crate::error::Result;

/// A session of an engine. A statement is sent once, whatever becomes of its answer.
pub(in crate::destination::iceberg) trait Channel: Send {
    /// Where the engine is, for people.
    fn address(&self) -> &str;

    /// Runs a statement, or a query whose columns are integers or text, and hands each row over as text.
    ///
    /// # Errors
    /// The engine's, without its message where that may have a value; [`crate::Error::for_now`] where the engine or the way to
    /// it fails.
    fn run(&mut self, sql: &str, each: &mut dyn FnMut(TextRow) -> Result<()>) -> Result<()>;

    /// The names of a query's columns.
    fn columns(&mut self, query: &str) -> Result<Vec<String>>;

    /// What ends what runs, from another thread.
    fn interrupter(&self) -> Interrupter;
}

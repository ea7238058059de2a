//! What a session remembers of the views of models that it has dropped ([`super::views`]). No I/O.

use crate::destination::sql::given::Given;

/// The views of models while a load is applied.
#[derive(Debug, Default)]
pub(super) struct Views {
    /// The schema of the models. `None` if the pipeline has none.
    pub(super) schema: Option<String>,
    /// The views that were dropped, each after those that read it.
    pub(super) dropped: Vec<View>,
}

/// A view that was dropped.
#[derive(Debug)]
pub(super) struct View {
    /// Its full name in SQL.
    pub(super) sql: String,
    /// Its name as people write it.
    pub(super) shown: String,
    /// Its query, as a session with the same search path reads it.
    pub(super) query: String,
    pub(super) given: Given,
}

impl Views {
    /// Those of a load that begins.
    pub(super) fn of(schema: Option<&str>) -> Self {
        Self {
            schema: schema.map(str::to_owned),
            dropped: Vec::new(),
        }
    }
}

//! A table whose changes are read.

use tokio_postgres::types::Oid;

/// A table whose changes are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its OID.
    pub oid: Oid,
    /// Its name in SQL, with its schema.
    pub from: String,
    /// The OID of its membership in the publication. A different OID means that the table was not published for a while.
    pub membership: Option<Oid>,
    /// The OIDs of its partitions, at all levels.
    pub partitions: Vec<Oid>,
    /// The key that its changes are matched by. Empty if whole rows are matched.
    pub key: Vec<String>,
    /// Whether the server enforces that the key is unique.
    pub key_is_unique: bool,
    /// The columns that are published.
    pub columns: Vec<String>,
    /// Whether the publication lists columns, so that a new column is not published.
    pub lists_columns: bool,
    /// The publication's row filter, if it has one.
    pub filter: Option<String>,
    /// Warnings of every run.
    pub notes: Vec<String>,
}

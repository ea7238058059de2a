//! A table whose changes are read.

use tokio_postgres::types::Oid;

/// A table that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its OID.
    pub oid: Oid,
    /// Its name in SQL, with its schema.
    pub from: String,
    /// What puts it into the publication: another OID means that it was taken out meanwhile.
    pub membership: Option<Oid>,
    /// Its partitions, all the way down.
    pub partitions: Vec<Oid>,
    /// The key that its changes tell rows apart by; none where whole rows are.
    pub key: Vec<String>,
    /// Whether the server sees to it that the key comes once.
    pub key_is_unique: bool,
    /// The columns that are published.
    pub columns: Vec<String>,
    /// Whether the publication names its columns, so that one that is new is not published.
    pub lists_columns: bool,
    /// The condition that published rows meet, where the publication has one.
    pub filter: Option<String>,
    /// What its owner should know, in each run.
    pub notes: Vec<String>,
}

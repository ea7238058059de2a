//! The identities of a server, a relation and its columns. No I/O.

use serde::{Deserialize, Serialize};

/// The identity of a server's data, which distinguishes it from other servers and from its own past: a restored copy and a
/// promoted standby keep the system's identifier and begin a new timeline (manual, section 26.3.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerIdentity {
    /// `system_identifier`, drawn by initdb.
    pub system: String,
    /// The timeline that the server writes, or replays.
    pub timeline: u32,
}

/// The identity of a table, which distinguishes it from a later one of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationIdentity {
    /// Its OID.
    pub oid: u32,
    /// Its columns, in the order of their numbers.
    pub columns: Vec<ColumnIdentity>,
}

/// The identity of a column, which distinguishes it from others of the same name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnIdentity {
    /// Its name.
    pub name: String,
    /// `attnum`: a column keeps it when it is renamed, and no later column of the table gets it.
    pub number: i16,
    /// The OID of its type.
    pub type_oid: u32,
    /// `atttypmod`: length or precision; -1 if the type has none.
    pub modifier: i32,
}

//! What tells a server, a relation and its columns from others of the same names. No I/O.

use serde::{Deserialize, Serialize};

/// A server's data, told from those of other servers and from its own past: a restored copy and a promoted standby keep the
/// system's identifier and begin a new timeline (manual, section 26.3.6).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerIdentity {
    /// `system_identifier`, drawn by initdb.
    pub system: String,
    /// The timeline that the server writes, or replays.
    pub timeline: u32,
}

/// A table, told from one that was made later under its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelationIdentity {
    /// Its OID.
    pub oid: u32,
    /// Its columns, in the order of their numbers.
    pub columns: Vec<ColumnIdentity>,
}

/// A column, told from one that has, or had, its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnIdentity {
    /// Its name.
    pub name: String,
    /// `attnum`: a column keeps it when it is renamed, and no later one of the table gets it.
    pub number: i16,
    /// The OID of its type.
    pub type_oid: u32,
    /// `atttypmod`: length or precision; -1 where there is none.
    pub modifier: i32,
}

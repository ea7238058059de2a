//! What a source has to be copied, and how each table or object is best read. No I/O.

use serde::Serialize;

use crate::mode::Mode;

/// Up to this size, in bytes, a table is read in full by each run: to find out what has changed would take no less.
const SMALL: u64 = 16 << 20;
/// What the names of columns have in common that tell when a row was changed.
const CHANGE_WORDS: [&str; 6] = ["updat", "modif", "chang", "actualiz", "cambi", "edit"];

/// What a source has.
#[derive(Debug, Clone, Serialize)]
pub struct Discovery {
    /// The source's name in the configuration, or a name for it.
    pub source: String,
    /// Its kind: `postgres` or `hubspot`.
    pub kind: &'static str,
    /// What it is, for people.
    pub server: String,
    /// Why its changes cannot be followed (mode = "cdc"), if they cannot.
    pub no_changes: Option<String>,
    /// Its tables or objects.
    pub tables: Vec<FoundTable>,
}

/// A table, a view or an object.
#[derive(Debug, Clone, Serialize)]
pub struct FoundTable {
    /// Its schema, if it is in one.
    pub schema: Option<String>,
    /// Its own name.
    pub name: String,
    /// What it is.
    pub kind: TableKind,
    /// The number of rows, as the source estimates it.
    pub rows: Option<u64>,
    /// The size with its indices, in bytes.
    pub bytes: Option<u64>,
    /// The columns of its primary key, or else of a unique index that could be one.
    pub key: Vec<String>,
    /// Whether the key is the primary key.
    pub key_is_primary: bool,
    /// The columns that hold a time, those first that tell of changes.
    pub cursors: Vec<FoundCursor>,
    /// Why it cannot be read, if it cannot.
    pub problem: Option<String>,
    /// How it is best read.
    pub proposal: Proposal,
}

/// What a source calls a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TableKind {
    /// A table, partitioned or not.
    Table,
    /// A view, materialized or not, or a foreign table.
    View,
    /// A table that a pattern with `*` does not find: a partition, or one of an extension.
    Part,
    /// An object of HubSpot.
    Object,
}

/// A column that holds a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FoundCursor {
    /// Its name.
    pub column: String,
    /// Whether an index begins with it.
    pub indexed: bool,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Whether its name says that it tells when a row was changed.
    pub tells_changes: bool,
}

impl FoundCursor {
    /// A column of that name.
    pub fn new(column: String, indexed: bool, nullable: bool) -> Self {
        let name = column.to_lowercase();
        Self {
            tells_changes: CHANGE_WORDS.iter().any(|word| name.contains(word)),
            column,
            indexed,
            nullable,
        }
    }
}

/// How a table or object is best read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// The mode.
    pub mode: Mode,
    /// The cursor of an incremental stream of PostgreSQL.
    pub cursor: Option<FoundCursor>,
    /// Why.
    pub why: String,
}

/// Whether a table's changes can be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanFollow(pub bool);

impl FoundTable {
    /// Puts the cursors in order, and proposes how the table is read.
    pub fn propose(&mut self, follow: CanFollow) {
        self.cursors
            .sort_by_key(|cursor| (!cursor.tells_changes, !cursor.indexed));
        self.proposal = self.proposed(follow);
    }

    fn proposed(&self, follow: CanFollow) -> Proposal {
        let proposal = |mode, why: &str| Proposal {
            mode,
            cursor: None,
            why: why.to_owned(),
        };
        if self.kind != TableKind::Table {
            return proposal(Mode::Full, "no table of its own");
        }
        if self.bytes.is_some_and(|bytes| bytes <= SMALL) {
            return proposal(Mode::Full, "small");
        }
        let by_change = self
            .cursors
            .iter()
            .find(|cursor| cursor.tells_changes && cursor.indexed);
        if let Some(cursor) = by_change.filter(|_| !self.key.is_empty()) {
            return Proposal {
                mode: Mode::Incremental,
                cursor: Some(cursor.clone()),
                why: format!(
                    "`{}` tells what has changed, and has an index; rows that are deleted are noticed with delete_missing alone",
                    cursor.column
                ),
            };
        }
        if follow == CanFollow(true) {
            let why = "large, without an indexed column that tells of changes; the server can tell every change, deletes too";
            return proposal(Mode::Cdc, why);
        }
        let unindexed = self.cursors.iter().find(|cursor| cursor.tells_changes);
        match (unindexed, self.key.is_empty()) {
            (_, true) => proposal(
                Mode::Full,
                "it has no key by which changed rows could be merged",
            ),
            (Some(cursor), false) => Proposal {
                why: format!(
                    "`{0}` tells what has changed, but has no index: with one, mode = \"incremental\" and cursor = \"{0}\" would \
                     read less",
                    cursor.column
                ),
                ..proposal(Mode::Full, "")
            },
            (None, false) => proposal(Mode::Full, "no column tells what has changed"),
        }
    }
}

impl Default for Proposal {
    fn default() -> Self {
        Self {
            mode: Mode::Full,
            cursor: None,
            why: String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(bytes: u64, key: &[&str], cursors: &[(&str, bool)]) -> FoundTable {
        FoundTable {
            schema: Some("public".to_owned()),
            name: "t".to_owned(),
            kind: TableKind::Table,
            rows: None,
            bytes: Some(bytes),
            key: key.iter().map(|column| (*column).to_owned()).collect(),
            key_is_primary: true,
            cursors: cursors
                .iter()
                .map(|(column, indexed)| FoundCursor::new((*column).to_owned(), *indexed, false))
                .collect(),
            problem: None,
            proposal: Proposal::default(),
        }
    }

    #[test]
    fn each_table_is_read_as_its_size_and_columns_say() {
        let large = SMALL + 1;
        for (table, follow, mode, cursor) in [
            (
                table(SMALL, &["id"], &[("updated_at", true)]),
                true,
                Mode::Full,
                None,
            ),
            (
                table(
                    large,
                    &["id"],
                    &[("created_at", true), ("updated_at", true)],
                ),
                true,
                Mode::Incremental,
                Some("updated_at"),
            ),
            (
                table(
                    large,
                    &["id"],
                    &[("updated_at", false), ("fecha_modificacion", true)],
                ),
                false,
                Mode::Incremental,
                Some("fecha_modificacion"),
            ),
            (
                table(large, &["id"], &[("updated_at", false)]),
                true,
                Mode::Cdc,
                None,
            ),
            (
                table(large, &["id"], &[("updated_at", false)]),
                false,
                Mode::Full,
                None,
            ),
            (
                table(large, &[], &[("updated_at", true)]),
                false,
                Mode::Full,
                None,
            ),
            (
                table(large, &["id"], &[("created_at", true)]),
                false,
                Mode::Full,
                None,
            ),
        ] {
            let mut table = table;
            table.propose(CanFollow(follow));
            let proposed = &table.proposal;
            assert_eq!(proposed.mode, mode, "{table:?}");
            let column = proposed
                .cursor
                .as_ref()
                .map(|cursor| cursor.column.as_str());
            assert_eq!(column, cursor, "{table:?}");
            assert!(!proposed.why.is_empty());
        }
    }
}

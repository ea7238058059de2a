//! What every destination asks of the table that it finds for a load: whether it is acequia's to write, the stream's own,
//! and as the ledger says. How a table is looked up is each destination's own. No I/O.

use crate::destination::LOAD_ID_COLUMN;
use crate::destination::apply::own::{self, VALID_TO};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::landing::manifest::{Disposition, Manifest};
use crate::schema::Column;

/// A table that was found.
pub(super) trait Found {
    /// Its name as people write it.
    fn shown(&self) -> &str;

    /// Whether it exists.
    fn exists(&self) -> bool;

    /// The type of a column, as the catalog writes it.
    fn data_type(&self, column: &str) -> Option<&str>;

    /// The type that the ledger's column has in such a table, as people know it.
    fn expected(&self, column: &Column) -> String;

    /// Whether a column of the catalog's type holds what the ledger says.
    fn holds(&self, column: &Column, data_type: &str) -> bool {
        self.expected(column) == data_type
    }
}

/// Refuses the names that the ledger has.
pub(super) fn refuse_reserved(name: &str, shown: &str) -> Result<()> {
    if name.to_ascii_lowercase().starts_with("_acequia") {
        return Err(
            Error::config(format!("the name {shown} is kept for acequia's ledger"))
                .remedy("choose another name with `destination_table`"),
        );
    }
    Ok(())
}

/// A table is the stream's where it has the load column, and its rows were brought by no other stream.
pub(super) fn check_owner(
    table: &impl Found,
    manifest: &Manifest,
    stream_of_rows: impl FnOnce() -> Result<Option<String>>,
) -> Result<()> {
    if !table.exists() {
        return Ok(());
    }
    if table.data_type(LOAD_ID_COLUMN).is_none() {
        return Err(Error::destination(format!(
            "table {} exists and was not made by acequia, which does not overwrite it",
            table.shown()
        ))
        .remedy(
            "give the stream another table with `destination_table`, or rename or drop that one",
        ));
    }
    match stream_of_rows()? {
        Some(stream) if stream != manifest.stream.as_str() => Err(Error::destination(format!(
            "table {} holds the rows of stream {stream}",
            table.shown()
        ))
        .remedy(
            "give each stream a table of its own with `destination_table`; if the stream was renamed, drop the table and \
             run again",
        )),
        _ => Ok(()),
    }
}

/// Refuses a table that is not as the ledger says: a load cannot be added to it.
pub(super) fn check(table: &impl Found, schema: &TableSchema, manifest: &Manifest) -> Result<()> {
    let shown = table.shown();
    let wrong = |what: String| {
        Error::destination(what).remedy("make the table anew: `acequia run STREAM --full-refresh`")
    };
    if !table.exists() {
        return Err(wrong(format!(
            "table {shown} is missing, though the ledger has it"
        )));
    }
    for column in own::stored(schema, manifest.mode) {
        match table.data_type(&column.name) {
            Some(data_type) if table.holds(column, data_type) => {}
            Some(data_type) => {
                return Err(wrong(format!(
                    "column `{}` of table {shown} is of type {data_type}, though the ledger has it as {}",
                    column.name,
                    table.expected(column)
                )));
            }
            None => {
                return Err(wrong(format!(
                    "table {shown} has no column `{}`, though the ledger has it",
                    column.name
                )));
            }
        }
    }
    let has_versions = table.data_type(VALID_TO).is_some() && schema.column(VALID_TO).is_none();
    if has_versions == (manifest.disposition == Disposition::Scd2) {
        return Ok(());
    }
    Err(wrong(if has_versions {
        format!(
            "table {shown} keeps versions of rows, and the stream's disposition is now {}",
            manifest.disposition
        )
    } else {
        format!("table {shown} has no versions of rows, and the stream's disposition is now scd2")
    }))
}

//! The alterations of a table since a position, and whether the log is sufficient for them. No I/O.

use std::collections::BTreeSet;

use crate::config::postgres::{ColumnSelection, ColumnSettings};
use crate::error::{Error, Result};
use crate::evolution::SchemaContract;
use crate::shape::{Seen, ShapeColumn, Since, TableShape};

/// The columns that were added to a table since a position, or the reason why the log is not sufficient. `held` are the
/// columns of the stream's table at the position.
///
/// # Errors
/// The stream's contract forbids the change, or a column whose values are hidden has another name.
pub(super) fn since(
    known: Option<&TableShape>,
    seen: &Seen,
    columns: &ColumnSettings,
    contract: SchemaContract,
    held: &BTreeSet<String>,
) -> Result<std::result::Result<Vec<ShapeColumn>, String>> {
    let selected = &columns.selected;
    let guessed;
    let known = if let Some(known) = known {
        known
    } else {
        guessed = guess(seen, selected, held);
        &guessed
    };
    columns.refuse_shown(&known.identities(), &seen.shape.identities())?;
    let found = known.since(
        seen,
        |name| selected.takes(name),
        |name| held.contains(name),
    );
    let refuses = contract == SchemaContract::Freeze;
    match found {
        Since::Altered(reason) if refuses => Err(frozen(&reason)),
        Since::Altered(reason) | Since::Unlogged(reason) => Ok(Err(reason)),
        Since::Logged(new) => match new.first() {
            Some(column) if refuses => Err(frozen(&format!(
                "column `{}` ({}) is new",
                column.identity.name, column.type_name
            ))),
            _ => Ok(Ok(new)),
        },
    }
}

/// The table's shape at a position of an older version, derived from the stream's own columns.
fn guess(seen: &Seen, selected: &ColumnSelection, held: &BTreeSet<String>) -> TableShape {
    let mut shape = seen.shape.clone();
    shape.columns.retain(|column| {
        let name = &column.identity.name;
        !selected.takes(name)
            || seen.generated.contains(&column.identity.number)
            || held.contains(name)
    });
    shape
}

pub(super) fn frozen(changes: &str) -> Error {
    Error::data(format!(
        "the source's schema changed and schema_contract is \"freeze\": {changes}"
    ))
    .remedy(
        "set schema_contract = \"evolve\" for the stream, or name the columns that it takes with `columns`",
    )
}

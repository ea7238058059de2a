//! A load of changes into its table, and into `<table>__changes` where those are kept.

use crate::change::DELETED_AT;
use crate::destination::LoadOutcome;
use crate::destination::apply::changelog::{self, Need, mark_new_snapshot, needs};
use crate::destination::apply::changes::{Target, apply};
use crate::destination::apply::{Rows, own};
use crate::destination::found::Found;
use crate::error::Result;
use crate::evolution::Evolution;
use crate::landing::manifest::Manifest;
use crate::schema::ColumnType;

use super::session::Session;
use super::sql::parse_type;
use super::table::Table;

/// Applies a load of changes. `anew` says that the table is made anew, from a snapshot.
pub(super) fn load(
    session: &Session,
    table: &Table,
    manifest: &Manifest,
    evolution: &Evolution,
    rows: Option<&Rows>,
    anew: bool,
) -> Result<LoadOutcome> {
    let columns = own::stored(&evolution.table, manifest.mode);
    if anew {
        table.create(session, columns, manifest)?;
    } else {
        table.alter(session, &evolution.steps, manifest.mode)?;
        table.add_missing(session, manifest)?;
    }
    let changelog = match manifest.changes {
        Some(changes) if changes.changelog => Some(changelog(session, manifest, evolution)?),
        _ => None,
    };
    let Some(rows) = rows else {
        if let Some(changelog) = changelog.filter(|_| anew) {
            mark_new_snapshot(&mut &*session, &changelog.sql, manifest, None)?;
        }
        return Ok(LoadOutcome::default());
    };
    let columns = table.names_after(&evolution.table, manifest, anew);
    let target = Target {
        table: &table.sql,
        columns: &columns,
        changelog: changelog.as_ref().map(|changelog| changelog.sql.as_str()),
        is_new: anew,
    };
    apply(&mut &*session, target, manifest, rows)
}

/// Sees to the table of changes. It keeps what it has, also where its stream begins anew.
fn changelog(session: &Session, manifest: &Manifest, evolution: &Evolution) -> Result<Table> {
    let table = Table::find(session, manifest, &changelog::table_name(&manifest.table))?;
    let columns = evolution.table.columns.iter().map(|column| &column.column);
    if !table.exists() {
        table.create_changelog(session, columns)?;
        return Ok(table);
    }
    let existing: Vec<_> = table
        .columns()
        .map(|(name, data_type)| (name.to_owned(), parse_type(data_type)))
        .collect();
    for need in needs(&table.shown, &existing, &evolution.table)? {
        match need {
            Need::Column(column) => table.add(session, &column.name, &column.column_type)?,
            Need::Type(column) => table.widen(session, &column.name, &column.column_type)?,
            Need::Text(column) => table.widen(session, &column.name, &ColumnType::Text)?,
        }
    }
    Ok(table)
}

impl Table {
    /// Adds the column that marks deleted rows, where deletes were hard before.
    fn add_missing(&self, session: &Session, manifest: &Manifest) -> Result<()> {
        for own in own::columns(manifest) {
            if own.name == DELETED_AT && !self.has(own.name) {
                self.add(session, own.name, &own.column_type)?;
            }
        }
        Ok(())
    }
}

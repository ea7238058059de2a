//! A load of changes into its table, and into `<table>__changes` where those are kept.

use crate::destination::apply::changelog::{self, Need, mark_new_snapshot, needs};
use crate::destination::apply::changes::{Target, apply};
use crate::destination::found::Found;
use crate::destination::{LoadOutcome, StagedLoad};
use crate::error::Result;
use crate::evolution::Evolution;
use crate::landing::manifest::Manifest;
use crate::schema::{Column, ColumnType};

use super::session::Session;
use super::sql::{parse_type, type_name};
use super::stage;
use super::table::Table;

/// Applies a load of changes, whose columns are those of its parts. `anew` says that the table was just made, for a
/// snapshot.
pub(super) fn load(
    session: &mut Session,
    table: &mut Table,
    load: &StagedLoad,
    evolution: &Evolution,
    columns: Vec<Column>,
    anew: bool,
) -> Result<LoadOutcome> {
    let manifest = &load.manifest;
    table.add_missing(session, manifest)?;
    let changelog = match manifest.changes {
        Some(changes) if changes.changelog => Some(changelog(session, manifest, evolution)?),
        _ => None,
    };
    if load.files.is_empty() {
        if let Some(changelog) = changelog.filter(|_| anew) {
            mark_new_snapshot(session, &changelog.sql, manifest, None)?;
        }
        return Ok(LoadOutcome::default());
    }
    let rows = stage::fill(session, load, columns)?;
    let columns = table.names();
    let target = Target {
        table: &table.sql,
        columns: &columns,
        changelog: changelog.as_ref().map(|changelog| changelog.sql.as_str()),
        is_new: anew,
    };
    apply(session, target, manifest, &rows)
}

/// Sees to the table of changes. It keeps what it has, also where its stream begins anew.
fn changelog(session: &mut Session, manifest: &Manifest, evolution: &Evolution) -> Result<Table> {
    let name = changelog::table_name(&manifest.table);
    let mut table = Table::find(session, manifest, &name)?;
    if !table.exists() {
        table.make_changelog(session, &evolution.table)?;
        return Ok(table);
    }
    let existing: Vec<_> = table
        .columns()
        .map(|(name, data_type)| (name.to_owned(), parse_type(data_type)))
        .collect();
    for need in needs(&table.shown, &existing, &evolution.table)? {
        match need {
            Need::Column(column) => table.add(session, &column.name, &type_name(column))?,
            Need::Type(column) => table.widen(session, column)?,
            Need::Text(column) => {
                let text = Column {
                    column_type: ColumnType::Text,
                    ..column.clone()
                };
                table.widen(session, &text)?;
            }
        }
    }
    table.make_json(session, &evolution.table)?;
    Ok(table)
}

//! The settings of a read, applied to a relation: which columns are read, and by which key loads are applied. No I/O.

use std::borrow::Cow;
use std::num::NonZeroUsize;

use super::catalog::CatalogRelation;
use super::types::{ColumnPlan, plan};
use crate::config::postgres::{ColumnSelection, ColumnSettings, Cursor, Relation};
use crate::config::{PostgresChanges, PostgresRows};
use crate::error::{Error, Result};

/// The settings of a read.
#[derive(Debug)]
pub struct ReadSettings<'a> {
    pub(super) relation: Cow<'a, Relation>,
    pub(super) filter: Option<&'a str>,
    pub(super) row_security: bool,
    pub(super) cursor: Option<&'a Cursor>,
    pub(super) columns: &'a ColumnSettings,
    pub(super) key: KeyUse,
    pub(super) parallel: Option<NonZeroUsize>,
}

/// The use of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyUse {
    /// Loads are applied without one.
    Unused,
    /// Changes are matched by it, or without one by whole rows.
    IfAny,
    /// Loads cannot be applied without one.
    Needed,
}

impl<'a> From<&'a PostgresRows> for ReadSettings<'a> {
    fn from(rows: &'a PostgresRows) -> Self {
        Self {
            relation: Cow::Borrowed(&rows.relation),
            filter: rows.filter.as_deref(),
            row_security: rows.row_security,
            cursor: rows.cursor(),
            columns: &rows.columns,
            key: if rows.disposition().has_key() {
                KeyUse::Needed
            } else {
                KeyUse::Unused
            },
            parallel: rows.parallel,
        }
    }
}

impl<'a> From<&'a PostgresChanges> for ReadSettings<'a> {
    fn from(changes: &'a PostgresChanges) -> Self {
        Self {
            relation: Cow::Owned(Relation::Table(changes.table.clone())),
            filter: None,
            // Changes are not filtered, so the snapshot must not be filtered either.
            row_security: false,
            cursor: None,
            columns: &changes.columns,
            key: KeyUse::IfAny,
            parallel: changes.parallel,
        }
    }
}

/// The columns that the stream reads, in the relation's order, and how each is sent.
pub(super) fn column_plans(
    relation: &CatalogRelation,
    settings: &ReadSettings<'_>,
) -> Result<Vec<ColumnPlan>> {
    let ColumnSettings {
        selected,
        types,
        masks,
        may_lack,
        ..
    } = settings.columns;
    let known = |name: &str| relation.columns.iter().any(|column| column.name == name);
    let (key, names) = match selected {
        ColumnSelection::All => ("columns", [].as_slice()),
        ColumnSelection::Only(names) => ("columns", names.as_slice()),
        ColumnSelection::Except(names) => ("exclude", names.as_slice()),
    };
    let typed = types.keys().map(String::as_str);
    for (key, names) in [
        (key, names.iter().map(String::as_str).collect()),
        ("mask", masks.columns().collect::<Vec<_>>()),
        ("types", typed.collect()),
    ] {
        let names = names.into_iter();
        let is_unknown =
            |name: &&str| !known(name) && (key == "columns" || !may_lack.contains(*name));
        let unknown: Vec<&str> = names.filter(is_unknown).collect();
        if !unknown.is_empty() {
            return Err(relation.no_such_column(key, &unknown));
        }
    }
    let (mut plans, mut refused) = (Vec::new(), Vec::new());
    let columns = relation.columns.iter();
    for column in columns.filter(|column| selected.takes(&column.name)) {
        match plan(column, types.get(&column.name)) {
            Ok(plan) => plans.push(plan),
            Err(error) => refused.push(error),
        }
    }
    if let Some(error) = all_at_once(refused) {
        return Err(error);
    }
    if plans.is_empty() {
        return Err(
            Error::config(format!("{} has no columns to read", settings.relation))
                .remedy("see `columns` and `exclude` of [streams.STREAM]"),
        );
    }
    let mut sorted: Vec<&str> = plans.iter().map(|plan| plan.spec.name.as_str()).collect();
    sorted.sort_unstable();
    if let Some(twice) = sorted.windows(2).find_map(|pair| match pair {
        [a, b] if a == b => Some(*a),
        _ => None,
    }) {
        return Err(Error::config(format!(
            "{} gives the column `{twice}` twice",
            settings.relation
        ))
        .remedy("give each column of the query a name of its own, with AS"));
    }
    Ok(plans)
}

/// The errors of several columns as one error.
fn all_at_once(errors: Vec<Error>) -> Option<Error> {
    let whats: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let mut remedies: Vec<&str> = errors.iter().filter_map(Error::remedy_text).collect();
    remedies.dedup();
    let remedies = remedies.join("\n");
    match errors.len() {
        0 => None,
        1 => errors.into_iter().next(),
        _ => Some(Error::config(whats.join("\n    ")).remedy(remedies)),
    }
}

/// The error that a column of the key is not read, though the relation has it.
fn left_out(name: &str, settings: &ReadSettings<'_>, is_configured: bool) -> Error {
    let by = match settings.columns.selected {
        ColumnSelection::Except(_) => "exclude",
        ColumnSelection::All | ColumnSelection::Only(_) => "columns",
    };
    let other = if is_configured { "other " } else { "" };
    let (harm, remedy) = match settings.key {
        KeyUse::Needed => (
            "the rows cannot be merged",
            format!(
                "take `{name}`; or name {other}columns that tell the rows apart with `primary_key`, or set disposition = \
                 \"append\", for [streams.STREAM]"
            ),
        ),
        KeyUse::IfAny | KeyUse::Unused => (
            "changes cannot be matched to rows",
            format!("take `{name}`"),
        ),
    };
    Error::config(format!(
        "the key column `{name}` is left out by `{by}`: without it, {harm}"
    ))
    .remedy(remedy)
}

/// The key that loads are merged by, and whether the source guarantees it.
pub(super) fn key(
    relation: &CatalogRelation,
    settings: &ReadSettings<'_>,
    plans: &[ColumnPlan],
) -> Result<(Vec<String>, bool)> {
    let configured = settings.columns.primary_key.as_ref();
    let key = configured.unwrap_or(&relation.primary_key);
    if let Some(name) = key
        .iter()
        .find(|name| !plans.iter().any(|plan| plan.spec.name == **name))
    {
        return match settings.key {
            KeyUse::Unused => Ok((Vec::new(), false)),
            KeyUse::IfAny | KeyUse::Needed
                if relation.columns.iter().any(|column| column.name == *name) =>
            {
                Err(left_out(name, settings, configured.is_some()))
            }
            KeyUse::IfAny | KeyUse::Needed => Err(relation.no_such_column("primary_key", &[name])),
        };
    }
    if key.is_empty() && settings.key == KeyUse::Needed {
        return Err(Error::config(format!(
            "{} has no primary key, so its rows cannot be merged",
            settings.relation
        ))
        .remedy(
            "name the columns that tell its rows apart with `primary_key`, or set disposition = \"append\", for \
             [streams.STREAM]",
        ));
    }
    let unique = !key.is_empty() && *key == relation.primary_key;
    Ok((key.clone(), unique))
}

//! The evolution of a table's schema with its source: which columns are new, wider, dropped or incompatible. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::schema::{Column, ColumnSpec, ColumnType, Schema};

/// The difference between the field id of a column for misfits and that of its own column.
pub const MISFIT_IDS: i32 = 1 << 30;

/// Which changes of its source's schema a stream allows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SchemaContract {
    /// New columns are added, types are widened, and dropped columns stay and are NULL in new rows.
    #[default]
    Evolve,
    /// Any change is an error.
    Freeze,
}

/// The schema of a destination table, as `_acequia_state` stores it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableSchema {
    /// The columns in the table's order, including those that the source has dropped.
    pub columns: Vec<TableColumn>,
    /// The first field id that was never used.
    pub next_field_id: i32,
    /// The table's name. `None` in states of earlier versions, and where a state is the table's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The key by which rows are matched. Empty where they are not, in states of earlier versions, and where a state is the table's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
}

/// A column of a destination table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableColumn {
    /// The column.
    #[serde(flatten)]
    pub column: Column,
    /// Whether the source has dropped the column: it is NULL in new rows.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
}

/// One change of a table's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A column is new.
    Add(Column),
    /// A column's type is widened.
    Widen {
        /// Its name.
        name: String,
        /// The old type.
        from: ColumnType,
        /// The new type.
        to: ColumnType,
    },
    /// The source has dropped a column.
    Retire(String),
    /// The source has added a column again that it had dropped.
    Revive(String),
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Add(column) => write!(
                f,
                "column `{}` ({}) is new",
                column.name, column.column_type
            ),
            Self::Widen { name, from, to } => {
                write!(f, "column `{name}` widens from {from} to {to}")
            }
            Self::Retire(name) => write!(f, "column `{name}` is gone from the source"),
            Self::Revive(name) => write!(f, "column `{name}` is back in the source"),
        }
    }
}

/// The effect of a load on its table's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evolution {
    /// The table's schema after the load.
    pub table: TableSchema,
    /// The changes, in the order in which they are applied.
    pub steps: Vec<Step>,
}

/// Assigns field ids to a source's columns: a known column keeps its id, a new one gets a new id.
pub fn assign_field_ids(known: Option<&TableSchema>, specs: Vec<ColumnSpec>) -> Schema {
    let mut next = known.map_or(1, |table| table.next_field_id);
    let mut fresh = || {
        let id = next;
        next += 1;
        id
    };
    let columns = specs
        .into_iter()
        .map(|spec| {
            let same = known.and_then(|table| {
                let known = table.column(&spec.name)?;
                common_type(&known.column_type, &spec.column_type).map(|_| known)
            });
            let is_list = matches!(spec.column_type, ColumnType::List(_));
            let (id, element_id) = match same {
                Some(known) => (known.id, known.element_id),
                None => (fresh(), is_list.then(&mut fresh)),
            };
            Column {
                id,
                name: spec.name,
                column_type: spec.column_type,
                nullable: spec.nullable,
                source_type: spec.source_type,
                element_id,
                mask: None,
                renamed_from: None,
            }
        })
        .collect();
    Schema { columns }
}

/// Adds the columns for misfits to a schema: `misfits` names them by their own columns.
///
/// Each follows its own column and holds text. Only the end of an extract shows which of them have values, so parts have
/// all of them, and a manifest only those with values ([`without_unused`]). To use up no field ids, each has the id of its
/// own column plus [`MISFIT_IDS`].
pub fn with_misfits(
    known: Option<&TableSchema>,
    schema: &Schema,
    misfits: &BTreeMap<String, String>,
) -> Schema {
    let mut columns = Vec::with_capacity(schema.columns.len() + misfits.len());
    for column in &schema.columns {
        columns.push(column.clone());
        let Some(name) = misfits.get(&column.name) else {
            continue;
        };
        let known = known.and_then(|table| table.column(name));
        columns.push(Column {
            id: known.map_or(column.id.saturating_add(MISFIT_IDS), |known| known.id),
            name: name.clone(),
            column_type: ColumnType::Text,
            nullable: true,
            source_type: format!("misfits of {}", column.source_type),
            element_id: None,
            mask: None,
            renamed_from: None,
        });
    }
    Schema { columns }
}

/// The effect that a load of `schema`, as [`with_misfits`] returns it, will have on its table for certain, before any row
/// is read.
///
/// # Errors
/// As [`evolve`].
pub fn preview(
    known: &TableSchema,
    schema: &Schema,
    misfits: &BTreeMap<String, String>,
) -> Result<Vec<Step>> {
    let certain = without_unused(Some(known), schema.clone(), misfits, &BTreeSet::new());
    Ok(evolve(known, &certain)?.steps)
}

/// Removes from a schema the columns for misfits that have no values and that the table does not have.
pub fn without_unused(
    known: Option<&TableSchema>,
    mut schema: Schema,
    misfits: &BTreeMap<String, String>,
    used: &BTreeSet<String>,
) -> Schema {
    let beside: BTreeSet<&String> = misfits.values().collect();
    schema.columns.retain(|column| {
        !beside.contains(&column.name)
            || used.contains(&column.name)
            || known.is_some_and(|table| table.column(&column.name).is_some())
    });
    schema
}

/// The table's schema if a load of `load` rebuilds it. Used field ids stay used.
pub fn rebuild(known: Option<&TableSchema>, load: &Schema) -> TableSchema {
    TableSchema {
        columns: load
            .columns
            .iter()
            .map(|column| TableColumn {
                column: column.clone(),
                retired: false,
            })
            .collect(),
        next_field_id: next_field_id(known.map_or(1, |table| table.next_field_id), load),
        table: None,
        key: Vec::new(),
    }
}

/// The effect of a load of `load` on a table of the schema `known`.
///
/// # Errors
/// [`Error::Data`] if a column changed to a type to which the table's type cannot be widened. The error names the column,
/// both types and the remedy.
pub fn evolve(known: &TableSchema, load: &Schema) -> Result<Evolution> {
    let mut steps = Vec::new();
    let mut columns = Vec::with_capacity(known.columns.len());
    let mut refused = Vec::new();
    for table_column in &known.columns {
        let TableColumn { column, retired } = table_column;
        let mut column = column.clone();
        let Some(incoming) = load.column(&column.name) else {
            if !retired {
                steps.push(Step::Retire(column.name.clone()));
            }
            columns.push(TableColumn {
                column,
                retired: true,
            });
            continue;
        };
        let Some(common) = common_type(&column.column_type, &incoming.column_type) else {
            refused.push((column, incoming));
            continue;
        };
        if *retired {
            steps.push(Step::Revive(column.name.clone()));
        }
        if common != column.column_type {
            steps.push(Step::Widen {
                name: column.name.clone(),
                from: column.column_type.clone(),
                to: common.clone(),
            });
        }
        column.column_type = common;
        column.nullable = incoming.nullable;
        column.source_type.clone_from(&incoming.source_type);
        column.mask.clone_from(&incoming.mask);
        column.renamed_from.clone_from(&incoming.renamed_from);
        columns.push(TableColumn {
            column,
            retired: false,
        });
    }
    if !refused.is_empty() {
        return Err(incompatible(&refused));
    }
    for incoming in &load.columns {
        if known.column(&incoming.name).is_none() {
            steps.push(Step::Add(incoming.clone()));
            columns.push(TableColumn {
                column: incoming.clone(),
                retired: false,
            });
        }
    }
    Ok(Evolution {
        table: TableSchema {
            columns,
            next_field_id: next_field_id(known.next_field_id, load),
            table: None,
            key: Vec::new(),
        },
        steps,
    })
}

impl SchemaContract {
    /// Refuses changes that the contract forbids.
    ///
    /// # Errors
    /// [`Error::Data`] with every change, under [`SchemaContract::Freeze`].
    pub fn check(self, steps: &[Step]) -> Result<()> {
        if self == Self::Evolve || steps.is_empty() {
            return Ok(());
        }
        let changes: Vec<String> = steps.iter().map(Step::to_string).collect();
        Err(Error::data(format!(
            "the source's schema changed and schema_contract is \"freeze\": {}",
            changes.join("; ")
        ))
        .remedy(
            "set schema_contract = \"evolve\" for the stream, or name the columns that it takes with `columns`",
        ))
    }
}

impl TableSchema {
    /// The schema with the source's names of the columns.
    #[must_use]
    pub fn as_source(&self) -> Self {
        let columns = self.columns.iter().map(|column| TableColumn {
            column: column.column.as_source(),
            retired: column.retired,
        });
        Self {
            columns: columns.collect(),
            next_field_id: self.next_field_id,
            table: self.table.clone(),
            key: self.key.clone(),
        }
    }

    /// The column of that name, dropped ones included.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns
            .iter()
            .map(|table_column| &table_column.column)
            .find(|column| column.name == name)
    }
}

/// The differences between the columns of a load and those of the table, for people.
pub fn differences(known: &TableSchema, load: &Schema) -> Vec<String> {
    if let Ok(evolution) = evolve(known, load) {
        return evolution.steps.iter().map(Step::to_string).collect();
    }
    let columns = load.columns.iter().filter_map(|incoming| {
        let column = known.column(&incoming.name)?;
        common_type(&column.column_type, &incoming.column_type)
            .is_none()
            .then(|| {
                format!(
                    "column `{}` changed from {} to {}, and its table was made anew",
                    column.name, column.column_type, incoming.column_type
                )
            })
    });
    columns.collect()
}

/// The type that holds every value of both, if one of the two types does.
pub(crate) fn common_type(known: &ColumnType, incoming: &ColumnType) -> Option<ColumnType> {
    if known.holds(incoming) {
        return Some(known.clone());
    }
    if incoming.holds(known) {
        return Some(incoming.clone());
    }
    match (known, incoming) {
        (
            ColumnType::Decimal { precision, scale },
            ColumnType::Decimal {
                precision: other_precision,
                scale: other_scale,
            },
        ) => {
            let scale_both = *scale.max(other_scale);
            let whole = (precision - scale).max(other_precision - other_scale);
            (whole + scale_both <= 38).then_some(ColumnType::Decimal {
                precision: whole + scale_both,
                scale: scale_both,
            })
        }
        _ => None,
    }
}

fn next_field_id(known: i32, load: &Schema) -> i32 {
    load.columns
        .iter()
        .flat_map(|column| [Some(column.id), column.element_id])
        .flatten()
        .filter(|id| *id < MISFIT_IDS)
        .map(|id| id + 1)
        .fold(known, i32::max)
}

/// The error about columns whose types are incompatible.
fn incompatible(columns: &[(Column, &Column)]) -> Error {
    let what: Vec<String> = columns
        .iter()
        .map(|(table, incoming)| {
            format!(
                "column `{}` changed from {} to {} ({} in the source), which its table cannot take",
                table.name, table.column_type, incoming.column_type, incoming.source_type
            )
        })
        .collect();
    let types: Vec<String> = columns
        .iter()
        .map(|(table, _)| format!("`{} = \"{}\"`", table.name, table.column_type))
        .collect();
    let [left_out, old_type] = if columns.len() == 1 {
        ["the column", "the old type"]
    } else {
        ["the columns", "the old types"]
    };
    Error::data(what.join("; ")).remedy(format!(
        "rebuild the table with `acequia run STREAM --full-refresh`, or keep {old_type} with {} under \
         [streams.STREAM.types], or leave {left_out} out with `exclude`",
        types.join(", "),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, column_type: &str) -> ColumnSpec {
        ColumnSpec {
            name: name.to_owned(),
            column_type: column_type.parse().unwrap(),
            nullable: true,
            source_type: column_type.to_owned(),
        }
    }

    fn load(known: Option<&TableSchema>, columns: &[(&str, &str)]) -> Schema {
        assign_field_ids(known, columns.iter().map(|(n, t)| spec(n, t)).collect())
    }

    #[test]
    fn a_field_id_is_never_used_for_another_column() {
        let first = load(None, &[("a", "int32"), ("b", "list<text>")]);
        let table = rebuild(None, &first);
        assert_eq!(table.next_field_id, 4);
        let second = load(Some(&table), &[("a", "int32"), ("c", "text")]);
        assert_eq!(second.column("c").unwrap().id, 4);
        let table = evolve(&table, &second).unwrap().table;
        assert_eq!(table.next_field_id, 5);
        let third = load(Some(&table), &[("a", "text"), ("b", "list<text>")]);
        assert_eq!(third.column("b").unwrap().id, first.column("b").unwrap().id);
        assert_eq!(
            third.column("a").unwrap().id,
            5,
            "an incompatible type is another column"
        );
    }

    #[test]
    fn columns_are_added_widened_retired_and_revived() {
        let table = rebuild(
            None,
            &load(
                None,
                &[("a", "int32"), ("b", "text"), ("n", "decimal(10,2)")],
            ),
        );
        let next = load(
            Some(&table),
            &[("a", "int64"), ("c", "date"), ("n", "decimal(6,4)")],
        );
        let evolution = evolve(&table, &next).unwrap();
        let steps: Vec<String> = evolution.steps.iter().map(Step::to_string).collect();
        assert_eq!(
            steps,
            [
                "column `a` widens from int32 to int64",
                "column `b` is gone from the source",
                "column `n` widens from decimal(10,2) to decimal(12,4)",
                "column `c` (date) is new",
            ]
        );
        let again = load(
            Some(&evolution.table),
            &[
                ("a", "int16"),
                ("b", "text"),
                ("c", "date"),
                ("n", "decimal(6,4)"),
            ],
        );
        let evolution = evolve(&evolution.table, &again).unwrap();
        assert_eq!(evolution.steps, [Step::Revive("b".to_owned())]);
        assert_eq!(
            evolution.table.column("a").unwrap().column_type,
            ColumnType::Int64
        );
    }

    #[test]
    fn an_incompatible_type_is_refused_with_a_remedy() {
        let table = rebuild(None, &load(None, &[("a", "int32")]));
        let error = evolve(&table, &load(Some(&table), &[("a", "text")])).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("column `a` changed from int32 to text")
        );
        assert!(error.remedy_text().unwrap().contains("--full-refresh"));
    }

    #[test]
    fn a_column_for_misfits_has_the_same_id_whenever_it_comes() {
        let misfits = BTreeMap::from([("n".to_owned(), "n__text".to_owned())]);
        let first = load(None, &[("n", "decimal(38,18)"), ("x", "text")]);
        let parts = with_misfits(None, &first, &misfits);
        let names: Vec<&str> = parts
            .columns
            .iter()
            .map(|column| column.name.as_str())
            .collect();
        assert_eq!(names, ["n", "n__text", "x"]);
        let unused = without_unused(None, parts.clone(), &misfits, &BTreeSet::new());
        assert_eq!(unused, first);
        let table = rebuild(None, &unused);
        assert_eq!(table.next_field_id, 3);
        let used = BTreeSet::from(["n__text".to_owned()]);
        let again = without_unused(Some(&table), parts.clone(), &misfits, &used);
        assert_eq!(again, parts);
        let evolved = evolve(&table, &again).unwrap().table;
        assert_eq!(
            evolved.next_field_id, 3,
            "new columns go on as if it were not there"
        );
        let kept = without_unused(Some(&evolved), parts.clone(), &misfits, &BTreeSet::new());
        assert_eq!(kept, parts, "what the table has stays");
    }

    #[test]
    fn freeze_refuses_any_change() {
        let table = rebuild(None, &load(None, &[("a", "int32")]));
        let evolution = evolve(
            &table,
            &load(Some(&table), &[("a", "int32"), ("b", "text")]),
        )
        .unwrap();
        assert!(SchemaContract::Evolve.check(&evolution.steps).is_ok());
        let error = SchemaContract::Freeze.check(&evolution.steps).unwrap_err();
        assert!(error.to_string().contains("column `b` (text) is new"));
    }
}

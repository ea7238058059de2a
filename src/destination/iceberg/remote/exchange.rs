//! An exchange of rows that only their values identify as one statement, which may be repeated. No I/O.
//!
//! All rows go that are equal to one that is to go, and those of them that stay come back: so no row of the table has to be told
//! from its equals. Where all rows go of which a condition holds, those of the load itself go as well, and they come again.

use crate::destination::LOAD_ID_COLUMN;
use crate::destination::sql::dialect::{KEY, NEW, OLD};
use crate::destination::sql::statement::{Compared, Exchange, Gone, Insert};
use crate::destination::sql::{Dialect, filter};
use crate::error::{Error, Result};

use super::Way;
use super::dialect::SparkSql;
use super::merge::Target;

/// Whether a row of the source comes; else it is one to go.
const COMES: &str = "_acequia_comes";
/// A load of which rows go.
const LOAD: &str = "_acequia_of_load";

/// The statement. Where it may be repeated, rows that come are left out if a row of the load is there, and those that come back
/// are taken from the snapshot that the load began on.
///
/// # Errors
/// [`Error::Internal`] where rows come that have a column which the table lacks.
pub(super) fn of_equals(
    target: &Target,
    exchange: &Exchange<'_>,
    gone: &Gone,
    load_id: &str,
    way: Way,
) -> Result<String> {
    let d: &dyn Dialect = &SparkSql;
    let mut sources = vec![typed(target, gone), going(target, gone)];
    for (insert, is_new) in [(&exchange.back, false), (&exchange.insert, true)] {
        let Some(insert) = insert else { continue };
        let rows = coming(target, gone, insert)?;
        sources.push(if is_new && way == Way::Direct {
            format!(
                "SELECT {NEW}.* FROM ({rows}) AS {NEW} WHERE NOT EXISTS (SELECT 1 FROM {} AS {OLD} WHERE {} = {})",
                target.writes,
                d.of(OLD, LOAD_ID_COLUMN),
                d.literal(load_id)
            )
        } else {
            rows
        });
    }
    Ok(sql(target, &sources, &gone.same(d)))
}

/// The statement of an exchange by which all rows go of which a condition holds. They are found by the loads that brought them,
/// which is a join that an engine does by hashes. What the load itself brought goes as well, so that it may be repeated.
///
/// # Errors
/// As [`of_equals`].
pub(super) fn of_range(
    target: &Target,
    exchange: &Exchange<'_>,
    within: &str,
    load_id: &str,
) -> Result<String> {
    let d: &dyn Dialect = &SparkSql;
    let (of_load, load_id) = (d.of(OLD, LOAD_ID_COLUMN), d.literal(load_id));
    let gone = Gone {
        rows: format!(
            "(SELECT {of_load} AS {LOAD} FROM {} AS {OLD} WHERE {within} UNION SELECT {load_id} AS {LOAD})",
            target.reads
        ),
        compared: vec![Compared {
            name: LOAD.to_owned(),
            of_table: of_load.clone(),
        }],
        only: "1 = 1".to_owned(),
    };
    let mut sources = vec![typed(target, &gone), going(target, &gone)];
    if let Some(insert) = &exchange.insert {
        sources.push(coming(target, &gone, insert)?);
    }
    let on = format!("{} AND (({within}) OR {of_load} = {load_id})", gone.same(d));
    Ok(sql(target, &sources, &on))
}

fn sql(target: &Target, sources: &[String], on: &str) -> String {
    let d: &dyn Dialect = &SparkSql;
    let names = target.columns.iter().map(|(name, _)| name.as_str());
    format!(
        "MERGE INTO {} AS {OLD} USING ({}) AS {KEY} ON NOT {KEY}.{COMES} AND {on} WHEN MATCHED THEN DELETE \
         WHEN NOT MATCHED AND {KEY}.{COMES} THEN INSERT ({}) VALUES ({})",
        target.writes,
        sources.join(" UNION ALL "),
        d.list(names.clone()),
        d.list_of(KEY, names)
    )
}

/// No row, of the types that the others have: a union has those of its first part.
fn typed(target: &Target, gone: &Gone) -> String {
    let d: &dyn Dialect = &SparkSql;
    let compared = gone.compared.iter();
    let compared = compared.map(|of| format!("{} AS {}", of.of_table, of.name));
    let columns = target.columns.iter().map(|(name, _)| d.of(OLD, name));
    format!(
        "SELECT false AS {COMES}, {} FROM {} AS {OLD} WHERE 1 = 0",
        listed(compared.chain(columns)),
        target.reads
    )
}

/// The rows that go.
fn going(target: &Target, gone: &Gone) -> String {
    let d: &dyn Dialect = &SparkSql;
    let compared = gone.compared.iter();
    let compared = compared.map(|of| format!("{KEY}.{}", of.name));
    let columns = target.columns.iter();
    let columns = columns
        .map(|(name, data_type)| format!("CAST(NULL AS {data_type}) AS {}", d.identifier(name)));
    format!(
        "SELECT false AS {COMES}, {} FROM {} AS {KEY} WHERE {}",
        listed(compared.chain(columns)),
        gone.rows,
        gone.only
    )
}

/// The rows of an insert. What it does not have of them is NULL.
fn coming(target: &Target, gone: &Gone, insert: &Insert) -> Result<String> {
    let d: &dyn Dialect = &SparkSql;
    let is_of_table = |name: &String| target.columns.iter().any(|(of, _)| of == name);
    if !insert.columns.iter().all(|(name, _)| is_of_table(name)) {
        return Err(Error::internal(
            "an insert has a column that its table lacks",
        ));
    }
    let compared = gone.compared.iter();
    let compared = compared.map(|of| format!("NULL AS {}", of.name));
    let columns = target.columns.iter().map(|(name, data_type)| {
        let given = insert.columns.iter().find(|(of, _)| of == name);
        let value = given.map_or("NULL", |(_, value)| value.as_str());
        format!("CAST({value} AS {data_type}) AS {}", d.identifier(name))
    });
    let only = filter(&insert.condition);
    Ok(format!(
        "SELECT true AS {COMES}, {} FROM {}{only}",
        listed(compared.chain(columns)),
        insert.from
    ))
}

fn listed(values: impl Iterator<Item = String>) -> String {
    values.collect::<Vec<_>>().join(", ")
}

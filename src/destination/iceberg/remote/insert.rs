//! A load's rows as one statement that adds them to a table, or puts them into the place of all that is there. No I/O.

use std::collections::BTreeSet;

use crate::destination::LOAD_ID_COLUMN;
use crate::destination::sql::dialect::{NEW, OLD};
use crate::destination::sql::statement::Insert;
use crate::destination::sql::{Dialect, filter};
use crate::error::{Error, Result};

use super::Way;
use super::dialect::SparkSql;
use super::merge::{Target, typed};

/// The rows that are added, those of all these inserts: the columns that they have, or all that the table has, and the query.
fn added(target: &Target, inserts: &[Insert], whole: bool) -> Result<(Vec<String>, String)> {
    let d: &dyn Dialect = &SparkSql;
    let of = |insert: &Insert, name: &str| {
        let found = insert.columns.iter().find(|(of, _)| of == name);
        found.map(|(_, value)| value.clone())
    };
    let names: BTreeSet<&String> = inserts
        .iter()
        .flat_map(|insert| insert.columns.iter().map(|(name, _)| name))
        .collect();
    let given = target
        .columns
        .iter()
        .filter(|(name, _)| names.contains(name));
    if given.count() != names.len() {
        return Err(Error::internal(
            "an insert has a column that its table lacks",
        ));
    }
    let columns: Vec<&(String, String)> = target
        .columns
        .iter()
        .filter(|(name, _)| whole || names.contains(name))
        .collect();
    let selects: Vec<String> = inserts
        .iter()
        .map(|insert| {
            let values: Vec<String> = columns
                .iter()
                .map(|(name, data_type)| {
                    let value = of(insert, name).unwrap_or_else(|| "NULL".to_owned());
                    format!("CAST({value} AS {data_type}) AS {}", d.identifier(name))
                })
                .collect();
            let only = filter(&insert.condition);
            format!("SELECT {} FROM {}{only}", values.join(", "), insert.from)
        })
        .collect();
    let typed = typed(target, &columns, None);
    let source = format!("{typed}{}", selects.join(" UNION ALL "));
    let columns = columns.into_iter().map(|(name, _)| name.clone()).collect();
    Ok((columns, source))
}

/// The statement that adds rows, or puts them into the place of all that is there. Where it may be repeated it adds none if a row
/// of the load is there.
pub(super) fn insert(
    target: &Target,
    inserts: &[Insert],
    load_id: &str,
    way: Way,
) -> Result<String> {
    let d: &dyn Dialect = &SparkSql;
    // Spark wants a value for every column.
    let (columns, source) = added(target, inserts, way == Way::Branch)?;
    let names = columns.iter().map(String::as_str);
    let listed = d.list(names.clone());
    if way == Way::Branch {
        let into = if target.anew { "OVERWRITE" } else { "INTO" };
        return Ok(format!(
            "INSERT {into} {} ({listed}) {source}",
            target.writes
        ));
    }
    let (source, others) = if target.anew {
        (source, " WHEN NOT MATCHED BY SOURCE THEN DELETE")
    } else {
        let unless = format!(
            "SELECT {NEW}.* FROM ({source}) AS {NEW} WHERE NOT EXISTS (SELECT 1 FROM {} AS {OLD} WHERE {} = {})",
            target.writes,
            d.of(OLD, LOAD_ID_COLUMN),
            d.literal(load_id)
        );
        (unless, "")
    };
    Ok(format!(
        "MERGE INTO {} AS {OLD} USING ({source}) AS {NEW} ON 1 = 0 WHEN NOT MATCHED THEN INSERT ({listed}) VALUES ({}){others}",
        target.writes,
        d.list_of(NEW, names),
    ))
}

/// The statement that takes every row away.
pub(super) fn empty(writes: &str, way: Way) -> String {
    match way {
        Way::Branch => format!("DELETE FROM {writes}"),
        Way::Direct => of_no_row(writes, "WHEN NOT MATCHED BY SOURCE THEN DELETE"),
    }
}

/// The statement that changes no row.
pub(super) fn nothing(writes: &str) -> String {
    let id = SparkSql.identifier(LOAD_ID_COLUMN);
    of_no_row(
        writes,
        &format!("WHEN NOT MATCHED THEN INSERT ({id}) VALUES ({NEW}.{id})"),
    )
}

/// A merge with a source that has no row.
fn of_no_row(writes: &str, clause: &str) -> String {
    let id = SparkSql.identifier(LOAD_ID_COLUMN);
    format!(
        "MERGE INTO {writes} AS {OLD} USING (SELECT CAST(NULL AS STRING) AS {id} WHERE 1 = 0) AS {NEW} \
         ON {OLD}.{id} = {NEW}.{id} {clause}"
    )
}

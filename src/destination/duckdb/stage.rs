//! The rows of a load as DuckDB reads them: from its parts, with the table's types. No I/O.

use crate::destination::StagedLoad;
use crate::destination::sql::{Dialect, Rows};
use crate::error::{Error, Result};
use crate::mode::Mode;
use crate::schema::Column;

use super::dialect::DuckDbSql;

/// The rows of the load's parts. `value` makes of an expression of a part the value that the table keeps.
pub(in crate::destination) fn of_parts(
    load: &StagedLoad,
    columns: Vec<Column>,
    value: impl Fn(&str, &Column) -> String,
) -> Result<Rows> {
    let d: &dyn Dialect = &DuckDbSql;
    let files = load
        .parts
        .local()?
        .iter()
        .map(|file| {
            file.to_str().map(|file| d.literal(file)).ok_or_else(|| {
                Error::landing(format!("the path {} is not UTF-8", file.display()))
                    .remedy("move the landing area to a folder with a plain name")
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let casts: Vec<String> = columns
        .iter()
        .map(|column| {
            let name = d.identifier(&column.name);
            format!("{} AS {name}", value(&name, column))
        })
        .collect();
    // A column that is added or dropped in the midst of a load of changes is NULL in the parts without it.
    let by_name = match load.manifest.mode {
        Mode::Cdc => ", union_by_name = true",
        Mode::Full | Mode::Incremental => "",
    };
    let relation = format!(
        "(SELECT {} FROM read_parquet([{}], hive_partitioning = false{by_name}))",
        casts.join(", "),
        files.join(", ")
    );
    Ok(Rows { columns, relation })
}

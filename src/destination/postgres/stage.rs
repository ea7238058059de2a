//! A temporary table with a load's rows, from which SQL reads them.
//!
//! The table is temporary rather than unlogged: neither is written to the write-ahead log, but a temporary table is
//! invisible to other sessions, autovacuum does not process it, and it is dropped with the transaction in any case.

use crate::destination::StagedLoad;
use crate::destination::sql::{Dialect, Engine as _, Rows, check_rows};
use crate::error::Result;
use crate::schema::Column;

use super::copy::copy;
use super::session::Session;

const NAME: &str = "_acequia_stage";

/// Makes the temporary table and fills it with the load's rows, whose columns have the types that the table has for them.
pub(super) fn fill(session: &mut Session, load: &StagedLoad, columns: Vec<Column>) -> Result<Rows> {
    let d: &dyn Dialect = session.dialect();
    let types: Vec<String> = columns.iter().map(|column| d.type_of(column)).collect();
    let names = columns.iter().map(|column| column.name.as_str());
    let defined = names.zip(types.iter().map(String::as_str));
    let relation = d.temporary(NAME);
    session.batch(&format!(
        "CREATE TEMPORARY TABLE {relation} ({}) ON COMMIT DROP",
        d.definitions(defined)
    ))?;
    let rows = copy(session, &relation, &columns, None, load)?;
    check_rows(rows, load.sealed()?)?;
    // The planner learns the number of rows only by this.
    session.batch(&format!("ANALYZE {relation}"))?;
    Ok(Rows { columns, relation })
}

//! A load's parts as an engine reads them where they are. No I/O but to ask the engine.

use crate::change;
use crate::destination::sql::{Dialect, Rows};
use crate::destination::{Parts, StagedLoad};
use crate::error::{Error, Result};
use crate::landing::manifest::Manifest;
use crate::mode::Mode;
use crate::schema::Column;

use super::dialect::{SparkSql, is_unknown, value};
use super::views::Views;
use super::{Remote, Way};

/// What makes a pattern of a path.
const PATTERN: [char; 4] = ['*', '?', '[', '{'];

/// The rows of the parts, each of the type given.
///
/// # Errors
/// Where the engine does not find the rows in them that the manifest tells.
pub(super) fn of_parts(
    remote: &mut Remote,
    views: &mut Views,
    load: &StagedLoad,
    columns: Vec<Column>,
) -> Result<Rows> {
    let Parts::Remote(urls) = &load.parts else {
        return Err(Error::internal(
            "a load's parts are where the engine does not see them",
        ));
    };
    let d: &dyn Dialect = &SparkSql;
    let landed = load.manifest.schema.columns.iter();
    let landed: Vec<_> = landed
        .map(|column| (column.name.as_str(), &column.column_type))
        .collect();
    // Spark cannot find out the types of parts with times or UUIDs, and reads them where it is told.
    let is_told = remote.way == Way::Branch && landed.iter().any(|(_, of)| is_unknown(of));
    let mut selects = Vec::new();
    for url in urls {
        if url.contains(PATTERN) {
            return Err(Error::config(format!(
                "the engine takes {url} for a pattern of names, not for a file"
            ))
            .remedy("choose a `landing` under [pipeline] without `*`, `?`, `[` and `{`"));
        }
        let (relation, lacking) = if is_told {
            // What a part lacks is NULL.
            (views.of_file(remote, url, &landed)?, Vec::new())
        } else {
            let relation = format!("parquet.{}", d.identifier(url));
            let lacking = lacking(remote, &load.manifest, &relation, &columns)?;
            (relation, lacking)
        };
        let values: Vec<String> = columns
            .iter()
            .map(|column| {
                let name = d.identifier(&column.name);
                let value = if lacking.contains(&column.name) {
                    d.cast("NULL", &column.column_type)
                } else {
                    value(&name, column, remote.way)
                };
                format!("{value} AS {name}")
            })
            .collect();
        selects.push(format!("SELECT {} FROM {relation}", values.join(", ")));
    }
    let relation = views.make(remote, "_acequia_rows", &selects.join(" UNION ALL "))?;
    check(remote, &load.manifest, &relation)?;
    Ok(Rows { columns, relation })
}

/// An engine may take a part that it cannot find for one without rows.
fn check(remote: &mut Remote, manifest: &Manifest, relation: &str) -> Result<()> {
    let found = remote.ask(&format!("SELECT count(*) FROM {relation}"))?;
    let found: u64 = found
        .and_then(|found| found.parse().ok())
        .ok_or_else(|| Error::internal("the engine's answer could not be read"))?;
    if found == manifest.rows {
        return Ok(());
    }
    Err(Error::destination(format!(
        "the engine at {} finds {found} rows in the landed parts, which have {}",
        remote.channel.address(),
        manifest.rows
    ))
    .for_now()
    .remedy("give the engine the right to read the landing area, and the address of its storage"))
}

/// The columns that a part of changes does not have, as they were added or dropped in the midst of the load.
fn lacking(
    remote: &mut Remote,
    manifest: &Manifest,
    relation: &str,
    columns: &[Column],
) -> Result<Vec<String>> {
    if manifest.mode != Mode::Cdc {
        return Ok(Vec::new());
    }
    let found = remote
        .channel
        .columns(&format!("SELECT * FROM {relation}"))?;
    let lacking = columns
        .iter()
        .filter(|column| !found.contains(&column.name))
        .map(|column| column.name.clone());
    let lacking: Vec<String> = lacking.collect();
    if let Some(name) = lacking
        .iter()
        .find(|name| change::is_of_change(name) && name.as_str() != change::UNCHANGED)
    {
        return Err(Error::internal(format!(
            "a part of changes has no column `{name}`"
        )));
    }
    Ok(lacking)
}

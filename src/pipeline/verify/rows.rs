//! A table, compared with its source as it is now.

use std::sync::Arc;

use super::Job;
use crate::change;
use crate::config::hubspot::HubSpotPart;
use crate::config::postgres::ColumnSelection;
use crate::config::{Stream, StreamSource};
use crate::destination::{StreamState, TableRows};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::mode::{Disposition, Mode};
use crate::pipeline::compare::Comparison;
use crate::pipeline::compare::side::{Opener, Side, SourceRows, describe, living, opener};
use crate::pipeline::shape_step::Shaped;
use crate::pipeline::stream::{refuse_other_names, refuse_others};
use crate::position::{CursorPosition, CursorValue, Lag, Position, ValueRange};
use crate::renames::Renames;
use crate::row_set::RowHasher;
use crate::schema::{Column, Schema};
use crate::source::Description;
use crate::source::postgres::sql::within;
use crate::verify::codec::{Codec, NextRun};
use crate::verify::report::{Compared, Outcome, StreamVerification};

/// HubSpot's column that says whether a record is archived.
const ARCHIVED: &str = "archived";

impl Job {
    /// Compares a stream's table with its source as it is now.
    pub(super) async fn with_source(
        &self,
        stream: &Stream,
        state: &StreamState,
        report: &mut StreamVerification,
    ) -> Result<()> {
        if stream.disposition() == Disposition::Append {
            return Err(Error::config(
                "a table to which rows are appended keeps what its source has no more, so it cannot be compared with it",
            )
            .remedy("compare it with its loads: `acequia verify STREAM --against landing`"));
        }
        if self.options.repair {
            return Box::pin(self.repair_rows(stream, state, report)).await;
        }
        let comparison = self.comparison(stream, state, &opener, report).await?;
        let found = self.compare(stream, &comparison, report).await?;
        if stream.mode() == Mode::Incremental && !found.extra.is_empty() {
            tell_extra(stream, report);
        }
        Ok(())
    }

    /// The comparison of a stream's table with rows of its source, which `open_as` opens.
    pub(super) async fn comparison<'a>(
        &self,
        stream: &Stream,
        state: &StreamState,
        open_as: &(dyn Fn(StreamSource) -> Opener<'a> + Sync),
        report: &mut StreamVerification,
    ) -> Result<Comparison<'a>> {
        refuse_others(stream, &state.schema)?;
        let since = self.since(stream, &state.schema)?;
        let mut opener = open_as(stream.from.clone());
        let shaped = describe(&opener, stream, &state.schema).await?;
        refuse_other_names(stream, &shaped.shape.renames, &state.schema)?;
        let schema = shaped.schema(Some(&state.schema));
        let Shaped { shape, description } = shaped;
        let shape = Arc::new(shape);
        let (compared, left_out) = compared(&state.schema, &schema, &description);
        report.columns_left_out = left_out;
        let mut columns: Vec<Column> = compared;
        let key = key(&description, &columns);
        let cursor = state.position.as_ref().and_then(Position::cursor);
        let cursor = cursor.filter(|_| stream.mode() == Mode::Incremental);
        let next_run = next_run(stream, cursor, &shape.renames, &columns)?;
        let asked = self.options.compared;
        let are_first = stream.disposition() == Disposition::InsertOnly;
        let keys_only = asked == Compared::Keys || (are_first && asked == Compared::Rows);
        let mut from = stream.from.clone();
        if keys_only {
            narrow(&mut columns, &key, stream.table_cursor());
            let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
            from = narrowed(&from, schema.source_names(&names));
            opener = open_as(from.clone());
        }
        if let (StreamSource::Rows(rows), Some(since)) = (&mut from, &since) {
            let of_source = ValueRange {
                column: since.column.source_name().to_owned(),
                ..since.range.clone()
            };
            let since = within(&of_source).join(" AND ");
            rows.filter = Some(match &rows.filter {
                Some(filter) => format!("({filter}\n) AND {since}"),
                None => since,
            });
            opener = open_as(from);
        }
        if are_first && asked == Compared::Rows {
            report.notes.push(
                "the keys alone were compared: with disposition = \"insert_only\" rows stay as they first came".to_owned(),
            );
        }
        let configuration = stream.fingerprint();
        let boundary = cursor
            .and_then(|cursor| cursor.boundary)
            .filter(|_| !keys_only && lag(stream).is_none_or(Lag::is_zero))
            .map(|boundary| (RowHasher::new(&configuration), boundary));
        let rows = TableRows {
            table: stream.table.clone(),
            columns: columns.clone(),
            living: living(stream),
            within: since.clone(),
        };
        let mut codec = Codec::new(columns, &key, next_run.as_ref(), self.keeps_sign_of_zero)?
            .of_sample(self.sampled());
        if keys_only {
            codec = codec.by_key_alone();
        }
        if let Some(since) = &since {
            codec = codec.since(&since.range)?;
        }
        if matches!(stream.from, StreamSource::HubSpot(_)) && stream.mode() == Mode::Incremental {
            codec = codec.without(ARCHIVED);
        }
        let source = SourceRows {
            opener,
            known: state.schema.clone(),
            configuration,
            shape: Arc::clone(&shape),
        };
        Ok(Comparison {
            source: Side::Source(source),
            table: Side::Table(self.loader.clone(), rows),
            codec: Arc::new(codec),
            shape,
            schema,
            boundary,
            counts_only: asked == Compared::Keys && key.is_empty(),
            stop: self.options.interrupt.child_token(),
        })
    }
}

/// Says what rows are that the table has and the source does not. The history of a record that HubSpot has no more stays on purpose.
fn tell_extra(stream: &Stream, report: &mut StreamVerification) {
    let note = match &stream.from {
        StreamSource::HubSpot(object) if matches!(object.part, HubSpotPart::History(..)) => {
            let rows = std::mem::take(&mut report.extra);
            if report.missing + report.differ == 0 {
                report.result = Outcome::Equal;
            }
            format!(
                "{rows} row(s) that only the table has are the history of records that were merged into others or deleted: it stays"
            )
        }
        StreamSource::HubSpot(_) => {
            "records that the table has and HubSpot does not were deleted for good there: they are marked as such when ids are \
             next compared (`compare`)"
                .to_owned()
        }
        StreamSource::Rows(_) | StreamSource::Changes(_) => {
            "rows that the table has and the source does not were deleted there: the cursor does not tell of it \
             (delete_missing, or verify --repair, removes them)"
                .to_owned()
        }
    };
    report.notes.push(note);
}

/// The columns that both sides have, as the table has them, and the names of the others. One that the source has again counts, though
/// no load has brought it since; one for values that do not fit another does not, as long as there were none.
fn compared(
    table: &TableSchema,
    source: &Schema,
    description: &Description,
) -> (Vec<Column>, Vec<String>) {
    let (mut columns, mut left_out) = (Vec::new(), Vec::new());
    for known in &table.columns {
        let column = &known.column;
        if change::is_of_change(&column.name) {
            continue;
        }
        let of_source = source.column(&column.name);
        let is_compared = of_source
            .is_some_and(|other| !known.retired || other.column_type == column.column_type);
        if is_compared {
            columns.push(column.clone());
        } else if of_source.is_some() || !known.retired {
            left_out.push(column.name.clone());
        }
    }
    let is_new = |column: &&Column| {
        !change::is_of_change(&column.name)
            && table.column(&column.name).is_none()
            && !description
                .misfits
                .values()
                .any(|name| *name == column.name)
    };
    let new = source.columns.iter().filter(is_new);
    left_out.extend(new.map(|column| column.name.clone()));
    (columns, left_out)
}

/// The key, if all its columns are compared.
fn key(description: &Description, columns: &[Column]) -> Vec<String> {
    let key = &description.primary_key;
    let has = |name: &String| columns.iter().any(|column| column.name == *name);
    if key.iter().all(has) {
        key.clone()
    } else {
        Vec::new()
    }
}

/// Leaves the columns that tell rows apart, and which the next run reads.
fn narrow(columns: &mut Vec<Column>, key: &[String], cursor: Option<&str>) {
    let is_cursor = |column: &Column| Some(column.name.as_str()) == cursor;
    if key.is_empty() && !columns.iter().any(is_cursor) {
        columns.truncate(1);
    } else {
        columns.retain(|column| key.contains(&column.name) || is_cursor(column));
    }
}

/// Where the stream's next run begins to read.
fn next_run(
    stream: &Stream,
    cursor: Option<&CursorPosition>,
    renames: &Renames,
    columns: &[Column],
) -> Result<Option<NextRun>> {
    let Some(cursor) = cursor else {
        return Ok(None);
    };
    let name = renames.name(&cursor.column);
    let suits = |column: &&Column| column.name == name && cursor.resume.is_of(&column.column_type);
    if !columns.iter().any(|column| suits(&column)) {
        return Ok(None);
    }
    let from: CursorValue = match lag(stream) {
        Some(lag) => cursor.resume.minus(lag)?,
        None => cursor.resume.clone(),
    };
    Ok(Some(NextRun {
        column: name.to_owned(),
        from,
    }))
}

fn lag(stream: &Stream) -> Option<Lag> {
    match &stream.from {
        StreamSource::Rows(rows) => rows.cursor()?.lag,
        StreamSource::Changes(_) | StreamSource::HubSpot(_) => None,
    }
}

/// The same stream, but that only these columns are read. HubSpot's records are read as they are.
fn narrowed(from: &StreamSource, columns: Vec<String>) -> StreamSource {
    let mut from = from.clone();
    match &mut from {
        StreamSource::Rows(rows) => rows.columns.selected = ColumnSelection::Only(columns),
        StreamSource::Changes(changes) => {
            changes.columns.selected = ColumnSelection::Only(columns);
        }
        StreamSource::HubSpot(_) => {}
    }
    from
}

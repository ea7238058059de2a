//! From which cursor value on rows are compared.

use chrono::Utc;

use super::Job;
use crate::config::{Stream, duration};
use crate::destination::TableRange;
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::mode::Disposition;
use crate::position::{CursorValue, ValueRange};
use crate::schema::ColumnType;

impl Job {
    /// The range of the stream's cursor in its table, from the value on that was asked for. `None` if all rows are compared.
    pub(super) fn since(&self, stream: &Stream, known: &TableSchema) -> Result<Option<TableRange>> {
        let Some(text) = &self.options.since else {
            return Ok(None);
        };
        let column = stream.table_cursor().and_then(|name| known.column(name));
        let Some(column) = column else {
            return Err(Error::config(format!(
                "--since compares rows by their cursor, and a stream of mode = \"{}\" has none",
                stream.mode()
            ))
            .remedy("name the incremental streams, `acequia verify STREAM --since …`, or compare all rows"));
        };
        if stream.disposition() == Disposition::InsertOnly {
            return Err(Error::config(
                "--since compares rows by their cursor, and with disposition = \"insert_only\" the table keeps the one that a row \
                 first had",
            )
            .remedy("compare all keys: `acequia verify STREAM --keys`"));
        }
        let range = ValueRange {
            column: column.name.clone(),
            from: Some(value(text, &column.column_type)?),
            to: None,
        };
        Ok(Some(TableRange {
            column: column.clone(),
            range,
        }))
    }
}

/// A value of the cursor, as it is written, or that of so long ago.
fn value(text: &str, column_type: &ColumnType) -> Result<CursorValue> {
    let ago = duration(text).and_then(|ago| Utc::now().checked_sub_signed(ago));
    match (column_type, ago) {
        (ColumnType::Date, Some(ago)) => {
            return CursorValue::parse("--since", &ago.format("%Y-%m-%d").to_string(), column_type);
        }
        (ColumnType::Timestamp, Some(ago)) => {
            return Ok(CursorValue::Timestamp(ago.timestamp_micros()));
        }
        (ColumnType::TimestampTz, Some(ago)) => {
            return Ok(CursorValue::TimestampTz(ago.timestamp_micros()));
        }
        _ => {}
    }
    CursorValue::parse("--since", text, column_type).map_err(|_| {
        Error::config(format!("--since `{text}` is no value of the cursor, which is {column_type}"))
            .remedy("write it as 2024-01-31 for a date, 2024-01-31T08:00:00 for a timestamp, 2024-01-31T08:00:00Z for one with its \
                     zone; or how long ago, as in 7d")
    })
}

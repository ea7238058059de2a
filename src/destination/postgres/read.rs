//! Rows of a query as Arrow, by `COPY … TO STDOUT (FORMAT binary)`.

use arrow::array::RecordBatch;

use crate::error::{Error, Result};
use crate::postgres::batch::BatchBuilder;
use crate::postgres::binary::WireType;
use crate::postgres::protocol_error::ProtocolError;
use crate::schema::{Column, ColumnType, Schema};

use super::session::Session;

/// Hands over the rows of a query of these columns.
pub(super) fn read(
    session: &mut Session,
    sql: &str,
    columns: &[Column],
    each: &mut dyn FnMut(RecordBatch) -> Result<()>,
) -> Result<()> {
    let wires: Vec<WireType> = columns
        .iter()
        .map(|column| sent(&column.column_type))
        .collect();
    let columns = columns.iter().map(|column| Column {
        nullable: true,
        element_id: None,
        ..column.clone()
    });
    let schema = Schema {
        columns: columns.collect(),
    };
    let mut builder = BatchBuilder::new(&schema, &wires, None);
    let copy = format!("COPY ({sql}) TO STDOUT (FORMAT binary)");
    session.copy_out(&copy, &mut |message| {
        builder.row(message)?.map_err(unreadable)?;
        if builder.is_full()
            && let Some(batch) = builder.take()?
        {
            each(batch)?;
        }
        Ok(())
    })?;
    match builder.take()? {
        Some(batch) => each(batch),
        None => Ok(()),
    }
}

fn unreadable(error: ProtocolError) -> Error {
    Error::internal("a row of PostgreSQL's could not be read").cause(error)
}

/// The form in which a value of that type is sent.
fn sent(column_type: &ColumnType) -> WireType {
    match column_type {
        ColumnType::Boolean => WireType::Bool,
        ColumnType::Int16 => WireType::Int2,
        ColumnType::Int32 => WireType::Int4,
        ColumnType::Int64 => WireType::Int8,
        ColumnType::Float32 => WireType::Float4,
        ColumnType::Float64 => WireType::Float8,
        ColumnType::Decimal { .. } => WireType::Numeric,
        ColumnType::Text | ColumnType::Json => WireType::Text,
        ColumnType::Binary => WireType::Bytea,
        ColumnType::Uuid => WireType::Uuid,
        ColumnType::Date => WireType::Date,
        ColumnType::Time => WireType::Time,
        ColumnType::Timestamp | ColumnType::TimestampTz => WireType::Timestamp,
        ColumnType::List(_) => WireType::Array,
    }
}

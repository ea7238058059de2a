//! Checksums by which a test compares a table in its source with the one in a destination, column by column.
//!
//! The same sums are written for PostgreSQL and for DuckDB ([`Dialect`]), over a canonical text of each value ([`Kind`])
//! that both must agree on. A value weighs the first 60 bits of the MD5 of its text; a column's checksum is the sum of
//! the weights, so the order of rows does not matter, and NULL adds nothing. A last line, named [`ROWS`], sums the same
//! of each row as a whole, so that right values in the wrong rows are noticed too.
//!
//! | kind | canonical text |
//! |---|---|
//! | integer, boolean, text, UUID, JSON | as the database prints it; `char(n)` with its padding |
//! | numeric | with exactly so many decimals; digits beyond them, if any, stay |
//! | float4, float8 | the IEEE 754 bits, so -0.0 is not 0.0; every NaN is `NaN` |
//! | bytea | lower-case hexadecimal |
//! | date; time; timestamp; timestamptz | days since 1970; microseconds of the day; microseconds since 1970 (UTC) |
//! | infinite dates and timestamps | `infinity`, `-infinity` |
//! | array | elements by their own kind, each with its length in front, NULL marked |

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail, ensure};
use postgres::{Client, GenericClient};

/// Name of the line that sums rows as wholes.
pub const ROWS: &str = "*";

/// Whose SQL to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL 15 or later.
    Postgres,
    /// DuckDB 2.0 or later.
    DuckDb,
}

/// What a column holds, as far as its canonical text goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Integers of any width.
    Integer,
    /// Booleans.
    Boolean,
    /// Exact numbers with so many decimals.
    Numeric {
        /// Decimals of the destination's type.
        scale: u16,
    },
    /// float4.
    Float4,
    /// float8.
    Float8,
    /// Text, and whatever is carried as PostgreSQL prints it.
    Text,
    /// Binary strings.
    Bytes,
    /// Dates.
    Date,
    /// Times of the day without a zone.
    Time,
    /// Timestamps without a zone.
    Timestamp,
    /// Timestamps with one.
    TimestampTz,
    /// UUIDs.
    Uuid,
    /// json and jsonb.
    Json,
    /// One-dimensional arrays.
    List(Box<Self>),
}

/// A column to compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name, the same in both tables.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// A column's line of the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnChecksum {
    /// The column, or [`ROWS`].
    pub column: String,
    /// Rows of the table.
    pub rows: i64,
    /// Rows where the column is not NULL.
    pub non_null: i64,
    /// Sum of the weights of its values, in decimal.
    pub sum: String,
}

impl Column {
    /// A column by name and kind.
    #[must_use]
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
        }
    }
}

/// One query for the checksums of `table` (a name as SQL takes it, schema and quotes included). It gives the columns
/// `column_name` text, `row_count` and `non_null` 64-bit integers, `checksum` text: one row a column in the order
/// given, then [`ROWS`].
///
/// `columns` must not be empty.
#[must_use]
pub fn checksum_sql(dialect: Dialect, table: &str, columns: &[Column]) -> String {
    let mut hashes = String::new();
    let mut row = String::new();
    let mut sums = String::new();
    let mut lines = String::new();
    for (at, column) in columns.iter().enumerate() {
        let comma = if at == 0 { "" } else { ", " };
        let name = format!("\"{}\"", column.name.replace('"', "\"\""));
        let text = canonical(dialect, &column.kind, &name);
        let _ = write!(
            hashes,
            "{comma}CASE WHEN {name} IS NOT NULL THEN md5({text}) END AS h{at}"
        );
        let _ = write!(
            row,
            "{}coalesce(h{at}, '-')",
            if at == 0 { "" } else { " || ',' || " }
        );
        let _ = write!(
            sums,
            ", count(h{at}) AS n{at}, {} AS s{at}",
            sum(dialect, &format!("h{at}"))
        );
        let label = column.name.replace('\'', "''");
        let _ = write!(
            lines,
            "SELECT {at} AS position, '{label}' AS column_name, row_count, n{at} AS non_null, s{at} AS checksum \
             FROM sums UNION ALL "
        );
    }
    format!(
        "WITH hashes AS (SELECT {hashes} FROM {table}{fence}), \
         sums AS MATERIALIZED (SELECT count(*) AS row_count{sums}, {whole} AS s FROM hashes) \
         SELECT column_name, row_count, non_null, checksum FROM (\
         {lines}SELECT {last}, '{ROWS}', row_count, row_count, s FROM sums) AS lines ORDER BY position",
        // Keeps PostgreSQL from working out each hash again wherever it is used.
        fence = if dialect == Dialect::Postgres {
            " OFFSET 0"
        } else {
            ""
        },
        whole = sum(dialect, &format!("md5({row})")),
        last = columns.len(),
    )
}

/// The checksums of a table in PostgreSQL, one a column in the order given, then [`ROWS`].
///
/// # Errors
/// PostgreSQL's, and when no column is given.
pub fn checksums(
    client: &mut Client,
    table: &str,
    columns: &[Column],
) -> Result<Vec<ColumnChecksum>> {
    ensure!(!columns.is_empty(), "no columns to compare in {table}");
    let rows = client
        .query(&checksum_sql(Dialect::Postgres, table, columns), &[])
        .with_context(|| format!("cannot sum {table}"))?;
    rows.iter()
        .map(|row| {
            Ok(ColumnChecksum {
                column: row.try_get(0)?,
                rows: row.try_get(1)?,
                non_null: row.try_get(2)?,
                sum: row.try_get(3)?,
            })
        })
        .collect()
}

/// The columns of a table in PostgreSQL, with the kind that acequia carries each type as. A numeric without precision
/// has scale 9. Domains are taken as what they are over.
///
/// # Errors
/// PostgreSQL's, and when there is no such table.
pub fn columns_of(client: &mut impl GenericClient, table: &str) -> Result<Vec<Column>> {
    let rows = client
        .query(
            "WITH RECURSIVE resolved AS (
                 SELECT a.attnum, a.attname, a.atttypid AS type, a.atttypmod AS modifier
                 FROM pg_attribute a
                 WHERE a.attrelid = to_regclass($1::text) AND a.attnum > 0 AND NOT a.attisdropped
                 UNION ALL
                 SELECT r.attnum, r.attname, t.typbasetype, t.typtypmod
                 FROM resolved r JOIN pg_type t ON t.oid = r.type
                 WHERE t.typtype = 'd'
             )
             SELECT r.attname::text, t.typname::text, r.modifier,
                    coalesce((SELECT e.typtype IN ('e', 'd') FROM pg_type e WHERE e.oid = t.typelem), false)
             FROM resolved r JOIN pg_type t ON t.oid = r.type
             WHERE t.typtype <> 'd'
             ORDER BY r.attnum",
            &[&table],
        )
        .with_context(|| format!("cannot read the columns of {table}"))?;
    if rows.is_empty() {
        bail!("there is no table {table}");
    }
    rows.iter()
        .map(|row| {
            let (name, type_name): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            Ok(Column {
                name,
                kind: kind_of(&type_name, row.try_get(2)?, row.try_get(3)?),
            })
        })
        .collect()
}

/// `of_labels`: the type is an array of an enum or of a domain, which is a list though its element's name says nothing.
fn kind_of(type_name: &str, modifier: i32, of_labels: bool) -> Kind {
    match type_name {
        "int2" | "int4" | "int8" | "oid" => Kind::Integer,
        "bool" => Kind::Boolean,
        "numeric" => Kind::Numeric {
            // Manual, catalog pg_attribute: precision and scale are packed, 4 more than the value; -1 for none.
            // The scale is signed; below zero it stands for zeros before the point.
            scale: u16::try_from(((((modifier - 4) & 0x7ff) ^ 1024) - 1024).max(0))
                .ok()
                .filter(|_| modifier >= 4)
                .unwrap_or(9),
        },
        "float4" => Kind::Float4,
        "float8" => Kind::Float8,
        "bytea" => Kind::Bytes,
        "date" => Kind::Date,
        "time" => Kind::Time,
        "timestamp" => Kind::Timestamp,
        "timestamptz" => Kind::TimestampTz,
        "uuid" => Kind::Uuid,
        "json" | "jsonb" => Kind::Json,
        other => match other.strip_prefix('_') {
            // An array of what travels as text is itself text.
            Some(element) => match kind_of(element, modifier, false) {
                Kind::Text
                    if !of_labels
                        && !matches!(
                            element,
                            "text" | "varchar" | "bpchar" | "name" | "citext"
                        ) =>
                {
                    Kind::Text
                }
                element => Kind::List(Box::new(element)),
            },
            None => Kind::Text,
        },
    }
}

/// Sum of the first 60 bits of an MD5 in hexadecimal, as text; `0` for no rows.
fn sum(dialect: Dialect, md5: &str) -> String {
    match dialect {
        // bit(60) to bigint pads on the left, so the number is never negative.
        Dialect::Postgres => {
            format!("coalesce(sum(('x' || substr({md5}, 1, 15))::bit(60)::bigint), 0)::text")
        }
        Dialect::DuckDb => {
            format!(
                "CAST(coalesce(sum(CAST('0x' || substr({md5}, 1, 15) AS BIGINT)), 0) AS VARCHAR)"
            )
        }
    }
}

/// The canonical text of a value that is not NULL.
fn canonical(dialect: Dialect, kind: &Kind, value: &str) -> String {
    match dialect {
        Dialect::Postgres => canonical_postgres(kind, value),
        Dialect::DuckDb => canonical_duckdb(kind, value),
    }
}

fn canonical_postgres(kind: &Kind, value: &str) -> String {
    match kind {
        // concat() prints any type by its output function; a cast would strip the padding of char(n).
        Kind::Integer | Kind::Text | Kind::Uuid | Kind::Json => format!("concat({value})"),
        Kind::Boolean => format!("{value}::text"),
        Kind::Numeric { scale } => {
            format!(
                "(CASE WHEN {value} = round({value}, {scale}) THEN round({value}, {scale}) ELSE {value} END)::text"
            )
        }
        Kind::Float4 => format!(
            "CASE WHEN {value} = 'NaN' THEN 'NaN' ELSE ('x' || encode(float4send({value}), 'hex'))::bit(32)::text END"
        ),
        Kind::Float8 => format!(
            "CASE WHEN {value} = 'NaN' THEN 'NaN' ELSE ('x' || encode(float8send({value}), 'hex'))::bit(64)::text END"
        ),
        Kind::Bytes => format!("encode({value}, 'hex')"),
        Kind::Date => {
            format!(
                "CASE WHEN isfinite({value}) THEN ({value} - date '1970-01-01')::text ELSE {value}::text END"
            )
        }
        Kind::Time => format!("(extract(epoch FROM {value}) * 1000000)::bigint::text"),
        Kind::Timestamp | Kind::TimestampTz => format!(
            "CASE WHEN isfinite({value}) THEN (extract(epoch FROM {value}) * 1000000)::bigint::text \
             ELSE {value}::text END"
        ),
        Kind::List(element) => {
            let text = canonical_postgres(element, "e");
            format!(
                "(SELECT '[' || coalesce(string_agg(CASE WHEN e IS NULL THEN 'n' ELSE length({text}) || ':' || {text} END, \
                 ',' ORDER BY i), '') || ']' FROM unnest({value}) WITH ORDINALITY AS elements(e, i))"
            )
        }
    }
}

fn canonical_duckdb(kind: &Kind, value: &str) -> String {
    match kind {
        Kind::Integer | Kind::Boolean | Kind::Text | Kind::Uuid | Kind::Json => {
            format!("CAST({value} AS VARCHAR)")
        }
        // A decimal with no digit before the point is printed without a zero there.
        Kind::Numeric { .. } => {
            format!("regexp_replace(CAST({value} AS VARCHAR), '^(-?)\\.', '\\10.')")
        }
        Kind::Float4 => format!(
            "CASE WHEN isnan({value}) THEN 'NaN' ELSE CAST(CAST(CAST({value} AS FLOAT) AS BIT) AS VARCHAR) END"
        ),
        Kind::Float8 => format!(
            "CASE WHEN isnan({value}) THEN 'NaN' ELSE CAST(CAST(CAST({value} AS DOUBLE) AS BIT) AS VARCHAR) END"
        ),
        Kind::Bytes => format!("lower(hex({value}))"),
        Kind::Date => format!(
            "CASE WHEN isfinite({value}) THEN CAST({value} - DATE '1970-01-01' AS VARCHAR) \
             ELSE CAST({value} AS VARCHAR) END"
        ),
        Kind::Time => format!("CAST(epoch_us({value}) AS VARCHAR)"),
        Kind::Timestamp | Kind::TimestampTz => format!(
            "CASE WHEN isfinite({value}) THEN CAST(epoch_us({value}) AS VARCHAR) ELSE CAST({value} AS VARCHAR) END"
        ),
        Kind::List(element) => {
            let text = canonical_duckdb(element, "e");
            format!(
                "'[' || coalesce(array_to_string([CASE WHEN e IS NULL THEN 'n' ELSE length({text}) || ':' || {text} END \
                 FOR e IN {value}], ','), '') || ']'"
            )
        }
    }
}

//! The mapping from PostgreSQL's types to columns: the column type, and how the column is selected. No I/O.

use crate::error::{Error, Result};
use crate::postgres::binary::WireType;
use crate::postgres::quote;
use crate::schema::{ColumnSpec, ColumnType};

/// The type of a `numeric` without precision, as long as every value fits.
const OPEN_DECIMAL: ColumnType = ColumnType::Decimal {
    precision: 38,
    scale: 9,
};

/// A column of the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogColumn {
    /// Its name.
    pub name: String,
    /// Whether it may hold NULL, as far as is known.
    pub nullable: bool,
    /// The type's full name, as `format_type` writes it.
    pub type_name: String,
    /// The base type, if the type is a domain; else the type.
    pub base: BaseType,
    /// The base type of an array's elements.
    pub element: Option<BaseType>,
}

/// A type that is not a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseType {
    /// `pg_type.typname`.
    pub name: String,
    /// `pg_type.typtype`: `b`ase, `e`num, `c`omposite, `r`ange, …
    pub kind: char,
    /// Whether it is a type of the server's own (schema `pg_catalog`).
    pub builtin: bool,
    /// The type modifier, -1 for none.
    pub modifier: i32,
}

/// How a column is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnPlan {
    /// What it is.
    pub spec: ColumnSpec,
    /// The binary format of its fields.
    pub wire: WireType,
    /// The expression that selects it, without an alias.
    pub expression: String,
}

/// How a column is read, with the type that `types` requests if it requests one.
pub fn plan(column: &CatalogColumn, wanted: Option<&ColumnType>) -> Result<ColumnPlan> {
    let natural = natural(column);
    let (column_type, wire, cast) = match wanted {
        None => natural,
        Some(wanted) if *wanted == natural.0 => natural,
        Some(wanted) => converted(column, &natural, wanted)?,
    };
    let name = quote(&column.name);
    Ok(ColumnPlan {
        spec: ColumnSpec {
            name: column.name.clone(),
            column_type,
            nullable: column.nullable,
            source_type: column.type_name.clone(),
        },
        wire,
        expression: match cast {
            // Their casts to text differ from their own text form: the one adds a netmask, the other keeps the declaration of
            // an encoding that the text is no longer in.
            Some("text") if matches!(column.base.name.as_str(), "inet" | "xml") => {
                format!("CASE WHEN {name} IS NOT NULL THEN pg_catalog.concat({name}) END")
            }
            Some(cast) => format!("{name}::{cast}"),
            None => name,
        },
    })
}

type Reading = (ColumnType, WireType, Option<&'static str>);

/// The type that `docs/types.md` lists. Types outside of the list are sent as PostgreSQL's own text.
fn natural(column: &CatalogColumn) -> Reading {
    if let Some(element) = &column.element {
        return match scalar(element) {
            Some((ColumnType::Json, _, _)) => {
                (list(ColumnType::Json), WireType::Array, Some("text[]"))
            }
            Some((_, _, Some(_))) if element.kind == 'e' => {
                (list(ColumnType::Text), WireType::Array, Some("text[]"))
            }
            Some((ColumnType::Int64, WireType::Oid, _)) => {
                (list(ColumnType::Int64), WireType::Array, Some("int8[]"))
            }
            Some((column_type, _, None)) => (list(column_type), WireType::Array, None),
            Some((_, _, Some(_))) | None => (ColumnType::Text, WireType::Text, Some("text")),
        };
    }
    scalar(&column.base).unwrap_or((ColumnType::Text, WireType::Text, Some("text")))
}

fn list(element: ColumnType) -> ColumnType {
    ColumnType::List(Box::new(element))
}

fn scalar(base: &BaseType) -> Option<Reading> {
    if base.kind == 'e' {
        return Some((ColumnType::Text, WireType::Text, Some("text")));
    }
    if base.kind != 'b' {
        return None;
    }
    if !base.builtin {
        // citext is sent like text, whatever schema its extension is in.
        return (base.name == "citext").then_some((ColumnType::Text, WireType::Text, None));
    }
    Some(match base.name.as_str() {
        "bool" => (ColumnType::Boolean, WireType::Bool, None),
        "int2" => (ColumnType::Int16, WireType::Int2, None),
        "int4" => (ColumnType::Int32, WireType::Int4, None),
        "int8" => (ColumnType::Int64, WireType::Int8, None),
        "oid" => (ColumnType::Int64, WireType::Oid, None),
        "float4" => (ColumnType::Float32, WireType::Float4, None),
        "float8" => (ColumnType::Float64, WireType::Float8, None),
        "numeric" => (decimal(base.modifier), WireType::Numeric, None),
        // bpchar is not cast: that would strip its padding.
        "text" | "varchar" | "bpchar" | "name" => (ColumnType::Text, WireType::Text, None),
        "bytea" => (ColumnType::Binary, WireType::Bytea, None),
        "date" => (ColumnType::Date, WireType::Date, None),
        "time" => (ColumnType::Time, WireType::Time, None),
        "timestamp" => (ColumnType::Timestamp, WireType::Timestamp, None),
        "timestamptz" => (ColumnType::TimestampTz, WireType::Timestamp, None),
        "uuid" => (ColumnType::Uuid, WireType::Uuid, None),
        "json" => (ColumnType::Json, WireType::Text, None),
        "jsonb" => (ColumnType::Json, WireType::Text, Some("text")),
        _ => return None,
    })
}

/// The decimal of a `numeric`'s modifier: `((precision << 16) | (scale & 0x7ff)) + 4`, the scale being signed since
/// PostgreSQL 15.
fn decimal(modifier: i32) -> ColumnType {
    if modifier < 4 {
        return OPEN_DECIMAL;
    }
    let precision = ((modifier - 4) >> 16) & 0xffff;
    let scale = (((modifier - 4) & 0x7ff) ^ 1024) - 1024;
    // A negative scale means zeros before the point; a scale above the precision, zeros after it.
    let digits = precision.max(precision - scale).max(scale);
    match (u8::try_from(digits), u8::try_from(scale.max(0))) {
        (Ok(precision), Ok(scale)) if precision <= 38 => ColumnType::Decimal { precision, scale },
        _ => OPEN_DECIMAL,
    }
}

/// How a column is read as another type than its own, if that loses nothing that was not requested.
fn converted(column: &CatalogColumn, natural: &Reading, wanted: &ColumnType) -> Result<Reading> {
    use ColumnType::{
        Date, Decimal, Float32, Float64, Int16, Int32, Int64, List, Text, Timestamp, Uuid,
    };
    let reading = match (&natural.0, wanted) {
        (_, Text) => (Text, WireType::Text, Some("text")),
        (Decimal { .. }, Decimal { .. }) => (wanted.clone(), WireType::Numeric, None),
        (Int16 | Int32 | Int64 | Text, Decimal { .. }) => {
            (wanted.clone(), WireType::Numeric, Some("numeric"))
        }
        (Decimal { .. } | Float32 | Int16 | Int32 | Int64, Float64) => {
            (Float64, WireType::Float8, Some("float8"))
        }
        (Int16 | Int32 | Int64, Int64) => (Int64, WireType::Int8, Some("int8")),
        (Int16 | Int32 | Int64, Int32) => (Int32, WireType::Int4, Some("int4")),
        (Int32 | Int64, Int16) => (Int16, WireType::Int2, Some("int2")),
        (Date, Timestamp) => (Timestamp, WireType::Timestamp, Some("timestamp")),
        (Text, Uuid) => (Uuid, WireType::Uuid, Some("uuid")),
        (List(from), List(to)) => match (from.as_ref(), to.as_ref()) {
            (Decimal { .. }, Decimal { .. }) => (wanted.clone(), WireType::Array, None),
            (_, Text) => (wanted.clone(), WireType::Array, Some("text[]")),
            (Int16 | Int32 | Int64, Int64) => (wanted.clone(), WireType::Array, Some("int8[]")),
            (Decimal { .. } | Float32, Float64) => {
                (wanted.clone(), WireType::Array, Some("float8[]"))
            }
            _ => return Err(inconvertible(column, natural, wanted)),
        },
        _ => return Err(inconvertible(column, natural, wanted)),
    };
    Ok(reading)
}

fn inconvertible(column: &CatalogColumn, natural: &Reading, wanted: &ColumnType) -> Error {
    Error::config(format!(
        "column `{}` ({}) cannot be read as {wanted}",
        column.name, column.type_name
    ))
    .remedy(format!(
        "under [streams.STREAM.types], use `text`, or leave it out and get {}; for anything else, cast it in a `query`",
        natural.0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, kind: char, modifier: i32) -> CatalogColumn {
        CatalogColumn {
            name: "c".to_owned(),
            nullable: true,
            type_name: name.to_owned(),
            base: BaseType {
                name: name.to_owned(),
                kind,
                builtin: true,
                modifier,
            },
            element: None,
        }
    }

    fn numeric(precision: i32, scale: i32) -> String {
        let modifier = ((precision << 16) | (scale & 0x7ff)) + 4;
        plan(&column("numeric", 'b', modifier), None)
            .unwrap()
            .spec
            .column_type
            .to_string()
    }

    #[test]
    fn numeric_modifiers_of_every_kind() {
        assert_eq!(numeric(10, 2), "decimal(10,2)");
        assert_eq!(numeric(38, 38), "decimal(38,38)");
        assert_eq!(numeric(3, 5), "decimal(5,5)");
        assert_eq!(numeric(5, -2), "decimal(7,0)");
        assert_eq!(numeric(39, 2), "decimal(38,9)");
        assert_eq!(numeric(1000, 1000), "decimal(38,9)");
    }

    #[test]
    fn what_is_outside_the_table_travels_as_text() {
        for name in [
            "interval", "timetz", "money", "bit", "point", "tsvector", "char", "xid",
        ] {
            let plan = plan(&column(name, 'b', -1), None).unwrap();
            assert_eq!(
                (plan.wire, plan.expression.as_str()),
                (WireType::Text, "\"c\"::text"),
                "{name}"
            );
        }
        for name in ["inet", "xml"] {
            let plan = plan(&column(name, 'b', -1), None).unwrap();
            assert_eq!(plan.wire, WireType::Text);
            assert_eq!(
                plan.expression,
                "CASE WHEN \"c\" IS NOT NULL THEN pg_catalog.concat(\"c\") END"
            );
        }
        for kind in ['c', 'r', 'm', 'e', 'p'] {
            let plan = plan(&column("algo", kind, -1), None).unwrap();
            assert_eq!(plan.expression, "\"c\"::text");
        }
        let padded = plan(&column("bpchar", 'b', 12), None).unwrap();
        assert_eq!(padded.expression, "\"c\"");
    }

    #[test]
    fn a_conversion_that_would_lose_is_refused() {
        let float: ColumnType = "decimal(10,2)".parse().unwrap();
        let error = plan(&column("float8", 'b', -1), Some(&float)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "column `c` (float8) cannot be read as decimal(10,2)"
        );
        let plan = plan(
            &column("numeric", 'b', -1),
            Some(&"float8".parse().unwrap()),
        )
        .unwrap();
        assert_eq!(plan.expression, "\"c\"::float8");
    }
}

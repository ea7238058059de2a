//! The columns of a stream: their types, their stable field ids, and their Arrow schema.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef, TimeUnit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::names::shortened;

/// The key under which Arrow's Parquet writer looks for a column's field id.
const FIELD_ID: &str = "PARQUET:field_id";
/// The keys by which the Arrow specification marks a canonical extension type.
const EXTENSION_NAME: &str = "ARROW:extension:name";
const EXTENSION_METADATA: &str = "ARROW:extension:metadata";

/// The longest name of a type, in bytes, with room for blanks.
const MAX_TYPE_NAME: usize = 200;

/// A type that every part of acequia can copy exactly.
///
/// Written in configuration, manifests and the ledger as its [`Display`](fmt::Display) form: `int32`, `decimal(10,2)`,
/// `timestamptz`, `list<text>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum ColumnType {
    /// Booleans.
    Boolean,
    /// 16-bit signed integer.
    Int16,
    /// 32-bit signed integer.
    Int32,
    /// 64-bit signed integer.
    Int64,
    /// IEEE 754 binary32.
    Float32,
    /// IEEE 754 binary64.
    Float64,
    /// Exact decimal of at most 38 digits, `scale` of them after the point.
    Decimal {
        /// The number of digits, 1 to 38.
        precision: u8,
        /// The number of digits after the point, at most `precision`.
        scale: u8,
    },
    /// UTF-8 text.
    Text,
    /// JSON, as the text that the source sends.
    Json,
    /// Bytes.
    Binary,
    /// 128-bit UUID.
    Uuid,
    /// Days since 1970-01-01.
    Date,
    /// Microseconds since midnight, 24:00:00 included.
    Time,
    /// Microseconds since 1970-01-01 00:00:00, without a zone.
    Timestamp,
    /// Microseconds since 1970-01-01 00:00:00 UTC.
    TimestampTz,
    /// One-dimensional list.
    List(Box<ColumnType>),
}

impl ColumnType {
    /// The Arrow type.
    pub fn arrow(&self, element_id: Option<i32>) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal { precision, scale } => {
                DataType::Decimal128(*precision, i8::try_from(*scale).unwrap_or(38))
            }
            Self::Text | Self::Json => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::List(element) => {
                let mut field = Field::new("element", element.arrow(None), true);
                field.set_metadata(element.metadata(element_id));
                DataType::List(Arc::new(field))
            }
        }
    }

    /// Field id and extension type, as Arrow field metadata.
    fn metadata(&self, id: Option<i32>) -> HashMap<String, String> {
        let mut metadata = HashMap::new();
        if let Some(id) = id {
            metadata.insert(FIELD_ID.to_owned(), id.to_string());
        }
        match self {
            Self::Uuid => {
                metadata.insert(EXTENSION_NAME.to_owned(), "arrow.uuid".to_owned());
            }
            Self::Json => {
                metadata.insert(EXTENSION_NAME.to_owned(), "arrow.json".to_owned());
                metadata.insert(EXTENSION_METADATA.to_owned(), String::new());
            }
            _ => {}
        }
        metadata
    }

    /// Whether every value of `other` is also a value of `self`, so that a column of this type can hold both.
    pub fn holds(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        match (self, other) {
            (Self::Int32, Self::Int16)
            | (Self::Int64, Self::Int16 | Self::Int32)
            | (Self::Float64, Self::Float32)
            | (Self::Text, Self::Json) => true,
            (Self::Decimal { precision, scale }, Self::Int16) => precision - scale >= 5,
            (Self::Decimal { precision, scale }, Self::Int32) => precision - scale >= 10,
            (Self::Decimal { precision, scale }, Self::Int64) => precision - scale >= 19,
            (
                Self::Decimal { precision, scale },
                Self::Decimal {
                    precision: other_precision,
                    scale: other_scale,
                },
            ) => scale >= other_scale && precision - scale >= other_precision - other_scale,
            (Self::List(element), Self::List(other)) => element.holds(other),
            _ => false,
        }
    }
}

impl fmt::Display for ColumnType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean => f.write_str("boolean"),
            Self::Int16 => f.write_str("int16"),
            Self::Int32 => f.write_str("int32"),
            Self::Int64 => f.write_str("int64"),
            Self::Float32 => f.write_str("float32"),
            Self::Float64 => f.write_str("float64"),
            Self::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            Self::Text => f.write_str("text"),
            Self::Json => f.write_str("json"),
            Self::Binary => f.write_str("binary"),
            Self::Uuid => f.write_str("uuid"),
            Self::Date => f.write_str("date"),
            Self::Time => f.write_str("time"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::TimestampTz => f.write_str("timestamptz"),
            Self::List(element) => write!(f, "list<{element}>"),
        }
    }
}

/// A text that is not the name of a [`ColumnType`].
#[derive(Debug, thiserror::Error)]
#[error(
    "`{0}` is not a column type; the types are boolean, int16, int32, int64, float32, float64, decimal(p,s) with \
     1 <= p <= 38 and s <= p, text, json, binary, uuid, date, time, timestamp, timestamptz and list<…> of these"
)]
pub struct UnknownType(String);

impl FromStr for ColumnType {
    type Err = UnknownType;

    /// Parses the [`Display`](fmt::Display) form. PostgreSQL's names (`int8`, `float8`, `numeric(10,2)`, `bytea`, …) are
    /// accepted as well.
    fn from_str(text: &str) -> Result<Self, UnknownType> {
        let unknown = || UnknownType(shortened(text));
        if text.len() > MAX_TYPE_NAME {
            return Err(unknown());
        }
        let name = text.trim().to_ascii_lowercase();
        if let Some(element) = name
            .strip_prefix("list<")
            .and_then(|rest| rest.strip_suffix('>'))
        {
            // The length is checked first: a text from outside may be nested to any depth.
            if element.trim_start().starts_with("list<") {
                return Err(unknown());
            }
            return match element.parse()? {
                Self::List(_) => Err(unknown()),
                element => Ok(Self::List(Box::new(element))),
            };
        }
        let decimal = name
            .strip_prefix("decimal(")
            .or_else(|| name.strip_prefix("numeric("))
            .and_then(|rest| rest.strip_suffix(')'));
        if let Some(arguments) = decimal {
            let (precision, scale) = arguments.split_once(',').unwrap_or((arguments, "0"));
            let precision: u8 = precision.trim().parse().map_err(|_| unknown())?;
            let scale: u8 = scale.trim().parse().map_err(|_| unknown())?;
            return if (1..=38).contains(&precision) && scale <= precision {
                Ok(Self::Decimal { precision, scale })
            } else {
                Err(unknown())
            };
        }
        Ok(match name.as_str() {
            "boolean" | "bool" => Self::Boolean,
            "int16" | "int2" | "smallint" => Self::Int16,
            "int32" | "int4" | "integer" | "int" => Self::Int32,
            "int64" | "int8" | "bigint" => Self::Int64,
            "float32" | "float4" | "real" => Self::Float32,
            "float64" | "float8" | "double" | "double precision" => Self::Float64,
            "text" | "varchar" | "string" => Self::Text,
            "json" | "jsonb" => Self::Json,
            "binary" | "bytea" | "blob" => Self::Binary,
            "uuid" => Self::Uuid,
            "date" => Self::Date,
            "time" => Self::Time,
            "timestamp" => Self::Timestamp,
            "timestamptz" => Self::TimestampTz,
            _ => return Err(unknown()),
        })
    }
}

impl TryFrom<String> for ColumnType {
    type Error = UnknownType;

    fn try_from(text: String) -> Result<Self, UnknownType> {
        text.parse()
    }
}

impl From<ColumnType> for String {
    fn from(column_type: ColumnType) -> Self {
        column_type.to_string()
    }
}

/// A column of a source, which has no field id yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Its name, as the source writes it.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether it may hold NULL.
    pub nullable: bool,
    /// The source's name of the type, as in `numeric(10,2)`.
    pub source_type: String,
}

/// A column of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// The Parquet field id: stable, and never used for another column of the stream.
    pub id: i32,
    /// The name, as the source writes it.
    pub name: String,
    /// The type.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// Whether it may hold NULL.
    pub nullable: bool,
    /// The source's name of the type.
    pub source_type: String,
    /// The field id of a list's element.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub element_id: Option<i32>,
    /// How its values are masked, if they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<String>,
    /// The source's name of the column, if the stream renames it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
}

impl Column {
    /// The source's name of the column.
    pub fn source_name(&self) -> &str {
        self.renamed_from.as_deref().unwrap_or(&self.name)
    }

    /// The column by the source's name.
    #[must_use]
    pub fn as_source(&self) -> Self {
        Self {
            name: self.source_name().to_owned(),
            renamed_from: None,
            ..self.clone()
        }
    }

    /// The Arrow field, with field id and extension type.
    pub fn field(&self) -> Field {
        Field::new(
            &self.name,
            self.column_type.arrow(self.element_id),
            self.nullable,
        )
        .with_metadata(self.column_type.metadata(Some(self.id)))
    }
}

/// The columns of a load, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Schema {
    /// The columns, in the order of the source.
    pub columns: Vec<Column>,
}

impl Schema {
    /// The Arrow schema of the batches and parts.
    pub fn arrow(&self) -> SchemaRef {
        Arc::new(ArrowSchema::new(
            self.columns.iter().map(Column::field).collect::<Vec<_>>(),
        ))
    }

    /// The columns by the source's names.
    #[must_use]
    pub fn as_source(&self) -> Self {
        Self {
            columns: self.columns.iter().map(Column::as_source).collect(),
        }
    }

    /// What the source calls columns of these names.
    pub fn source_names(&self, names: &[String]) -> Vec<String> {
        let columns = names.iter().filter_map(|name| self.column(name));
        columns
            .map(|column| column.source_name().to_owned())
            .collect()
    }

    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The index of the column of that name.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// A short hash of names, types and field ids: equal schemas have equal hashes.
    pub fn fingerprint(&self) -> String {
        let mut hash = Sha256::new();
        for column in &self.columns {
            hash.update(format!(
                "{}\0{}\0{}\0",
                column.id, column.name, column.column_type
            ));
        }
        let mut fingerprint = crate::names::hex(&hash.finalize());
        fingerprint.truncate(16);
        fingerprint
    }
}

/// Sample columns for tests: one of each type.
#[cfg(any(test, feature = "fuzzing"))]
#[allow(
    clippy::unwrap_used,
    reason = "every name is one of a type, as a test shows"
)]
pub(crate) mod samples {
    use super::Column;

    /// The names of all types that a column can have.
    pub(crate) const TYPES: [&str; 20] = [
        "boolean",
        "int16",
        "int32",
        "int64",
        "float32",
        "float64",
        "decimal(20,4)",
        "decimal(38,9)",
        "text",
        "json",
        "binary",
        "uuid",
        "date",
        "time",
        "timestamp",
        "timestamptz",
        "list<int32>",
        "list<text>",
        "list<timestamptz>",
        "list<decimal(10,2)>",
    ];

    /// Columns of these types, each named like its type.
    pub(crate) fn columns() -> impl Iterator<Item = Column> {
        TYPES.into_iter().zip(1..).map(|(name, id)| Column {
            id,
            name: name.to_owned(),
            column_type: name.parse().unwrap(),
            nullable: true,
            source_type: String::new(),
            element_id: None,
            mask: None,
            renamed_from: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_reads_back_from_its_own_name() {
        for name in samples::TYPES {
            let parsed: ColumnType = name.parse().unwrap();
            assert_eq!(parsed.to_string(), name);
        }
        for wrong in ["decimal(39,0)", "decimal(3,4)", "list<list<text>>", "money"] {
            assert!(wrong.parse::<ColumnType>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_type_holds_what_it_can_represent_exactly_and_nothing_else() {
        let holds = |wide: &str, narrow: &str| {
            let wide: ColumnType = wide.parse().unwrap();
            wide.holds(&narrow.parse().unwrap())
        };
        assert!(holds("int64", "int16"));
        assert!(holds("decimal(12,2)", "decimal(10,2)"));
        assert!(holds("decimal(12,2)", "int32"));
        assert!(holds("list<int64>", "list<int32>"));
        assert!(!holds("decimal(10,4)", "decimal(10,2)"));
        assert!(!holds("int32", "int64"));
        assert!(!holds("float64", "int64"));
        assert!(!holds("text", "int32"));
        assert!(!holds("timestamptz", "timestamp"));
    }
}

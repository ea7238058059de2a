//! A table's schema as the catalog has it: what its types are called, and the next one. No I/O.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::schema::ColumnType;

use super::dialect::kept;

/// A schema of a table's metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TableFields {
    #[serde(rename = "type", default = "of_struct")]
    kind: String,
    #[serde(default)]
    pub(super) schema_id: i32,
    pub(super) fields: Vec<Field>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Field {
    pub(super) id: i32,
    pub(super) name: String,
    required: bool,
    #[serde(rename = "type")]
    kind: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    doc: Option<String>,
}

fn of_struct() -> String {
    "struct".to_owned()
}

impl TableFields {
    /// A schema of these columns.
    pub(super) fn of(fields: Vec<Field>) -> Self {
        Self {
            kind: of_struct(),
            schema_id: 0,
            fields,
        }
    }
}

impl Field {
    /// A column of that type, which may be NULL. `last_id` is the highest number that was given in the table.
    pub(super) fn new(name: &str, column_type: &ColumnType, last_id: &mut i32) -> Self {
        *last_id += 1;
        Self {
            id: *last_id,
            name: name.to_owned(),
            required: false,
            kind: type_of(&kept(column_type), last_id),
            doc: None,
        }
    }

    /// The same column with a wider type.
    pub(super) fn promoted(&self, column_type: &ColumnType) -> Self {
        let mut none = 0;
        Self {
            kind: type_of(&kept(column_type), &mut none),
            ..self.clone()
        }
    }

    /// Its type; none where acequia has none such.
    pub(super) fn column_type(&self) -> Option<ColumnType> {
        parse(&self.kind)
    }

    /// Its type as the catalog writes it.
    pub(super) fn shown_type(&self) -> String {
        match &self.kind {
            Value::String(name) => name.clone(),
            Value::Object(of) => of
                .get("type")
                .and_then(Value::as_str)
                .unwrap_or("?")
                .to_owned(),
            _ => "?".to_owned(),
        }
    }
}

/// A type as the specification writes it (Appendix C).
fn type_of(column_type: &ColumnType, last_id: &mut i32) -> Value {
    match column_type {
        ColumnType::Boolean => json!("boolean"),
        ColumnType::Int16 | ColumnType::Int32 => json!("int"),
        ColumnType::Int64 => json!("long"),
        ColumnType::Float32 => json!("float"),
        ColumnType::Float64 => json!("double"),
        ColumnType::Decimal { precision, scale } => json!(format!("decimal({precision}, {scale})")),
        ColumnType::Text | ColumnType::Json | ColumnType::Uuid | ColumnType::Time => {
            json!("string")
        }
        ColumnType::Binary => json!("binary"),
        ColumnType::Date => json!("date"),
        ColumnType::Timestamp => json!("timestamp"),
        ColumnType::TimestampTz => json!("timestamptz"),
        ColumnType::List(element) => {
            *last_id += 1;
            let id = *last_id;
            let element = type_of(element, last_id);
            json!({"type": "list", "element-id": id, "element": element, "element-required": false})
        }
    }
}

fn parse(kind: &Value) -> Option<ColumnType> {
    if let Value::Object(of) = kind {
        if of.get("type")? != "list" {
            return None;
        }
        let element = parse(of.get("element")?)?;
        return Some(ColumnType::List(Box::new(element)));
    }
    let name = kind.as_str()?;
    Some(match name {
        "int" => ColumnType::Int32,
        "long" => ColumnType::Int64,
        "float" => ColumnType::Float32,
        "double" => ColumnType::Float64,
        "string" => ColumnType::Text,
        "boolean" | "binary" | "date" | "timestamp" | "timestamptz" => name.parse().ok()?,
        decimal if decimal.starts_with("decimal(") => decimal.parse().ok()?,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::samples::TYPES;

    #[test]
    fn every_type_is_known_again_as_the_table_keeps_it() {
        for name in TYPES {
            let column_type: ColumnType = name.parse().unwrap();
            let mut last = 3;
            let field = Field::new("c", &column_type, &mut last);
            assert_eq!(field.column_type(), Some(kept(&column_type)), "{name}");
            assert_eq!(field.id, 4);
            let is_list = matches!(column_type, ColumnType::List(_));
            assert_eq!(last, if is_list { 5 } else { 4 });
        }
        assert_eq!(parse(&json!("fixed[16]")), None);
        assert_eq!(parse(&json!({"type": "struct", "fields": []})), None);
    }
}

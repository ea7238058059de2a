//! What an object's properties are: their names for people, their types, and the labels of their choices.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::json;
use super::object_client::ObjectClient;
use super::rate_limit::Allowance;
use super::rows::{RowBuilder, fixed_columns, send_rows};
use crate::error::Result;
use crate::schema::{ColumnSpec, ColumnType, Schema};

/// The key of definitions.
pub const PROPERTIES_KEY: [&str; 1] = ["name"];
/// The key of choices.
pub const OPTIONS_KEY: [&str; 2] = ["property", "value"];

#[derive(Debug, Deserialize)]
struct List {
    results: Vec<Definition>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Definition {
    name: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    field_type: Option<String>,
    #[serde(default)]
    group_name: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    calculated: Option<bool>,
    #[serde(default)]
    has_unique_value: Option<bool>,
    #[serde(default)]
    hubspot_defined: Option<bool>,
    #[serde(default)]
    archived: bool,
    #[serde(default)]
    created_at: Option<String>,
    #[serde(default)]
    updated_at: Option<String>,
    #[serde(default)]
    options: Vec<Choice>,
    #[serde(default)]
    modification_metadata: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Choice {
    value: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    display_order: Option<i64>,
    #[serde(default)]
    hidden: Option<bool>,
}

/// The columns of definitions: a row is a property.
pub fn property_columns() -> Vec<ColumnSpec> {
    fixed_columns(&[
        ("name", ColumnType::Text, false),
        ("label", ColumnType::Text, true),
        ("type", ColumnType::Text, true),
        ("field_type", ColumnType::Text, true),
        ("group_name", ColumnType::Text, true),
        ("description", ColumnType::Text, true),
        ("calculated", ColumnType::Boolean, true),
        ("has_unique_value", ColumnType::Boolean, true),
        ("hubspot_defined", ColumnType::Boolean, true),
        ("archived", ColumnType::Boolean, false),
        ("created_at", ColumnType::TimestampTz, true),
        ("updated_at", ColumnType::TimestampTz, true),
        ("modification_metadata", ColumnType::Json, true),
    ])
}

/// The columns of choices: a row is a choice of a property.
pub fn option_columns() -> Vec<ColumnSpec> {
    fixed_columns(&[
        ("property", ColumnType::Text, false),
        ("value", ColumnType::Text, false),
        ("label", ColumnType::Text, true),
        ("description", ColumnType::Text, true),
        ("display_order", ColumnType::Int64, true),
        ("hidden", ColumnType::Boolean, true),
    ])
}

/// Reads the definitions of an object's properties, those included that are archived.
pub async fn read_properties(
    reader: ObjectClient,
    schema: &Schema,
    batches: mpsc::Sender<RecordBatch>,
) -> Result<()> {
    let mut builder = RowBuilder::new(schema)?;
    for property in definitions(&reader).await? {
        let flag = |flag: Option<bool>| flag.map(|flag| Cow::Owned(flag.to_string()));
        builder.row(&[
            Some(property.name.into()),
            property.label.map(Cow::Owned),
            property.kind.map(Cow::Owned),
            property.field_type.map(Cow::Owned),
            property.group_name.map(Cow::Owned),
            property.description.map(Cow::Owned),
            flag(property.calculated),
            flag(property.has_unique_value),
            flag(property.hubspot_defined),
            Some(property.archived.to_string().into()),
            property.created_at.map(Cow::Owned),
            property.updated_at.map(Cow::Owned),
            property
                .modification_metadata
                .as_ref()
                .map(|json| json.get().into()),
        ])?;
    }
    send_rows(&mut builder, &batches, true).await
}

/// Reads the choices of an object's properties, with their labels.
pub async fn read_options(
    reader: ObjectClient,
    schema: &Schema,
    batches: mpsc::Sender<RecordBatch>,
) -> Result<()> {
    let mut builder = RowBuilder::new(schema)?;
    for property in definitions(&reader).await? {
        for choice in property.options {
            builder.row(&[
                Some(Cow::Borrowed(&property.name)),
                Some(choice.value.into()),
                choice.label.map(Cow::Owned),
                choice.description.map(Cow::Owned),
                choice.display_order.map(|order| order.to_string().into()),
                choice.hidden.map(|hidden| hidden.to_string().into()),
            ])?;
        }
        send_rows(&mut builder, &batches, false).await?;
    }
    send_rows(&mut builder, &batches, true).await
}

async fn definitions(reader: &ObjectClient) -> Result<Vec<Definition>> {
    let mut all = Vec::new();
    for archived in [false, true] {
        let path = format!(
            "{}?archived={archived}",
            reader.client.version.properties(&reader.object)
        );
        let mut request = reader.request(path, None, Allowance::Window);
        request.subject = format!("the properties of {}", reader.object);
        let list: List = reader
            .client
            .ask(&request, &reader.stop, |body: &[u8]| json::parse(body))
            .await?;
        all.extend(list.results);
    }
    Ok(all)
}

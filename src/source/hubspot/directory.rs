//! What is no object of the CRM but goes with them: owners, and the stages of pipelines.

use std::borrow::Cow;

use arrow::array::RecordBatch;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::json::{self, Flaw};
use super::listing::Trail;
use super::object::CrmObject;
use super::object_client::{ObjectClient, encode};
use super::page::Paging;
use super::rate_limit::Allowance;
use super::rows::{RowBuilder, fixed_columns, send_rows};
use crate::error::Result;
use crate::schema::{ColumnSpec, ColumnType, Schema};

/// Owners of a page, at most.
const OWNERS_PAGE: usize = 100;
/// The key of owners.
pub const OWNERS_KEY: [&str; 1] = ["id"];

#[derive(Debug, Deserialize)]
struct OwnerPage {
    results: Vec<Owner>,
    #[serde(default)]
    paging: Option<Paging>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Owner {
    id: String,
    #[serde(default)]
    email: Option<String>,
    #[serde(default)]
    first_name: Option<String>,
    #[serde(default)]
    last_name: Option<String>,
    #[serde(rename = "type", default)]
    kind: Option<String>,
    #[serde(default)]
    user_id: Option<i64>,
    #[serde(default)]
    user_id_including_inactive: Option<i64>,
    #[serde(default)]
    teams: Option<Box<RawValue>>,
    created_at: String,
    updated_at: String,
    archived: bool,
}

#[derive(Debug, Deserialize)]
struct PipelineList {
    results: Vec<Pipeline>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pipeline {
    id: String,
    label: String,
    display_order: i64,
    archived: bool,
    stages: Vec<Stage>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Stage {
    id: String,
    label: String,
    display_order: i64,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
    created_at: String,
    updated_at: String,
    archived: bool,
}

/// The columns of owners.
pub fn owner_columns() -> Vec<ColumnSpec> {
    fixed_columns(&[
        ("id", ColumnType::Text, false),
        ("email", ColumnType::Text, true),
        ("first_name", ColumnType::Text, true),
        ("last_name", ColumnType::Text, true),
        ("type", ColumnType::Text, true),
        ("user_id", ColumnType::Int64, true),
        ("user_id_including_inactive", ColumnType::Int64, true),
        ("teams", ColumnType::Json, true),
        ("created_at", ColumnType::TimestampTz, false),
        ("updated_at", ColumnType::TimestampTz, false),
        ("archived", ColumnType::Boolean, false),
    ])
}

/// The columns of pipelines: a row is a stage, or a pipeline without any.
pub fn pipeline_columns() -> Vec<ColumnSpec> {
    fixed_columns(&[
        ("object", ColumnType::Text, false),
        ("pipeline_id", ColumnType::Text, false),
        ("pipeline_label", ColumnType::Text, false),
        ("pipeline_display_order", ColumnType::Int64, false),
        ("pipeline_archived", ColumnType::Boolean, false),
        ("stage_id", ColumnType::Text, true),
        ("stage_label", ColumnType::Text, true),
        ("stage_display_order", ColumnType::Int64, true),
        ("stage_archived", ColumnType::Boolean, true),
        ("metadata", ColumnType::Json, true),
        ("created_at", ColumnType::TimestampTz, true),
        ("updated_at", ColumnType::TimestampTz, true),
    ])
}

/// Reads the owners, those included that are archived.
pub async fn read_owners(
    reader: ObjectClient,
    schema: &Schema,
    batches: mpsc::Sender<RecordBatch>,
) -> Result<()> {
    let mut builder = RowBuilder::new(schema)?;
    for archived in [false, true] {
        let mut after: Option<String> = None;
        let mut trail = Trail::default();
        loop {
            let mut path = format!(
                "{}?limit={OWNERS_PAGE}&archived={archived}",
                reader.client.version.owners()
            );
            if let Some(after) = &after {
                path.push_str("&after=");
                encode(&mut path, after);
            }
            let request = reader.request(path, None, Allowance::Window);
            let sound = |body: &[u8]| -> Result<OwnerPage, Flaw> {
                let page: OwnerPage = json::parse(body)?;
                trail.check(page.paging.as_ref().and_then(Paging::after))?;
                Ok(page)
            };
            let page = reader.client.ask(&request, &reader.stop, sound).await?;
            for owner in page.results {
                builder.row(&[
                    Some(owner.id.into()),
                    owner.email.map(Cow::Owned),
                    owner.first_name.map(Cow::Owned),
                    owner.last_name.map(Cow::Owned),
                    owner.kind.map(Cow::Owned),
                    owner.user_id.map(|id| id.to_string().into()),
                    owner
                        .user_id_including_inactive
                        .map(|id| id.to_string().into()),
                    owner.teams.as_ref().map(|teams| teams.get().into()),
                    Some(owner.created_at.into()),
                    Some(owner.updated_at.into()),
                    Some(owner.archived.to_string().into()),
                ])?;
            }
            after = page
                .paging
                .as_ref()
                .and_then(Paging::after)
                .map(str::to_owned);
            let Some(after) = &after else {
                break;
            };
            trail.follow(after);
            send_rows(&mut builder, &batches, false).await?;
        }
    }
    send_rows(&mut builder, &batches, true).await
}

/// Reads the pipelines of these objects.
pub async fn read_pipelines(
    reader: ObjectClient,
    objects: &[CrmObject],
    schema: &Schema,
    batches: mpsc::Sender<RecordBatch>,
) -> Result<()> {
    let mut builder = RowBuilder::new(schema)?;
    for object in objects {
        let mut request = reader.request(
            reader.client.version.pipelines(object),
            None,
            Allowance::Window,
        );
        request.subject = format!("the pipelines of {object}");
        request.scopes = object.scopes();
        let list: PipelineList = reader
            .client
            .ask(&request, &reader.stop, |body: &[u8]| json::parse(body))
            .await?;
        for pipeline in &list.results {
            let mut row = |stage: Option<&Stage>| {
                builder.row(&[
                    Some(object.as_str().into()),
                    Some(Cow::Borrowed(&pipeline.id)),
                    Some(Cow::Borrowed(&pipeline.label)),
                    Some(pipeline.display_order.to_string().into()),
                    Some(pipeline.archived.to_string().into()),
                    stage.map(|stage| Cow::Borrowed(stage.id.as_str())),
                    stage.map(|stage| Cow::Borrowed(stage.label.as_str())),
                    stage.map(|stage| stage.display_order.to_string().into()),
                    stage.map(|stage| stage.archived.to_string().into()),
                    stage
                        .and_then(|stage| stage.metadata.as_ref())
                        .map(|json| json.get().into()),
                    stage.map(|stage| Cow::Borrowed(stage.created_at.as_str())),
                    stage.map(|stage| Cow::Borrowed(stage.updated_at.as_str())),
                ])
            };
            if pipeline.stages.is_empty() {
                row(None)?;
            }
            for stage in &pipeline.stages {
                row(Some(stage))?;
            }
        }
    }
    send_rows(&mut builder, &batches, true).await
}

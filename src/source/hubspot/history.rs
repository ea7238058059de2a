//! The history of chosen properties: one row for each value that one had.

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use futures::StreamExt;
use serde::Deserialize;
use tokio::sync::mpsc;

use super::ids::IdSet;
use super::json::{self, Flaw};
use super::listing::RecordState;
use super::object_client::{BatchOf, IdSource, ObjectClient};
use super::page::{IdHead, Page};
use super::records::Start;
use super::rows::{RowBuilder, fixed_columns, send_rows};
use crate::error::Result;
use crate::schema::{ColumnSpec, ColumnType, Schema};

/// The key: several values of a property may have the same time.
pub const KEY: [&str; 4] = ["id", "property", "timestamp", "seq"];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    id: String,
    #[serde(borrow, default)]
    properties_with_history: BTreeMap<Cow<'a, str>, Vec<Version<'a>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version<'a> {
    #[serde(borrow, default)]
    value: Option<Cow<'a, str>>,
    timestamp: String,
    #[serde(default)]
    source_type: Option<String>,
    #[serde(default)]
    source_id: Option<String>,
    #[serde(default)]
    source_label: Option<String>,
    #[serde(default)]
    updated_by_user_id: Option<i64>,
}

/// The columns.
pub fn columns() -> Vec<ColumnSpec> {
    fixed_columns(&[
        ("id", ColumnType::Text, false),
        ("property", ColumnType::Text, false),
        ("timestamp", ColumnType::TimestampTz, false),
        ("seq", ColumnType::Int32, false),
        ("value", ColumnType::Text, true),
        ("source_type", ColumnType::Text, true),
        ("source_id", ColumnType::Text, true),
        ("source_label", ColumnType::Text, true),
        ("updated_by_user_id", ColumnType::Int64, true),
    ])
}

/// Reads the history of these properties: of all records, or of those that changed.
pub async fn read(
    reader: ObjectClient,
    schema: &Schema,
    properties: Vec<String>,
    start: Start,
    batches: mpsc::Sender<RecordBatch>,
) -> Result<()> {
    let asked = BatchOf {
        properties: vec!["hs_object_id".to_owned()],
        history: properties,
    };
    let mut builder = RowBuilder::new(schema)?;
    let mut seen = IdSet::default();
    // By search; or, if ids are compared, by the list, which has what search did not find since the last comparison.
    let (since, by_search) = match start {
        Start::Beginning => (None, false),
        Start::Since {
            since,
            compare: None,
            ..
        } => (Some(since), true),
        Start::Since {
            since,
            compare: Some(compare),
            ..
        } => (compare.since.map(|last| last.min(since)), false),
    };
    for which in [RecordState::Live, RecordState::Archived] {
        let ids = match (which, since) {
            (RecordState::Live, Some(since)) if by_search => IdSource::changed(since),
            _ => IdSource::list(which),
        };
        let is_search = by_search && which == RecordState::Live;
        let keep = |head: &IdHead| Ok(is_search || since.is_none_or(|since| head.is_since(since)));
        let answers = reader.batches(ids, which, &asked, keep);
        let mut answers = std::pin::pin!(answers);
        while let Some(answer) = answers.next().await {
            let answer = answer?;
            reader
                .decode(answer, |body| -> Result<_, Flaw> {
                    let page: Page<Record<'_>> = json::parse(body)?;
                    page.check_whole()?;
                    Ok(write(page, &mut builder, &mut seen))
                })
                .await??;
            send_rows(&mut builder, &batches, false).await?;
        }
    }
    send_rows(&mut builder, &batches, true).await
}

fn write(page: Page<Record<'_>>, builder: &mut RowBuilder, seen: &mut IdSet) -> Result<()> {
    for record in page.results {
        if record.id.parse().is_ok_and(|id| !seen.insert(id)) {
            continue;
        }
        for (property, versions) in record.properties_with_history {
            let mut at_a_time: BTreeMap<String, u32> = BTreeMap::new();
            // The versions are sorted from new to old; they are numbered from the oldest on, so that a new one changes no
            // number.
            for version in versions.into_iter().rev() {
                let count = at_a_time.entry(version.timestamp.clone()).or_insert(0);
                let seq = count.to_string();
                *count += 1;
                builder.row(&[
                    Some(Cow::Borrowed(&record.id)),
                    Some(Cow::Borrowed(&property)),
                    Some(version.timestamp.into()),
                    Some(seq.into()),
                    version.value,
                    version.source_type.map(Cow::Owned),
                    version.source_id.map(Cow::Owned),
                    version.source_label.map(Cow::Owned),
                    version.updated_by_user_id.map(|id| id.to_string().into()),
                ])?;
            }
        }
    }
    Ok(())
}

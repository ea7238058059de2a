//! Associations of one kind of object with another: one row for each pair and type.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::stream::{self, StreamExt};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::json::{self, Flaw};
use super::listing::{RecordState, Trail};
use super::object::CrmObject;
use super::object_client::{IdSource, ObjectClient};
use super::page::{NumberOrText, Page, Paging};
use super::rate_limit::Allowance;
use super::rows::{RowBuilder, fixed_columns, send_rows};
use crate::error::Result;
use crate::schema::{ColumnSpec, ColumnType, Schema};

/// The key: a type's number is only unique among those of its category.
pub const KEY: [&str; 4] = ["from_id", "to_id", "category", "type_id"];
/// The most records whose associations one request asks for.
const INPUTS: usize = 1_000;
/// How many requests run at once.
const AT_ONCE: usize = 4;

#[derive(Debug, Deserialize)]
struct Links {
    from: From,
    to: Vec<Link>,
    #[serde(default)]
    paging: Option<Paging>,
}

#[derive(Debug, Deserialize)]
struct From {
    id: NumberOrText,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    to_object_id: NumberOrText,
    association_types: Vec<Kind>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    type_id: i64,
    #[serde(default)]
    category: Option<String>,
    #[serde(default)]
    label: Option<String>,
}

/// The two kinds of objects.
#[derive(Debug)]
struct Between {
    reader: ObjectClient,
    to: CrmObject,
}

impl Between {
    async fn all(&self, inputs: Vec<Input>) -> Result<Vec<Links>> {
        all_of(&self.reader, &self.to, inputs).await
    }
}

/// One input of a request: a record, and the cursor of its next page.
type Input = (String, Option<String>);

/// The columns.
pub fn columns() -> Vec<ColumnSpec> {
    fixed_columns(&[
        ("from_id", ColumnType::Text, false),
        ("to_id", ColumnType::Text, false),
        ("type_id", ColumnType::Int64, false),
        ("category", ColumnType::Text, true),
        ("label", ColumnType::Text, true),
    ])
}

/// Reads the associations of all live records with those of another kind.
pub async fn read(
    reader: ObjectClient,
    to: CrmObject,
    schema: &Schema,
    batches: mpsc::Sender<RecordBatch>,
) -> Result<()> {
    let mut builder = RowBuilder::new(schema)?;
    let of = Arc::new(Between { reader, to });
    let asking = Arc::clone(&of);
    let inputs = stream::unfold(Some(IdSource::list(RecordState::Live)), move |ids| {
        gather(Arc::clone(&asking), ids)
    });
    let pages = inputs
        .map(move |inputs| {
            let of = Arc::clone(&of);
            async move { of.all(inputs?).await }
        })
        .buffered(AT_ONCE);
    let mut pages = std::pin::pin!(pages);
    while let Some(results) = pages.next().await {
        for links in results? {
            write(links, &mut builder)?;
        }
        send_rows(&mut builder, &batches, false).await?;
    }
    send_rows(&mut builder, &batches, true).await
}

/// The next records whose associations are requested, and the cursor after them.
async fn gather(
    of: Arc<Between>,
    ids: Option<IdSource>,
) -> Option<(Result<Vec<Input>>, Option<IdSource>)> {
    let mut ids = ids?;
    let mut gathered: Vec<Input> = Vec::new();
    while gathered.len() < INPUTS {
        match ids.next(&of.reader).await {
            Ok(Some(heads)) => gathered.extend(heads.into_iter().map(|head| (head.id, None))),
            Ok(None) if gathered.is_empty() => return None,
            Ok(None) => return Some((Ok(gathered), None)),
            Err(error) => return Some((Err(error), None)),
        }
    }
    Some((Ok(gathered), Some(ids)))
}

/// The associations of these records, including those on further pages.
async fn all_of(
    reader: &ObjectClient,
    to: &CrmObject,
    mut inputs: Vec<Input>,
) -> Result<Vec<Links>> {
    let mut all = Vec::new();
    let mut trails: HashMap<String, Trail> = HashMap::new();
    while !inputs.is_empty() {
        let mut further = Vec::new();
        for inputs in inputs.chunks(INPUTS) {
            let body: Vec<_> = inputs
                .iter()
                .map(|(id, after)| match after {
                    Some(after) => json!({"id": id, "after": after}),
                    None => json!({"id": id}),
                })
                .collect();
            let path = reader.client.version.associations(&reader.object, to);
            let body = json!({"inputs": body}).to_string().into();
            let mut request = reader.request(path, Some(body), Allowance::Window);
            request.subject = format!("the associations of {} with {to}", reader.object);
            request.scopes.extend(to.scopes());
            let sound = |body: &[u8]| -> Result<Vec<Links>, Flaw> {
                // HubSpot reports a record without associations as an error, too.
                let page: Page<Links> = json::parse(body)?;
                page.check_whole()?;
                let results = page.results;
                for links in &results {
                    if let Some(trail) = trails.get(&links.from.id.0) {
                        trail.check(links.after())?;
                    }
                }
                Ok(results)
            };
            let results = reader.client.ask(&request, &reader.stop, sound).await?;
            for links in results {
                if let Some(after) = links.after() {
                    let from = links.from.id.0.clone();
                    trails.entry(from.clone()).or_default().follow(after);
                    further.push((from, Some(after.to_owned())));
                }
                all.push(links);
            }
        }
        inputs = further;
    }
    Ok(all)
}

impl Links {
    fn after(&self) -> Option<&str> {
        self.paging.as_ref().and_then(Paging::after)
    }
}

fn write(links: Links, builder: &mut RowBuilder) -> Result<()> {
    let from = links.from.id.0;
    for link in links.to {
        let to = link.to_object_id.0;
        for kind in link.association_types {
            builder.row(&[
                Some(Cow::Borrowed(&from)),
                Some(Cow::Borrowed(&to)),
                Some(kind.type_id.to_string().into()),
                kind.category.map(Cow::Owned),
                kind.label.map(Cow::Owned),
            ])?;
        }
    }
    Ok(())
}

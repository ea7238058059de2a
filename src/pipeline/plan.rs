//! What a run would do (`run --dry-run`). Source and destination are only read.

use std::collections::BTreeMap;

use serde::Serialize;

use super::contained::contained;
use super::report::RangeReport;
use super::shape_step::shaped;
use super::{RunOptions, ranges};
use crate::change;
use crate::config::{Pipeline, Stream};
use crate::destination::StreamState;
use crate::error::Result;
use crate::evolution::{SchemaContract, preview};
use crate::mode::{Disposition, Mode};
use crate::names::StreamName;
use crate::position::{AskedRange, Position};
use crate::source::{Looks, OpenStream};

/// What a run would do with a stream.
#[derive(Debug, Clone, Serialize)]
pub struct StreamPlan {
    /// The stream.
    pub stream: StreamName,
    /// How the stream would be read.
    pub mode: Mode,
    /// How its loads would be applied.
    pub disposition: Disposition,
    /// The destination table.
    pub table: String,
    /// The key. Empty if there is none.
    pub primary_key: Vec<String>,
    /// The columns and their types.
    pub columns: Vec<(String, String)>,
    /// The changes of the table's schema.
    pub changes: Vec<String>,
    /// The number of rows, as the source estimates it.
    pub estimated_rows: Option<u64>,
    /// How the rows would be read, for people.
    pub reading: String,
    /// The position that the extract would begin at. `None` for the beginning.
    pub position: Option<Position>,
    /// The range that would be read again, if one was asked for: `estimated_rows` is the number of its rows then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range: Option<RangeReport>,
    /// The error that would keep the stream from running.
    pub error: Option<String>,
}

/// What a run with these options would do with each stream.
///
/// # Errors
/// The destination cannot be inspected, or a range is asked for of a stream that has none.
pub async fn plan(pipeline: &Pipeline, options: &RunOptions) -> Result<Vec<StreamPlan>> {
    let full_refresh = options.full_refresh;
    if let Some(range) = &options.range {
        ranges::refuse(pipeline, range, options)?;
    }
    let view = super::status::look_at_destination(pipeline).await?;
    let mut looks: BTreeMap<&str, Looks> = BTreeMap::new();
    let mut plans = Vec::with_capacity(pipeline.streams.len());
    for stream in &pipeline.streams {
        let state = view.states.get(&stream.name).filter(|_| !full_refresh);
        let mut plan = StreamPlan {
            stream: stream.name.clone(),
            mode: stream.mode(),
            disposition: stream.disposition(),
            table: stream.table.clone(),
            primary_key: Vec::new(),
            columns: Vec::new(),
            changes: Vec::new(),
            estimated_rows: None,
            reading: String::new(),
            position: state.and_then(|state| state.position.clone()),
            range: None,
            error: None,
        };
        let looking = async {
            if !full_refresh {
                view.refuse_other_versions(stream)?;
            }
            let looks = looks.entry(&stream.source).or_default();
            look(stream, state, options.range.as_ref(), looks, &mut plan).await
        };
        if let Err(error) = contained(looking).await {
            plan.error = Some(super::name_stream(error, stream).report());
        }
        plans.push(plan);
    }
    Ok(plans)
}

async fn look(
    stream: &Stream,
    state: Option<&StreamState>,
    range: Option<&AskedRange>,
    looks: &Looks,
    plan: &mut StreamPlan,
) -> Result<()> {
    let position = state.and_then(|state| state.position.as_ref());
    super::stream::start_position(stream, position)?;
    let known = state.filter(|_| stream.contract != SchemaContract::Freeze);
    let known = known.map(|state| state.schema.as_source());
    let looked = looks.look(&stream.from, known.as_ref()).await?;
    let mut shaped = shaped(stream, &looked.description)?;
    let description = &mut shaped.description;
    plan.primary_key.clone_from(&description.primary_key);
    plan.estimated_rows = description.estimated_rows;
    plan.reading.clone_from(&description.reading);
    plan.columns = description
        .columns
        .iter()
        .map(|column| (column.name.clone(), column.column_type.to_string()))
        .collect();
    if stream.mode() == Mode::Cdc {
        description.columns.extend(change::columns());
    }
    if let Some(state) = state {
        super::stream::refuse_others(stream, &state.schema)?;
        super::stream::refuse_other_names(stream, &shaped.shape.renames, &state.schema)?;
        super::stream::refuse_other_key(stream, &shaped.description.primary_key, &state.schema)?;
        let schema = shaped.schema(Some(&state.schema));
        let steps = preview(&state.schema, &schema, &shaped.description.misfits)?;
        plan.changes = steps.iter().map(ToString::to_string).collect();
        stream.contract.check(&steps)?;
    }
    if let Some(asked) = range {
        let opened = OpenStream::open(&stream.from).await?;
        let (rows, range) = super::stream::look_at_range(stream, state, &opened, asked).await?;
        plan.estimated_rows = Some(rows);
        "the range".clone_into(&mut plan.reading);
        plan.range = Some(range);
    }
    Ok(())
}

//! Looks up the tables of streams with `tables`, before a run or another command: in their sources, or as the last run noted
//! them in the landing area.

use std::collections::BTreeMap;

use futures::future::join_all;

use super::contained::contained;
use crate::config::{Document, Pipeline, Source};
use crate::error::{Error, Result};
use crate::known_tables::SourceTable;
use crate::landing::Landing;
use crate::source::postgres::Postgres;

/// Where the tables of streams with `tables` are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TablesFrom<'a> {
    /// In the sources, if any of the streams with these names has such tables; all streams if none is named. A source that
    /// cannot be asked makes their streams fail.
    Sources(&'a [String]),
    /// As the last run noted them, without the sources.
    LastRun,
    /// As the last run noted them, and those that were gone from the source by then.
    AllRuns,
}

/// The document with an ordinary stream for each table that its patterns find. One without patterns stays as it is.
///
/// # Errors
/// A stream with `tables` is written wrongly, or the landing area's note of them cannot be read.
pub async fn look_up_tables(document: Document, from: TablesFrom<'_>) -> Result<Document> {
    if !document.has_patterns() {
        return Ok(document);
    }
    let area = document.landing()?;
    let known = async {
        Landing::open(&area.root)?
            .known_tables(&area.pipeline)
            .await
    };
    match from {
        TablesFrom::Sources(streams) if document.asks_for_patterns(streams) => {
            // Where the landing area cannot be read, the run itself says so.
            let known = known.await.unwrap_or_else(|error: Error| {
                tracing::debug!(error = %error.report(), "cannot read which tables are known");
                Vec::new()
            });
            let names = document.sources_with_patterns();
            let asked = names.iter().map(|name| {
                let with_columns = document.asks_for_columns(name, &known);
                contained(ask(&document, name, with_columns))
            });
            let asked = join_all(asked).await;
            let names = names.into_iter().map(str::to_owned);
            let found: BTreeMap<String, Result<Vec<SourceTable>>> = names.zip(asked).collect();
            document.with_tables(&found, &known, false)
        }
        TablesFrom::Sources(_) | TablesFrom::LastRun => {
            document.with_tables(&BTreeMap::new(), &known.await?, false)
        }
        TablesFrom::AllRuns => document.with_tables(&BTreeMap::new(), &known.await?, true),
    }
}

async fn ask(document: &Document, source: &str, with_columns: bool) -> Result<Vec<SourceTable>> {
    match document.source(source)? {
        Source::Postgres(source) => Postgres::new(&source)?.tables(with_columns).await,
        Source::HubSpot(_) => Ok(Vec::new()),
    }
}

/// Notes the tables that were found, if there is anything new. The next run can tell by it which are new and gone.
pub(super) async fn note(pipeline: &Pipeline, landing: &Landing) -> Result<()> {
    let Some(found) = &pipeline.expansion.known else {
        return Ok(());
    };
    let known = landing.known_tables(&pipeline.name).await?;
    if known == *found {
        return Ok(());
    }
    landing.note_tables(&pipeline.name, found).await
}

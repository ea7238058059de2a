//! The report page, shown while the destination changes.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::page::page;
use super::status::look_at_destination;
use crate::config::{Pipeline, Target};
use crate::error::{Error, Result};
use crate::report::Server;

/// How often it is looked whether something has changed.
const PAUSE: Duration = Duration::from_secs(1);

/// What a page is made of: if it is as it was, so is the page.
#[derive(Debug, Default, PartialEq, Eq)]
struct Mark {
    /// The report's parts.
    parts: Vec<(PathBuf, Option<SystemTime>, u64)>,
    /// The destination.
    destination: Vec<(String, String)>,
}

/// Shows the page of a pipeline's report on a port of the loopback address, and makes it anew when the destination or the
/// report's parts have changed, until `stop`. `told` is called with the address once it listens.
///
/// The destination is opened only to make a page; a DuckDB file is looked at without opening it.
///
/// # Errors
/// The first page cannot be made, or the port is taken. A later page that cannot be made is logged, and the one before stays.
pub async fn serve(
    pipeline: &Pipeline,
    port: u16,
    stop: &CancellationToken,
    told: impl Fn(&str),
) -> Result<()> {
    let server = Server::bind(port).await?;
    let mut mark = mark(pipeline).await;
    let (newest, pages) = watch::channel(Arc::new(page(pipeline, stop).await?));
    told(&format!("http://{}/", server.address()));
    let making = async {
        let mut failure = None;
        loop {
            tokio::time::sleep(PAUSE).await;
            let now = self::mark(pipeline).await;
            if now == mark {
                continue;
            }
            match page(pipeline, stop).await {
                Ok(page) => {
                    failure = None;
                    newest.send_replace(Arc::new(page));
                }
                Err(Error::Interrupted) => return,
                Err(error) => {
                    let report = error.report();
                    if failure.as_ref() != Some(&report) {
                        tracing::warn!("the page stays as it was: {report}");
                        failure = Some(report);
                    }
                    // What only waits for another process is tried again.
                    if error.ends_when_released() {
                        continue;
                    }
                }
            }
            mark = now;
        }
    };
    tokio::select! {
        () = making => {}
        () = server.serve(pages, stop) => {}
        () = stop.cancelled() => {}
    }
    Ok(())
}

async fn mark(pipeline: &Pipeline) -> Mark {
    let folder = pipeline
        .report
        .as_ref()
        .map(|report| report.folder.as_path());
    Mark {
        parts: folder.map(files).unwrap_or_default(),
        destination: destination(pipeline).await,
    }
}

/// The files of a folder, with the time and the size of each.
fn files(folder: &Path) -> Vec<(PathBuf, Option<SystemTime>, u64)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = entries
        .map(|entry| {
            let metadata = entry.metadata().ok();
            let time = metadata
                .as_ref()
                .and_then(|metadata| metadata.modified().ok());
            (
                entry.path(),
                time,
                metadata.map_or(0, |metadata| metadata.len()),
            )
        })
        .collect();
    files.sort();
    files
}

/// What tells a destination from the same before a load. Where it cannot be looked at, that is what it tells.
async fn destination(pipeline: &Pipeline) -> Vec<(String, String)> {
    let Target::DuckDb { path, .. } = &pipeline.destination.target else {
        let looked = look_at_destination(pipeline).await;
        return match looked {
            Ok(view) => view
                .last_loads
                .iter()
                .map(|row| (row.stream.to_string(), row.loaded_at.to_rfc3339()))
                .collect(),
            Err(error) => vec![(String::new(), error.to_string())],
        };
    };
    let log = format!("{}.wal", path.display());
    [path.as_path(), Path::new(&log)]
        .into_iter()
        .map(|path| {
            let told = std::fs::metadata(path).ok().as_ref().map(told);
            (path.display().to_string(), told.unwrap_or_default())
        })
        .collect()
}

fn told(metadata: &Metadata) -> String {
    format!("{:?} {}", metadata.modified().ok(), metadata.len())
}

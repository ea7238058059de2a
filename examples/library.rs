//! acequia as a library: the pipeline of a configuration is run on a task of its own, and watched meanwhile.
//!
//! ```text
//! cargo run --release --example library [acequia.toml]
//! ```

#![allow(clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Duration;

use acequia::pipeline::report::Status;
use acequia::{Document, Progress, RunOptions, Selection};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let path = std::env::args_os()
        .nth(1)
        .map_or_else(|| "acequia.toml".into(), PathBuf::from);
    let pipeline = Document::read(&path)?.resolve(&Selection::default())?;

    let progress = Progress::default();
    let options = RunOptions {
        progress: progress.clone(),
        ..RunOptions::default()
    };
    let run = tokio::spawn(acequia::run(pipeline, options));
    while !run.is_finished() {
        tokio::time::sleep(Duration::from_millis(500)).await;
        for stream in progress.snapshot() {
            println!(
                "{}: {:?}, {} rows",
                stream.stream, stream.phase, stream.rows
            );
        }
    }
    let report = run.await??;
    for stream in &report.streams {
        match stream.status {
            Status::Ok => println!(
                "{}: {} inserted, {} updated",
                stream.stream, stream.inserted, stream.updated
            ),
            _ => println!(
                "{}: {}",
                stream.stream,
                stream.error.as_deref().unwrap_or("skipped")
            ),
        }
    }
    Ok(())
}

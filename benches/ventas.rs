//! The path of `ventas`, station by station and as a whole, against a raw drain of the same rows.
//!
//! `ACEQUIA_BENCH_ROWS` sets how many rows (default 1,000,000). Throughput is in rows a second; `benches/README.md` has the
//! figures that were measured, and on what.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;

use acequia::config::{self, Document, Pipeline, SchemaContract, Selection, Target};
use acequia::internals::LoadWriter;
use acequia::internals::assign_field_ids;
use acequia::internals::{Beginning, OpenStream};
use acequia::internals::{Parts, StagedLoad, open};
use acequia::landing::manifest::Part;
use acequia::landing::manifest::{FORMAT_VERSION, Manifest};
use acequia::landing::{Landing, LoadAddress};
use acequia::layout::Layout;
use acequia::mode::{Disposition, Mode};
use acequia::names::LoadId;
use acequia::pipeline::{self, RunOptions};
use acequia::progress::{Counters, Progress};
use acequia::schema::Schema;
use arrow::array::RecordBatch;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use testkit::{Cluster, Seed, TestDb};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

const PART_SIZE: u64 = 256 << 20;
const MEMORY_LIMIT: u64 = 256 << 20;

struct Bench {
    runtime: Runtime,
    database: TestDb,
    _cluster: Cluster,
    folder: tempfile::TempDir,
    rows: u64,
    lanes: Option<NonZeroUsize>,
}

impl Bench {
    fn new() -> Self {
        let rows = std::env::var("ACEQUIA_BENCH_ROWS")
            .ok()
            .and_then(|rows| rows.parse().ok())
            .unwrap_or(1_000_000);
        let cluster = Cluster::start().unwrap();
        let database = cluster.database("ventas").unwrap();
        database.apply_schema().unwrap();
        let seed = Seed::new(1, rows).only_ventas();
        seed.apply(&mut database.client().unwrap()).unwrap();
        Self {
            runtime: Runtime::new().unwrap(),
            database,
            _cluster: cluster,
            folder: tempfile::tempdir().unwrap(),
            rows,
            lanes: None,
        }
    }

    fn pipeline(&self, reader: &str) -> Pipeline {
        let lanes = self
            .lanes
            .map_or_else(String::new, |lanes| format!("parallel = {lanes}"));
        let file = self.folder.path().join("acequia.toml");
        let configuration = format!(
            "[pipeline]
name = \"bench\"
dataset = \"replica\"
part_size = \"{PART_SIZE}B\"
destination = \"duckdb\"

[destinations.duckdb]
kind = \"duckdb\"
path = \"bench.duckdb\"
memory_limit = \"{MEMORY_LIMIT}B\"

[sources.operativa]
kind = \"postgres\"
url = \"{}\"
reader = \"{reader}\"

[streams.ventas]
source = \"operativa\"
table = \"public.ventas\"
mode = \"full\"
{lanes}
",
            self.database.url()
        );
        std::fs::write(&file, configuration).unwrap();
        let document = Document::read(&file).unwrap();
        document.resolve(&Selection::default()).unwrap()
    }

    /// Reads every batch of the table, and hands each on.
    fn extract(&self, reader: &str, mut take: impl FnMut(RecordBatch)) -> Schema {
        let pipeline = self.pipeline(reader);
        let stream = &pipeline.streams[0];
        self.runtime.block_on(async {
            let opened = OpenStream::open(&stream.from).await.unwrap();
            let schema = assign_field_ids(None, opened.description().columns.clone());
            let stop = CancellationToken::new();
            let extract = opened
                .read(&schema, Beginning::default(), &stop)
                .await
                .unwrap();
            let (sender, mut all) = mpsc::channel(4);
            for mut batches in extract.lanes {
                let sender = sender.clone();
                tokio::spawn(async move {
                    while let Some(batch) = batches.recv().await {
                        sender.send(batch).await.unwrap();
                    }
                });
            }
            let end = tokio::spawn(extract.end);
            drop(sender);
            while let Some(batch) = all.recv().await {
                take(batch);
            }
            end.await.unwrap().unwrap();
            schema
        })
    }

    /// Lands batches in a folder of their own.
    fn land(&self, batches: &[RecordBatch]) -> (Landing, LoadAddress, Vec<Part>) {
        let landing = Landing::open(&self.pipeline("copy").landing).unwrap();
        let address = LoadAddress {
            pipeline: "bench".parse().unwrap(),
            stream: "ventas".parse().unwrap(),
            load_id: LoadId::new(&acequia::names::DestinationId::random()),
        };
        let writer = LoadWriter::new(&landing, &address, PART_SIZE, &Counters::default());
        let landed = self.runtime.block_on(async {
            let (sender, receiver) = mpsc::channel(2);
            let [first, batches @ ..] = batches else {
                return Vec::new();
            };
            let first = first.clone();
            let landing = tokio::task::spawn_blocking(move || writer.land(first, receiver, Ok));
            for batch in batches {
                sender.send(batch.clone()).await.unwrap();
            }
            drop(sender);
            landing.await.unwrap().unwrap()
        });
        (landing, address, landed)
    }
}

/// Reads `COPY ventas` to its end and throws it away, as one query or as two ranges of pages at once. Returns the bytes.
fn drain(database: &TestDb, ranges: usize) -> u64 {
    let pages: i64 = database
        .client()
        .unwrap()
        .query_one("SELECT pg_relation_size('ventas') / 8192", &[])
        .unwrap()
        .get(0);
    let middle = pages / 2;
    let conditions = match ranges {
        1 => vec![String::new()],
        _ => vec![
            format!("WHERE ctid < '({middle},0)'"),
            format!("WHERE ctid >= '({middle},0)'"),
        ],
    };
    let threads: Vec<_> = conditions
        .into_iter()
        .map(|condition| {
            let mut client = database.client().unwrap();
            std::thread::spawn(move || {
                let copy =
                    format!("COPY (SELECT * FROM ventas {condition}) TO STDOUT (FORMAT binary)");
                let mut reader = client.copy_out(&copy).unwrap();
                let mut buffer = vec![0; 1 << 20];
                let mut bytes = 0;
                loop {
                    match reader.read(&mut buffer).unwrap() {
                        0 => return bytes,
                        read => bytes += read as u64,
                    }
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum()
}

fn stations(criterion: &mut Criterion) {
    let mut bench = Bench::new();
    let mut batches = Vec::new();
    let schema = bench.extract("copy", |batch| batches.push(batch));
    let (landing, address, landed) = bench.land(&batches);

    let mut group = criterion.benchmark_group("ventas");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(bench.rows));
    group.bench_function("raw COPY drain, one query", |b| {
        b.iter(|| drain(&bench.database, 1));
    });
    group.bench_function("raw COPY drain, two ranges", |b| {
        b.iter(|| drain(&bench.database, 2));
    });
    for lanes in [1, 2] {
        bench.lanes = NonZeroUsize::new(lanes);
        for (reader, name) in [("copy", "copy"), ("connectorx", "connectorx")] {
            group.bench_function(format!("extract, {name}, lanes: {lanes}"), |b| {
                b.iter(|| {
                    let mut rows = 0;
                    bench.extract(reader, |batch| rows += batch.num_rows());
                    assert_eq!(rows as u64, bench.rows);
                });
            });
        }
    }
    bench.lanes = None;
    group.bench_function("land", |b| {
        b.iter(|| {
            let (landing, address, _) = bench.land(&batches);
            bench.runtime.block_on(landing.discard(&address)).unwrap();
        });
    });
    let bytes: u64 = landed.iter().map(|part| part.bytes).sum();
    group.throughput(Throughput::ElementsAndBytes {
        elements: bench.rows,
        bytes,
    });
    let mut duckdb = open(
        &config::Destination {
            name: "duckdb".to_owned(),
            target: Target::DuckDb {
                path: bench.folder.path().join("load.duckdb"),
                memory_limit: Some(MEMORY_LIMIT),
            },
            wait: std::time::Duration::ZERO,
        },
        "replica",
    )
    .unwrap();
    let staged = staged(&bench, &landing, &address, &landed, &schema);
    group.bench_function("load", |b| {
        b.iter(|| {
            let load = staged(duckdb.id());
            duckdb.load(&load).unwrap()
        });
    });
    drop(duckdb);
    drop(batches);
    group.bench_function("whole path", |b| {
        b.iter(|| {
            let _ = std::fs::remove_file(bench.folder.path().join("bench.duckdb"));
            let options = RunOptions {
                full_refresh: false,
                delete_missing: false,
                jobs: NonZeroUsize::MIN,
                interrupt: CancellationToken::new(),
                progress: Progress::default(),
                models: false,
                ..RunOptions::default()
            };
            let report = bench
                .runtime
                .block_on(pipeline::run(bench.pipeline("copy"), options))
                .unwrap();
            assert!(report.is_ok(), "{report:?}");
            remove(&bench.folder.path().join("landing/bench/ventas"));
        });
    });
    group.finish();
}

/// A load of the landed parts, with a new id each time.
fn staged<'a>(
    bench: &'a Bench,
    landing: &'a Landing,
    address: &'a LoadAddress,
    landed: &'a [Part],
    schema: &'a Schema,
) -> impl Fn(&acequia::names::DestinationId) -> StagedLoad + 'a {
    move |id| {
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            pipeline: "bench".to_owned(),
            stream: "ventas".parse().unwrap(),
            load_id: LoadId::new(id),
            table: "ventas".to_owned(),
            mode: Mode::Full,
            disposition: Disposition::Replace,
            primary_key: vec!["id".to_owned()],
            changes: None,
            amends: None,
            previous: None,
            full_refresh: false,
            key_is_unique: true,
            configuration: None,
            cursor: None,
            marks: None,
            schema: schema.clone(),
            position_before: None,
            position_after: None,
            rows: bench.rows,
            bytes: landed.iter().map(|part| part.bytes).sum(),
            parts: landed.to_vec(),
            extracted_at: chrono::Utc::now(),
            acequia_version: String::new(),
        };
        let parts = bench
            .runtime
            .block_on(landing.local_parts(address, &manifest))
            .unwrap();
        StagedLoad {
            manifest,
            parts: Parts::Local(parts.files),
            contract: SchemaContract::Evolve,
            layout: Layout::default(),
            pre_sql: Vec::new(),
            post_sql: Vec::new(),
            models: None,
        }
    }
}

fn remove(folder: &Path) {
    std::fs::remove_dir_all(folder).unwrap();
}

criterion_group!(benches, stations);
criterion_main!(benches);

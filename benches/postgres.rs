//! Loading `ventas` into PostgreSQL, from its landed parts to the committed table, against `psql \copy … (FORMAT binary)` of
//! the same rows from a file into a fresh table of the same columns.
//!
//! `ACEQUIA_BENCH_ROWS` sets how many rows (default 1,000,000). Throughput is in rows a second; `benches/README.md` has the
//! figures that were measured, and on what.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs::File;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::Command;

use acequia::config::{Document, Pipeline, SchemaContract, Selection};
use acequia::internals::{Destination, Parts, StagedLoad, open};
use acequia::landing::manifest::Manifest;
use acequia::landing::{Landing, LoadAddress, LocalParts};
use acequia::layout::Layout;
use acequia::names::{LoadId, StreamName};
use acequia::pipeline::{self, RunOptions};
use acequia::progress::Progress;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use testkit::{Changes, Cluster, Seed, TestDb};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const FULL: &str = "mode = \"full\"";
const INCREMENTAL: &str = "mode = \"incremental\"\ncursor = \"updated_at\"";

struct Bench {
    runtime: Runtime,
    source: TestDb,
    warehouse: TestDb,
    _cluster: Cluster,
    folder: tempfile::TempDir,
    rows: u64,
}

/// A landed load, to be loaded again and again.
struct Landed {
    manifest: Manifest,
    parts: LocalParts,
}

impl Bench {
    fn new() -> Self {
        let rows = std::env::var("ACEQUIA_BENCH_ROWS")
            .ok()
            .and_then(|rows| rows.parse().ok())
            .unwrap_or(1_000_000);
        let cluster = Cluster::start().unwrap();
        let source = cluster.database("ventas").unwrap();
        source.apply_schema().unwrap();
        Seed::new(1, rows)
            .only_ventas()
            .apply(&mut source.client().unwrap())
            .unwrap();
        Self {
            runtime: Runtime::new().unwrap(),
            source,
            warehouse: cluster.database("almacen").unwrap(),
            _cluster: cluster,
            folder: tempfile::tempdir().unwrap(),
            rows,
        }
    }

    /// Runs the stream, and finds what it landed.
    fn land(&self, name: &str, keys: &str) -> Landed {
        let pipeline = self.pipeline(name, keys);
        let landing = pipeline.landing.clone();
        let name: StreamName = name.parse().unwrap();
        let options = RunOptions {
            full_refresh: false,
            delete_missing: false,
            models: false,
            jobs: NonZeroUsize::MIN,
            interrupt: CancellationToken::new(),
            progress: Progress::default(),
            ..RunOptions::default()
        };
        self.runtime.block_on(async {
            let report = pipeline::run(pipeline, options).await.unwrap();
            assert!(report.is_ok(), "{report:?}");
            let landing = Landing::open(&landing).unwrap();
            let pipeline = "bench".parse().unwrap();
            let load_id = landing
                .loads(&pipeline, &name)
                .await
                .unwrap()
                .pop()
                .unwrap();
            let address = LoadAddress {
                pipeline,
                stream: name,
                load_id,
            };
            let manifest = landing.manifest(&address).await.unwrap().unwrap();
            let parts = landing.local_parts(&address, &manifest).await.unwrap();
            Landed { manifest, parts }
        })
    }

    /// A pipeline with one stream of `ventas`, which those keys are added to.
    fn pipeline(&self, stream: &str, keys: &str) -> Pipeline {
        let file = self.folder.path().join("acequia.toml");
        let configuration = format!(
            "[pipeline]
name = \"bench\"
dataset = \"replica\"
part_size = \"256MiB\"
destination = \"almacen\"

[destinations.almacen]
kind = \"postgres\"
url = \"{}\"

[sources.operativa]
kind = \"postgres\"
url = \"{}\"

[streams.{stream}]
source = \"operativa\"
table = \"public.ventas\"
{keys}
",
            self.warehouse.url(),
            self.source.url()
        );
        std::fs::write(&file, configuration).unwrap();
        let document = Document::read(&file).unwrap();
        document.resolve(&Selection::default()).unwrap()
    }

    fn open(&self) -> Box<dyn Destination> {
        let pipeline = self.pipeline("ventas", FULL);
        open(&pipeline.destination, "replica").unwrap()
    }

    /// The destination with nothing in it.
    fn open_empty(&self) -> Box<dyn Destination> {
        self.warehouse
            .batch("DROP SCHEMA IF EXISTS replica CASCADE")
            .unwrap();
        self.open()
    }

    /// A file of the loaded rows, as `psql` takes it.
    fn binary_file(&self) -> PathBuf {
        let path = self.folder.path().join("ventas.bin");
        let mut client = self.warehouse.client().unwrap();
        let mut rows = client
            .copy_out("COPY replica.ventas TO STDOUT (FORMAT binary)")
            .unwrap();
        std::io::copy(&mut rows, &mut File::create(&path).unwrap()).unwrap();
        path
    }
}

impl Landed {
    /// The load, under a new id.
    fn load(&self, destination: &dyn Destination) -> StagedLoad {
        let mut manifest = self.manifest.clone();
        manifest.load_id = LoadId::new(destination.id());
        StagedLoad {
            manifest,
            parts: Parts::Local(self.parts.files.clone()),
            contract: SchemaContract::Evolve,
            layout: Layout::default(),
            pre_sql: Vec::new(),
            post_sql: Vec::new(),
            models: None,
        }
    }
}

fn loads(criterion: &mut Criterion) {
    let bench = Bench::new();
    let full = bench.land("ventas", FULL);
    let file = bench.binary_file();

    let mut group = criterion.benchmark_group("postgres");
    group
        .sample_size(10)
        .throughput(Throughput::Elements(bench.rows));
    group.bench_function("psql \\copy, binary", |b| {
        let copy = format!(
            "\\copy replica.copiada from '{}' (format binary)",
            file.display()
        );
        b.iter_batched(
            || {
                bench
                    .warehouse
                    .batch(
                        "DROP TABLE IF EXISTS replica.copiada; \
                         CREATE TABLE replica.copiada (LIKE replica.ventas)",
                    )
                    .unwrap();
            },
            |()| {
                let copied = Command::new("psql")
                    .args([
                        bench.warehouse.url(),
                        "-q",
                        "-v",
                        "ON_ERROR_STOP=1",
                        "-c",
                        &copy,
                    ])
                    .status();
                assert!(copied.unwrap().success());
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("load into a new table", |b| {
        b.iter_batched(
            || {
                let destination = bench.open_empty();
                let load = full.load(destination.as_ref());
                (destination, load)
            },
            |(mut destination, load)| {
                assert_eq!(
                    destination.load(&load).unwrap().outcome.inserted,
                    bench.rows
                );
                destination
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("replace as many rows", |b| {
        b.iter_batched(
            || {
                // What the load before left dead is swept up, as autovacuum does between runs.
                bench.warehouse.batch("VACUUM replica.ventas").unwrap();
                let destination = bench.open();
                let load = full.load(destination.as_ref());
                (destination, load)
            },
            |(mut destination, load)| {
                assert_eq!(
                    destination.load(&load).unwrap().outcome.inserted,
                    bench.rows
                );
                destination
            },
            BatchSize::PerIteration,
        );
    });
    merges(&bench, &mut group);
    group.finish();
}

/// 100,000 rows, half of them new, into a table that has all others.
fn merges(
    bench: &Bench,
    group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>,
) {
    bench.land("fusionada", INCREMENTAL);
    Changes {
        insert_ventas: 50_000,
        update_ventas: 50_000,
        ..Changes::new(1)
    }
    .apply(&mut bench.source.client().unwrap())
    .unwrap();
    let mut database = bench.warehouse.client().unwrap();
    let state = "SELECT \"position\"::text FROM replica._acequia_state WHERE stream = 'fusionada'";
    let before: String = database.query_one(state, &[]).unwrap().get(0);
    let day = bench.land("fusionada", INCREMENTAL);
    group.throughput(Throughput::Elements(day.manifest.rows));
    group.bench_function("merge 100,000 rows, half of them new", |b| {
        b.iter_batched(
            || {
                // The same rows are new, and the same ones change, each time.
                let mut client = bench.warehouse.client().unwrap();
                client
                    .execute(
                        "UPDATE replica._acequia_state SET \"position\" = CAST($1::text AS jsonb) WHERE stream = 'fusionada'",
                        &[&before],
                    )
                    .unwrap();
                let rows = bench.rows;
                client
                    .batch_execute(&format!(
                        "DELETE FROM replica.fusionada WHERE id > {rows}; \
                         UPDATE replica.fusionada SET num_participantes = num_participantes + 1 WHERE _acequia_load_id = \
                         (SELECT load_id FROM replica._acequia_state WHERE stream = 'fusionada')"
                    ))
                    .unwrap();
                client
                    .batch_execute("VACUUM ANALYZE replica.fusionada")
                    .unwrap();
                let destination = bench.open();
                let load = day.load(destination.as_ref());
                (destination, load)
            },
            |(mut destination, load)| {
                let outcome = destination.load(&load).unwrap().outcome;
                assert!(outcome.inserted >= 50_000 && outcome.updated > 40_000, "{outcome:?}");
                destination
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group!(benches, loads);
criterion_main!(benches);

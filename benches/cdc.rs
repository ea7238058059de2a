//! Changes from a replication slot to DuckDB, against the server alone that decodes and counts the same changes.

#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use acequia::config::{Document, Pipeline, Selection};
use acequia::pipeline::{self, RunOptions};
use acequia::progress::Progress;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use postgres::Client;
use tempfile::TempDir;
use testkit::{Cluster, TestDb};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const SLOT: &str = "acequia_bench";

fn rows() -> u64 {
    let rows = std::env::var("ACEQUIA_BENCH_ROWS").ok();
    rows.and_then(|rows| rows.parse().ok()).unwrap_or(1_000_000)
}

struct Bench {
    folder: TempDir,
    database: TestDb,
    runtime: Runtime,
    _cluster: Cluster,
}

impl Bench {
    fn new() -> Self {
        let cluster = Cluster::start().unwrap();
        let database = cluster.database("bench").unwrap();
        database
            .batch(
                "CREATE TABLE actividades (id int8 PRIMARY KEY, participante_id int NOT NULL, tipo_actividad text NOT NULL,
                                           \"timestamp\" timestamptz NOT NULL)",
            )
            .unwrap();
        let bench = Self {
            folder: tempfile::tempdir().unwrap(),
            database,
            runtime: Runtime::new().unwrap(),
            _cluster: cluster,
        };
        bench.run();
        bench
    }

    fn run(&self) {
        let options = RunOptions {
            models: false,
            full_refresh: false,
            delete_missing: false,
            jobs: NonZeroUsize::MIN,
            interrupt: CancellationToken::new(),
            progress: Progress::default(),
            ..RunOptions::default()
        };
        let ran = pipeline::run(self.pipeline(), options);
        let report = self.runtime.block_on(ran).unwrap();
        assert!(report.is_ok(), "{report:?}");
    }

    /// Lets the slot begin where the log ends. The server can move the place that it decodes from only to a record of the
    /// running transactions, which it writes every fifteen seconds and at a checkpoint.
    fn settle(&self, client: &mut Client) {
        client.batch_execute("CHECKPOINT").unwrap();
        self.run();
    }

    fn pipeline(&self) -> Pipeline {
        let file = self.folder.path().join("acequia.toml");
        let configuration = format!(
            "[pipeline]
name = \"bench\"
dataset = \"replica\"
destination = \"duckdb\"

[destinations.duckdb]
kind = \"duckdb\"
path = \"bench.duckdb\"

[sources.operativa]
kind = \"postgres\"
url = \"{}\"
replication.slot = \"{SLOT}\"
replication.publication = \"{SLOT}\"

[streams.actividades]
source = \"operativa\"
table = \"public.actividades\"
mode = \"cdc\"
",
            self.database.url()
        );
        std::fs::write(&file, configuration).unwrap();
        let document = Document::read(&file).unwrap();
        document.resolve(&Selection::default()).unwrap()
    }
}

/// As many inserts as are measured, in transactions of a thousand rows.
fn insert(client: &mut Client) {
    let first: i64 = client
        .query_one("SELECT COALESCE(max(id), 0) FROM actividades", &[])
        .unwrap()
        .get(0);
    let insert = client
        .prepare(
            "INSERT INTO actividades SELECT i, i % 10000, 'actividad ' || i % 7, now() FROM generate_series($1::int8, $1 + 999) i",
        )
        .unwrap();
    for batch in 0..i64::try_from(rows() / 1000).unwrap() {
        client
            .execute(&insert, &[&(first + 1 + batch * 1000)])
            .unwrap();
    }
}

fn changes(criterion: &mut Criterion) {
    let bench = Bench::new();
    let mut client = bench.database.client().unwrap();
    let mut group = criterion.benchmark_group(format!("{} inserts", rows()));
    group
        .sample_size(10)
        .throughput(Throughput::Elements(rows()));
    insert(&mut client);
    group.bench_function("the server decodes and counts them", |b| {
        b.iter(|| {
            let counted: i64 = client
                .query_one(
                    "SELECT count(*) FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1',
                                                                             'publication_names', $2)",
                    &[&SLOT, &SLOT],
                )
                .unwrap()
                .get(0);
            assert!(u64::try_from(counted).unwrap() > rows());
        });
    });
    bench.run();
    bench.settle(&mut client);
    group.bench_function("from the slot to DuckDB", |b| {
        b.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                insert(&mut client);
                let began = Instant::now();
                bench.run();
                spent += began.elapsed();
                bench.settle(&mut client);
            }
            spent
        });
    });
    group.finish();
}

criterion_group!(benches, changes);
criterion_main!(benches);

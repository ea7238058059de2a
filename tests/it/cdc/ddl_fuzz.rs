//! Random DDL and DML, between runs and amid what they read; after each run the table is compared with the source, in
//! DuckDB and in PostgreSQL. `ACEQUIA_SOAK=15` goes on with other seeds for so many minutes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::project;
use crate::support::{Project, Random, number};

/// Seeds that found something once, and some that did not.
const SEEDS: [u64; 4] = [2, 3, 4, 276_796_998_156_301];
/// Runs of one seed.
const RUNS: u32 = 7;
const TYPES: [&str; 6] = ["int", "text", "bigint", "numeric(12,2)", "date", "color"];

#[test]
fn random_ddl_is_followed_or_read_anew() {
    for_seeds(&SEEDS, carry);
}

/// While runs follow on runs, into both destinations in turn. A run may find the table amid a change and say so; what it
/// loads is right, and once the table rests, so is everything.
#[test]
fn random_ddl_beside_runs_is_followed_or_read_anew() {
    for_seeds(&[21, 22], carry_beside);
}

/// Takes these seeds, and others for as many minutes as a soak is to last; every other one has a table with a key.
fn for_seeds(seeds: &[u64], carry: fn(u64, bool)) {
    for seed in seeds {
        carry(*seed, seed % 2 == 0);
    }
    let Some(minutes) = number("ACEQUIA_SOAK") else {
        return;
    };
    let until = Instant::now() + Duration::from_mins(minutes);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut seed = u64::from(now.subsec_nanos()) << 20;
    while Instant::now() < until {
        seed += 1;
        carry(seed, seed % 2 == 0);
    }
}

fn carry_beside(seed: u64, keyed: bool) {
    let project = fuzzed(keyed);
    let done = AtomicBool::new(false);
    let mut failures = Vec::new();
    let history = std::thread::scope(|scope| {
        let writing = scope.spawn(|| {
            let mut table = Table::new(seed, keyed);
            let mut history = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let statement = table.step();
                let ok = project.source.batch(&statement).is_ok();
                history.push(format!(
                    "{}{statement}",
                    if ok { "" } else { "-- refused: " }
                ));
                table.look(&project);
                let pause = table.below(60);
                std::thread::sleep(Duration::from_millis(pause));
            }
            history
        });
        for round in 0..RUNS * 2 {
            let destination = ["duckdb", "almacen"][usize::try_from(round % 2).unwrap()];
            let output =
                project.acequia(&["run", "--destination", destination, "--output", "json"]);
            if output.status != Some(0) {
                failures.push(format!("{output:?}"));
            }
        }
        done.store(true, Ordering::Relaxed);
        writing.join().unwrap()
    });
    for failure in &failures {
        // What was changed amid a look is to be looked at again, and nobody is to mend anything.
        assert!(failure.contains("run again"), "seed {seed}\n{failure}");
    }
    for destination in ["duckdb", "almacen"] {
        run(&project, destination, seed, &history);
    }
}

fn fuzzed(keyed: bool) -> Project {
    let key = if keyed { "PRIMARY KEY" } else { "NOT NULL" };
    let mut project = project(
        "fuzz",
        &format!(
            "CREATE TYPE color AS ENUM ('rojo', 'verde', 'azul');
             CREATE TABLE t (id int {key}, a text, b int, c color); ALTER TABLE t REPLICA IDENTITY {};
             INSERT INTO t SELECT i, 'a' || i, i, 'rojo' FROM generate_series(1, 20) i",
            if keyed { "DEFAULT" } else { "FULL" }
        ),
        &["t"],
        "changelog = true",
    )
    .with_warehouse();
    let url = project.warehouse().url().to_owned();
    project.set("ALMACEN_URL", &url);
    project
}

fn carry(seed: u64, keyed: bool) {
    let project = fuzzed(keyed);
    let mut table = Table::new(seed, keyed);
    let mut history = Vec::new();
    for destination in ["duckdb", "almacen"] {
        run(&project, destination, seed, &history);
    }
    for _ in 0..RUNS {
        for _ in 0..=table.below(5) {
            let statement = table.step();
            // A statement may be one that the server refuses, as a value that has no such cast.
            let done = project.source.batch(&statement).is_ok();
            history.push(format!(
                "{}{statement}",
                if done { "" } else { "-- refused: " }
            ));
            table.look(&project);
        }
        let destinations: &[&str] = match table.below(3) {
            0 => &["duckdb"],
            1 => &["almacen"],
            _ => &["duckdb", "almacen"],
        };
        for destination in destinations {
            history.push(format!("-- run on {destination}"));
            run(&project, destination, seed, &history);
        }
    }
}

/// A stream that is read in full is its table, whatever came of that. One that is read by a cursor does not see what DDL
/// does to rows that were there; it goes on, or says why not.
#[test]
fn random_ddl_under_full_and_incremental_streams() {
    for seed in [11, 12] {
        let project = project(
            "fuzz_full",
            "CREATE TYPE color AS ENUM ('rojo', 'verde', 'azul');
             CREATE TABLE t (id int PRIMARY KEY, a text, b int, c color);
             INSERT INTO t SELECT i, 'a' || i, i, 'rojo' FROM generate_series(1, 20) i",
            &[],
            "",
        );
        let head = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
        let stream = |name: &str, mode: &str| {
            format!("[streams.{name}]\nsource = \"operativa\"\ntable = \"public.t\"\n{mode}\n")
        };
        let (full, by_cursor) = (
            stream("t", "mode = \"full\""),
            stream("i", "mode = \"incremental\"\ncursor = \"id\"\nlag = 50"),
        );
        project.configure(&format!("{head}\n{full}{by_cursor}"));
        let mut table = Table::new(seed, true);
        let mut history = Vec::new();
        for _ in 0..=RUNS {
            let told = || format!("seed {seed}\n{}", history.join(";\n"));
            let output = project.acequia(&["run", "t", "--output", "json"]);
            if output.status != Some(0) {
                assert!(
                    output.stdout.contains("--full-refresh"),
                    "{}\n{output:?}",
                    told()
                );
                project.run(&["t", "--full-refresh"]);
            }
            let compared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                project.assert_same("t");
            }));
            assert!(compared.is_ok(), "{}", told());
            let output = project.acequia(&["run", "i"]);
            let goes_on = output.status == Some(0);
            assert!(
                goes_on || output.stdout.contains("remedy"),
                "{}\n{output:?}",
                told()
            );
            for _ in 0..=table.below(5) {
                let statement = table.step();
                let _ = project.source.batch(&statement);
                history.push(statement);
                table.look(&project);
            }
        }
    }
}

/// Runs, and compares.
fn run(project: &Project, destination: &str, seed: u64, history: &[String]) {
    let told = || format!("seed {seed}, {destination}\n{}", history.join(";\n"));
    let output = project.acequia(&["run", "--destination", destination, "--output", "json"]);
    assert_eq!(output.status, Some(0), "{}\n{output:?}", told());
    let compared = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        if destination == "duckdb" {
            project.assert_same("t");
        } else {
            project.assert_same_in_warehouse("t");
        }
    }));
    assert!(compared.is_ok(), "{}\n{}", told(), output.stdout);
}

/// The table as the source has it, and chance.
struct Table {
    random: Random,
    keyed: bool,
    columns: Vec<String>,
    names: u32,
    ids: u64,
    labels: u32,
}

impl Table {
    fn new(seed: u64, keyed: bool) -> Self {
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            keyed,
            columns: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
            names: 0,
            ids: 100,
            labels: 0,
        }
    }

    fn below(&mut self, below: u64) -> u64 {
        self.random.below(below)
    }

    fn look(&mut self, project: &Project) {
        let names = project.source_value(
            "SELECT coalesce(string_agg(attname, ',' ORDER BY attnum), '') FROM pg_attribute
             WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'id'",
        );
        self.columns = names
            .split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect();
    }

    fn column(&mut self) -> String {
        if self.columns.is_empty() {
            return "id".to_owned();
        }
        let place = usize::try_from(self.below(self.columns.len() as u64)).unwrap();
        self.columns[place].clone()
    }

    /// A name that is not there: one that was, or none that ever was.
    fn free(&mut self) -> String {
        let names = ["a", "b", "c", "d", "e"];
        let free: Vec<&str> = names
            .into_iter()
            .filter(|name| !self.columns.iter().any(|column| column == name))
            .collect();
        if free.is_empty() || self.below(4) == 0 {
            self.names += 1;
            return format!("n{}", self.names);
        }
        let place = usize::try_from(self.below(free.len() as u64)).unwrap();
        free[place].to_owned()
    }

    fn type_of(&mut self) -> &'static str {
        TYPES[usize::try_from(self.below(TYPES.len() as u64)).unwrap()]
    }

    fn default(&mut self, kind: &str) -> &'static str {
        let volatile = self.below(2) == 0;
        match kind {
            "int" | "bigint" | "numeric(12,2)" if volatile => "(random() * 100)::int",
            "int" | "bigint" | "numeric(12,2)" => "7",
            "text" if volatile => "md5(random()::text)",
            "text" => "'x'",
            "date" if volatile => "date '2024-01-01' + (random() * 300)::int",
            "date" => "'2024-05-05'",
            _ => "enum_first(NULL::color)",
        }
    }

    /// The next statements: of rows, of the schema, or a transaction of several.
    fn step(&mut self) -> String {
        match self.below(10) {
            0..5 => self.rows(),
            5..9 => self.ddl(),
            _ => {
                let parts: Vec<String> = (0..3)
                    .map(|_| {
                        if self.below(2) == 0 {
                            self.rows()
                        } else {
                            self.ddl()
                        }
                    })
                    .filter(|part| !part.contains("VACUUM"))
                    .collect();
                format!("BEGIN; {}; COMMIT", parts.join("; "))
            }
        }
    }

    fn rows(&mut self) -> String {
        let id = self.below(20) + 1;
        let column = self.column();
        match self.below(8) {
            0 | 1 => {
                self.ids += 3;
                format!(
                    "INSERT INTO t (id) SELECT i FROM generate_series({}, {}) i",
                    self.ids - 2,
                    self.ids
                )
            }
            2 => format!("DELETE FROM t WHERE id % 20 = {id}"),
            3 => {
                self.ids += 1;
                format!("UPDATE t SET id = {} WHERE id = {id}", self.ids)
            }
            4 if self.below(4) == 0 => {
                "TRUNCATE t; INSERT INTO t (id) VALUES (1), (2), (3)".to_owned()
            }
            5 => format!("UPDATE t SET {column} = NULL WHERE id % 7 = {}", id % 7),
            _ => format!(
                "UPDATE t SET {column} = (SELECT o.{column} FROM t o WHERE o.{column} IS NOT NULL ORDER BY o.id DESC LIMIT 1) WHERE id % 5 = {}",
                id % 5
            ),
        }
    }

    fn ddl(&mut self) -> String {
        let (column, other) = (self.column(), self.column());
        let free = self.free();
        let kind = self.type_of();
        let default = self.default(kind);
        match self.below(17) {
            0 | 1 => format!("ALTER TABLE t ADD {free} {kind}"),
            2 => format!("ALTER TABLE t ADD {free} {kind} DEFAULT {default}"),
            3 => format!(
                "ALTER TABLE t ADD {free} {kind} DEFAULT {default}; ALTER TABLE t ALTER {free} DROP DEFAULT"
            ),
            4 | 5 if column != "id" => format!("ALTER TABLE t DROP {column}"),
            6 if column != "id" => format!("ALTER TABLE t RENAME {column} TO {free}"),
            7 if column != "id" && other != "id" && column != other => format!(
                "ALTER TABLE t RENAME {column} TO zz; ALTER TABLE t RENAME {other} TO {column}; ALTER TABLE t RENAME zz TO {other}"
            ),
            8 if column != "id" => {
                format!("ALTER TABLE t DROP {column}; ALTER TABLE t ADD {column} {kind}")
            }
            9 if column != "id" => format!(
                "ALTER TABLE t RENAME {column} TO {free}; ALTER TABLE t ADD {column} {kind}"
            ),
            10 if column != "id" && other != "id" && column != other => {
                format!("ALTER TABLE t DROP {column}; ALTER TABLE t RENAME {other} TO {column}")
            }
            11 if column != "id" => format!(
                "ALTER TABLE t ALTER {column} TYPE {kind} USING CASE WHEN id % 2 = 0 THEN {default} END::{kind}"
            ),
            12 => "VACUUM FULL t".to_owned(),
            13 => {
                self.labels += 1;
                let label = self.labels;
                format!(
                    "DO $$ BEGIN EXECUTE format('ALTER TYPE color RENAME VALUE %L TO %L', (SELECT enumlabel FROM pg_enum ORDER BY oid LIMIT 1), 'l{label}'); END $$"
                )
            }
            14 => format!("ALTER TABLE t ALTER {column} SET STATISTICS 10"),
            15 if self.keyed => {
                let identity = if self.below(2) == 0 {
                    "FULL"
                } else {
                    "DEFAULT"
                };
                format!("ALTER TABLE t REPLICA IDENTITY {identity}")
            }
            _ => self.rows(),
        }
    }
}

//! Writers of every sort at once, on tables with cursors of every sort, while runs follow on runs and are killed amid: what
//! docs/incremental.md calls exact loses no row.
//!
//! Some seconds in the suite; `ACEQUIA_SOAK` gives it as many minutes, `ACEQUIA_SEED` other random numbers.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use postgres::Client;

use crate::support::{Project, Random, number};

/// How long it takes in the suite.
const SHORT: Duration = Duration::from_secs(10);
/// Each writer's session.
const WRITERS: [&str; 8] = [
    "SELECT 1",
    "SET track_activities = off",
    "SET application_name = 'acequia'",
    "SET TimeZone = 'America/Los_Angeles'",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET TimeZone = 'Europe/Madrid'",
    // These two prepare their transactions.
    "SET work_mem = '1MB'",
    "SET track_activities = off",
];
/// Tables, how their cursor is declared, what a trigger sets it to (where the default does not do), and the stream's keys.
const TABLES: [(&str, &str, &str, &str); 14] = [
    ("micros", "timestamptz", "now()", ""),
    ("millis", "timestamptz(3)", "now()", ""),
    ("tenths", "timestamptz(1)", "now()", ""),
    ("seconds", "timestamptz(0)", "now()", ""),
    ("trunc_s", "timestamptz", "date_trunc('second', now())", ""),
    (
        "trunc_ms",
        "timestamptz",
        "date_trunc('milliseconds', now())",
        "",
    ),
    ("trunc_m", "timestamptz", "date_trunc('minute', now())", ""),
    (
        "mixed",
        "timestamptz",
        "CASE WHEN NEW.id % 2 = 0 THEN date_trunc('second', now()) ELSE now() END",
        "",
    ),
    ("local", "timestamp", "now()", ""),
    ("local_s", "timestamp(0)", "now()", ""),
    ("dates", "date", "current_date", ""),
    ("added", "timestamptz", "now()", "disposition = \"append\""),
    ("kept", "timestamptz(0)", "now()", "disposition = \"scd2\""),
    ("numbers", "bigint", "nextval('numeros')", "lag = 1000000"),
];

fn soak_project() -> Project {
    let mut streams = String::new();
    let mut tables = "CREATE SEQUENCE numeros;".to_owned();
    for (name, declared, value, keys) in TABLES {
        streams += &format!(
            "[streams.{name}]\nsource = \"operativa\"\ntable = \"{name}\"\nmode = \"incremental\"\ncursor = \"c\"\n{keys}\n\n"
        );
        tables += &format!(
            "CREATE TABLE {name} (id int PRIMARY KEY, c {declared} NOT NULL, v int NOT NULL);
             CREATE INDEX ON {name} (c);
             CREATE FUNCTION set_{name}() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN NEW.c := {}; RETURN NEW; END';
             CREATE TRIGGER set BEFORE INSERT OR UPDATE ON {name} FOR EACH ROW EXECUTE FUNCTION set_{name}();",
            value.replace('\'', "''")
        );
    }
    let project = Project::new("cursor_soak", &streams);
    project.source.batch(&tables).unwrap();
    project
}

/// One transaction: rows are inserted and changed, it may take its time, and end in one way or another.
fn write(client: &mut Client, random: &mut Random, next: &AtomicI32, prepares: bool) {
    client.batch_execute("BEGIN").unwrap();
    for _ in 0..=random.below(3) {
        let (table, ..) = TABLES[usize::try_from(random.below(TABLES.len() as u64)).unwrap()];
        let id = next.fetch_add(1, Ordering::Relaxed);
        if random.below(5) == 0 {
            client.batch_execute("SAVEPOINT s").unwrap();
        }
        let insert = format!("INSERT INTO {table} (id, v) VALUES ({id}, 0)");
        client.batch_execute(&insert).unwrap();
        // A row of somebody who is not done is left alone. What is only added is not changed.
        if table != "added" {
            let below = 1 + random.below(u64::try_from(id).unwrap());
            let change = format!(
                "UPDATE {table} SET v = v + 1 WHERE id = (SELECT id FROM {table} WHERE id >= {below} ORDER BY id LIMIT 1
                                                          FOR UPDATE SKIP LOCKED)"
            );
            client.batch_execute(&change).unwrap();
        }
        std::thread::sleep(Duration::from_millis(match random.below(20) {
            0 => random.below(3000),
            1..6 => random.below(300),
            _ => 0,
        }));
    }
    if prepares {
        let name = format!(
            "soak_{}_{}",
            std::process::id(),
            next.fetch_add(1, Ordering::Relaxed)
        );
        client
            .batch_execute(&format!("PREPARE TRANSACTION '{name}'"))
            .unwrap();
        std::thread::sleep(Duration::from_millis(random.below(2500)));
        let end = if random.below(10) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        client
            .batch_execute(&format!("{end} PREPARED '{name}'"))
            .unwrap();
    } else {
        let end = if random.below(10) == 0 {
            "ROLLBACK"
        } else {
            "COMMIT"
        };
        client.batch_execute(end).unwrap();
    }
    std::thread::sleep(Duration::from_millis(random.below(40)));
}

/// A run as one who sees all sessions, or as one who does not; some are killed.
fn run(project: &Project, random: &mut Random, urls: &[String; 2]) -> bool {
    let mut command = project.command(&["run"]);
    command
        .env(
            "OPERATIVA_URL",
            &urls[usize::try_from(random.below(2)).unwrap()],
        )
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    if random.below(3) == 0 {
        std::thread::sleep(Duration::from_millis(random.below(1500)));
        child.kill().unwrap();
        child.wait().unwrap();
        return false;
    }
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    true
}

#[test]
fn no_row_is_lost_whatever_the_cursor_and_the_writers() {
    let length = number("ACEQUIA_SOAK").map_or(SHORT, |minutes| Duration::from_secs(60 * minutes));
    let seed = number("ACEQUIA_SEED").unwrap_or(0x2545_f491_4f6c_dd1d);
    let mut project = soak_project();
    let all = project.source.url().to_owned();
    let role = project.as_newcomer();
    project
        .source
        .batch(&format!(
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"
        ))
        .unwrap();
    let own = project
        .source
        .password_url()
        .replace(testkit::PASSWORD_ROLE, &role);
    let urls = [all, own];
    let (next, done) = (AtomicI32::new(1), AtomicBool::new(false));
    let mut random = Random(seed);
    let (mut ended, mut killed) = (0, 0);
    std::thread::scope(|scope| {
        for (number, settings) in WRITERS.iter().enumerate() {
            let mut random = Random(seed ^ (0x9e37_79b9_7f4a_7c15_u64 << number));
            let mut client = project.source.client().unwrap();
            let (next, done) = (&next, &done);
            scope.spawn(move || {
                client.batch_execute(settings).unwrap();
                while !done.load(Ordering::Relaxed) {
                    write(&mut client, &mut random, next, number >= 6);
                }
            });
        }
        let began = Instant::now();
        while began.elapsed() < length {
            if run(&project, &mut random, &urls) {
                ended += 1;
            } else {
                killed += 1;
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    project.run(&[]);
    eprintln!(
        "{ended} runs, {killed} killed, {} rows, seed {seed}",
        next.load(Ordering::Relaxed)
    );
    for (table, ..) in TABLES {
        eprintln!("{table}");
        let (of_source, of_table) = (format!("public.{table}"), format!("replica.{table}"));
        if table == "kept" {
            let duckdb = project.duckdb();
            duckdb
                .execute_batch("CREATE VIEW replica.current AS SELECT * FROM replica.kept WHERE _acequia_valid_to IS NULL")
                .unwrap();
            drop(duckdb);
            project.assert_same_as(&of_source, "replica.current");
        } else {
            project.assert_same_as(&of_source, &of_table);
        }
    }
}

//! Killed at any step, and at any moment: nothing lost, nothing twice.

use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use testkit::Changes;

use super::Shore;
use crate::support::{CURSOS_AND_VENTAS, Random, number};

/// Every durable step, in the order of the path.
const STEPS: [&str; 7] = [
    "landing.part_written",
    "landing.before_manifest",
    "landing.after_manifest",
    "iceberg.before_commit",
    "iceberg.after_commit",
    "pipeline.after_load",
    "iceberg.before_ledger",
];

fn assert_right(shore: &Shore) {
    shore.assert_same("ventas");
    shore.assert_same("cursos");
    let twice = "SELECT count(*) - count(DISTINCT load_id) FROM replica.acequia_loads";
    assert_eq!(shore.value(twice), "0");
}

#[test]
fn killed_at_any_step_of_the_first_load_the_next_run_is_right() {
    let mut shore = Shore::operational("lago_primera", 500, CURSOS_AND_VENTAS);
    for step in STEPS {
        shore.anew();
        shore.crash_at(step, &["run", "--jobs", "1"]);
        shore.run(&[]);
        assert_right(&shore);
    }
}

#[test]
fn killed_at_any_step_of_a_later_load_the_next_run_is_right() {
    let shore = Shore::operational("lago_despues", 500, CURSOS_AND_VENTAS);
    let mut client = shore.source.client().unwrap();
    shore.run(&[]);
    for (round, step) in (1..).zip(STEPS) {
        Changes::day(round).apply(&mut client).unwrap();
        shore.crash_at(step, &["run", "ventas"]);
        // The source goes on while acequia is down.
        Changes::day(round + 100).apply(&mut client).unwrap();
        shore.run(&[]);
        assert_right(&shore);
    }
}

#[test]
fn changes_are_neither_lost_nor_doubled_by_a_crash() {
    let ddl = "CREATE TABLE t (id int8 PRIMARY KEY, v text, n int)";
    let shore = Shore::of_changes("lago_cdc", ddl, &["t"], "changelog = true");
    let mut client = shore.client();
    client
        .batch_execute("INSERT INTO t SELECT i, 'v', 0 FROM generate_series(1, 100) i")
        .unwrap();
    shore.run(&[]);
    let mut expected = 100;
    for step in [
        "landing.after_manifest",
        "iceberg.before_commit",
        "iceberg.after_commit",
        "pipeline.after_load",
        "iceberg.before_ledger",
        "cdc.before_confirm",
        "cdc.after_confirm",
    ] {
        client
            .batch_execute("UPDATE t SET n = n + 1 WHERE id <= 10")
            .unwrap();
        shore.crash_at(step, &["run"]);
        client
            .batch_execute("UPDATE t SET n = n - 1 WHERE id BETWEEN 5 AND 14")
            .unwrap();
        shore.run(&[]);
        shore.assert_same("t");
        expected += 20;
        let log = "SELECT count(*) FROM replica.t__changes";
        assert_eq!(shore.value(log), expected.to_string(), "{step}");
    }
}

#[test]
fn killed_at_ten_random_moments_it_ends_well() {
    let shore = Shore::operational("lago_azar", 2_000, CURSOS_AND_VENTAS).landing_in_s3();
    let mut client = shore.source.client().unwrap();
    shore.run(&[]);
    Changes::day(1_000).apply(&mut client).unwrap();
    let began = Instant::now();
    shore.run(&[]);
    let usual = began.elapsed();
    let seed = number("ACEQUIA_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        now.unwrap().as_secs()
    });
    eprintln!("ACEQUIA_SEED={seed}");
    let mut random = Random(seed);
    for round in 1..=10 {
        Changes::day(round).apply(&mut client).unwrap();
        let mut run = shore.command(&["run"]);
        let mut run = run
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let after = random.below(usual.as_micros().try_into().unwrap());
        std::thread::sleep(Duration::from_micros(after));
        run.kill().unwrap();
        run.wait().unwrap();
        // Every third time it is killed twice before it may end.
        if round % 3 != 0 {
            shore.run(&[]);
            assert_right(&shore);
        }
    }
    shore.run(&[]);
    assert_right(&shore);
}

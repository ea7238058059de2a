//! Streams of changes are compared at one LSN, while others write.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::found;
use crate::cdc::project;
use crate::support::{Project, stream_report};

const DDL: &str = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, texto text);
     INSERT INTO t SELECT i, 0, repeat('x', i % 40) FROM generate_series(1, 20000) i;
     CREATE TABLE u (a int, b text); ALTER TABLE u REPLICA IDENTITY FULL;
     INSERT INTO u SELECT i % 50, 'u' FROM generate_series(1, 500) i;";

/// Writes to both tables, some 1,000 transactions a second, until it is told to stop. Returns how many a second there were.
fn beside_writers(project: &Project, work: impl FnOnce()) -> u64 {
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        for writer in 0..4_u64 {
            let mut client = project.client();
            let (stop, done) = (&stop, &done);
            scope.spawn(move || {
                client
                    .batch_execute("SET synchronous_commit = off")
                    .unwrap();
                let mut i = writer;
                while !stop.load(Ordering::Relaxed) {
                    i += 4;
                    let sql = match i % 5 {
                        0 => format!("INSERT INTO t VALUES ({}, 1, 'nuevo')", 100_000 + i),
                        1 => format!("DELETE FROM t WHERE id = {}", 100_000 + i / 2),
                        2 => format!("INSERT INTO u VALUES ({}, 'v')", i % 7),
                        _ => format!("UPDATE t SET n = n + 1 WHERE id = {}", 1 + i * 7 % 20_000),
                    };
                    client.batch_execute(&sql).unwrap();
                    done.fetch_add(1, Ordering::Relaxed);
                    // 250 a second for each.
                    let due = Duration::from_micros(1_000 * i);
                    std::thread::sleep(due.saturating_sub(began.elapsed()));
                }
            });
        }
        work();
        stop.store(true, Ordering::Relaxed);
    });
    done.load(Ordering::Relaxed) * 1_000 / u64::try_from(began.elapsed().as_millis()).unwrap()
}

#[test]
fn tables_of_changes_are_equal_at_an_lsn_while_others_write() {
    let project = project("verify_cdc", DDL, &["t", "u"], "");
    project.run(&[]);
    let mut last = String::new();
    let rate = beside_writers(&project, || {
        for _ in 0..3 {
            let report = project.verify(&[]);
            let told = stream_report(&report, "t");
            assert_eq!(told["result"], "equal");
            assert_eq!(told["rows_source"], told["rows_destination"]);
            let lsn = told["position"]["lsn"].as_str().unwrap().to_owned();
            // Both tables were compared at one moment.
            assert_eq!(stream_report(&report, "u")["position"]["lsn"], lsn);
            assert_ne!(lsn, last);
            last = lsn;
        }
    });
    assert!(rate >= 500, "only {rate} transactions a second");
    eprintln!("verified beside {rate} transactions a second");
    // The text of a higher LSN may be longer.
    let written = project.value(
        "SELECT count(*) FILTER (WHERE result = 'equal') || ' ' || trim(max(lpad(position->>'lsn', 17, ' '))) FROM replica._acequia_verifications",
    );
    assert_eq!(written.unwrap(), format!("6 {last}"));
    // What was loaded for it is a run's work: the next run goes on. A commit that waits has the log written that those before did not
    // wait for.
    project
        .source
        .batch("CREATE TABLE quieto AS SELECT 1")
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
}

#[test]
fn an_altered_row_is_found_while_others_write() {
    let project = project("verify_cdc_found", DDL, &["t", "u"], "");
    project.run(&[]);
    project.alter(
        "UPDATE replica.t SET texto = 'otro' WHERE id = 20000; DELETE FROM replica.t WHERE id = 19999; \
         INSERT INTO replica.u FROM replica.u LIMIT 1",
    );
    project
        .source
        .batch("CREATE TABLE quieto AS SELECT 1")
        .unwrap();
    beside_writers(&project, || {
        let told = project.verify_differing("u", &[]);
        assert_eq!(found(&told), [0, 1, 0]);
        let output = project.acequia(&["verify", "t", "--output", "json"]);
        let told = stream_report(&output.json(), "t");
        // An update of the altered rows mends them, which the writers may do.
        assert!(found(&told).iter().sum::<u64>() <= 2, "{told}");
    });
    project.verify_differing("u", &[]);
}

#[test]
fn rows_that_are_marked_as_deleted_do_not_count() {
    let project = project("verify_cdc_soft", DDL, &["t"], "deletes = \"soft\"");
    project.run(&[]);
    project
        .source
        .batch("DELETE FROM t WHERE id <= 100")
        .unwrap();
    let told = stream_report(&project.verify(&[]), "t");
    assert_eq!(told["rows_destination"], 19_900);
    project.alter("UPDATE replica.t SET _acequia_deleted_at = NULL WHERE id = 50");
    assert_eq!(found(&project.verify_differing("t", &[])), [0, 1, 0]);
    let told = project.verify_differing("t", &["--against", "landing"]);
    assert_eq!(found(&told), [0, 1, 0]);
}

#[test]
fn a_stream_that_was_never_loaded_is_not_begun() {
    let project = project("verify_cdc_none", DDL, &["t"], "");
    let output = project.acequia(&["verify"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        output.stderr.contains("run `acequia run t` first"),
        "{output:?}"
    );
    assert_eq!(project.slot("count(*)"), "0");
}

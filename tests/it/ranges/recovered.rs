//! A range that is killed at any step, and the runs after it.

use super::{RANGE, counts, differences, project};
use crate::recovery::STEPS;
use crate::support::stream_report;

#[test]
fn killed_at_any_step_the_next_run_and_the_next_range_are_right() {
    for keys in ["", "disposition = \"append\"\n"] {
        let project = project("range_killed", keys);
        let run = [&["run"][..], &RANGE].concat();
        for (id, step) in (300..).zip(STEPS) {
            let deleted = id + 100;
            project
                .source
                .batch(&format!(
                    "UPDATE t SET n = -1 WHERE id = {id}; DELETE FROM t WHERE id = {deleted};
                     INSERT INTO t VALUES ({id} + 5000, 1, NULL, '2024-03-01')"
                ))
                .unwrap();
            project.crash_at(step, &run);
            // The source goes on, and a row that was gone is there again, as it was.
            project
                .source
                .batch(&format!(
                    "INSERT INTO t VALUES ({deleted}, {deleted}, NULL, timestamptz '2024-01-01 00:00Z' + {deleted} * interval '1 hour')"
                ))
                .unwrap();
            let told = project.run(&[]);
            let warned = stream_report(&told, "t")["warnings"].to_string();
            let is_landed = ["landing.after_manifest", "duckdb.before_commit"].contains(&step);
            assert_eq!(
                warned.contains("read it again with --from and --to"),
                is_landed,
                "{step}: {told}"
            );
            assert_eq!(counts(&told).1, 1, "{step}: {told}");
            assert_eq!(counts(&project.run(&[])), (0, 0, 0, 0), "{step}");
            project.run(&RANGE);
            assert!(differences(&project).is_empty(), "{step}");
            let status = stream_report(
                &project.acequia(&["status", "--output", "json"]).json(),
                "t",
            );
            assert_eq!(status["set_aside"], serde_json::json!([]), "{step}");
        }
        project.assert_same("t");
        project.verify(&["--against", "landing"]);
        let replayed = project.acequia(&["replay", "--destination", "almacen"]);
        assert_eq!(replayed.status, Some(0), "{replayed:?}");
        project.assert_same_in_warehouse("t");
    }
}

#[test]
fn a_range_that_waits_to_be_loaded_is_told_to_be_set_aside() {
    let project = project("range_pending", "");
    project
        .source
        .batch("DELETE FROM t WHERE id = 300")
        .unwrap();
    project.crash_at("landing.after_manifest", &[&["run"][..], &RANGE].concat());
    let status = stream_report(
        &project.acequia(&["status", "--output", "json"]).json(),
        "t",
    );
    assert_eq!(status["pending"], serde_json::json!([]), "{status}");
    assert_eq!(status["set_aside"].as_array().unwrap().len(), 1, "{status}");
    let listed = project.acequia(&["landing", "list"]);
    assert!(listed.stdout.contains("set aside"), "{listed:?}");
    // The same range again sets it aside, and is loaded.
    assert_eq!(counts(&project.run(&RANGE)).3, 1);
    project.assert_same("t");
}

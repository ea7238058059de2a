//! A lake whose rows an engine elsewhere writes: Sail, which reads what was landed in object storage.

use testkit::{Sail, Spark};

use super::Shore;
use super::modes::{
    EVERY_TYPE, T, WITHOUT_KEY, assert_equal_rows, assert_every_kind_of_change, assert_every_type,
};
use super::ranges::{ALL, assert_replaced_and_replayed};
use super::verify::{assert_found_and_mended, assert_mended_under_other_names};
use crate::support::{CURSOS_AND_VENTAS, VENTAS, counts, stream_report};

/// The shared engine as what writes, and a landing area that it sees.
fn by_engine(shore: Shore) -> Shore {
    by(shore, &Sail::shared().unwrap().url(), Sail::CATALOG)
}

fn by(shore: Shore, url: &str, catalog: &str) -> Shore {
    shore.landing_in_s3().with(&format!(
        "engine = \"{url}\"\nengine_catalog = \"{catalog}\"\n"
    ))
}

#[test]
fn tables_read_in_full_and_by_cursor_are_as_their_sources_whoever_writes() {
    let shore = by_engine(Shore::operational("lago_motor", 300, CURSOS_AND_VENTAS));
    assert_whoever_writes(shore, "has no branches");
}

#[test]
fn tables_that_spark_writes_by_branches_are_as_their_sources() {
    let shore = Shore::operational("lago_spark", 300, CURSOS_AND_VENTAS);
    let shore = by(shore, &Spark::shared().unwrap().url(), Spark::CATALOG);
    assert_whoever_writes(shore, "writes branches");
}

fn assert_whoever_writes(mut shore: Shore, can: &str) {
    let check = shore.acequia(&["check"]);
    assert_eq!(check.status, Some(0), "{check:?}");
    assert!(check.stdout.contains("sc://127.0.0.1"), "{check:?}");
    shore.run(&[]);
    shore.assert_same("ventas");
    shore.assert_same("cursos");
    let change = "UPDATE ventas SET estado = 'cancelado', updated_at = now() WHERE id <= 20; \
                  UPDATE cursos SET precio_base = precio_base + 1";
    shore.source.batch(change).unwrap();
    let report = shore.run(&[]);
    assert_eq!(counts(&report, "ventas").2, 20);
    shore.assert_same("ventas");
    shore.assert_same("cursos");
    assert_eq!(counts(&shore.run(&["ventas"]), "ventas"), (0, 0, 0, 0));
    let check = shore.acequia(&["check"]);
    assert_eq!(check.status, Some(0), "{check:?}");
    assert!(check.stdout.contains(can), "{check:?}");
    assert!(!check.stdout.contains("secreto"), "{check:?}");
    // The same tables, by the other writer.
    let engine = std::mem::take(&mut shore.keys);
    shore.keys = engine
        .lines()
        .filter(|line| !line.starts_with("engine"))
        .collect();
    shore.keys.push('\n');
    shore.write();
    shore
        .source
        .batch("UPDATE ventas SET estado = 'cancelado', updated_at = now() WHERE id > 290")
        .unwrap();
    assert_eq!(counts(&shore.run(&[]), "ventas").2, 10);
    shore.assert_same("ventas");
    assert_eq!(
        shore.value("SELECT count(DISTINCT load_id) = count(*) FROM replica.acequia_loads"),
        "true"
    );
}

#[test]
fn every_kind_of_change_arrives_and_the_changes_themselves() {
    let shore = Shore::of_changes("lago_motor_cambios", T, &["t"], "changelog = true");
    let shore = by_engine(shore);
    assert_every_kind_of_change(&shore);
    // A column that is new comes to both tables.
    let change = "ALTER TABLE t ADD COLUMN nueva int; UPDATE t SET nueva = id WHERE id < 5";
    shore.source.batch(change).unwrap();
    shore.run(&[]);
    shore.assert_same("t");
    assert_eq!(
        shore.value("SELECT sum(nueva) FROM replica.t__changes"),
        "3"
    );
}

#[test]
fn a_table_without_a_key_holds_each_row_as_often_as_its_source() {
    let shore = Shore::of_changes("lago_motor_sin_clave", WITHOUT_KEY, &["t"], "");
    assert_equal_rows(&by_engine(shore));
}

#[test]
fn what_spark_writes_of_changes_is_what_was_made() {
    let spark = Spark::shared().unwrap();
    let shore = Shore::of_changes(
        "lago_spark_cambios",
        WITHOUT_KEY,
        &["t"],
        "changelog = true",
    );
    let shore = by(shore, &spark.url(), Spark::CATALOG);
    assert_equal_rows(&shore);
    let of_snapshot = "SELECT count(*) FROM replica.t__changes WHERE _acequia_op = 'r'";
    assert_eq!(shore.value(of_snapshot), "30");
}

#[test]
fn every_type_arrives_as_documented() {
    let shore = Shore::of_changes("lago_motor_tipos", EVERY_TYPE, &["t"], "");
    assert_every_type(&by_engine(shore));
}

#[test]
fn a_range_is_replaced_and_replayed_by_an_engine() {
    assert_replaced_and_replayed("lago_motor_range", by_engine);
}

#[test]
fn what_differs_is_mended_by_an_engine() {
    assert_found_and_mended(&by_engine(Shore::operational(
        "lago_motor_verify",
        500,
        VENTAS,
    )));
    assert_mended_under_other_names("lago_motor_nombres", by_engine);
}

#[test]
fn rows_that_the_source_has_no_more_are_deleted_or_marked_by_an_engine() {
    for deletes in ["hard", "soft"] {
        let streams = format!("{VENTAS}delete_missing = \"{deletes}\"\n");
        let shore = by_engine(Shore::operational("lago_motor_borrados", 100, &streams));
        shore.run(&[]);
        let source = &shore.source;
        source
            .batch("DELETE FROM ventas WHERE id BETWEEN 10 AND 14")
            .unwrap();
        let run = shore.run(&["--delete-missing"]);
        assert_eq!(counts(&run, "ventas").3, 5, "{run}");
        if deletes == "hard" {
            shore.assert_same("ventas");
        } else {
            let marked = "SELECT sum(id) FROM replica.ventas WHERE _acequia_deleted_at IS NOT NULL";
            assert_eq!(shore.value(marked), "60");
        }
        let run = shore.run(&["--delete-missing"]);
        assert_eq!(counts(&run, "ventas"), (0, 0, 0, 0), "{run}");
        let told = stream_report(&shore.verify(&[]), "ventas");
        assert_eq!(told["rows_destination"], 95, "{told}");
    }
}

/// What amends is not taken up again by the next run, and rows may stand in the table for it.
#[test]
fn a_load_that_amends_and_was_killed_holds_no_other_up() {
    for disposition in ["append", "merge"] {
        let streams = format!("{VENTAS}disposition = \"{disposition}\"\n");
        let shore = by_engine(Shore::operational("lago_motor_tramo", 100, &streams));
        shore.run(&[]);
        let mended = "ALTER TABLE ventas DISABLE TRIGGER USER; \
                      UPDATE ventas SET precio_total = 1 WHERE id <= 5; DELETE FROM ventas WHERE id IN (6, 7)";
        shore.source.batch(mended).unwrap();
        let again = [&["run"][..], &ALL].concat();
        shore.crash_at("iceberg.staged", &again);
        shore
            .source
            .batch(
                "ALTER TABLE ventas ENABLE TRIGGER USER; \
                 INSERT INTO ventas SELECT (jsonb_populate_record(v, '{\"id\": 9000}')).* FROM ventas v WHERE id = 1; \
                 UPDATE ventas SET updated_at = now() + interval '1 day' WHERE id = 9000",
            )
            .unwrap();
        let run = shore.run(&[]);
        assert_eq!(counts(&run, "ventas").1, 1, "{run}");
        shore.assert_same("ventas");
        let run = shore.run(&ALL);
        let expected = match disposition {
            "append" => (99, 99, 0, 99),
            _ => (99, 0, 0, 0),
        };
        assert_eq!(counts(&run, "ventas"), expected, "{run}");
        shore.assert_same("ventas");
    }
}

#[test]
fn what_stands_in_the_way_of_the_engine_is_told_with_its_remedy() {
    let mut shore = Shore::operational("lago_motor_mal", 10, CURSOS_AND_VENTAS);
    let keys = shore.keys.clone();
    let sail = Sail::shared().unwrap();
    let told = |shore: &Shore, words: &[&str]| {
        for command in ["check", "run"] {
            let done = shore.acequia(&[command]);
            assert_ne!(done.status, Some(0), "{done:?}");
            let text = format!("{}{}", done.stdout, done.stderr);
            for word in words {
                assert!(text.contains(word), "{word}: {done:?}");
            }
            assert!(!text.contains("secreto"), "{done:?}");
        }
    };
    shore.keys = format!("{keys}engine = \"{}\"\n", sail.url());
    shore.write();
    told(&shore, &["landing", "s3://"]);
    shore = shore.landing_in_s3();
    for (engine, words) in [
        (
            "engine = \"sc://127.0.0.1:1\"",
            ["cannot be reached", "engine"],
        ),
        (
            "engine = \"sc://spark.invalid:1/;token=secreto\"",
            ["cannot be reached", "engine"],
        ),
    ] {
        shore.keys = format!("{keys}{engine}\n");
        shore.write();
        told(&shore, &words);
    }
    shore.keys = format!(
        "{keys}engine = \"{}\"\nengine_catalog = \"otro\"\n",
        sail.url()
    );
    shore.write();
    let run = shore.acequia(&["run"]);
    assert_ne!(run.status, Some(0), "{run:?}");
    assert!(run.stderr.contains("engine_catalog"), "{run:?}");
    // What was wrong is mended, and nothing was lost.
    shore.keys = format!("{keys}engine = \"{}\"\n", sail.url());
    shore.write();
    shore.run(&[]);
    shore.assert_same("ventas");
}

#[test]
fn a_token_for_the_engine_is_printed_by_a_command() {
    let mut shore = by_engine(Shore::operational(
        "lago_motor_token",
        20,
        CURSOS_AND_VENTAS,
    ));
    let keys = shore.keys.clone();
    shore.keys = format!("{keys}engine_token_command = \"echo run >> engine; echo s3cr3t\"\n");
    shore.write();
    let output = shore.acequia(&["run", "-vv"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    shore.assert_same("ventas");
    assert!(shore.path("engine").exists());
    assert!(!format!("{output:?}").contains("s3cr3t"), "{output:?}");
    shore.keys = format!("{keys}engine_token_command = \"exit 7\"\n");
    shore.write();
    let output = shore.acequia(&["run"]);
    assert!(
        output
            .stderr
            .contains("[destinations.lago] engine_token_command gave no secret"),
        "{output:?}"
    );
}

//! What each mode and disposition promises when it is verified.

use super::{found, loaded};
use crate::support::{CURSOS_AND_VENTAS, Project, VENTAS, stream_report};

fn of(report: &serde_json::Value, key: &str) -> u64 {
    stream_report(report, "ventas")[key].as_u64().unwrap()
}

#[test]
fn what_an_incremental_stream_reads_next_is_no_difference() {
    let project = loaded("verify_pending", 500, VENTAS);
    project
        .source
        .batch(
            "UPDATE ventas SET estado = 'cancelado', updated_at = now() + interval '1 day' WHERE id BETWEEN 1 AND 30; \
             INSERT INTO ventas SELECT (jsonb_populate_record(v, jsonb_build_object('id', 900000 + id, \
             'updated_at', now() + interval '1 day'))).* FROM ventas v WHERE id BETWEEN 40 AND 44",
        )
        .unwrap();
    let told = project.verify(&[]);
    assert_eq!(of(&told, "changed"), 35, "{told}");
    project.run(&[]);
    assert_eq!(of(&project.verify(&[]), "changed"), 0);
    // Neither is a row that is read again, but for its values.
    let last = "(SELECT max(updated_at) FROM replica.ventas)";
    project.alter(&format!(
        "DELETE FROM replica.ventas WHERE id = (SELECT min(id) FROM replica.ventas WHERE updated_at = {last})"
    ));
    let told = project.verify_differing("ventas", &[]);
    assert_eq!(found(&told), [1, 0, 0], "{told}");
    let run = project.run(&[]);
    assert_eq!(stream_report(&run, "ventas")["rows_extracted"], 0, "{run}");
}

#[test]
fn rows_that_were_deleted_in_the_source_are_extra() {
    let project = loaded("verify_deleted", 500, VENTAS);
    project
        .source
        .batch("DELETE FROM ventas WHERE id IN (3, 4)")
        .unwrap();
    let told = project.verify_differing("ventas", &[]);
    assert_eq!(found(&told), [0, 2, 0]);
    assert!(
        told["notes"]
            .to_string()
            .contains("the cursor does not tell of it"),
        "{told}"
    );
}

#[test]
fn versions_are_compared_by_the_current_one_and_inserts_by_their_keys() {
    let streams = VENTAS.to_owned() + "disposition = \"scd2\"\n";
    let project = loaded("verify_scd2", 300, &streams);
    project
        .source
        .batch("UPDATE ventas SET estado = 'cancelado', updated_at = now() + interval '1 day' WHERE id <= 20")
        .unwrap();
    project.run(&[]);
    assert_eq!(of(&project.verify(&[]), "rows_destination"), 300);
    project.verify(&["--against", "landing"]);
    project.alter(
        "UPDATE replica.ventas SET estado = 'viejo' WHERE id = 7 AND _acequia_valid_to IS NULL",
    );
    assert_eq!(found(&project.verify_differing("ventas", &[])), [0, 0, 1]);

    let streams = VENTAS.to_owned() + "disposition = \"insert_only\"\n";
    let project = loaded("verify_insert_only", 300, &streams);
    project
        .source
        .batch("UPDATE ventas SET estado = 'cancelado' WHERE id <= 20")
        .unwrap();
    let told = project.verify(&[]);
    assert!(
        told.to_string().contains("the keys alone were compared"),
        "{told}"
    );
    project.alter("DELETE FROM replica.ventas WHERE id = 50");
    assert_eq!(found(&project.verify_differing("ventas", &[])), [1, 0, 0]);
}

#[test]
fn what_is_appended_is_compared_with_its_loads_alone() {
    let streams = VENTAS.to_owned() + "disposition = \"append\"\n";
    let project = loaded("verify_append", 300, &streams);
    let output = project.acequia(&["verify"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        output
            .stderr
            .contains("acequia verify ventas --against landing"),
        "{output:?}"
    );
    project
        .source
        .batch("UPDATE ventas SET estado = 'cancelado', updated_at = now() + interval '1 day' WHERE id <= 20")
        .unwrap();
    project.run(&[]);
    let told = project.verify(&["--against", "landing"]);
    assert_eq!(of(&told, "rows_destination"), 320);
    project.alter("INSERT INTO replica.ventas FROM replica.ventas LIMIT 1");
    let told = project.verify_differing("ventas", &["--against", "landing"]);
    assert_eq!(found(&told), [0, 1, 0]);
}

#[test]
fn a_table_is_compared_with_its_loads_without_its_source() {
    let mut project = loaded("verify_landing", 500, CURSOS_AND_VENTAS);
    project.run(&[]);
    project.set("OPERATIVA_URL", "");
    let told = project.verify(&["--against", "landing"]);
    assert_eq!(told["against"], "landing");
    project.alter("UPDATE replica.ventas SET estado = NULL WHERE id = 5");
    let told = project.verify_differing("ventas", &["--against", "landing"]);
    assert_eq!(found(&told), [0, 0, 1]);
    assert_eq!(told["columns"]["estado"], 1);
    for load in project.loads("ventas") {
        std::fs::remove_dir_all(load).unwrap();
    }
    let output = project.acequia(&["verify", "ventas", "--against", "landing"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        output.stderr.contains("is not whole in the landing area"),
        "{output:?}"
    );
}

#[test]
fn a_table_without_a_key_is_compared_as_a_multiset() {
    let project = Project::new(
        "verify_keyless",
        "[streams.t]\nsource = \"operativa\"\ntable = \"t\"\nmode = \"full\"\n",
    );
    project
        .source
        .batch("CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (1, 'x'), (2, NULL)")
        .unwrap();
    let output = project.acequia(&["verify"]);
    assert_eq!(output.status, Some(1));
    assert!(
        output.stderr.contains("run `acequia run t` first"),
        "{output:?}"
    );
    project.run(&[]);
    project.verify(&[]);
    project.alter("INSERT INTO replica.t FROM replica.t WHERE a = 2");
    assert_eq!(found(&project.verify_differing("t", &[])), [0, 1, 0]);
    for how in ["--counts", "--keys"] {
        assert_eq!(found(&project.verify_differing("t", &[how])), [0, 1, 0]);
    }
    project.alter("DELETE FROM replica.t WHERE a = 1");
    assert_eq!(found(&project.verify_differing("t", &[])), [2, 1, 0]);
}

#[test]
fn columns_that_only_one_side_has_are_named() {
    let project = loaded("verify_columns", 100, VENTAS);
    project
        .source
        .batch("ALTER TABLE ventas ADD COLUMN nueva text DEFAULT 'x'; ALTER TABLE ventas DROP COLUMN estado")
        .unwrap();
    let told = stream_report(&project.verify(&[]), "ventas");
    assert_eq!(
        told["columns_left_out"],
        serde_json::json!(["estado", "nueva"])
    );
}

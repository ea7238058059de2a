//! `acequia verify --counts`, which compares what the databases count themselves, and `--since`, which compares a part of the rows.

use serde_json::Value;

use super::{found, loaded};
use crate::cdc;
use crate::support::{Project, VENTAS, stream_report};
use crate::types::{MATRIX, T, fill_matrix};

/// Those columns whose NULLs are told to be not as many.
fn uneven(report: &Value) -> Vec<&str> {
    let nulls = report["counted"]["nulls"].as_array().unwrap().iter();
    let nulls = nulls.filter(|nulls| nulls["is_equal"] == false);
    nulls
        .map(|nulls| nulls["column"].as_str().unwrap())
        .collect()
}

fn counted(project: &Project, stream: &str, arguments: &[&str]) -> Value {
    let arguments = [&["--counts"][..], arguments].concat();
    stream_report(&project.verify(&arguments), stream)
}

/// Infinities, NaN, zeros with a sign and collations of all types make no difference, and a NULL too many in each is told.
#[test]
fn nulls_of_columns_of_every_type_are_counted_in_both_databases() {
    for destination in ["duckdb", "almacen"] {
        let project = Project::new(&format!("counts_matrix_{destination}"), T).with_warehouse();
        fill_matrix(&project);
        project
            .source
            .batch("ALTER TABLE t ADD COLUMN fila serial PRIMARY KEY")
            .unwrap();
        let arguments = ["--destination", destination];
        project.run(&arguments);
        let told = counted(&project, "t", &arguments);
        assert_eq!(told["rows_source"], told["rows_destination"], "{told}");
        assert_eq!(told["counted"]["bounds"]["column"], "fila", "{told}");
        for n in 0..MATRIX.len() {
            let sql = format!(
                "UPDATE replica.t SET c{n} = NULL WHERE fila = (SELECT min(fila) FROM replica.t WHERE id = {n} AND c{n} IS NOT NULL)"
            );
            match destination {
                "duckdb" => project.alter(&sql),
                _ => project.warehouse().batch(&sql).unwrap(),
            }
        }
        let told = project.verify_differing("t", &[&["--counts"][..], &arguments].concat());
        let mut expected: Vec<String> = (0..MATRIX.len()).map(|n| format!("c{n}")).collect();
        let mut uneven = uneven(&told);
        expected.sort_unstable();
        uneven.sort_unstable();
        assert_eq!(uneven, expected, "{destination}");
        assert_eq!(found(&told), [0, 0, 0]);
    }
}

#[test]
fn the_bounds_of_a_key_of_every_ordered_type_are_compared_and_shown_only_where_asked_for() {
    for (key, lowest, other) in [
        ("smallint", "-3", "-4"),
        ("bigint", "-9223372036854775808", "5"),
        ("numeric(12,3)", "-0.001", "-0.002"),
        ("date", "0001-01-01", "0002-01-01"),
        ("timestamp", "1999-12-31 23:59:59.999999", "1999-12-31"),
        ("timestamptz", "1999-12-31 23:59:59.999999+00", "-infinity"),
    ] {
        let highest = if key.contains('t') && !key.contains("int") || key == "date" {
            "infinity"
        } else {
            "30000"
        };
        let name = key.split('(').next().unwrap();
        let project = Project::new(&format!("counts_{name}"), T).with_warehouse();
        project
            .source
            .batch(&format!(
                "CREATE TABLE t (id {key} PRIMARY KEY); INSERT INTO t VALUES ('{lowest}'), ('{highest}')"
            ))
            .unwrap();
        for destination in ["duckdb", "almacen"] {
            let arguments = ["--destination", destination];
            project.run(&arguments);
            let told = counted(&project, "t", &arguments);
            let bounds = &told["counted"]["bounds"];
            assert_eq!(bounds["is_equal"], true, "{key} {destination}: {told}");
            assert_eq!(bounds["source"], serde_json::json!([]), "{key}: {told}");
            let sql = format!(
                "UPDATE replica.t SET id = '{other}' WHERE id < (SELECT max(id) FROM replica.t)"
            );
            match destination {
                "duckdb" => project.alter(&sql),
                _ => project.warehouse().batch(&sql).unwrap(),
            }
            let arguments = [&["--counts", "--show"][..], &arguments].concat();
            let told = project.verify_differing("t", &arguments);
            let bounds = &told["counted"]["bounds"];
            assert_eq!(bounds["is_equal"], false, "{key} {destination}: {told}");
            assert_ne!(bounds["source"][0], bounds["destination"][0], "{told}");
            assert_eq!(bounds["source"][1], bounds["destination"][1], "{told}");
        }
    }
}

#[test]
fn texts_are_not_compared_by_their_order() {
    let project = Project::new("counts_text", T);
    project
        .source
        .batch("CREATE TABLE t (id text PRIMARY KEY, n float8); INSERT INTO t VALUES ('Ñu', 'NaN'), ('ab', '-0'), ('Ab', 0), ('a-c', 'infinity')")
        .unwrap();
    project.run(&[]);
    assert_eq!(
        counted(&project, "t", &[])["counted"]["bounds"],
        Value::Null
    );
}

#[test]
fn what_changed_since_is_no_difference_and_hides_none_below() {
    for destination in ["duckdb", "almacen"] {
        let project = loaded(&format!("counts_since_{destination}"), 500, VENTAS).with_warehouse();
        let arguments = ["--destination", destination];
        project.run(&arguments);
        let told = counted(&project, "ventas", &arguments);
        assert_eq!(told["changed"], 0, "{told}");
        assert_eq!(told["counted"]["bounds"]["column"], "updated_at", "{told}");
        // New rows, changed ones, and NULLs in both.
        project
            .source
            .batch(
                "ALTER TABLE ventas ALTER estado DROP NOT NULL; \
                 UPDATE ventas SET estado = NULL, updated_at = now() WHERE id BETWEEN 10 AND 29; \
                 INSERT INTO ventas SELECT (jsonb_populate_record(v, jsonb_build_object('id', 100000 + id, 'estado', NULL, \
                 'updated_at', now()))).* FROM ventas v WHERE id BETWEEN 40 AND 44",
            )
            .unwrap();
        let told = counted(&project, "ventas", &arguments);
        assert_eq!(told["changed"], 25, "{destination}: {told}");
        assert_eq!(found(&told), [0, 0, 0]);
        // A row that is missing where no run reads again is a difference, however many are new.
        project.run(&arguments);
        project
            .source
            .batch(
                "INSERT INTO ventas SELECT (jsonb_populate_record(v, jsonb_build_object('id', 200000 + id, \
                 'updated_at', now()))).* FROM ventas v WHERE id BETWEEN 40 AND 44",
            )
            .unwrap();
        let delete = "DELETE FROM replica.ventas WHERE id = 7";
        match destination {
            "duckdb" => project.alter(delete),
            _ => project.warehouse().batch(delete).unwrap(),
        }
        let arguments = [&["--counts"][..], &arguments].concat();
        let told = project.verify_differing("ventas", &arguments);
        assert_eq!(found(&told), [1, 0, 0], "{destination}: {told}");
        assert_eq!(told["changed"], 5, "{destination}: {told}");
    }
}

#[test]
fn every_mode_is_counted_masked_and_under_other_names() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, email text, nota text, nacido date, cambio timestamptz NOT NULL);
         CREATE INDEX ON t (cambio);
         INSERT INTO t SELECT i, CASE WHEN i % 3 > 0 THEN 'p' || i END, CASE WHEN i % 5 > 0 THEN 'n' END, '2000-01-01',
         '2026-01-01'::timestamptz + i * interval '1 hour' FROM generate_series(1, 300) i;";
    let shape = "[streams.t.rename]\nid = \"clave\"\nemail = \"nota\"\nnota = \"email\"\ncambio = \"cuando\"\n\
                 [streams.t.mask]\nemail = \"sha256\"\nnacido = \"null\"\n";
    for (mode, keys, bounds) in [
        ("full", "mode = \"full\"\n", "clave"),
        ("soft", "mode = \"cdc\"\ndeletes = \"soft\"\n", "clave"),
        (
            "incremental",
            "mode = \"incremental\"\ncursor = \"cambio\"\n",
            "cuando",
        ),
        (
            "first",
            "mode = \"incremental\"\ncursor = \"cambio\"\ndisposition = \"insert_only\"\n",
            "clave",
        ),
        ("scd2", "mode = \"full\"\ndisposition = \"scd2\"\n", "clave"),
    ] {
        let name = format!("counts_mode_{mode}");
        let project = cdc::project(&name, ddl, &[], "");
        let stream = format!("[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\n{keys}");
        project.streams(&(cdc::streams(&[], "") + &stream + shape));
        project.run(&[]);
        project
            .source
            .batch("UPDATE t SET email = NULL, cambio = now() WHERE id = 4")
            .unwrap();
        if !keys.contains("incremental") {
            project
                .source
                .batch("DELETE FROM t WHERE id = 300")
                .unwrap();
        }
        project.run(&[]);
        let told = counted(&project, "t", &[]);
        // A row that keeps its first cursor value is settled on one side alone.
        if mode != "first" {
            assert_eq!(
                told["counted"]["bounds"]["column"], bounds,
                "{mode}: {told}"
            );
        }
        assert_eq!(uneven(&told), Vec::<&str>::new(), "{mode}: {told}");
        let nulls = told["counted"]["nulls"].as_array().unwrap();
        let of = |column: &str| nulls.iter().find(|nulls| nulls["column"] == column);
        if mode == "first" {
            assert_eq!(nulls.len(), 1, "{told}");
            continue;
        }
        let born = of("nacido").unwrap();
        assert_eq!(born["source"], born["destination"], "{mode}: {told}");
        assert!(born["source"].as_u64().unwrap() >= 290, "{mode}: {told}");
        project.alter("UPDATE replica.t SET nota = 'x' WHERE clave IN (3, 6)");
        let told = project.verify_differing("t", &["--counts"]);
        assert_eq!(uneven(&told), ["nota"], "{mode}: {told}");
        let output = project.acequia(&["verify", "--counts"]);
        let said = "nota is NULL ";
        assert!(output.stdout.contains(said), "{mode}: {output:?}");
        let told = project.verify_differing("t", &["--counts", "--against", "landing"]);
        assert_eq!(uneven(&told), ["nota"], "{mode}: {told}");
    }
}

#[test]
fn what_was_compared_is_written_down() {
    let project = loaded("counts_written", 50, VENTAS);
    project.verify(&[]);
    // As an earlier version made the table.
    project.alter(
        "ALTER TABLE replica._acequia_verifications DROP COLUMN compared; \
         ALTER TABLE replica._acequia_verifications DROP COLUMN since",
    );
    project.verify(&["--counts"]);
    project.verify(&["--keys"]);
    project.verify(&["--since", "2020-01-01T00:00:00Z"]);
    let written = project.value(
        "SELECT string_agg(concat_ws(' ', compared, since), ', ' ORDER BY verified_at) FROM replica._acequia_verifications",
    );
    assert_eq!(
        written.as_deref(),
        Some(", counts, keys, rows 2020-01-01T00:00:00Z")
    );
}

#[test]
fn only_rows_from_a_cursor_value_on_are_compared() {
    let streams = "[streams.t]\nsource = \"operativa\"\ntable = \"t\"\nmode = \"incremental\"\ncursor = \"cambio\"\n\
                   [streams.t.rename]\ncambio = \"cuando\"\nid = \"clave\"\n";
    let project = Project::new("verify_since", streams).with_warehouse();
    project
        .source
        .batch(
            "CREATE TABLE t (id int PRIMARY KEY, n int, cambio timestamptz NOT NULL); CREATE INDEX ON t (cambio); \
             INSERT INTO t SELECT i, i, now() - i * interval '1 day' FROM generate_series(0, 99) i",
        )
        .unwrap();
    for destination in ["duckdb", "almacen"] {
        let arguments = ["--destination", destination];
        project.run(&arguments);
        for sql in [
            "UPDATE replica.t SET n = -1 WHERE clave IN (3, 50)",
            "DELETE FROM replica.t WHERE clave IN (4, 60)",
            "UPDATE replica.t SET clave = 1000 + clave WHERE clave IN (5, 70)",
        ] {
            match destination {
                "duckdb" => project.alter(sql),
                _ => project.warehouse().batch(sql).unwrap(),
            }
        }
        let with = |more: &[&'static str]| [more, &arguments].concat();
        let told = project.verify_differing("t", &with(&["--since", "10d"]));
        assert_eq!(found(&told), [2, 1, 1], "{destination}: {told}");
        assert_eq!(told["rows_source"], 10, "{told}");
        let told = project.verify_differing("t", &with(&[]));
        assert_eq!(found(&told), [4, 2, 2], "{destination}: {told}");
        let told = project.verify_differing("t", &with(&["--since", "10d", "--keys"]));
        assert_eq!(found(&told), [2, 1, 0], "{destination}: {told}");
        let told = project.verify_differing("t", &with(&["--since", "10d", "--counts"]));
        assert_eq!(found(&told), [1, 0, 0], "{destination}: {told}");
        let told =
            project.verify_differing("t", &with(&["--since", "10d", "--against", "landing"]));
        assert_eq!(found(&told), [2, 1, 1], "{destination}: {told}");
        let none = project.verify(&with(&["--since", "2100-01-01T00:00:00Z"]));
        assert_eq!(stream_report(&none, "t")["rows_source"], 0);
    }
    let output = project.acequia(&["verify", "--since", "ayer"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stdout.contains("--since `ayer`"), "{output:?}");
    let output = project.acequia(&["verify", "--since", "7d", "--repair"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    let first = "mode = \"incremental\"\ndisposition = \"insert_only\"";
    project.streams(&streams.replace("mode = \"incremental\"", first));
    project.run(&["--full-refresh"]);
    let output = project.acequia(&["verify", "--since", "7d"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stdout.contains("insert_only"), "{output:?}");
    project.streams(&streams.replace(
        "mode = \"incremental\"\ncursor = \"cambio\"",
        "mode = \"full\"",
    ));
    let output = project.acequia(&["verify", "--since", "7d"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        output.stdout.contains("acequia verify t --since"),
        "{output:?}"
    );
}

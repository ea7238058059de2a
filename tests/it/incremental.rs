//! Incremental loads: nothing is lost at the boundary, and nothing comes twice.

use std::time::Duration;

use serde_json::Value;
use testkit::{Changes, Seed};

use crate::support::{Project, VENTAS, counts, stream_report};

#[test]
fn rounds_of_inserts_and_updates_arrive() {
    let project = Project::operational("rounds", VENTAS);
    let mut client = project.source.client().unwrap();
    Seed::new(5, 30_000)
        .only_ventas()
        .apply(&mut client)
        .unwrap();
    let first = project.run(&[]);
    assert_eq!(counts(&first, "ventas"), (30_000, 30_000, 0, 0));
    project.assert_same("ventas");
    for round in 0..4 {
        let changed = Changes::day(round).apply(&mut client).unwrap();
        let report = project.run(&[]);
        let (_, inserted, updated, deleted) = counts(&report, "ventas");
        assert_eq!(
            (inserted, updated, deleted),
            (changed.inserted_ventas, changed.updated_ventas, 0)
        );
        project.assert_same("ventas");
    }
}

#[test]
fn a_run_with_nothing_new_changes_nothing() {
    let project = Project::operational("idle", VENTAS);
    Seed::new(5, 1_000)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    let position = |report: &Value| stream_report(report, "ventas")["position_after"].clone();
    let before = position(&project.run(&[]));
    let state = || project.value("SELECT CAST(s AS VARCHAR) FROM replica._acequia_state AS s");
    let loads = || project.loads("ventas");
    let (known, landed) = (state(), loads());
    for reader in ["copy", "connectorx"] {
        project.streams(&format!("reader = \"{reader}\"\n{VENTAS}"));
        let idle = project.run(&[]);
        assert_eq!(counts(&idle, "ventas"), (0, 0, 0, 0), "{reader}");
        assert_eq!(position(&idle), before);
        assert_eq!(
            (state(), loads()),
            (known.clone(), landed.clone()),
            "{reader}"
        );
    }
    project.assert_same("ventas");
}

/// Rows at the position are read again by each run, and told from those that were there.
#[test]
fn what_changes_at_the_position_is_seen() {
    let project = Project::operational("at_the_position", VENTAS);
    let mut client = project.source.client().unwrap();
    Seed::new(5, 100).only_ventas().apply(&mut client).unwrap();
    project.run(&[]);
    let mut change = |sql: &str, expected: (u64, u64)| {
        client
            .batch_execute(&format!("SET session_replication_role = replica; {sql}"))
            .unwrap();
        let (_, inserted, updated, _) = counts(&project.run(&[]), "ventas");
        assert_eq!((inserted, updated), expected, "{sql}");
        assert_eq!(counts(&project.run(&[]), "ventas"), (0, 0, 0, 0), "{sql}");
    };
    let last = "(SELECT max(updated_at) FROM ventas)";
    change(
        &format!("UPDATE ventas SET precio_total = precio_total + 1 WHERE updated_at = {last}"),
        (0, 1),
    );
    change(
        &format!("UPDATE ventas SET updated_at = {last} WHERE id = 1"),
        (0, 1),
    );
    change("ALTER TABLE ventas ADD COLUMN nota text", (0, 0));
    change(
        &format!("UPDATE ventas SET nota = 'x' WHERE id = 1 AND updated_at = {last}"),
        (0, 1),
    );
    project.assert_same("ventas");
}

/// More rows than a batch has at one time: they are read again, and loaded, and nothing else.
#[test]
fn many_rows_at_the_position_are_loaded_again() {
    let project = Project::operational("many_at_the_position", VENTAS);
    let mut client = project.source.client().unwrap();
    Seed::new(5, 20_000)
        .only_ventas()
        .apply(&mut client)
        .unwrap();
    client
        .batch_execute("UPDATE ventas SET estado = 'completado'")
        .unwrap();
    project.run(&[]);
    std::thread::sleep(Duration::from_secs(2));
    for _ in 0..2 {
        let (extracted, inserted, updated, _) = counts(&project.run(&[]), "ventas");
        assert_eq!((extracted, inserted, updated), (20_000, 0, 0));
    }
    project.assert_same("ventas");
}

#[test]
fn rows_with_the_cursor_value_of_the_last_one_are_not_lost() {
    let project = Project::operational("equal", VENTAS);
    let mut client = project.source.client().unwrap();
    Seed::new(5, 100).only_ventas().apply(&mut client).unwrap();
    project.run(&[]);
    client
        .batch_execute(
            "ALTER TABLE ventas DISABLE TRIGGER USER;
             INSERT INTO ventas (cliente_id, curso_id, num_participantes, precio_total, updated_at)
             SELECT cliente_id, curso_id, 3, 5.5, (SELECT max(updated_at) FROM ventas) FROM ventas LIMIT 10",
        )
        .unwrap();
    let (_, inserted, updated, _) = counts(&project.run(&[]), "ventas");
    assert_eq!((inserted, updated), (10, 0));
    project.assert_same("ventas");
}

#[test]
fn an_update_that_commits_late_is_not_lost() {
    let project = Project::operational("late", VENTAS);
    let mut late = project.source.client().unwrap();
    let mut early = project.source.client().unwrap();
    Seed::new(5, 100).only_ventas().apply(&mut early).unwrap();
    project.run(&[]);
    // The late one begins first, so that its updated_at is the lower one, and commits after a run that has seen the other.
    let mut transaction = late.transaction().unwrap();
    transaction
        .execute("UPDATE ventas SET estado = 'completado' WHERE id <= 5", &[])
        .unwrap();
    std::thread::sleep(Duration::from_millis(20));
    early
        .execute("UPDATE ventas SET estado = 'cancelado' WHERE id > 50", &[])
        .unwrap();
    project.run(&[]);
    transaction.commit().unwrap();
    let (_, _, updated, _) = counts(&project.run(&[]), "ventas");
    assert!(updated > 0, "the late rows must be read");
    project.assert_same("ventas");
}

#[test]
fn lag_reads_again_what_lies_below_the_position() {
    let project = Project::new(
        "lag",
        r#"
[streams.eventos]
source = "operativa"
table = "eventos"
mode = "incremental"
cursor = "id"
lag = 100
"#,
    );
    let mut client = project.source.client().unwrap();
    client
        .batch_execute(
            "CREATE TABLE eventos (id int8 PRIMARY KEY, t text);
             INSERT INTO eventos SELECT i, 'a' FROM generate_series(1, 1000) AS i WHERE i <> 950",
        )
        .unwrap();
    project.run(&[]);
    client
        .execute(
            "INSERT INTO eventos VALUES (950, 'late'), (1001, 'new')",
            &[],
        )
        .unwrap();
    let (extracted, inserted, updated, _) = counts(&project.run(&[]), "eventos");
    assert_eq!((inserted, updated), (2, 0));
    assert!(extracted < 200, "only the lag is read again: {extracted}");
    project.assert_same("eventos");
}

#[test]
fn append_without_a_key_does_not_repeat_the_boundary() {
    let project = Project::new(
        "append",
        r#"
[streams.registro]
source = "operativa"
table = "registro"
mode = "incremental"
disposition = "append"
cursor = "hora"
"#,
    );
    let mut client = project.source.client().unwrap();
    client
        .batch_execute(
            "CREATE TABLE registro (hora timestamp, t text);
             INSERT INTO registro VALUES ('2024-01-01 10:00', 'a'), ('2024-01-01 11:00', 'b'), ('2024-01-01 11:00', 'b'),
                                         ('2024-01-01 11:00', NULL)",
        )
        .unwrap();
    project.run(&[]);
    project.assert_same("registro");
    assert_eq!(counts(&project.run(&[]), "registro").1, 0);
    client
        .batch_execute(
            "INSERT INTO registro VALUES ('2024-01-01 11:00', 'b'), ('2024-01-01 11:00', NULL), ('2024-01-01 11:00', 'c'),
                                         ('2024-01-02', 'd')",
        )
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "registro").1, 4);
    project.assert_same("registro");
}

#[test]
fn every_type_of_cursor_finds_what_is_new() {
    for (name, column_type, old, new) in [
        ("int2", "int2", "5", "6"),
        (
            "int8",
            "int8",
            "-9223372036854775807",
            "9223372036854775807",
        ),
        ("num", "numeric(20,3)", "12.345", "12.346"),
        (
            "open",
            "numeric",
            "-0.5",
            "100000000000000000000000000.000000001",
        ),
        ("date", "date", "'0001-01-01'", "'9999-12-31'"),
        (
            "ts",
            "timestamp",
            "'1969-12-31 23:59:59.999999'",
            "'2024-02-29 00:00:00.000001'",
        ),
        (
            "tz",
            "timestamptz",
            "'2024-02-29 00:00:00+02'",
            "'2024-02-29 00:00:00+01'",
        ),
        ("text", "text", "'Z'", "'a''ñ'"),
        ("vc", "varchar(10)", "''", "'\\'"),
        (
            "uuid",
            "uuid",
            "'00000000-0000-0000-0000-0000000000ff'",
            "'80000000-0000-0000-0000-000000000000'",
        ),
    ] {
        let project = Project::new(
            &format!("cursor_{name}"),
            r#"
[streams.t]
source = "operativa"
table = "t"
mode = "incremental"
cursor = "c"
"#,
        );
        let mut client = project.source.client().unwrap();
        client
            .batch_execute(&format!(
                "CREATE TABLE t (id int PRIMARY KEY, c {column_type} NOT NULL);
                 INSERT INTO t VALUES (1, {old}), (2, {old})"
            ))
            .unwrap();
        project.run(&[]);
        client
            .batch_execute(&format!("INSERT INTO t VALUES (3, {new}), (4, {old})"))
            .unwrap();
        assert_eq!(counts(&project.run(&[]), "t").1, 2, "{name}");
        project.assert_same("t");
        // Once more from the new position: it must be one that the server understands.
        client
            .batch_execute(&format!("INSERT INTO t VALUES (5, {new})"))
            .unwrap();
        assert_eq!(counts(&project.run(&[]), "t").1, 1, "{name}");
        project.assert_same("t");
    }
}

#[test]
fn an_infinite_cursor_does_not_hide_the_rest() {
    let project = Project::new(
        "infinite",
        r#"
[streams.t]
source = "operativa"
table = "t"
mode = "incremental"
cursor = "c"
"#,
    );
    let mut client = project.source.client().unwrap();
    client
        .batch_execute(
            "CREATE TABLE t (id int PRIMARY KEY, c timestamptz NOT NULL);
             INSERT INTO t VALUES (1, 'infinity'), (2, '2024-01-01'), (3, '-infinity'), (4, '9999-01-01')",
        )
        .unwrap();
    project.run(&[]);
    client
        .batch_execute("INSERT INTO t VALUES (5, CURRENT_TIMESTAMP)")
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
}

#[test]
fn null_cursors_are_counted_included_or_excluded_as_the_stream_says() {
    let stream = |nulls: &str| {
        format!(
            r#"
[streams.t]
source = "operativa"
table = "t"
mode = "incremental"
cursor = "c"
{nulls}
"#
        )
    };
    let project = Project::new("nulls", &stream(""));
    project
        .source
        .batch(
            "CREATE TABLE t (id int PRIMARY KEY, c int);
             INSERT INTO t VALUES (1, NULL), (2, 5), (3, NULL)",
        )
        .unwrap();
    let failed = project.run_failing("t");
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("2 rows have NULL in the cursor column `c`"),
        "{error}"
    );
    assert!(error.contains("null_cursor"), "{error}");

    project.streams(&stream("null_cursor = \"exclude\""));
    project.run(&[]);
    assert_eq!(
        project
            .value("SELECT string_agg(id::text) FROM replica.t")
            .unwrap(),
        "2"
    );

    project.streams(&stream("null_cursor = \"include\""));
    project.run(&["--full-refresh"]);
    project.assert_same("t");
    project
        .source
        .batch("INSERT INTO t VALUES (4, NULL), (5, 6)")
        .unwrap();
    let (_, inserted, updated, _) = counts(&project.run(&[]), "t");
    assert_eq!((inserted, updated), (2, 0));
    project.assert_same("t");
}

#[test]
fn the_initial_value_is_where_the_first_run_begins() {
    let project = Project::operational(
        "initial",
        r#"
[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"
initial_value = "2024-06-01T00:00:00Z"
"#,
    );
    Seed::new(5, 2_000)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project
        .source
        .batch("CREATE VIEW desde AS SELECT * FROM ventas WHERE updated_at >= '2024-06-01 00:00:00+00'")
        .unwrap();
    project.run(&[]);
    project.assert_same_as("public.desde", "replica.ventas");
}

#[test]
fn a_full_refresh_reads_everything_anew() {
    let project = Project::operational("refresh", VENTAS);
    let mut client = project.source.client().unwrap();
    Seed::new(5, 1_000)
        .only_ventas()
        .apply(&mut client)
        .unwrap();
    project.run(&[]);
    client
        .batch_execute("DELETE FROM ventas WHERE id % 3 = 0")
        .unwrap();
    project.run(&[]);
    let kept = project
        .value("SELECT count(*) FROM replica.ventas")
        .unwrap();
    assert_eq!(kept, "1000", "an incremental stream does not see deletes");
    project.run(&["--full-refresh"]);
    project.assert_same("ventas");
    Changes::day(1).apply(&mut client).unwrap();
    project.run(&[]);
    project.assert_same("ventas");
}

#[test]
fn a_dropped_destination_starts_afresh() {
    let project = Project::operational("afresh", VENTAS);
    let mut client = project.source.client().unwrap();
    Seed::new(5, 1_000)
        .only_ventas()
        .apply(&mut client)
        .unwrap();
    project.run(&[]);
    client
        .batch_execute("DELETE FROM ventas WHERE id % 3 = 0")
        .unwrap();
    std::fs::remove_file(project.path("formacion.duckdb")).unwrap();
    let report = project.run(&[]);
    assert_eq!(
        stream_report(&report, "ventas")["position_before"],
        Value::Null
    );
    project.assert_same("ventas");
}

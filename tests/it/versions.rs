//! Streams that keep what the destination has: `insert_only` and `scd2`, in both destinations.

use crate::support::{Project, counts};

const TO_WAREHOUSE: [&str; 2] = ["--destination", "almacen"];

/// A project with courses, and streams that read them so.
fn project(name: &str, keys: &str) -> Project {
    let streams =
        format!("\n[streams.cursos]\nsource = \"operativa\"\ntable = \"public.cursos\"\n{keys}\n");
    let project = Project::new(name, &streams).with_warehouse();
    project
        .source
        .batch(
            "CREATE TABLE cursos (id int4 PRIMARY KEY, nombre text NOT NULL, precio numeric(10,2),
                 tocado int8 NOT NULL DEFAULT 1);
             INSERT INTO cursos VALUES (1, 'Rust', 100), (2, 'SQL', 200), (3, 'Arrow', NULL)",
        )
        .unwrap();
    project
}

/// Runs into both destinations, which must do the same: rows inserted, updated and deleted.
fn run(project: &Project) -> (u64, u64, u64) {
    let [duckdb, warehouse] = [&[][..], &TO_WAREHOUSE].map(|arguments| {
        let (_, inserted, updated, deleted) = counts(&project.run(arguments), "cursos");
        (inserted, updated, deleted)
    });
    assert_eq!(duckdb, warehouse);
    duckdb
}

/// A text for each row, from both destinations, which must have the same.
fn rows(project: &Project, query: &str) -> Vec<String> {
    let duckdb = project.duckdb();
    let mut statement = duckdb.prepare(query).unwrap();
    let of_duckdb: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .collect::<duckdb::Result<_>>()
        .unwrap();
    let mut client = project.warehouse().client().unwrap();
    let of_warehouse: Vec<String> = client
        .query(query, &[])
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(of_duckdb, of_warehouse);
    of_duckdb
}

#[test]
fn insert_only_leaves_what_is_there() {
    let project = project(
        "solo_nuevos",
        "mode = \"full\"\ndisposition = \"insert_only\"",
    );
    let names = "SELECT id || ' ' || nombre FROM replica.cursos ORDER BY id";
    assert_eq!(run(&project), (3, 0, 0));
    project
        .source
        .batch(
            "UPDATE cursos SET nombre = 'otro'; DELETE FROM cursos WHERE id = 2;
             INSERT INTO cursos VALUES (4, 'DuckDB', 400)",
        )
        .unwrap();
    assert_eq!(run(&project), (1, 0, 0));
    assert_eq!(
        rows(&project, names),
        ["1 Rust", "2 SQL", "3 Arrow", "4 DuckDB"]
    );
    assert_eq!(run(&project), (0, 0, 0));
    let [duckdb, warehouse] = [
        &["--full-refresh"][..],
        &["--full-refresh", "--destination", "almacen"],
    ]
    .map(|arguments| counts(&project.run(arguments), "cursos"));
    assert_eq!((duckdb, warehouse), ((3, 3, 0, 0), (3, 3, 0, 0)));
    assert_eq!(rows(&project, names), ["1 otro", "3 otro", "4 DuckDB"]);
}

#[test]
fn insert_only_by_cursor_adds_what_is_new() {
    let project = project(
        "solo_nuevos_cursor",
        "mode = \"incremental\"\ncursor = \"tocado\"\ndisposition = \"insert_only\"",
    );
    assert_eq!(run(&project), (3, 0, 0));
    project
        .source
        .batch(
            "UPDATE cursos SET nombre = 'otro', tocado = 2 WHERE id < 3;
             INSERT INTO cursos VALUES (4, 'DuckDB', 400, 3)",
        )
        .unwrap();
    assert_eq!(run(&project), (1, 0, 0));
    assert_eq!(
        rows(
            &project,
            "SELECT id || ' ' || nombre FROM replica.cursos ORDER BY id"
        ),
        ["1 Rust", "2 SQL", "3 Arrow", "4 DuckDB"]
    );
}

#[test]
fn scd2_keeps_each_version_with_its_time() {
    let project = project("versiones", "mode = \"full\"\ndisposition = \"scd2\"");
    let versions = "SELECT id || ' ' || nombre || CASE WHEN _acequia_valid_to IS NULL THEN ' now' ELSE '' END \
         FROM replica.cursos ORDER BY id, _acequia_valid_from";
    assert_eq!(run(&project), (3, 0, 0));
    assert_eq!(run(&project), (0, 0, 0));
    project
        .source
        .batch(
            "UPDATE cursos SET nombre = 'Rust 2' WHERE id = 1; DELETE FROM cursos WHERE id = 2;
             ALTER TABLE cursos ADD COLUMN nivel text; UPDATE cursos SET nivel = 'alto' WHERE id = 3;
             INSERT INTO cursos VALUES (4, 'DuckDB', 400)",
        )
        .unwrap();
    assert_eq!(run(&project), (1, 2, 1));
    let seen = [
        "1 Rust",
        "1 Rust 2 now",
        "2 SQL",
        "3 Arrow",
        "3 Arrow now",
        "4 DuckDB now",
    ];
    assert_eq!(rows(&project, versions), seen);
    assert_eq!(run(&project), (0, 0, 0));
    // One version begins where the one before it ends.
    assert_eq!(
        rows(
            &project,
            "SELECT CAST(count(*) AS varchar) FROM replica.cursos AS a JOIN replica.cursos AS b ON a.id = b.id \
             AND a._acequia_valid_to = b._acequia_valid_from",
        ),
        ["2"]
    );
    // Nothing is left in the source: every version is closed.
    project.source.batch("TRUNCATE cursos").unwrap();
    assert_eq!(run(&project), (0, 0, 3));
    project
        .source
        .batch("INSERT INTO cursos VALUES (2, 'SQL', 200)")
        .unwrap();
    assert_eq!(run(&project), (1, 0, 0));
    assert_eq!(
        rows(&project, versions),
        [
            "1 Rust",
            "1 Rust 2",
            "2 SQL",
            "2 SQL now",
            "3 Arrow",
            "3 Arrow",
            "4 DuckDB"
        ]
    );
}

#[test]
fn scd2_by_cursor_closes_only_what_changed() {
    let project = project(
        "versiones_cursor",
        "mode = \"incremental\"\ncursor = \"tocado\"\ndisposition = \"scd2\"",
    );
    assert_eq!(run(&project), (3, 0, 0));
    project
        .source
        .batch("UPDATE cursos SET precio = NULL, tocado = 2 WHERE id = 1; DELETE FROM cursos WHERE id = 2")
        .unwrap();
    assert_eq!(run(&project), (0, 1, 0));
    assert_eq!(
        rows(
            &project,
            "SELECT id || ' ' || coalesce(CAST(precio AS varchar), '-') || CASE WHEN _acequia_valid_to IS NULL THEN ' now' \
             ELSE '' END FROM replica.cursos ORDER BY id, _acequia_valid_from",
        ),
        ["1 100.00", "1 - now", "2 200.00 now", "3 - now"]
    );
}

#[test]
fn a_crash_keeps_no_half_of_a_version() {
    let project = project("versiones_caida", "mode = \"full\"\ndisposition = \"scd2\"");
    project.run(&[]);
    project
        .source
        .batch("UPDATE cursos SET nombre = nombre || '!'")
        .unwrap();
    project.crash_at("duckdb.before_commit", &["run"]);
    // The run that follows loads what the dead one landed, and finds nothing else.
    assert_eq!(counts(&project.run(&[]), "cursos"), (3, 0, 3, 0));
    assert_eq!(
        project.value("SELECT count(*) || ' ' || count(_acequia_valid_to) FROM replica.cursos"),
        Some("6 3".to_owned())
    );
}

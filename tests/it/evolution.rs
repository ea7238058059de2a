//! The source's schema changes; the table follows as the contract says.

use crate::support::{Project, stream_report};

const T: &str = r#"
[streams.t]
source = "operativa"
table = "t"
mode = "incremental"
cursor = "c"
"#;

const FROZEN: &str = r#"
[streams.t]
source = "operativa"
table = "t"
mode = "incremental"
cursor = "c"
schema_contract = "freeze"
"#;

fn project(name: &str, streams: &str) -> Project {
    let project = Project::new(name, streams);
    project
        .source
        .batch(
            "CREATE TABLE t (id int PRIMARY KEY, c int NOT NULL, a int2, n numeric(6,2), d date);
             INSERT INTO t VALUES (1, 1, 10, 1.25, '2024-01-01'), (2, 2, 20, 2.50, NULL)",
        )
        .unwrap();
    project.run(&[]);
    project
}

fn types(project: &Project) -> String {
    project
        .value(
            "SELECT string_agg(column_name || ' ' || data_type, ', ' ORDER BY column_index) FROM duckdb_columns()
             WHERE table_name = 't' AND column_name NOT LIKE '\\_acequia%' ESCAPE '\\'",
        )
        .unwrap()
}

#[test]
fn new_columns_wider_types_and_dropped_columns_are_followed() {
    let project = project("evolve", T);
    project
        .source
        .batch(
            "ALTER TABLE t ADD COLUMN nuevo text;
             ALTER TABLE t ALTER COLUMN a TYPE int8;
             ALTER TABLE t ALTER COLUMN n TYPE numeric(10,4);
             ALTER TABLE t DROP COLUMN d;
             INSERT INTO t VALUES (3, 3, 5000000000, 123456.7891, 'hola'); UPDATE t SET c = 4, a = 21 WHERE id = 2",
        )
        .unwrap();
    project.run(&[]);
    assert_eq!(
        types(&project),
        "id INTEGER, c INTEGER, a BIGINT, n DECIMAL(10,4), d DATE, nuevo VARCHAR"
    );
    project.assert_same("t");
    let dropped = project.value(
        "SELECT string_agg(id || ':' || coalesce(d::text, 'null'), ' ' ORDER BY id) FROM replica.t",
    );
    assert_eq!(dropped.unwrap(), "1:2024-01-01 2:null 3:null");

    project
        .source
        .batch(
            "ALTER TABLE t ADD COLUMN d date; INSERT INTO t VALUES (5, 5, 1, 1, 'x', '2025-05-05')",
        )
        .unwrap();
    project.run(&[]);
    let revived = project.value("SELECT d::text FROM replica.t WHERE id = 5");
    assert_eq!(revived.unwrap(), "2025-05-05");
}

#[test]
fn a_narrower_type_is_taken_into_the_wider_column() {
    let project = project("narrower", T);
    project
        .source
        .batch("ALTER TABLE t ALTER COLUMN n TYPE numeric(4,1); INSERT INTO t VALUES (3, 3, 5, 99.9, NULL)")
        .unwrap();
    project.run(&[]);
    assert!(types(&project).contains("n DECIMAL(6,2)"));
    assert_eq!(
        project
            .value("SELECT n::text FROM replica.t WHERE id = 3")
            .unwrap(),
        "99.90"
    );
}

#[test]
fn an_incompatible_type_is_refused_and_a_full_refresh_mends_it() {
    let project = project("incompatible", T);
    project
        .source
        .batch("ALTER TABLE t ALTER COLUMN a TYPE text; INSERT INTO t VALUES (3, 3, 'x', 1, NULL)")
        .unwrap();
    let failed = project.run_failing("t");
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("stream t: column `a` changed from int16 to text"),
        "{error}"
    );
    assert!(error.contains("acequia run t --full-refresh"), "{error}");
    assert_eq!(
        project.value("SELECT count(*) FROM replica.t").unwrap(),
        "2"
    );
    project.run(&["--full-refresh"]);
    project.assert_same("t");
}

#[test]
fn a_frozen_schema_refuses_any_change() {
    let project = project("frozen", FROZEN);
    project.run(&[]);
    project
        .source
        .batch("ALTER TABLE t ADD COLUMN nuevo text")
        .unwrap();
    let failed = project.run_failing("t");
    let error = failed["error"].as_str().unwrap();
    assert!(error.contains("column `nuevo` (text) is new"), "{error}");
    assert!(error.contains("schema_contract"), "{error}");
    project
        .source
        .batch("ALTER TABLE t DROP COLUMN nuevo; INSERT INTO t VALUES (3, 3, 1, 1, NULL)")
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
}

#[test]
fn a_replaced_table_keeps_what_its_source_has_dropped() {
    let project = Project::new(
        "replace_evolves",
        r#"
[streams.t]
source = "operativa"
table = "t"
mode = "full"
"#,
    );
    project
        .source
        .batch("CREATE TABLE t (id int, viejo int); INSERT INTO t VALUES (1, 2)")
        .unwrap();
    project.run(&[]);
    project
        .source
        .batch("ALTER TABLE t DROP COLUMN viejo; ALTER TABLE t ADD COLUMN nuevo uuid")
        .unwrap();
    project.run(&[]);
    assert_eq!(types(&project), "id INTEGER, viejo INTEGER, nuevo UUID");
    assert_eq!(project.value("SELECT viejo::text FROM replica.t"), None);
}

#[test]
fn a_field_id_stays_with_its_column() {
    let project = project("field_ids", T);
    project
        .source
        .batch("ALTER TABLE t DROP COLUMN a; ALTER TABLE t ADD COLUMN z int; INSERT INTO t VALUES (3, 3, 1, NULL, 7)")
        .unwrap();
    project.run(&[]);
    let manifest = std::fs::read_to_string(project.loads("t")[1].join("manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let ids: Vec<(String, i64)> = manifest["schema"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| {
            (
                column["name"].as_str().unwrap().to_owned(),
                column["id"].as_i64().unwrap(),
            )
        })
        .collect();
    let expected = [("id", 1), ("c", 2), ("n", 4), ("d", 5), ("z", 6)];
    assert_eq!(ids, expected.map(|(name, id)| (name.to_owned(), id)));
}

#[test]
fn a_changed_cursor_is_refused_until_a_full_refresh() {
    let project = project("new_cursor", T);
    project.streams(&T.replace("cursor = \"c\"", "cursor = \"id\""));
    let failed = project.run_failing("t");
    assert!(
        failed["error"]
            .as_str()
            .unwrap()
            .contains("now read by the cursor `id`"),
        "{failed}"
    );
    let report = project.run(&["--full-refresh"]);
    assert_eq!(
        stream_report(&report, "t")["position_after"]["column"],
        "id"
    );
}

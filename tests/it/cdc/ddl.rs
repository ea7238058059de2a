//! What a table's DDL does to values that the log says nothing of: between two runs, amid the log that a run reads, and
//! while a run follows.

use super::{error, project, warnings};
use crate::support::{Project, counts};

const T: &str = "CREATE TYPE color AS ENUM ('rojo', 'verde'); CREATE TYPE punto AS (x int, y int);
     CREATE DOMAIN con_valor AS int DEFAULT 9;
     CREATE TABLE t (id int PRIMARY KEY, a text, b text, n int, c color, p punto)";

fn begun(name: &str, keys: &str) -> Project {
    let project = project(name, T, &["t"], keys);
    project
        .source
        .batch(
            "INSERT INTO t SELECT i, 'a' || i, 'b' || i, i, CASE WHEN i % 2 = 0 THEN 'rojo' ELSE 'verde' END::color,
                                  ROW(i, i)::punto FROM generate_series(1, 12) i",
        )
        .unwrap();
    project.run(&[]);
    project
}

/// DDL that gives values to rows of which the log has nothing, and a word of why a new snapshot was taken.
const UNLOGGED: [(&str, &str, &str); 19] = [
    (
        "aside",
        "ALTER TABLE t RENAME a TO a_old; ALTER TABLE t ADD a text",
        "renamed",
    ),
    (
        "readd",
        "ALTER TABLE t DROP a; ALTER TABLE t ADD a text",
        "dropped and another",
    ),
    (
        "swap",
        "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b",
        "renamed",
    ),
    (
        "takes",
        "ALTER TABLE t DROP a; ALTER TABLE t RENAME b TO a",
        "renamed",
    ),
    (
        "now",
        "ALTER TABLE t ADD z timestamptz DEFAULT clock_timestamp(); ALTER TABLE t ALTER z DROP DEFAULT",
        "rewritten",
    ),
    (
        "constant",
        "ALTER TABLE t ADD z int DEFAULT 5; ALTER TABLE t ALTER z DROP DEFAULT",
        "has a default",
    ),
    (
        "sequence",
        "CREATE SEQUENCE s; ALTER TABLE t ADD z int DEFAULT nextval('s'); ALTER TABLE t ALTER z DROP DEFAULT",
        "rewritten",
    ),
    ("domain", "ALTER TABLE t ADD z con_valor", "column `z`"),
    (
        "using",
        "ALTER TABLE t ALTER n TYPE int USING n * 10",
        "rewritten",
    ),
    (
        "vacuumed",
        "ALTER TABLE t ADD z int DEFAULT 5; VACUUM FULL t; ALTER TABLE t ALTER z DROP DEFAULT",
        "rewritten",
    ),
    (
        "label",
        "ALTER TYPE color RENAME VALUE 'rojo' TO 'carmesí'",
        "label",
    ),
    ("field", "ALTER TYPE punto ADD ATTRIBUTE z int", "composite"),
    (
        "dropfield",
        "ALTER TYPE punto DROP ATTRIBUTE y",
        "composite",
    ),
    (
        "there_and_back",
        "ALTER TABLE t ALTER n TYPE text USING 'x' || n; ALTER TABLE t ALTER n TYPE int USING length(n)",
        "rewritten",
    ),
    (
        "key",
        "ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER n SET NOT NULL; ALTER TABLE t ADD PRIMARY KEY (n)",
        "its key changed",
    ),
    (
        "type",
        "ALTER TABLE t ALTER n TYPE bigint",
        "changed from integer to bigint",
    ),
    ("rename", "ALTER TABLE t RENAME a TO alfa", "renamed"),
    (
        "narrowed",
        "ALTER PUBLICATION acequia SET (publish = 'insert'); UPDATE t SET a = 'sin publicar';
         ALTER PUBLICATION acequia SET (publish = 'insert, update, delete, truncate')",
        "publication was altered",
    ),
    (
        "out_and_in",
        "ALTER PUBLICATION acequia DROP TABLE t; UPDATE t SET a = 'fuera'; ALTER PUBLICATION acequia ADD TABLE t",
        "not published",
    ),
];

/// A composite value counts as NULL where one of its fields is: they are compared as texts.
fn assert_same(project: &Project) {
    let columns = project.source_value(
        "SELECT string_agg(CASE WHEN attname = 'p' THEN 'p::text' ELSE attname END, ', ' ORDER BY attnum) FROM pg_attribute
         WHERE attrelid = 't'::regclass AND attnum > 0 AND NOT attisdropped",
    );
    let view = format!("DROP VIEW IF EXISTS visto; CREATE VIEW visto AS SELECT {columns} FROM t");
    project.source.batch(&view).unwrap();
    project.assert_same_as("public.visto", "replica.t");
    project.source.batch("DROP VIEW visto").unwrap();
}

fn each(project: &Project, ddl: &str) {
    // One by one: VACUUM takes no transaction.
    for statement in ddl
        .split(';')
        .filter(|statement| !statement.trim().is_empty())
    {
        project.source.batch(statement).unwrap();
    }
}

/// B1, B2: without a row that tells of it.
#[test]
fn ddl_between_two_runs_is_read_anew() {
    for (name, ddl, word) in UNLOGGED {
        let project = begun(name, "");
        each(&project, ddl);
        let report = project.run(&[]);
        assert!(warnings(&report, "t").contains(word), "{name}: {report}");
        assert_same(&project);
        // Once.
        assert_eq!(warnings(&project.run(&[]), "t"), "[]", "{name}");
        project.source.batch("DELETE FROM t WHERE id = 3").unwrap();
        assert_eq!(counts(&project.run(&[]), "t"), (1, 0, 0, 1), "{name}");
        assert_same(&project);
    }
}

/// B1, B2: with rows before, between and after it.
#[test]
fn ddl_amid_the_log_is_read_anew() {
    for (name, ddl, word) in UNLOGGED {
        let project = begun(&format!("amid_{name}"), "");
        project.source.batch("DELETE FROM t WHERE id = 1").unwrap();
        for statement in ddl
            .split(';')
            .filter(|statement| !statement.trim().is_empty())
        {
            project.source.batch(statement).unwrap();
            if !["narrowed", "out_and_in", "key"].contains(&name) {
                project
                    .source
                    .batch("UPDATE t SET c = 'verde' WHERE id IN (2, 5)")
                    .unwrap();
            }
        }
        project.source.batch("DELETE FROM t WHERE id = 4").unwrap();
        let report = project.run(&[]);
        let told = warnings(&report, "t");
        assert!(
            told.contains("a new snapshot was taken"),
            "{name} {word}: {report}"
        );
        assert_same(&project);
    }
}

/// Names that were others for a while, and are as they were: the catalog tells nothing of it.
#[test]
fn names_that_were_others_for_a_while_are_seen_in_the_log() {
    let update = "UPDATE t SET a = a || '!', b = b || '?' WHERE id < 6";
    let swap =
        "ALTER TABLE t RENAME a TO x; ALTER TABLE t RENAME b TO a; ALTER TABLE t RENAME x TO b";
    for (name, there, amid, back) in [
        ("swapped", swap, update, swap),
        (
            "renamed",
            "ALTER TABLE t RENAME a TO x",
            "UPDATE t SET x = 'z' WHERE id < 6",
            "ALTER TABLE t RENAME x TO a",
        ),
        (
            "identity",
            "ALTER TABLE t ADD UNIQUE (n); ALTER TABLE t ALTER n SET NOT NULL; ALTER TABLE t REPLICA IDENTITY USING INDEX t_n_key",
            "DELETE FROM t WHERE id = 3; UPDATE t SET id = 100 WHERE id = 4",
            "ALTER TABLE t REPLICA IDENTITY DEFAULT",
        ),
    ] {
        let project = begun(&format!("while_{name}"), "");
        for step in [there, amid, back] {
            project.source.batch(step).unwrap();
        }
        let report = project.run(&[]);
        assert!(
            warnings(&report, "t").contains("a new snapshot was taken"),
            "{name}: {report}"
        );
        project.assert_same("t");
    }
    // To a name that is left out, and back.
    let project = begun("while_left_out", "columns = [\"id\", \"a\", \"n\"]");
    project
        .source
        .batch("ALTER TABLE t RENAME a TO x; UPDATE t SET n = 0 WHERE id < 6; ALTER TABLE t RENAME x TO a")
        .unwrap();
    let report = project.run(&[]);
    assert!(
        warnings(&report, "t").contains("another name for a while"),
        "{report}"
    );
    project
        .source
        .batch("CREATE VIEW visto AS SELECT id, a, n FROM t")
        .unwrap();
    project.assert_same_as("public.visto", "replica.t");
}

/// What the log tells needs no snapshot: nor do labels that are new, a vacuum, a truncation, a default for new rows.
#[test]
fn ddl_that_changes_no_value_takes_no_snapshot() {
    let project = begun("followed", "");
    each(
        &project,
        "ALTER TYPE color ADD VALUE 'azul'; ALTER TABLE t ALTER a SET DEFAULT 'x'; ALTER TABLE t ALTER n SET \
         STATISTICS 50; UPDATE t SET c = 'azul' WHERE id = 1",
    );
    let report = project.run(&[]);
    assert_eq!(warnings(&report, "t"), "[]");
    assert_eq!(counts(&report, "t"), (1, 0, 1, 0));
    each(&project, "VACUUM FULL t; UPDATE t SET n = 3 WHERE id = 1");
    let report = project.run(&[]);
    assert_eq!(warnings(&report, "t"), "[]");
    assert_eq!(counts(&report, "t"), (1, 0, 1, 0));
    each(&project, "TRUNCATE t; INSERT INTO t (id) VALUES (1), (2)");
    let report = project.run(&[]);
    assert_eq!(warnings(&report, "t"), "[]");
    project.assert_same("t");
}

/// A column is there though no row has come since.
#[test]
fn a_new_column_needs_no_row() {
    let mut project = begun("nodml", "changelog = true").with_warehouse();
    let url = project.warehouse().url().to_owned();
    project.set("ALMACEN_URL", &url);
    project.run(&["--destination", "almacen"]);
    project.source.batch("ALTER TABLE t ADD z int").unwrap();
    for destination in ["duckdb", "almacen"] {
        let report = project.run(&["--destination", destination]);
        assert_eq!(warnings(&report, "t"), "[]");
    }
    project.assert_same("t");
    project.assert_same_in_warehouse("t");
    project.source.batch("UPDATE t SET z = id").unwrap();
    for destination in ["duckdb", "almacen"] {
        let report = project.run(&["--destination", destination]);
        assert_eq!(warnings(&report, "t"), "[]");
        assert_eq!(counts(&report, "t").0, 12);
    }
    project.assert_same("t");
    project.assert_same_in_warehouse("t");
    // A name that was there before is another column's.
    project.source.batch("ALTER TABLE t DROP z").unwrap();
    project.run(&[]);
    project.source.batch("ALTER TABLE t ADD z int").unwrap();
    let report = project.run(&[]);
    assert!(
        warnings(&report, "t").contains("`z` was dropped and another"),
        "{report}"
    );
    project.assert_same("t");
}

#[test]
fn a_frozen_stream_refuses_ddl_of_which_no_row_tells() {
    let project = begun("frozen_ddl", "schema_contract = \"freeze\"");
    for ddl in [
        "ALTER TABLE t ADD z int",
        "ALTER TABLE t DROP z; ALTER TABLE t RENAME a TO alfa",
    ] {
        project.source.batch(ddl).unwrap();
        let output = project.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        assert!(error(&output.json(), "t").contains("freeze"), "{output:?}");
    }
    project
        .source
        .batch("ALTER TABLE t RENAME alfa TO a")
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
}

/// A state of an older version tells nothing of the catalog: it is read, and from then on it does.
#[test]
fn positions_of_older_versions_are_taken_on() {
    let project = begun("older", "");
    let forget = "UPDATE replica._acequia_state SET position = json_merge_patch(position::JSON,
        '{\"shape\": null, \"timeline\": null, \"started\": null, \"last\": null}')";
    project.duckdb().execute(forget, []).unwrap();
    let landing = project.path("landing");
    let note = format!("formacion/_slot-{}.json", project.source.name());
    let _ = std::fs::remove_file(landing.join(note));
    project
        .source
        .batch("ALTER TABLE t ADD z int; UPDATE t SET n = 0 WHERE id = 1")
        .unwrap();
    let report = project.run(&[]);
    assert_eq!(warnings(&report, "t"), "[]");
    assert_eq!(counts(&report, "t"), (1, 0, 1, 0));
    project.assert_same("t");
    project
        .source
        .batch("ALTER TABLE t ALTER n TYPE int USING n * 10")
        .unwrap();
    assert!(warnings(&project.run(&[]), "t").contains("rewritten"));
    project.assert_same("t");
    project.duckdb().execute(forget, []).unwrap();
    project
        .source
        .batch("ALTER TABLE t ADD y int DEFAULT 3")
        .unwrap();
    assert!(warnings(&project.run(&[]), "t").contains("has a default"));
    project.assert_same("t");
}

/// Generated columns that are published come, and do not begin the stream anew each time.
#[test]
fn generated_columns_that_are_published_are_read() {
    let project = project(
        "gencols",
        "CREATE TABLE t (id int PRIMARY KEY, v text, doble int GENERATED ALWAYS AS (id * 2) STORED);
         INSERT INTO t (id, v) VALUES (1, 'a')",
        &["t"],
        "",
    );
    let version = project.source_value("SELECT current_setting('server_version_num')");
    if version.parse::<u32>().unwrap() < 180_000 {
        return;
    }
    project
        .source
        .batch("CREATE PUBLICATION acequia FOR TABLE t WITH (publish_generated_columns = stored)")
        .unwrap();
    project.run(&[]);
    project
        .source
        .batch("INSERT INTO t (id, v) VALUES (2, 'b')")
        .unwrap();
    let report = project.run(&[]);
    assert_eq!(warnings(&report, "t"), "[]");
    project.assert_same("t");
    project
        .source
        .batch("ALTER TABLE t ALTER doble SET EXPRESSION AS (id * 3)")
        .unwrap();
    assert!(warnings(&project.run(&[]), "t").contains("rewritten"));
    project.assert_same("t");
}

/// Rows of a table that inherits are read with it, and not told as its own.
#[test]
fn a_table_that_others_inherit_is_refused_before_it_is_published() {
    let project = project(
        "heirs",
        "CREATE TABLE t (id int PRIMARY KEY, v text); CREATE TABLE hija () INHERITS (t); INSERT INTO hija VALUES (1, 'a')",
        &["t"],
        "",
    );
    let output = project.acequia(&["run", "--output", "json"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        error(&output.json(), "t").contains("inherited by public.hija"),
        "{output:?}"
    );
    assert!(
        project
            .acequia(&["check"])
            .stdout
            .contains("inherited by public.hija")
    );
    // The application goes on.
    project
        .source
        .batch("UPDATE t SET v = 'b'; DELETE FROM t")
        .unwrap();
}

/// A key that is checked at the end of a transaction is no identity.
#[test]
fn a_deferrable_key_is_refused_before_it_is_published() {
    for ddl in [
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE, v text)",
        "CREATE TABLE t (id int PRIMARY KEY DEFERRABLE INITIALLY DEFERRED, v text) PARTITION BY RANGE (id);
         CREATE TABLE t_1 PARTITION OF t DEFAULT",
    ] {
        let project = project("deferrable", ddl, &["t"], "");
        project.source.batch("INSERT INTO t VALUES (1, 'a'), (2, 'b')").unwrap();
        let check = project.acequia(&["check"]);
        assert_eq!(check.status, Some(1), "{check:?}");
        assert!(check.stdout.contains("DEFERRABLE"), "{check:?}");
        let output = project.acequia(&["run", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        assert!(error(&output.json(), "t").contains("is DEFERRABLE"), "{output:?}");
        let published = "SELECT count(*) FROM pg_publication_tables";
        assert_eq!(project.source_value(published), "0");
        project.source.batch("UPDATE t SET v = 'c'; DELETE FROM t WHERE id = 1").unwrap();
        // Whole rows are told all the same.
        let table = if ddl.contains("PARTITION") { "t_1" } else { "t" };
        project
            .source
            .batch(&format!("ALTER TABLE {table} REPLICA IDENTITY FULL"))
            .unwrap();
        project.run(&[]);
        project.source.batch("UPDATE t SET v = 'd'; INSERT INTO t VALUES (5, 'e')").unwrap();
        project.run(&[]);
        project.assert_same("t");
    }
}

/// A key that the configuration alone calls one.
#[test]
fn a_key_that_the_server_does_not_keep_is_told_and_duplicates_refused() {
    let project = project(
        "chosen_key",
        "CREATE TABLE t (a int NOT NULL, v text); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a'), (1, 'b')",
        &["t"],
        "primary_key = \"a\"",
    );
    let output = project.acequia(&["run", "--output", "json"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        error(&output.json(), "t").contains("have the same key"),
        "{output:?}"
    );
    let project = self::project(
        "chosen_unique",
        "CREATE TABLE t (a int NOT NULL, v text); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a'), (2, 'b')",
        &["t"],
        "primary_key = \"a\"",
    );
    for _ in 0..2 {
        let report = project.run(&[]);
        assert!(
            warnings(&report, "t").contains("no two rows have the same"),
            "{report}"
        );
    }
    assert!(
        project
            .acequia(&["check"])
            .stdout
            .contains("no two rows have the same")
    );
    project
        .source
        .batch("CREATE UNIQUE INDEX ON t (a)")
        .unwrap();
    assert_eq!(warnings(&project.run(&[]), "t"), "[]");
    project.assert_same("t");
}

/// What a publication leaves out is said in every run.
#[test]
fn a_publication_that_leaves_changes_out_is_told() {
    let project = begun("leaves_out", "");
    project
        .source
        .batch("ALTER PUBLICATION acequia SET (publish = 'insert, update')")
        .unwrap();
    for _ in 0..2 {
        let report = project.run(&[]);
        assert!(
            warnings(&report, "t").contains("delete, truncate of"),
            "{report}"
        );
    }
    assert!(
        project
            .acequia(&["check"])
            .stdout
            .contains("delete, truncate of")
    );
}

/// Rows that are the same to equality, and differ.
#[test]
fn rows_without_a_key_that_differ_only_in_form_are_told_apart() {
    let project = project(
        "forms",
        "CREATE TABLE t (n numeric, f float8, r float4, fs float8[], ns numeric[], j json, d text);
         ALTER TABLE t REPLICA IDENTITY FULL",
        &["t"],
        "",
    );
    project
        .source
        .batch(
            "INSERT INTO t (n) VALUES (1), (1.0), (1.00), (0), (0.0); INSERT INTO t (f) VALUES (0.0), ('-0.0'), ('NaN'), (3);
             INSERT INTO t (r) VALUES (0.0), ('-0.0'), (4); INSERT INTO t (fs) VALUES ('{0.0}'), ('{-0.0}'), ('{1.5}'); INSERT INTO t (ns) VALUES ('{1}'), ('{1.0}');
             INSERT INTO t (j) VALUES ('{\"a\": 1}'), ('{\"a\":1}'), ('{\"a\": 1.0}')",
        )
        .unwrap();
    project.run(&[]);
    for condition in [
        "n::text = '1.0'",
        "f::text = '-0'",
        "r::text = '0'",
        "fs::text = '{-0}'",
        "ns::text = '{1}'",
        "j::text = '{\"a\":1}'",
        "n::text = '0'",
    ] {
        let deleted =
            format!("DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE {condition} LIMIT 1)");
        project.source.batch(&deleted).unwrap();
        project.run(&[]);
        project.assert_same("t");
        let left = "SELECT string_agg(concat_ws(',', n::text, f::text, r::text, fs::text, ns::text, j::text), '|' ORDER BY concat_ws(',', n::text, f::text, r::text, fs::text, ns::text, j::text) COLLATE \"C\") FROM t";
        let expected = project.source_value(left);
        let texts = "SELECT n, f, r, fs, ns, j FROM replica.t";
        assert_eq!(
            project
                .value(&format!("SELECT count(*) FROM ({texts})"))
                .unwrap(),
            project.source_value("SELECT count(*) FROM t"),
            "{condition}: {expected}"
        );
    }
}

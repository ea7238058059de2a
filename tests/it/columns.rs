//! Columns that are called otherwise in the destination, with masks and without; and `pre_sql`, `post_sql`.

use std::path::Path;

use crate::cdc;
use crate::support::{Project, counts, example, files_below, stream_report};

const TABLE: &str = "
CREATE TABLE personas (id int PRIMARY KEY, email text, telefono text, nota text, nacimiento date, saldo numeric(10,2),
                       updated_at timestamptz NOT NULL);
CREATE INDEX ON personas (updated_at);
INSERT INTO personas VALUES (1, 'ana@secreta.es', '600123456', 'una nota', '1990-02-03', 12.30, '2026-01-01'),
                            (2, 'luis@secreta.es', NULL, NULL, NULL, 7, '2026-01-02'),
                            (3, NULL, '12', 'otra', '1999-12-31', NULL, '2026-01-03')";

const SHAPED: &str = r#"
[streams.personas.rename]
email = "correo"
nota = "observaciones"

[streams.personas.mask]
id = "hmac:${CLAVE}"
email = "email"
telefono = "keep-last:4"
nacimiento = "null"
saldo = "sha256"
"#;

/// A key for the tests alone.
const KEY: &str = "0123456789abcdef0123";

fn stream(mode: &str, rest: &str) -> String {
    format!(
        "[streams.personas]\nsource = \"operativa\"\ntable = \"public.personas\"\nmode = \"{mode}\"\n{rest}{SHAPED}"
    )
}

/// Asserts that nothing in the landing area or in what a command said tells a value or the key.
fn assert_hidden(project: &Project, said: &str) {
    let connection = duckdb::Connection::open_in_memory().unwrap();
    for file in files_below(&project.path("landing")) {
        let text = if file.extension().is_some_and(|end| end == "parquet") {
            let sql = format!(
                "SELECT coalesce(string_agg(CAST(p AS VARCHAR), ';'), '') FROM '{}' AS p",
                file.display()
            );
            connection
                .query_row(&sql, [], |row| row.get::<_, String>(0))
                .unwrap()
        } else {
            std::fs::read_to_string(&file).unwrap()
        };
        assert_tells_nothing(&file, &text);
    }
    assert_tells_nothing(Path::new("what was said"), said);
}

fn assert_tells_nothing(place: &Path, text: &str) {
    for secret in ["ana@", "luis@", "600123", "1990-02-03", "12.30", KEY] {
        assert!(
            !text.contains(secret),
            "{secret} in {}: {text}",
            place.display()
        );
    }
}

/// The rows of a table, each as text, in an order that masks do not change.
fn rows(project: &Project) -> Vec<String> {
    let sql = "SELECT concat_ws('|', correo, telefono, observaciones, nacimiento, saldo) FROM replica.personas ORDER BY 1";
    let connection = project.duckdb();
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

fn expected() -> Vec<String> {
    // The SHA-256 of `12.30` and of `7.00`.
    let twelve = "66967ee1379cad8e86426d661092b928146814083cf2c1f1d0263c470d9cff28";
    let seven = "b2337ecb40fbaf31d691e1c244fe7f8782464e747305c4172bc955cb2aedd9af";
    vec![
        format!("***@secreta.es|***3456|una nota|{twelve}"),
        format!("***@secreta.es|{seven}"),
        "***|otra".to_owned(),
    ]
}

#[test]
fn every_mode_renames_and_masks_before_anything_is_written() {
    for (mode, rest) in [
        ("full", ""),
        ("incremental", "cursor = \"updated_at\"\n"),
        ("cdc", "changelog = true\n"),
    ] {
        let mut project = cdc::project(&format!("shaped_{mode}"), TABLE, &[], "");
        project.set("CLAVE", KEY);
        project.streams(&(cdc::streams(&[], "") + &stream(mode, rest)));
        let first = project.acequia(&["run", "--output", "json"]);
        assert_eq!(first.status, Some(0), "{mode}: {first:?}");
        assert_eq!(rows(&project), expected(), "{mode}");
        // A key that is masked still finds its row.
        project
            .source
            .batch(
                "UPDATE personas SET nota = 'nueva', updated_at = '2026-02-01' WHERE id = 1;
                 INSERT INTO personas VALUES (4, 'eva@secreta.es', '600123999', NULL, NULL, NULL, '2026-02-02')",
            )
            .unwrap();
        let second = project.acequia(&["run", "--output", "json", "-v"]);
        assert_eq!(second.status, Some(0), "{mode}: {second:?}");
        let now = rows(&project);
        assert_eq!(now.len(), 4, "{mode}: {now:?}");
        assert!(
            now.iter().any(|row| row.contains("|nueva|")),
            "{mode}: {now:?}"
        );
        assert!(
            !now.iter().any(|row| row.contains("una nota")),
            "{mode}: {now:?}"
        );
        if mode == "cdc" {
            project
                .source
                .batch("DELETE FROM personas WHERE id = 2; UPDATE personas SET id = 9 WHERE id = 3")
                .unwrap();
            let third = project.acequia(&["run", "--output", "json"]);
            assert_eq!(counts(&third.json(), "personas").0, 3, "{third:?}");
            assert_eq!(rows(&project).len(), 3);
            let changes = project.value(
                "SELECT string_agg(CAST(c AS VARCHAR), ';') FROM replica.personas__changes AS c",
            );
            assert_tells_nothing(Path::new("the changelog"), &changes.unwrap());
        }
        let manifest =
            std::fs::read_to_string(project.loads("personas")[0].join("manifest.json")).unwrap();
        for told in [
            "\"mask\": \"email\"",
            "\"mask\": \"hmac (key ",
            "\"renamed_from\": \"email\"",
        ] {
            assert!(manifest.contains(told), "{told}: {manifest}");
        }
        let quiet = project.run(&[]);
        assert_eq!(
            stream_report(&quiet, "personas")["warnings"],
            serde_json::json!([]),
            "{mode}"
        );
        assert_hidden(&project, &format!("{first:?}{second:?}{quiet}"));
    }
}

#[test]
fn values_that_were_not_sent_are_found_again_under_their_new_names() {
    let ddl = "CREATE TABLE t (id int PRIMARY KEY, grande text, n int);
               ALTER TABLE t ALTER grande SET STORAGE EXTERNAL;
               INSERT INTO t VALUES (1, repeat('x', 100000), 1)";
    let project = cdc::project("shaped_toast", ddl, &["t"], "");
    project.streams(
        &(cdc::streams(&["t"], "") + "[streams.t.rename]\ngrande = \"n\"\nn = \"grande\"\n[streams.t.mask]\ngrande = \"sha256\"\n"),
    );
    project.run(&[]);
    let before = project.value("SELECT n FROM replica.t").unwrap();
    project.source.batch("UPDATE t SET n = 2").unwrap();
    project.run(&[]);
    let value = project.value("SELECT n || ' ' || grande FROM replica.t");
    assert_eq!(value, Some(format!("{before} 2")));
    project
        .source
        .batch("ALTER TABLE t ADD otra int; UPDATE t SET n = 3, otra = 5, id = 2")
        .unwrap();
    project.run(&[]);
    let value =
        project.value("SELECT n || ' ' || grande || ' ' || otra || ' ' || id FROM replica.t");
    assert_eq!(value, Some(format!("{before} 3 5 2")));
}

#[test]
fn another_name_needs_all_rows_anew_and_says_so() {
    let incremental = stream("incremental", "cursor = \"updated_at\"\n");
    let mut project = Project::new("renamed_later", &incremental);
    project.source.batch(TABLE).unwrap();
    project.set("CLAVE", KEY);
    project.run(&[]);
    for (from, to) in [("\"correo\"", "\"mail\""), ("email = \"correo\"\n", "")] {
        project.streams(&incremental.replace(from, to));
        let checked = project.acequia(&["check"]);
        assert_eq!(checked.status, Some(1), "{checked:?}");
        let error = project.run_failing("personas")["error"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(error.contains("`email` is `"), "{error}");
        assert!(
            error.contains("acequia run personas --full-refresh"),
            "{error}"
        );
        project.run(&["--full-refresh"]);
        assert_eq!(
            project
                .value("SELECT count(*) FROM replica.personas")
                .as_deref(),
            Some("3")
        );
        project.run(&[]);
    }
    // A table that is made anew by each run follows by itself.
    project.streams(&stream("full", ""));
    project.run(&["--full-refresh"]);
    project.streams(&stream("full", "").replace("\"observaciones\"", "\"notas\""));
    project.run(&[]);
    assert_eq!(
        project
            .value("SELECT count(notas) FROM replica.personas")
            .as_deref(),
        Some("2")
    );
}

#[test]
fn what_the_documents_show_runs_in_postgres_too() {
    let mut project = Project::new("shaped_docs", &example("columns.md", 0)).with_warehouse();
    project.source.batch(TABLE).unwrap();
    project.set("MASK_KEY", KEY);
    project.run(&[]);
    project.run(&["--destination", "almacen"]);
    project
        .source
        .batch("UPDATE personas SET nota = 'dos', updated_at = now() WHERE id = 2")
        .unwrap();
    let report = project.run(&["--destination", "almacen"]);
    assert_eq!(counts(&report, "personas").2, 1, "{report}");
    let loaded = project
        .warehouse()
        .value("SELECT string_agg(correo, ',' ORDER BY correo) FROM replica.personas")
        .unwrap();
    assert_eq!(loaded.as_deref(), Some("***@secreta.es,***@secreta.es"));
    let keys = "SELECT string_agg(id, ',' ORDER BY id) FROM replica.personas";
    let replayed = project.acequia(&["replay", "personas", "--destination", "almacen"]);
    assert_eq!(replayed.status, Some(0), "{replayed:?}");
    assert_eq!(
        project.warehouse().value(keys).unwrap(),
        project.value(keys)
    );
}

#[test]
fn what_is_written_wrongly_is_told() {
    let project = Project::new("shaped_wrong", "");
    project.source.batch(TABLE).unwrap();
    for (lines, status, expected) in [
        (
            "exclude = [\"nota\"]\n[streams.personas.rename]\nnota = \"x\"\n",
            2,
            "exclude leaves the column `nota` out",
        ),
        (
            "[streams.personas.rename]\nemial = \"x\"\n",
            1,
            "names the column `emial`",
        ),
        (
            "[streams.personas.rename]\nemail = \"nota\"\n",
            1,
            "one name",
        ),
        (
            "[streams.personas.rename]\nemail = \"a\"\nnota = \"A\"\n",
            2,
            "called `A` already",
        ),
        (
            "[streams.personas.rename]\nemail = \"_acequia_x\"\n",
            2,
            "acequia's own",
        ),
    ] {
        project.streams(&format!(
            "[streams.personas]\nsource = \"operativa\"\ntable = \"public.personas\"\nmode = \"incremental\"\n\
             cursor = \"updated_at\"\n{lines}"
        ));
        let output = project.acequia(&["run"]);
        assert_eq!(output.status, Some(status), "{lines}: {output:?}");
        assert!(output.stderr.contains(expected), "{lines}: {output:?}");
    }
}

#[test]
fn statements_at_the_destination_are_undone_with_their_load() {
    let sql = |post: &str| {
        format!(
            "[streams.personas]\nsource = \"operativa\"\ntable = \"public.personas\"\nmode = \"full\"\n\
             pre_sql = \"CREATE TABLE IF NOT EXISTS replica.veces (n int)\"\npost_sql = [\"INSERT INTO replica.veces SELECT count(*) \
             FROM {{table}}\", \"{post}\"]\n"
        )
    };
    let project = Project::new("hooks", &sql("SELECT 1")).with_warehouse();
    project.source.batch(TABLE).unwrap();
    for destination in ["duckdb", "almacen"] {
        project.streams(&sql("SELECT 1"));
        project.run(&["--destination", destination]);
        project
            .source
            .batch("DELETE FROM personas WHERE id = 3")
            .unwrap();
        project.streams(&sql("SELECT nada FROM replica.veces"));
        let failed = project.acequia(&["run", "--destination", destination]);
        assert_eq!(failed.status, Some(1), "{failed:?}");
        assert!(
            failed.stderr.contains("post_sql of stream personas"),
            "{failed:?}"
        );
        let kept = "SELECT CAST(count(*) AS text) || ' ' || CAST((SELECT sum(n) FROM replica.veces) AS text) FROM replica.personas";
        let found = match destination {
            "duckdb" => project.value(kept),
            _ => project.warehouse().value(kept).unwrap(),
        };
        assert_eq!(found.as_deref(), Some("3 3"), "{destination}");
        project
            .source
            .batch("INSERT INTO personas (id, updated_at) VALUES (3, now())")
            .unwrap();
    }
    project.streams(&sql("COMMIT"));
    let refused = project.acequia(&["run"]);
    assert_eq!(refused.status, Some(2), "{refused:?}");
    assert!(
        refused.stderr.contains("it would end the transaction"),
        "{refused:?}"
    );
}

#[test]
fn an_entry_of_many_tables_renames_what_each_has() {
    let entry = "[streams.todas]\nsource = \"operativa\"\ntables = [\"public.*\"]\nmode = \"full\"\n[streams.todas.rename]\n\
                 email = \"correo\"\n";
    let project = Project::new("shaped_many", entry);
    project
        .source
        .batch(&format!("{TABLE}; CREATE TABLE otra (correo int)"))
        .unwrap();
    project.run(&[]);
    assert_eq!(
        project
            .value("SELECT count(correo) FROM replica.personas")
            .as_deref(),
        Some("2")
    );
    project.assert_same("otra");
}

/// A source's new column may be called as a renamed one is.
#[test]
fn two_columns_never_have_one_name() {
    let project = cdc::project(
        "dos_nombres",
        "CREATE TABLE t (id int PRIMARY KEY, email text); INSERT INTO t VALUES (1, 'a')",
        &["t"],
        "rename = { email = \"correo\" }",
    );
    project.run(&[]);
    project
        .source
        .batch("ALTER TABLE t ADD COLUMN correo text; INSERT INTO t VALUES (2, 'b', 'c')")
        .unwrap();
    let failed = project.run_failing("t");
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("rename") && error.contains("`correo`"),
        "{error}"
    );
    assert_eq!(
        project.value("SELECT count(*) FROM replica.t").as_deref(),
        Some("1")
    );
}

/// What a table of the destination cannot be called beside another of its columns, it can be called otherwise.
#[test]
fn names_that_meet_in_the_destination_are_mended_by_renaming() {
    for (n, (column, other)) in [
        ("nombre", "NOMBRE"),
        ("_acequia_load_id", "_acequia_load_id"),
    ]
    .into_iter()
    .enumerate()
    {
        let stream = "[streams.t]\nsource = \"operativa\"\ntable = \"t\"\nmode = \"full\"\n";
        let project = Project::new(&format!("se_encuentran_{n}"), stream);
        let more = if column == other {
            String::new()
        } else {
            format!(", \"{other}\" text")
        };
        project
            .source
            .batch(&format!(
                "CREATE TABLE t (id int PRIMARY KEY, \"{column}\" text{more}); INSERT INTO t VALUES (1, 'a')"
            ))
            .unwrap();
        let failed = project.run_failing("t");
        let error = failed["error"].as_str().unwrap();
        let remedy = format!("under [streams.t.rename]: {other} = \"…\"");
        assert!(error.contains(&remedy), "{error}");
        project.streams(&format!("{stream}rename = {{ {other} = \"otro\" }}\n"));
        project.run(&[]);
        assert_eq!(
            project
                .value("SELECT count(otro) FROM replica.t")
                .as_deref(),
            Some(if column == other { "1" } else { "0" })
        );
    }
}

/// A comparison runs no statements of the stream's, and compares by the names that the table has.
#[test]
fn a_renamed_table_is_compared_with_its_loads() {
    let project = Project::new(
        "comparada",
        "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"full\"\nrename = { a = \"b\" }\npost_sql = \
             [\"INSERT INTO {table} (id, b) VALUES (9, 'once')\"]\n",
    );
    project
        .source
        .batch("CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t VALUES (1, 'x')")
        .unwrap();
    project.run(&[]);
    let output = project.acequia(&["verify", "--against", "landing", "--output", "json"]);
    let told = stream_report(&output.json(), "t");
    // The row that a statement has put there is no load's.
    assert_eq!(told["extra"], 1, "{told}");
    assert_eq!(told["missing"], 0, "{told}");
    let told = project.verify_differing("t", &[]);
    assert_eq!((&told["extra"], &told["differ"]), (&1.into(), &0.into()));
}

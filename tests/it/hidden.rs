//! What a stream hides by a column's name stays hidden when the column has another name.

use crate::cdc;
use crate::support::{Project, assert_in_no_file, stream_report};

const SECRET: &str = "secreto";
const TABLE: &str =
    "CREATE TABLE t (id int PRIMARY KEY, nombre text, email text, updated_at timestamptz NOT NULL DEFAULT now());
     INSERT INTO t VALUES (1, 'Ana', 'secreto@empresa.example');";
const MODES: [&str; 3] = [
    "mode = \"full\"\n",
    "mode = \"incremental\"\ncursor = \"updated_at\"\n",
    "mode = \"cdc\"\n",
];
/// How `email` is hidden, and how a column of another name is then.
const HIDDEN: [(&str, &str); 2] = [
    (
        "exclude = [\"email\"]\n",
        "exclude = [\"email\", \"NAME\"]\n",
    ),
    (
        "mask = { email = \"redact\" }\n",
        "mask = { email = \"redact\", NAME = \"redact\" }\n",
    ),
];

fn project(keys: &str) -> Project {
    let project = cdc::project("hidden", TABLE, &[], "");
    configure(&project, keys);
    project
}

fn configure(project: &Project, keys: &str) {
    let stream = format!("[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\n{keys}");
    project.streams(&format!("{}{stream}", cdc::streams(&[], "")));
}

fn assert_hidden(project: &Project) {
    assert_in_no_file(project.folder.path(), SECRET);
}

/// A column that takes a name's place beside the old column, and one that takes the place of another.
#[test]
fn a_column_that_was_renamed_is_not_shown() {
    let alterations = [
        (
            "ALTER TABLE t RENAME email TO correo; ALTER TABLE t ADD email text",
            "correo",
        ),
        (
            "ALTER TABLE t RENAME email TO x; ALTER TABLE t RENAME nombre TO email; ALTER TABLE t RENAME x TO nombre",
            "nombre",
        ),
    ];
    for mode in MODES {
        for (hidden, then) in HIDDEN {
            for (alteration, name) in alterations {
                let project = project(&format!("{mode}{hidden}"));
                project.run(&[]);
                project
                    .source
                    .batch(&format!("{alteration}; UPDATE t SET updated_at = now()"))
                    .unwrap();
                for arguments in [&["run"][..], &["run"], &["run", "--full-refresh"]] {
                    let output = project.acequia(&[arguments, &["--output", "json"]].concat());
                    assert_eq!(output.status, Some(1), "{output:?}");
                    let report = stream_report(&output.json(), "t");
                    let error = report["error"].as_str().unwrap();
                    assert!(
                        error.contains("`email`")
                            && error.contains(&format!("renamed to `{name}`")),
                        "{mode}{hidden}{error}"
                    );
                    assert_hidden(&project);
                }
                configure(&project, &format!("{mode}{}", then.replace("NAME", name)));
                project.run(&["--full-refresh"]);
                assert_hidden(&project);
                // Whoever says that it may be copied is believed.
                let shown = format!("{mode}mask = {{ {name} = \"none\" }}\n");
                configure(&project, &shown);
                project.run(&["--full-refresh"]);
                let shown = format!("SELECT {name} FROM replica.t");
                assert_eq!(
                    project.value(&shown).as_deref(),
                    Some("secreto@empresa.example")
                );
            }
        }
    }
}

/// What is said of the new name holds from the next run on, without anything being read anew.
#[test]
fn a_new_name_that_is_hidden_too_is_gone_on_with() {
    for mode in MODES {
        let (hidden, then) = HIDDEN[0];
        let project = project(&format!("{mode}{hidden}"));
        project.run(&[]);
        project
            .source
            .batch("ALTER TABLE t RENAME email TO correo; ALTER TABLE t ADD email text")
            .unwrap();
        project.run_failing("t");
        configure(
            &project,
            &format!("{mode}{}", then.replace("NAME", "correo")),
        );
        project.run(&[]);
        project
            .source
            .batch("INSERT INTO t VALUES (2, 'Eva', 'secreto@otra.example')")
            .unwrap();
        project.run(&[]);
        assert_eq!(
            project.value("SELECT count(*) FROM replica.t").as_deref(),
            Some("2")
        );
        assert_hidden(&project);
    }
}

/// The log has values under a name that the column had for a while only.
#[test]
fn a_name_that_was_had_for_a_while_shows_nothing() {
    for (hidden, _) in HIDDEN {
        let project = project(&format!("mode = \"cdc\"\n{hidden}"));
        project.run(&[]);
        project
            .source
            .batch(
                "ALTER TABLE t RENAME email TO correo; UPDATE t SET nombre = 'Eva'; ALTER TABLE t RENAME correo TO email",
            )
            .unwrap();
        project.run(&[]);
        assert_hidden(&project);
        let names = "SELECT string_agg(nombre, ',') FROM replica.t";
        assert_eq!(project.value(names).as_deref(), Some("Eva"));
        let columns = "SELECT count(*) FROM duckdb_columns() WHERE column_name = 'correo'";
        assert_eq!(project.value(columns).as_deref(), Some("0"));
    }
}

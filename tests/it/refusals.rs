//! What is wrong is told at once, not one thing for each run; and what would fail is not approved before.

use crate::support::{Project, stream_report};

fn stream(more: &str) -> String {
    format!(
        "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"full\"\nparallel = 1\n{more}\n"
    )
}

#[test]
fn all_columns_that_cannot_be_carried_are_told_in_one_run() {
    let project = Project::new("refused_values", "");
    project
        .source
        .batch(
            "CREATE TABLE t (id int, a numeric(10, 2), b numeric, c timestamptz, d int[], e text);
             INSERT INTO t VALUES (1, 1, 1, now(), '{1}', 'x'), (2, 'NaN', 2, now(), '{1}', 'x'),
                 (3, 3, 1e35, now(), '{1}', 'x'), (4, 4, 4, now(), '{{1},{2}}', 'x')",
        )
        .unwrap();
    for reader in ["copy", "connectorx"] {
        project.streams(&format!("reader = \"{reader}\"\n{}", stream("")));
        let failed = project.run_failing("t");
        let error = failed["error"].as_str().unwrap();
        for (column, why) in [
            ("a", "NaN or infinity"),
            ("b", "does not fit into decimal(38,9)"),
            ("d", "several dimensions"),
        ] {
            assert!(
                error.contains(&format!("`{column}`: it holds")) && error.contains(why),
                "{reader}: {error}"
            );
        }
        assert!(error.contains("3 columns"), "{reader}: {error}");
        // What is advised for NaN has it.
        assert!(error.contains("a = \"float8\""), "{reader}: {error}");
        assert!(!error.contains("a = \"decimal"), "{reader}: {error}");
    }
    let types = "types = { a = \"float8\", b = \"text\", d = \"text\" }";
    project.streams(&stream(types));
    project.run(&[]);
    let rows = "SELECT count(*) || ' ' || max(b) || ' ' || max(d) FROM replica.t WHERE isnan(a)";
    assert_eq!(project.value(rows).as_deref(), Some("1 2 {1}"));
}

#[test]
fn all_settings_of_columns_that_are_wrong_are_told_at_once() {
    let project = Project::new("refused_settings", "");
    project
        .source
        .batch("CREATE TABLE t (id int, a text, b text)")
        .unwrap();
    project.streams(&stream("exclude = [\"x\", \"a\", \"y\"]"));
    let output = project.acequia(&["check"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        output.stdout.contains("the columns `x`, `y`, which are"),
        "{output:?}"
    );
    project.streams(&stream("types = { a = \"date\", b = \"bool\" }"));
    let output = project.acequia(&["check"]);
    for column in ["`a` (text)", "`b` (text)"] {
        assert!(
            output
                .stdout
                .contains(&format!("column {column} cannot be read as")),
            "{output:?}"
        );
    }
}

/// What a function of the source raises may be a row's values.
#[test]
fn what_the_source_raises_is_not_shown() {
    let project = Project::new("raised", "");
    project
        .source
        .batch(
            "CREATE TABLE t (id int, clave text); INSERT INTO t VALUES (1, 'secreto');
             CREATE FUNCTION falla(x text) RETURNS text LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION ''%'', x USING ERRCODE = ''42501''; END'",
        )
        .unwrap();
    let cases = ["copy", "connectorx"].map(|reader| {
        [
            (reader, "falla(clave)", "42501"),
            (reader, "clave::int", "22P02"),
        ]
    });
    for (reader, value, code) in cases.into_iter().flatten() {
        project.streams(&format!(
            "reader = \"{reader}\"\n[streams.t]\nsource = \"operativa\"\nquery = \"SELECT {value} AS c FROM t\"\nmode = \"full\"\n"
        ));
        let output = project.acequia(&["run", "-vv", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        let shown = format!("{}{}", output.stdout, output.stderr);
        assert!(!shown.contains("secreto"), "{reader}: {shown}");
        let error = stream_report(&output.json(), "t")["error"].to_string();
        assert!(error.contains(code), "{reader}: {error}");
    }
}

/// `check` and the plan say what a run would say.
#[test]
fn what_a_run_would_refuse_is_not_approved() {
    let cursos = |more: &str| {
        format!(
            "[streams.cursos]\nsource = \"operativa\"\ntable = \"public.cursos\"\nmode = \"incremental\"\ncursor = \"id\"\nlag = 5\n{more}"
        )
    };
    let project = Project::operational("approved", &cursos(""));
    project
        .source
        .batch("INSERT INTO cursos (nombre, duracion_horas, precio_base) VALUES ('Riego', 4, 10)")
        .unwrap();
    project.run(&[]);
    project.streams(&cursos("disposition = \"scd2\"\n"));
    let run = project.acequia(&["run"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    for command in [&["check"][..], &["run", "--dry-run"]] {
        let output = project.acequia(command);
        assert_eq!(output.status, Some(1), "{output:?}");
        assert!(output.stdout.contains("--full-refresh"), "{output:?}");
    }
}

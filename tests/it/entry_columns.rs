//! Settings of an entry of many tables that name columns: they are at work where the column is, and no value that was to be hidden
//! is copied because a name was mistyped or has changed.

use serde_json::Value;

use crate::cdc;
use crate::support::{Project, assert_in_no_file, example, stream_report};

const KEY: &str = "a key of thirty-two characters!!";
const DDL: &str = "CREATE TABLE personas (id int PRIMARY KEY, email text, nota text);
     INSERT INTO personas VALUES (1, 'secreto-1', 'x'), (2, 'secreto-2', NULL);
     CREATE TABLE clientes (id int PRIMARY KEY, email text, telefono text);
     INSERT INTO clientes VALUES (1, 'secreto-3', 'secreto-4');
     CREATE TABLE cursos (id int PRIMARY KEY, titulo text); INSERT INTO cursos VALUES (1, 'curso');";
const MASKED: &str = "[streams.todas.mask]\nemail = \"hmac:${MASK_KEY}\"\ntelefono = \"redact\"\n";

fn entry(mode: &str, rest: &str) -> String {
    format!(
        "[streams.todas]\nsource = \"operativa\"\ntables = [\"public.*\"]\nmode = \"{mode}\"\n{rest}"
    )
}

fn project(name: &str, rest: &str) -> Project {
    let mut project = Project::new(name, &entry("full", rest));
    project.set("MASK_KEY", KEY);
    project.source.batch(DDL).unwrap();
    project
}

/// Asserts that nothing that was written or said has a value that was to be hidden.
fn assert_nothing_in_clear(project: &Project, said: &str) {
    assert!(!said.contains("secreto"), "{said}");
    assert_in_no_file(project.folder.path(), "secreto");
}

fn error(report: &Value, stream: &str) -> String {
    let error = &stream_report(report, stream)["error"];
    error.as_str().unwrap_or_default().to_owned()
}

/// A run of which some streams fail: what it reports.
fn run_failing(project: &Project) -> Value {
    let output = project.acequia(&["run", "--output", "json"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert_nothing_in_clear(project, &format!("{output:?}"));
    output.json()
}

#[test]
fn a_mask_is_at_work_in_the_tables_that_have_its_column_and_check_tells_in_which() {
    let project = project("entry_masks", MASKED);
    let checked = project.acequia(&["check"]);
    assert_eq!(checked.status, Some(0), "{checked:?}");
    for told in [
        "streams todas, mask email: in public.clientes, public.personas",
        "streams todas, mask telefono: in public.clientes",
    ] {
        assert!(checked.stdout.contains(told), "{told}: {}", checked.stdout);
    }
    let report = project.run(&[]);
    assert_nothing_in_clear(&project, &report.to_string());
    let masked = "SELECT count(*) FROM (SELECT email FROM replica.personas UNION ALL SELECT email FROM replica.clientes) \
                  WHERE length(email) = 64";
    assert_eq!(project.value(masked).as_deref(), Some("3"));
    project.assert_same("cursos");
    project.verify(&[]);
    project.verify(&["--counts"]);
    // What the note of the tables says does not depend on where they were copied to.
    let quiet = project.run(&[]).to_string();
    assert!(!quiet.contains("warnings\":[\""), "{quiet}");
}

#[test]
fn a_setting_that_is_at_work_nowhere_stops_the_entry() {
    let project = project("entry_nowhere", "");
    for (rest, told) in [
        (
            "[streams.todas.mask]\nemial = \"redact\"\n",
            "mask names `emial`",
        ),
        ("exclude = [\"emial\"]\n", "exclude names `emial`"),
        (
            "[streams.todas.rename]\nemial = \"correo\"\n",
            "rename names `emial`",
        ),
        (
            "[streams.todas.types]\nemial = \"text\"\n",
            "types names `emial`",
        ),
    ] {
        project.streams(&entry("full", rest));
        let report = run_failing(&project);
        for stream in ["personas", "clientes", "cursos"] {
            let error = error(&report, stream);
            assert!(error.contains(told), "{stream}: {error}");
        }
        let checked = project.acequia(&["check"]);
        assert_eq!(checked.status, Some(1), "{checked:?}");
        assert!(checked.stdout.contains(told), "{checked:?}");
    }
    project.streams(&entry("full", "exclude = [\"email\", \"telefono\"]\n"));
    project.run(&[]);
    assert_nothing_in_clear(&project, "");
}

#[test]
fn a_hidden_column_that_was_renamed_is_not_copied_under_its_new_name() {
    for (name, rest) in [
        ("mask", MASKED),
        ("exclude", "exclude = [\"email\", \"telefono\"]\n"),
    ] {
        let project = project(&format!("entry_renamed_{name}"), rest);
        project.run(&[]);
        project
            .source
            .batch("ALTER TABLE personas RENAME email TO correo")
            .unwrap();
        // Neither now nor later, nor to another destination, nor if everything is read anew.
        for arguments in [&["run"][..], &["run"], &["run", "--full-refresh"]] {
            let output = project.acequia(&[arguments, &["--output", "json"]].concat());
            assert_eq!(output.status, Some(1), "{output:?}");
            assert_nothing_in_clear(&project, &format!("{output:?}"));
            let report = output.json();
            let error = error(&report, "personas");
            assert!(
                error.contains("`email` of public.personas") && error.contains("`correo` is new"),
                "{error}"
            );
            assert_eq!(stream_report(&report, "clientes")["status"], "ok");
        }
        let checked = project.acequia(&["check"]);
        assert_eq!(checked.status, Some(1), "{checked:?}");
        // Taking the old name out says nothing of the new one.
        let others = match name {
            "mask" => "[streams.todas.mask]\ntitulo = \"redact\"\n",
            _ => "exclude = [\"titulo\"]\n",
        };
        let others = format!("exclude_tables = [\"public.clientes\"]\n{others}");
        project.streams(&entry("full", &others));
        let failed = error(&run_failing(&project), "personas");
        assert!(failed.contains("`correo` is new"), "{failed}");
        // Whoever says what becomes of it is believed.
        let decided = match name {
            "mask" => format!("{rest}correo = \"sha256\"\n"),
            _ => rest.replace("\"email\"", "\"email\", \"correo\""),
        };
        project.streams(&entry("full", &decided));
        project.run(&[]);
        assert_nothing_in_clear(&project, "");
        project.verify(&[]);
        let open = match name {
            "mask" => format!("{rest}correo = \"none\"\n"),
            _ => format!("{rest}[streams.todas.mask]\ncorreo = \"none\"\n"),
        };
        project.streams(&entry("full", &open));
        project.run(&[]);
        let clear = project.value("SELECT min(correo) FROM replica.personas");
        assert_eq!(clear.as_deref(), Some("secreto-1"), "{name}");
    }
}

#[test]
fn a_name_that_two_columns_have_in_turn_hides_no_rename() {
    let project = project("entry_taken_over", MASKED);
    project.run(&[]);
    project
        .source
        .batch("ALTER TABLE personas DROP nota; ALTER TABLE personas RENAME email TO nota")
        .unwrap();
    let error = error(&run_failing(&project), "personas");
    assert!(error.contains("`nota` is new"), "{error}");
}

#[test]
fn a_hidden_column_that_was_dropped_stops_nothing_and_one_that_comes_is_hidden() {
    let project = project("entry_dropped", MASKED);
    project.run(&[]);
    project
        .source
        .batch(
            "ALTER TABLE personas DROP email; ALTER TABLE cursos ADD email text; UPDATE cursos SET email = 'secreto-9'; \
             CREATE TABLE nueva (id int PRIMARY KEY, telefono text); INSERT INTO nueva VALUES (1, 'secreto-10'); \
             CREATE TABLE otra (id int PRIMARY KEY)",
        )
        .unwrap();
    let report = project.run(&[]);
    assert_nothing_in_clear(&project, &report.to_string());
    let warnings = |stream: &str| stream_report(&report, stream)["warnings"].to_string();
    assert!(
        warnings("nueva").contains("which masks or leaves out its `telefono`"),
        "{report}"
    );
    assert!(
        warnings("otra").contains("masks or leaves out none of its columns"),
        "{report}"
    );
    let hidden = project.value("SELECT min(length(email)) FROM replica.cursos");
    assert_eq!(hidden.as_deref(), Some("64"));
    // By then it is a column as any other.
    project
        .source
        .batch("ALTER TABLE personas ADD apodo text; ALTER TABLE personas ADD email text; UPDATE personas SET email = 'secreto-11'")
        .unwrap();
    project.run(&[]);
    assert_nothing_in_clear(&project, "");
    // A table that is gone, and its column with it, stops nothing; one that nobody ever had does.
    project.source.batch("DROP TABLE clientes, nueva").unwrap();
    project.run(&[]);
}

#[test]
fn a_column_that_comes_while_changes_are_followed_is_hidden_from_its_first_value_on() {
    let mut project = cdc::project("entry_cdc", DDL, &[], "");
    project.set("MASK_KEY", KEY);
    let streams = cdc::streams(&[], "") + &entry("cdc", &format!("changelog = true\n{MASKED}"));
    project.streams(&streams);
    project.run(&[]);
    assert_nothing_in_clear(&project, "");
    // The log has the column before any run has seen it.
    project
        .source
        .batch(
            "ALTER TABLE cursos ADD email text; INSERT INTO cursos VALUES (2, 'otro', 'secreto-8'); \
             UPDATE cursos SET email = 'secreto-9' WHERE id = 1; UPDATE personas SET email = 'secreto-7' WHERE id = 2",
        )
        .unwrap();
    let report = project.run(&[]);
    assert_nothing_in_clear(&project, &report.to_string());
    let hidden = project.value("SELECT min(length(email)) || ' ' || count(*) FROM replica.cursos");
    assert_eq!(hidden.as_deref(), Some("64 2"));
    project.verify(&[]);
    project
        .source
        .batch("ALTER TABLE personas RENAME email TO correo; UPDATE personas SET correo = 'secreto-12'")
        .unwrap();
    let report = run_failing(&project);
    assert!(
        error(&report, "personas").contains("`correo` is new"),
        "{report}"
    );
    assert_eq!(stream_report(&report, "cursos")["status"], "ok");
}

#[test]
fn a_table_that_lacks_a_column_it_cannot_do_without_fails_alone() {
    let project = project("entry_strict", "");
    for (mode, rest, told) in [
        (
            "full",
            "columns = [\"id\", \"email\"]\n",
            "`columns` names the column `email`",
        ),
        (
            "incremental",
            "cursor = \"telefono\"\n",
            "`cursor` names the column `telefono`",
        ),
        (
            "full",
            "disposition = \"insert_only\"\nprimary_key = \"email\"\n",
            "`primary_key` names the column `email`",
        ),
    ] {
        project.streams(&entry(mode, rest));
        let output = project.acequia(&["run", "--output", "json", "--full-refresh"]);
        let report = output.json();
        let failed = error(&report, "cursos");
        assert!(failed.contains(told), "{failed}");
        assert_eq!(
            stream_report(&report, "clientes")["status"],
            "ok",
            "{report}"
        );
    }
}

/// The example of docs/many-tables.md.
#[test]
fn the_example_of_the_documentation_runs() {
    let mut project = Project::new("entry_example", &example("many-tables.md", 1));
    project.set("MASK_KEY", KEY);
    project
        .source
        .batch(&format!("{DDL} ALTER TABLE cursos ADD notas_internas text"))
        .unwrap();
    project.run(&[]);
    let hidden = "SELECT telefono || ' ' || length(email) FROM replica.clientes";
    assert_eq!(project.value(hidden).as_deref(), Some("***to-4 64"));
}

//! What has no range that is read again is refused before anything is begun, or alone, with the remedy.

use super::{RANGE, ROWS, project, stream};
use crate::support::Project;

/// What is said by a run of these arguments, which must end so.
fn told(project: &Project, status: i32, arguments: &[&str]) -> String {
    let output = project.acequia(&[&["run"][..], arguments].concat());
    assert_eq!(output.status, Some(status), "{arguments:?}: {output:?}");
    format!("{}{}", output.stdout, output.stderr)
}

#[test]
fn streams_without_ranges_are_named_with_their_remedy() {
    let others = "[streams.entera]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"full\"\n\
                  [streams.cambios]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"cdc\"\n\
                  [sources.crm]\nkind = \"hubspot\"\ntoken = \"pat-secreto\"\n\
                  [streams.contactos]\nsource = \"crm\"\nobject = \"contacts\"\nmode = \"incremental\"\n";
    let project = Project::new("range_others", &(stream("") + others));
    project.source.batch(ROWS).unwrap();
    for (name, words) in [
        (
            "entera",
            ["is read in full by each run", "`acequia run entera`"],
        ),
        (
            "cambios",
            ["follows every change", "`acequia verify cambios --repair`"],
        ),
        (
            "contactos",
            [
                "is one of HubSpot",
                "`acequia run contactos --full-refresh`",
            ],
        ),
        (
            "*",
            ["stream cambios follows", "name the streams that are meant"],
        ),
    ] {
        for more in [&[][..], &["--dry-run"]] {
            let told = told(&project, 2, &[&[name][..], &RANGE, more].concat());
            for word in words {
                assert!(told.contains(word), "{name}: {told}");
            }
        }
    }
    // Nothing was begun.
    assert!(!project.path("formacion.duckdb").exists());
    let told = told(&project, 1, &[&["t"][..], &RANGE].concat());
    assert!(told.contains("no run has read the stream yet"), "{told}");
}

#[test]
fn other_options_do_not_go_with_a_range() {
    let project = project("range_options", "delete_missing = \"hard\"\n");
    for (more, word) in [
        (&["--full-refresh"][..], "--full-refresh"),
        (&["--delete-missing"], "--delete-missing"),
        (&["--full-refresh", "--dry-run"], "--full-refresh"),
    ] {
        let told = told(&project, 2, &[&RANGE[..], more].concat());
        assert!(told.contains(word) && told.contains("not both"), "{told}");
    }
    let told = told(&project, 2, &["--column", "n"]);
    assert!(told.contains("give --from, --to or both"), "{told}");
}

#[test]
fn ends_that_make_no_sense_are_told_with_column_type_and_an_example() {
    let project = project("range_ends", "initial_value = \"2024-01-02T00:00:00Z\"\n");
    for (arguments, words) in [
        (
            &["--from", "2024-01-11"][..],
            &[
                "--from, for the column `c`: `2024-01-11` is not a value of type timestamptz",
                "as 2024-01-31T08:00:00Z",
            ][..],
        ),
        (
            &["--to", "mañana", "--column", "dia"],
            &[
                "--to, for the column `dia`: `mañana` is not a value of type date",
                "as 2024-01-31",
            ],
        ),
        (
            &[
                "--from",
                "2024-01-11T00:00:00Z",
                "--to",
                "2024-01-11T00:00:00Z",
            ],
            &["no value lies in the range", "the range ends before it"],
        ),
        (
            &["--to", "2024-01-02T00:00:00Z"],
            &[
                "lies below initial_value",
                "set a lower initial_value for [streams.t]",
            ],
        ),
        (
            &["--from", "5", "--column", "nada"],
            &[
                "`--column` names the column `nada`",
                "the columns are id, n, dia, c",
            ],
        ),
    ] {
        let told = told(&project, 1, arguments);
        for word in words {
            assert!(told.contains(word), "{word}: {told}");
        }
    }
    // A range that begins below what the stream has leaves that as it is, and says so.
    let told = told(&project, 0, &["--from", "2023-01-01T00:00:00Z"]);
    assert!(
        told.contains("the stream begins at initial_value"),
        "{told}"
    );
    assert_eq!(
        project.value("SELECT count(*) FROM replica.t").as_deref(),
        Some("936")
    );
}

#[test]
fn columns_of_which_a_table_has_no_ranges_are_refused() {
    let project = Project::new(
        "range_columns",
        &stream("[streams.t.mask]\ntexto = \"sha256\"\n"),
    );
    project.source.batch(ROWS).unwrap();
    project
        .source
        .batch("ALTER TABLE t ADD texto text, ADD j jsonb, ADD b char(3)")
        .unwrap();
    project.run(&[]);
    for (column, word) in [
        ("texto", "the column `texto` is masked"),
        ("j", "the column `j` of type json"),
        ("b", "the column `b` of type text"),
    ] {
        let told = told(&project, 1, &["--from", "a", "--column", column]);
        assert!(told.contains(word), "{told}");
    }
    // A column that is new has no values in the table yet; of another type, its values are others.
    project
        .source
        .batch("ALTER TABLE t ADD nueva int; ALTER TABLE t ALTER n TYPE text USING n::text")
        .unwrap();
    for column in ["nueva", "n"] {
        let told = told(&project, 1, &["--from", "1", "--column", column]);
        assert!(
            told.contains("does not have the column") || told.contains("`n`"),
            "{told}"
        );
        assert!(told.contains("remedy"), "{told}");
    }
    let append = super::project("range_append_column", "disposition = \"append\"\n");
    let told = super::refused::told(&append, 1, &["--from", "1", "--column", "n"]);
    assert!(
        told.contains("rows are appended by the cursor alone"),
        "{told}"
    );
}

/// A source that is not the one that was read: what the table has is perhaps all that there is.
#[test]
fn a_source_that_is_another_is_read_by_a_run_first() {
    let project = project("range_another", "");
    project.source.batch("DROP TABLE t").unwrap();
    project.source.batch(ROWS).unwrap();
    project
        .source
        .batch("DELETE FROM t WHERE id < 500")
        .unwrap();
    let told = told(&project, 1, &RANGE);
    assert!(
        told.contains("cannot be read again") && told.contains("acequia run t` first"),
        "{told}"
    );
    assert_eq!(
        project.value("SELECT count(*) FROM replica.t").as_deref(),
        Some("960")
    );
    project.run(&[]);
    assert_eq!(super::counts(&project.run(&RANGE)).3, 240);
}

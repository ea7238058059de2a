//! A publication that is altered by hand between two runs: what it leaves out, and what it left out for a while.

use super::{project, warnings};
use crate::support::{Project, postgres_major};

const T: &str = "CREATE TABLE t (id int PRIMARY KEY, a text, b text, n int);
     INSERT INTO t SELECT i, 'a' || i, 'b' || i, i FROM generate_series(1, 20) i;
     CREATE PUBLICATION acequia FOR TABLE t";

/// The table as the publication shows it.
fn assert_shown(project: &Project, shown: &str) {
    let view = format!("DROP VIEW IF EXISTS visto; CREATE VIEW visto AS SELECT {shown}");
    project.source.batch(&view).unwrap();
    project.assert_same_as("public.visto", "replica.t");
}

/// A table that was read whole, and of which less is published since.
fn published(name: &str, narrowed: &str) -> Project {
    let project = project(name, T, &["t"], "");
    project.run(&[]);
    project
        .source
        .batch(&format!("ALTER PUBLICATION acequia SET TABLE {narrowed}"))
        .unwrap();
    project
}

#[test]
fn what_was_left_out_for_a_while_is_read_anew() {
    if postgres_major() < 15 {
        return;
    }
    for (name, narrowed) in [("columns", "t (id, a)"), ("rows", "t WHERE (id > 10)")] {
        let project = published(&format!("narrow_{name}"), narrowed);
        project
            .source
            .batch("UPDATE t SET b = 'nueva', n = n + 1 WHERE id IN (3, 13); DELETE FROM t WHERE id = 4; INSERT INTO t VALUES (5000, 'x', 'y', 1)")
            .unwrap();
        project
            .source
            .batch("ALTER PUBLICATION acequia SET TABLE t; UPDATE t SET a = 'z' WHERE id = 14")
            .unwrap();
        let report = project.run(&[]);
        assert!(
            warnings(&report, "t").contains("a new snapshot was taken"),
            "{name}: {report}"
        );
        project.assert_same("t");
        assert_eq!(warnings(&project.run(&[]), "t"), "[]", "{name}");
    }
}

#[test]
fn what_is_left_out_from_now_on_is_told_or_followed() {
    if postgres_major() < 15 {
        return;
    }
    for (name, narrowed, shown) in [
        (
            "columns",
            "t (id, a)",
            "id, a, NULL::text AS b, NULL::int AS n FROM t",
        ),
        ("rows", "t WHERE (id > 10)", "* FROM t WHERE id > 10"),
    ] {
        let project = published(&format!("narrower_{name}"), narrowed);
        project
            .source
            .batch("UPDATE t SET b = 'nueva', n = n + 1 WHERE id IN (3, 13)")
            .unwrap();
        for round in 0..2 {
            let report = project.run(&[]);
            let told = warnings(&report, "t");
            assert!(
                round > 0 || told.contains("a new snapshot was taken"),
                "{name}: {report}"
            );
            // What is left out is said by every run.
            assert!(told.contains("leaves out"), "{name} {round}: {report}");
            if name == "rows" {
                assert_shown(&project, shown);
            }
        }
    }
}

/// The values of a new column are in the log as its type was then, and only a new snapshot has them as it is now.
#[test]
fn a_new_column_whose_type_is_altered_before_it_is_read_is_read_anew() {
    let made =
        "CREATE TYPE color AS ENUM ('rojo', 'verde'); CREATE TYPE par AS (uno int, dos int);";
    let added = "ALTER TABLE t ADD e color, ADD c par; UPDATE t SET e = 'rojo', c = ROW(1, 2)";
    for altered in [
        "ALTER TYPE color RENAME VALUE 'rojo' TO 'Rojo'",
        "ALTER TYPE par ADD ATTRIBUTE tres int",
        "ALTER TYPE par DROP ATTRIBUTE dos",
    ] {
        // The types may be older than the last run, or not.
        for (before, after) in [(made, ""), ("", made)] {
            let project = project("retyped", &format!("{T};{before}"), &["t"], "");
            project.run(&[]);
            project.source.batch(&format!("{after}{added}")).unwrap();
            project.source.batch(altered).unwrap();
            let report = project.run(&[]);
            assert!(
                warnings(&report, "t").contains("the type of its new column"),
                "{altered}: {report}"
            );
            assert_eq!(warnings(&project.run(&[]), "t"), "[]");
            let shown = "SELECT count(*) || '|' || min(e::text) || '|' || min(c::text) FROM t";
            let copied = "SELECT count(*) || '|' || min(e) || '|' || min(c) FROM replica.t";
            assert_eq!(project.value(copied), Some(project.source_value(shown)));
        }
    }
}

/// A type that was made for a new column, or long before, is no reason to read everything anew.
#[test]
fn a_new_column_of_a_type_that_stays_is_followed() {
    let project = project(
        "typed",
        &format!("{T}; CREATE TYPE viejo AS ENUM ('a'); ALTER TYPE viejo ADD VALUE 'b'"),
        &["t"],
        "",
    );
    project.run(&[]);
    project
        .source
        .batch(
            "CREATE TYPE nuevo AS ENUM ('x', 'y'); ALTER TABLE t ADD v viejo, ADD w nuevo; UPDATE t SET v = 'b', w = 'y' WHERE id < 9",
        )
        .unwrap();
    let report = project.run(&[]);
    assert!(!warnings(&report, "t").contains("snapshot"), "{report}");
    let of_both = "SELECT count(*) FROM replica.t WHERE v = 'b' AND w = 'y'";
    assert_eq!(project.value(of_both).as_deref(), Some("8"));
}

//! Ranges of streams whose rows are not simply those of a table, and of columns of every type.

use super::{ALL, RANGE, ROWS, counts, project, stream};
use crate::support::Project;

#[test]
fn masked_and_renamed_columns_stay_so() {
    let keys = "[streams.t.rename]\nid = \"clave\"\nc = \"cambio\"\ntexto = \"correo\"\n[streams.t.mask]\nid = \"hmac:${CLAVE}\"\n\
                texto = \"email\"\n";
    for disposition in ["merge", "scd2", "append"] {
        let keys = format!("disposition = \"{disposition}\"\n{keys}");
        let mut project = Project::new("range_shaped", &stream(&keys));
        project.set("CLAVE", "una clave de más de treinta y dos letras");
        project.source.batch(ROWS).unwrap();
        project
            .source
            .batch("ALTER TABLE t ADD texto text; UPDATE t SET texto = 'p' || id || '@example.com'")
            .unwrap();
        project.run(&[]);
        project
            .source
            .batch(
                "UPDATE t SET texto = 'otro@example.org' WHERE id IN (1, 300); DELETE FROM t WHERE id IN (2, 310);
                 UPDATE t SET c = '2024-01-02' WHERE id = 320; INSERT INTO t VALUES (5000, 1, NULL, '2024-01-15', NULL)",
            )
            .unwrap();
        let run = project.run(&RANGE);
        let expected = match disposition {
            "append" => (239, 239, 0, 240),
            _ => (240, 1, 2, 1),
        };
        assert_eq!(counts(&run), expected, "{disposition}: {run}");
        let seen = "SELECT concat_ws(' ', count(DISTINCT clave), count(*) FILTER (correo LIKE '%org'), count(*) FILTER (correo LIKE \
                    'p%'), count(*) FILTER (length(clave) < 20)) FROM replica.t";
        let keys = match disposition {
            "append" => "959",
            "merge" => "960",
            _ => "961",
        };
        assert_eq!(
            project.value(seen),
            Some(format!("{keys} 1 0 0")),
            "{disposition}"
        );
        assert_eq!(counts(&project.run(&[])), (0, 0, 0, 0), "{disposition}");
    }
}

#[test]
fn a_query_and_a_condition_say_what_the_stream_has() {
    let of_query = "[streams.t]\nsource = \"operativa\"\nquery = \"SELECT id, n, c FROM t WHERE n % 2 = 0\"\nprimary_key = [\"id\"]\n\
                    mode = \"incremental\"\ncursor = \"c\"\n";
    for streams in [of_query.to_owned(), stream("where = \"n % 2 = 0\"\n")] {
        let project = Project::new("range_query", &streams);
        project.source.batch(ROWS).unwrap();
        project.run(&[]);
        // A row that the stream does not have any more, and one that it has by now.
        project
            .source
            .batch("UPDATE t SET n = 7 WHERE id = 300; UPDATE t SET n = 8 WHERE id = 301; UPDATE t SET n = 10 WHERE id = 302")
            .unwrap();
        let run = project.run(&RANGE);
        assert_eq!(counts(&run), (120, 1, 1, 1), "{run}");
        project.verify(&[]);
    }
}

#[test]
fn a_range_brings_the_values_of_a_column_that_is_new() {
    let project = project("range_new_column", "");
    project
        .source
        .batch("ALTER TABLE t ADD nueva text; UPDATE t SET nueva = 'x' || id")
        .unwrap();
    project.run(&[]);
    let filled = "SELECT count(nueva) FROM replica.t";
    assert_eq!(project.value(filled).as_deref(), Some("1"));
    assert_eq!(counts(&project.run(&RANGE)), (240, 0, 240, 0));
    assert_eq!(project.value(filled).as_deref(), Some("241"));
    project.run(&ALL);
    project.assert_same("t");
}

#[test]
fn a_range_of_another_column_has_what_was_read_and_no_null() {
    let project = project("range_column", "null_cursor = \"exclude\"\n");
    project
        .source
        .batch(
            "ALTER TABLE t ALTER c DROP NOT NULL;
             UPDATE t SET n = -1 WHERE id IN (0, 24, 47); DELETE FROM t WHERE id = 30; UPDATE t SET dia = NULL WHERE id = 31;
             UPDATE t SET dia = '2024-03-01' WHERE id = 32; UPDATE t SET c = NULL, n = -2 WHERE id = 33;
             INSERT INTO t VALUES (5000, 1, '2024-01-02', '2024-05-01'), (5001, 1, '2024-01-02', NULL),
                                  (5002, 1, '2024-01-02', '2023-05-01')",
        )
        .unwrap();
    let day = [
        "--column",
        "dia",
        "--from",
        "2024-01-02",
        "--to",
        "2024-01-03",
    ];
    let run = project.run(&day);
    // Of 24 rows one is gone, and two have another day by now. The one without a cursor is still there. One is new, and what was
    // not read yet is left to the next run.
    assert_eq!(counts(&run), (24, 1, 5, 1), "{run}");
    let seen = "SELECT string_agg(concat_ws(' ', id, n, dia), ', ' ORDER BY id) FROM replica.t \
                WHERE n < 0 OR id IN (31, 32) OR id >= 5000";
    assert_eq!(
        project.value(seen).as_deref(),
        Some(
            "24 -1 2024-01-02, 31 31, 32 32 2024-03-01, 33 -2 2024-01-02, 47 -1 2024-01-02, 5002 1 2024-01-02"
        )
    );
    assert_eq!(counts(&project.run(&[])).1, 1);
    assert_eq!(counts(&project.run(&[])), (0, 0, 0, 0));
    // A number may be negative.
    let run = project.run(&["--column", "n", "--from", "-5", "--to", "0"]);
    assert_eq!(counts(&run).0, 4, "{run}");
}

#[test]
fn every_type_of_cursor_has_ranges() {
    // The first three values are read by the first run; the range has the second one alone.
    for (column_type, values, from, to) in [
        ("int2", ["-5", "5", "7"], "5", "7"),
        (
            "int8",
            ["-9223372036854775807", "0", "9223372036854775807"],
            "0",
            "1",
        ),
        (
            "numeric(20,3)",
            ["-0.001", "12.345", "12.346"],
            "12.345",
            "12.346",
        ),
        (
            "date",
            ["'0001-01-01'", "'2024-02-29'", "'9999-12-31'"],
            "2024-02-29",
            "2024-03-01",
        ),
        (
            "timestamp",
            [
                "'1969-12-31'",
                "'2024-02-29'",
                "'2024-02-29 00:00:00.000001'",
            ],
            "2024-02-29",
            "2024-02-29T00:00:00.000001",
        ),
        (
            "timestamptz",
            [
                "'2024-02-29 00:00:00+02'",
                "'2024-02-29 00:00:00+01'",
                "'2024-02-29 00:00:00+00'",
            ],
            "2024-02-28T23:00:00Z",
            "2024-02-29T00:00:00Z",
        ),
        ("text", ["'Z'", "'a''ñ'", "'b'"], "a", "b"),
        ("varchar(10)", ["''", "'\\'", "'z'"], "\\", "z"),
        (
            "uuid",
            [
                "'00000000-0000-0000-0000-0000000000ff'",
                "'7fffffff-0000-0000-0000-000000000000'",
                "'80000000-0000-0000-0000-000000000000'",
            ],
            "7fffffff-0000-0000-0000-000000000000",
            "80000000-0000-0000-0000-000000000000",
        ),
    ] {
        for disposition in ["merge", "append"] {
            let keys = format!("disposition = \"{disposition}\"\n");
            let project = Project::new("range_types", &stream(&keys)).with_warehouse();
            let [low, middle, high] = values;
            project
                .source
                .batch(&format!(
                    "CREATE TABLE t (id int PRIMARY KEY, n int, c {column_type} NOT NULL);
                     INSERT INTO t VALUES (1, 1, {low}), (2, 2, {middle}), (3, 3, {high}), (4, 4, {middle})"
                ))
                .unwrap();
            project.run(&[]);
            project.run(&["--destination", "almacen"]);
            project
                .source
                .batch(&format!("UPDATE t SET n = n + 10; DELETE FROM t WHERE id = 4; INSERT INTO t VALUES (5, 5, {middle})"))
                .unwrap();
            for into in [&[][..], &["--destination", "almacen"]] {
                let run = project.run(&[&["--from", from, "--to", to], into].concat());
                let what = format!("{column_type} {disposition} {into:?}: {run}");
                assert_eq!(counts(&run).0, 2, "{what}");
                assert_eq!(
                    counts(&run).3,
                    if disposition == "append" { 2 } else { 1 },
                    "{what}"
                );
                let rows =
                    "SELECT string_agg(concat_ws(' ', id, n), ', ' ORDER BY id) FROM replica.t";
                let seen = match into {
                    [] => project.value(rows),
                    _ => project.warehouse().value(rows).unwrap(),
                };
                assert_eq!(seen.as_deref(), Some("1 1, 2 12, 3 3, 5 5"), "{what}");
            }
        }
    }
}

#[test]
fn rows_whose_cursor_is_infinite_are_in_a_range_without_an_end() {
    for disposition in ["merge", "append"] {
        let project = Project::new(
            "range_infinite",
            &stream(&format!("disposition = \"{disposition}\"\n")),
        );
        project
            .source
            .batch(
                "CREATE TABLE t (id int PRIMARY KEY, n int, c timestamptz NOT NULL);
                 INSERT INTO t VALUES (1, 1, 'infinity'), (2, 2, '2024-01-01'), (3, 3, '-infinity'), (4, 4, '2024-02-01')",
            )
            .unwrap();
        project.run(&[]);
        project.source.batch("UPDATE t SET n = n + 10").unwrap();
        assert_eq!(
            counts(&project.run(&["--from", "2024-01-15T00:00:00Z"])).0,
            2
        );
        let n = "SELECT string_agg(n, ' ' ORDER BY id) FROM replica.t";
        assert_eq!(
            project.value(n).as_deref(),
            Some("11 2 3 14"),
            "{disposition}"
        );
        assert_eq!(counts(&project.run(&["--to", "2024-01-15T00:00:00Z"])).0, 2);
        project.assert_same("t");
        assert_eq!(counts(&project.run(&[])).1, 0, "{disposition}");
        project.assert_same("t");
    }
}

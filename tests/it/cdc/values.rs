//! Scenario 24: a value is the same whether the snapshot or the stream brought it.

use super::project;
use crate::support::counts;
use crate::types::{MATRIX, MATRIX_TYPES, known_type};

#[test]
fn the_snapshot_and_the_stream_give_the_same_values() {
    let columns: Vec<String> = (0..MATRIX.len())
        .map(|n| format!("c{n} {}", known_type(MATRIX[n].0)))
        .collect();
    let ddl = format!(
        "{MATRIX_TYPES} CREATE TABLE t (id int PRIMARY KEY, {});",
        columns.join(", ")
    );
    let project = project("matriz", &ddl, &["t"], "");
    // As the oracle's session has it.
    project
        .source
        .batch(&format!(
            "ALTER DATABASE {} SET timezone TO 'UTC'",
            project.source.name()
        ))
        .unwrap();
    let mut inserts = String::new();
    let mut id = 0;
    for (n, (column_type, values)) in MATRIX.iter().enumerate() {
        let column_type = known_type(column_type);
        for value in *values {
            id += 1;
            inserts.push_str(&format!(
                "INSERT INTO t (id, c{n}) VALUES ({id}, CAST({value} AS {column_type}));"
            ));
        }
    }
    project.source.batch(&inserts).unwrap();
    project.run(&[]);
    project.assert_same("t");
    // The same rows again, by the stream: as new rows, and as changes of those that are there.
    project
        .source
        .batch(&inserts.replace("VALUES (", "VALUES (100000 + "))
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
    let names: Vec<String> = (0..MATRIX.len()).map(|n| format!("c{n}")).collect();
    project
        .source
        .batch(&format!(
            "UPDATE t SET ({0}) = (SELECT {1} FROM t s WHERE s.id = t.id + 100000) WHERE id < 100000",
            names.join(", "),
            names.iter().map(|name| format!("s.{name}")).collect::<Vec<_>>().join(", ")
        ))
        .unwrap();
    project.run(&[]);
    project.assert_same("t");
    // And what the stream brought is what a snapshot brings, byte for byte.
    let streamed = dump(&project);
    project.run(&["--full-refresh"]);
    assert_eq!(dump(&project), streamed);
}

fn dump(project: &crate::support::Project) -> Vec<String> {
    let columns: Vec<String> = (0..MATRIX.len())
        .map(|n| format!("coalesce(c{n}::VARCHAR, '∅')"))
        .collect();
    project.rows(&format!(
        "SELECT concat_ws('|', id::VARCHAR, {}) FROM replica.t ORDER BY id",
        columns.join(", ")
    ))
}

/// Types of the configuration's own choosing.
#[test]
fn types_that_the_configuration_chooses() {
    let project = project(
        "tipos",
        "CREATE TABLE t (id int PRIMARY KEY, a numeric, b numeric, c bool, d int, e float4, f date)",
        &["t"],
        "types = { a = \"float64\", b = \"text\", c = \"text\", d = \"decimal(12,2)\", e = \"float64\", f = \"timestamp\" }",
    );
    let row = "12345678.125, 1.50, true, 7, 0.1, '2024-02-29'";
    project
        .source
        .batch(&format!("INSERT INTO t VALUES (1, {row})"))
        .unwrap();
    project.run(&[]);
    project
        .source
        .batch(&format!("INSERT INTO t VALUES (2, {row})"))
        .unwrap();
    assert_eq!(counts(&project.run(&[]), "t").1, 1);
    let rows = project.rows("SELECT concat_ws('|', a, b, c, d, e, f) FROM replica.t ORDER BY id");
    assert_eq!(rows[0], rows[1]);
    assert!(
        rows[0].starts_with("12345678.125|1.50|true|7.00|0.1000000014901161"),
        "{rows:?}"
    );
}

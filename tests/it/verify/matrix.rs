//! One altered cell of any type is found, in each destination.

use super::found;
use crate::support::{Project, stream_report};
use crate::types::{MATRIX, T, fill_matrix};

/// The matrix, with a key.
fn project(name: &str) -> Project {
    let project = Project::new(name, T);
    fill_matrix(&project);
    project
        .source
        .batch("ALTER TABLE t ADD COLUMN fila serial PRIMARY KEY")
        .unwrap();
    project
}

/// Alters a cell of each column, each in a row of its own, and has exactly those found.
fn assert_each_is_found(project: &Project, arguments: &[&str], mut execute: impl FnMut(&str)) {
    project.run(arguments);
    let told = project.verify(arguments);
    assert_eq!(
        told["streams"][0]["rows_source"],
        told["streams"][0]["rows_destination"]
    );
    execute("CREATE TABLE replica.whole AS SELECT * FROM replica.t");
    let several: Vec<usize> = (0..MATRIX.len())
        .filter(|n| MATRIX[*n].1.len() > 1)
        .collect();
    let all: Vec<usize> = (0..MATRIX.len()).collect();
    let of_value =
        |n: usize, which: &str| format!("(SELECT {which}(fila) FROM replica.whole WHERE id = {n})");
    // A value becomes NULL; a value becomes the next one; zero loses its sign.
    let null = |n: usize| {
        format!(
            "UPDATE replica.t SET c{n} = NULL WHERE fila = {}",
            of_value(n, "min")
        )
    };
    let other = |n: usize| {
        format!(
            "UPDATE replica.t SET c{n} = (SELECT c{n} FROM replica.whole WHERE fila = {}) WHERE fila = {}",
            of_value(n, "max"),
            of_value(n, "min"),
        )
    };
    // DuckDB does not write a value that equals the one before.
    let zero = |n: usize| {
        let of = format!("(SELECT fila FROM replica.whole WHERE c{n} = 0)");
        format!(
            "UPDATE replica.t SET c{n} = 1 WHERE fila = {of}; UPDATE replica.t SET c{n} = 0 WHERE fila = {of}"
        )
    };
    let floats: Vec<usize> = all
        .iter()
        .copied()
        .filter(|n| MATRIX[*n].0.starts_with("float") && MATRIX[*n].1.contains(&"'-0'"))
        .collect();
    assert_eq!(floats.len(), 2);
    let rounds: [Round<'_>; 3] = [(&all, &null), (&several, &other), (&floats, &zero)];
    for (columns, alter) in rounds {
        execute("DELETE FROM replica.t");
        execute("INSERT INTO replica.t SELECT * FROM replica.whole");
        project.verify(arguments);
        for n in columns {
            execute(&alter(*n));
        }
        let told = project.verify_differing("t", arguments);
        assert_eq!(found(&told), [0, 0, columns.len() as u64], "{told}");
        for n in columns {
            assert_eq!(
                told["columns"][format!("c{n}")],
                1,
                "{}: {told}",
                MATRIX[*n].0
            );
        }
        assert_eq!(told["columns"].as_object().unwrap().len(), columns.len());
    }
}

/// Columns that are altered, and the statement that alters one.
type Round<'a> = (&'a [usize], &'a dyn Fn(usize) -> String);

#[test]
fn an_altered_cell_of_every_type_is_found_in_duckdb() {
    let project = project("verify_matrix");
    assert_each_is_found(&project, &[], |sql| {
        // DuckDB's run-length encoding takes -0.0 and 0.0 for one value.
        let all = format!("SET GLOBAL disabled_compression_methods = 'rle'; {sql}");
        project.duckdb().execute_batch(&all).unwrap();
    });
}

#[test]
fn an_altered_cell_of_every_type_is_found_in_postgres() {
    let project = project("verify_matrix_pg").with_warehouse();
    assert_each_is_found(&project, &["--destination", "almacen"], |sql| {
        project.warehouse().batch(sql).unwrap();
    });
    let output = project.acequia(&["verify", "--destination", "almacen", "--output", "json"]);
    assert_eq!(stream_report(&output.json(), "t")["result"], "different");
    let written = project
        .warehouse()
        .value("SELECT count(*)::text FROM replica._acequia_verifications WHERE result = 'equal'");
    assert_eq!(written.unwrap().as_deref(), Some("4"));
}

//! Indices and comments that people made stay when a table is made anew.

use super::*;
use crate::destination::conformance::log::{HARD, Log, apply, log};
use crate::mode::Changes;

const INDICES: &str = "SELECT index_name, is_unique, expressions FROM duckdb_indexes() ORDER BY 1";

#[test]
fn a_full_load_keeps_the_indices_of_its_table() {
    // The file bears the dataset's name.
    let mut fixture = fixture("replica.duckdb", "replica");
    let load = |names: &[&str]| {
        Load::full(
            "El \"x\"",
            &[
                ("nombre", "text", texts(names.to_vec())),
                ("con espacio", "int32", ints((0..).take(names.len()))),
            ],
        )
    };
    let named = |names: &[&str]| {
        let mut load = load(names);
        "cursos".clone_into(&mut load.stream);
        load
    };
    fixture.load(&named(&["a", "b"]));
    fixture.sql(
        "CREATE UNIQUE INDEX \"por nombre\" ON replica.replica.\"El \"\"x\"\"\"(nombre, \"con espacio\");
         CREATE INDEX otro ON replica.replica.\"El \"\"x\"\"\"((\"con espacio\" + 1));
         CREATE UNIQUE INDEX solo ON replica.replica.\"El \"\"x\"\"\"(nombre)",
    );
    let indices = fixture.query(INDICES);
    assert_eq!(indices.len(), 3);
    fixture.load(&named(&["c", "d", "e"]));
    assert_eq!(fixture.query(INDICES), indices);
    // Rows that an index does not allow are refused, and the table stays as it was.
    let error = fixture.try_load(&named(&["c", "c"])).unwrap_err().report();
    assert!(error.contains("unique index"), "{error}");
    let error = fixture
        .try_load(&named(&["c"]).without("con espacio").full_refresh())
        .unwrap_err()
        .report();
    assert!(
        error.contains("index `otro`") && error.contains("drop it"),
        "{error}"
    );
    assert_eq!(fixture.query(INDICES), indices);
    assert_eq!(
        fixture.query("SELECT count(*) FROM replica.replica.\"El \"\"x\"\"\""),
        ["3"]
    );
    // Without rows.
    fixture.load(&named(&[]));
    assert_eq!(fixture.query(INDICES), indices);
}

#[test]
fn a_snapshot_keeps_the_indices_of_its_tables() {
    let mut fixture = Fixture::<DuckDbFile>::new();
    let changes = Changes {
        changelog: true,
        ..HARD
    };
    let load = |from| Log::new("s", changes).load(&log(from, "r 1 1 x y\nr 2 2 x y"));
    apply(&mut fixture, &load(100));
    fixture
        .sql("CREATE INDEX i ON replica.s(n); CREATE INDEX j ON replica.s__changes(_acequia_lsn)");
    let indices = fixture.query(INDICES);
    apply(&mut fixture, &load(1_000));
    assert_eq!(fixture.query(INDICES), indices);
    apply(&mut fixture, &load(2_000).full_refresh());
    assert_eq!(fixture.query(INDICES), indices);
    assert_eq!(indices.len(), 2);
}

#[test]
fn a_full_load_keeps_the_comments_of_its_table() {
    const COMMENTS: &str = "SELECT concat_ws(' ', table_name, comment) FROM duckdb_tables() WHERE comment IS NOT NULL \
         UNION ALL SELECT concat_ws(' ', table_name, column_name, comment) FROM duckdb_columns() WHERE comment IS NOT NULL ORDER BY 1";
    let mut fixture = fixture("replica.duckdb", "replica");
    let load = Load::full(
        "cursos",
        &[
            ("nombre", "text", texts(vec!["a"])),
            ("con espacio", "int32", ints(0..1)),
        ],
    );
    fixture.load(&load);
    fixture.sql(
        "COMMENT ON TABLE replica.replica.cursos IS 'de la ''casa''';
         COMMENT ON COLUMN replica.replica.cursos.\"con espacio\" IS 'en horas';
         COMMENT ON COLUMN replica.replica.cursos.NOMBRE IS 'el suyo'",
    );
    let all = [
        "cursos con espacio en horas",
        "cursos de la 'casa'",
        "cursos nombre el suyo",
    ];
    assert_eq!(fixture.query(COMMENTS), all);
    fixture.load(&load);
    assert_eq!(fixture.query(COMMENTS), all);
    fixture.load(&load.without("con espacio").full_refresh());
    assert_eq!(fixture.query(COMMENTS), all[1..]);
}

//! Queries that people write.

use crate::destination::Destination as _;

use super::{Fixture, Load, Subject, longs};

/// A table `ventas` of three rows.
fn ventas<S: Subject>() -> Fixture<S> {
    let mut fixture = Fixture::<S>::new();
    fixture.load(&Load::full("ventas", &[("id", "int64", longs([1, 2, 3]))]));
    fixture
}

fn json<S: Subject>(fixture: &mut Fixture<S>, query: &str, models: Option<&str>) -> Vec<String> {
    let rows = fixture.db.rows_as_json(query, models).unwrap();
    rows.iter().map(|row| row.get().to_owned()).collect()
}

pub(crate) fn rows_of_a_query_come_as_json<S: Subject>() {
    let mut fixture = ventas::<S>();
    assert_eq!(
        json(
            &mut fixture,
            "SELECT id, id * 1.5 AS \"Importe €\", 'a\"b' AS nombre, NULL AS nada FROM ventas ORDER BY id DESC -- the end",
            None
        ),
        [
            r#"{"id":3,"Importe €":4.5,"nombre":"a\"b","nada":null}"#,
            r#"{"id":2,"Importe €":3.0,"nombre":"a\"b","nada":null}"#,
            r#"{"id":1,"Importe €":1.5,"nombre":"a\"b","nada":null}"#,
        ]
    );
    assert_eq!(
        json(
            &mut fixture,
            "SELECT CAST('NaN' AS DOUBLE PRECISION) AS n",
            None
        ),
        [r#"{"n":"NaN"}"#]
    );
    // The destination works on, and finds nothing but its own tables afterwards.
    assert_eq!(
        json(&mut fixture, "SELECT 1 AS x WHERE 1 = 0", None),
        Vec::<String>::new()
    );
    fixture.load(&Load::full("cursos", &[("id", "int64", longs([7]))]));
}

pub(crate) fn names_are_looked_up_in_the_models_schema_first<S: Subject>() {
    let mut fixture = ventas::<S>();
    fixture.sql("CREATE SCHEMA analisis");
    fixture.sql("CREATE TABLE analisis.ventas AS SELECT 7 AS id");
    let query = "SELECT max(id) AS id FROM ventas";
    assert_eq!(json(&mut fixture, query, None), [r#"{"id":3}"#]);
    assert_eq!(json(&mut fixture, query, Some("analisis")), [r#"{"id":7}"#]);
    assert_eq!(
        json(&mut fixture, query, Some("no_such_schema")),
        [r#"{"id":3}"#]
    );
    assert_eq!(json(&mut fixture, query, None), [r#"{"id":3}"#]);
}

pub(crate) fn a_query_is_one_select_that_cannot_write<S: Subject>() {
    let mut fixture = ventas::<S>();
    let before = fixture.everything();
    for query in [
        "DELETE FROM ventas",
        "SELECT 1; DELETE FROM ventas",
        "SELECT 1) AS x; DELETE FROM ventas; SELECT * FROM (SELECT 1 AS a",
        "WITH gone AS (DELETE FROM ventas RETURNING id) SELECT * FROM gone",
        "SELECT * FROM nowhere",
        "SELECT nothing FROM ventas",
        "SELEC 1",
        "",
    ] {
        let error = fixture.db.rows_as_json(query, None).unwrap_err();
        assert!(
            matches!(error, crate::Error::Destination(_)),
            "{query}: {error:?}"
        );
    }
    assert_eq!(fixture.everything(), before);
    let error = fixture
        .db
        .rows_as_json("SELECT CAST('secreto' AS INTEGER) AS n", None)
        .unwrap_err();
    assert!(!error.report().contains("secreto"), "{}", error.report());
}

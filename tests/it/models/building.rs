//! What is built, in which order, and when.

use super::{Analysis, BOTH, Where, statuses};
use crate::support::Output;

const FILES: [(&str, &str); 4] = [
    // The order of their names is not the order of what they read.
    (
        "models/a_total.sql",
        "SELECT sum(importe) AS total FROM b_cliente",
    ),
    (
        "models/sub/b_cliente.sql",
        "-- description: One row a client\n-- unique: cliente_id\nSELECT cliente_id, sum(importe) AS importe\nFROM c_venta GROUP BY cliente_id;\n",
    ),
    (
        "models/c_venta.sql",
        "-- materialized: view\nSELECT id, cliente_id, precio_total AS importe FROM ventas",
    ),
    (
        "models/d_clientes.sql",
        "SELECT count(*) AS n FROM clientes",
    ),
];

#[test]
fn models_are_built_in_the_order_of_what_they_read() {
    for place in BOTH {
        let analysis = Analysis::new("order", place, &FILES);
        let models = analysis.run();
        assert_eq!(
            statuses(&models),
            [
                "c_venta built",
                "b_cliente built",
                "a_total built",
                "d_clientes built"
            ]
        );
        assert_eq!(models["models"][1]["rows"], 2);
        assert_eq!(models["models"][0]["materialized"], "view");
        assert_eq!(
            analysis.rows("SELECT total FROM analisis.a_total"),
            ["600.00"]
        );
        assert_eq!(
            analysis.rows("SELECT cliente_id, importe FROM analisis.b_cliente ORDER BY 1"),
            ["1|500.00", "2|100.00"]
        );
        // A view can be read from wherever it is looked at.
        assert_eq!(
            analysis.rows("SELECT count(*) FROM analisis.c_venta"),
            ["3"]
        );
    }
}

#[test]
fn only_what_has_changed_is_built_anew() {
    for place in BOTH {
        let analysis = Analysis::new("changed", place, &FILES);
        analysis.run();
        let unchanged = [
            "c_venta unchanged",
            "b_cliente unchanged",
            "a_total unchanged",
            "d_clientes unchanged",
        ];
        let before =
            analysis.rows("SELECT built_at FROM replica._acequia_models ORDER BY model, test");
        assert_eq!(statuses(&analysis.run()), unchanged);
        assert_eq!(statuses(&analysis.ended(&["models", "run"], 0)), unchanged);
        let after =
            analysis.rows("SELECT built_at FROM replica._acequia_models ORDER BY model, test");
        assert_eq!(before, after);

        analysis
            .project
            .source
            .batch("UPDATE ventas SET precio_total = 150 WHERE id = 3")
            .unwrap();
        assert_eq!(
            statuses(&analysis.run()),
            [
                "c_venta built",
                "b_cliente built",
                "a_total built",
                "d_clientes unchanged"
            ]
        );
        assert_eq!(
            analysis.rows("SELECT total FROM analisis.a_total"),
            ["650.00"]
        );

        analysis.write(
            "models/a_total.sql",
            "SELECT sum(importe) AS total, count(*) AS n FROM b_cliente",
        );
        assert_eq!(
            statuses(&analysis.run()),
            [
                "c_venta unchanged",
                "b_cliente unchanged",
                "a_total built",
                "d_clientes unchanged"
            ]
        );
        assert_eq!(
            analysis.rows("SELECT total, n FROM analisis.a_total"),
            ["650.00|2"]
        );

        // A table that somebody dropped is made again.
        analysis.sql("DROP TABLE analisis.d_clientes");
        assert_eq!(statuses(&analysis.run())[3], "d_clientes built");
        assert_eq!(analysis.rows("SELECT n FROM analisis.d_clientes"), ["2"]);
    }
}

#[test]
fn a_model_that_is_named_is_built_in_any_case_after_what_it_reads() {
    for place in BOTH {
        let analysis = Analysis::new("named", place, &FILES);
        analysis.ended(&["run", "--no-models"], 0);
        let models = analysis.ended(&["models", "run", "b_cliente"], 0);
        assert_eq!(
            statuses(&models),
            [
                "c_venta built",
                "b_cliente built",
                "a_total unchanged",
                "d_clientes unchanged"
            ]
        );
        let again = analysis.ended(&["models", "run", "b_cliente"], 0);
        assert_eq!(
            statuses(&again)[..2],
            ["c_venta unchanged", "b_cliente built"]
        );
        let output = analysis.acequia(&["models", "run", "b_clientes"]);
        assert_eq!(output.status, Some(2), "{output:?}");
        assert!(
            output.stderr.contains("there is no model `b_clientes`"),
            "{output:?}"
        );
        // The rest is due.
        assert_eq!(
            statuses(&analysis.run())[2..],
            ["a_total built", "d_clientes built"]
        );
    }
}

#[test]
fn a_model_that_reads_the_clock_is_built_by_each_run() {
    for place in BOTH {
        let analysis = Analysis::new(
            "clock",
            place,
            &[
                (
                    "models/ahora.sql",
                    "SELECT count(*) AS n FROM ventas WHERE updated_at < now()",
                ),
                ("models/siempre.sql", "-- always: true\nSELECT 1 AS uno"),
                ("models/una_vez.sql", "SELECT 'now()' AS texto"),
            ],
        );
        analysis.run();
        assert_eq!(
            statuses(&analysis.run()),
            ["ahora built", "siempre built", "una_vez unchanged"]
        );
    }
}

#[test]
fn a_model_changes_its_columns_and_what_it_is() {
    for place in BOTH {
        let analysis = Analysis::new("columns", place, &FILES);
        analysis.run();
        analysis.write("models/sub/b_cliente.sql", "SELECT cliente_id AS cliente, 'x' AS nuevo, sum(importe) AS importe FROM c_venta GROUP BY 1");
        analysis.write("models/c_venta.sql", "SELECT cliente_id, CAST(precio_total AS DOUBLE PRECISION) AS importe, 1 AS uno FROM ventas");
        analysis.write("models/a_total.sql", "-- materialized: view\nSELECT max(nuevo) AS nuevo, sum(importe) AS total FROM b_cliente");
        assert_eq!(
            statuses(&analysis.run())[..3],
            ["c_venta built", "b_cliente built", "a_total built"]
        );
        assert_eq!(
            analysis.rows("SELECT nuevo, total FROM analisis.a_total"),
            ["x|600.0".trim_end_matches(if place == Where::Postgres { ".0" } else { "" })]
        );
        // A view on a table that gets other columns is made anew with it.
        analysis.write(
            "models/sub/b_cliente.sql",
            "SELECT count(*) AS nuevo, sum(importe) AS importe FROM c_venta",
        );
        assert_eq!(
            statuses(&analysis.run())[..3],
            ["c_venta unchanged", "b_cliente built", "a_total built"]
        );
        assert_eq!(analysis.rows("SELECT nuevo FROM analisis.a_total"), ["3"]);
    }
}

#[test]
fn a_table_that_acequia_did_not_make_is_not_overwritten() {
    for place in BOTH {
        let analysis = Analysis::new("strange", place, &FILES);
        analysis.ended(&["run", "--no-models"], 0);
        analysis
            .sql("CREATE SCHEMA analisis; CREATE TABLE analisis.d_clientes AS SELECT 'mine' AS x");
        let models = analysis.run_failing();
        let error = models["error"].as_str().unwrap();
        assert!(error.contains("acequia did not make it"), "{error}");
        assert_eq!(statuses(&models)[3], "d_clientes failed");
        assert_eq!(analysis.rows("SELECT x FROM analisis.d_clientes"), ["mine"]);
        // One transaction: nothing of the others is there either.
        assert_eq!(
            analysis.rows(
                "SELECT table_name FROM information_schema.tables WHERE table_schema = 'analisis'"
            ),
            ["d_clientes"]
        );
    }
}

#[test]
fn the_table_of_a_model_without_a_file_stays_and_is_told() {
    for place in BOTH {
        let analysis = Analysis::new("left", place, &FILES);
        analysis.run();
        analysis.remove("models/d_clientes.sql");
        let models = analysis.run();
        assert_eq!(models["left_behind"], serde_json::json!(["d_clientes"]));
        assert_eq!(analysis.rows("SELECT n FROM analisis.d_clientes"), ["2"]);
        let listed = analysis.ended(&["models", "list"], 0);
        assert_eq!(listed["left_behind"], serde_json::json!(["d_clientes"]));
    }
}

#[test]
fn in_postgres_a_table_keeps_its_grants_and_the_views_of_people() {
    let analysis = Analysis::new("grants", Where::Postgres, &FILES);
    analysis.run();
    analysis.sql(
        "GRANT SELECT ON analisis.b_cliente TO PUBLIC; CREATE VIEW public.mia AS SELECT importe FROM analisis.b_cliente; \
         CREATE INDEX mio ON analisis.b_cliente (importe)",
    );
    analysis
        .project
        .source
        .batch("UPDATE ventas SET precio_total = 150 WHERE id = 3")
        .unwrap();
    analysis.run();
    assert_eq!(
        analysis.rows("SELECT sum(importe) FROM public.mia"),
        ["650.00"]
    );
    let kept = "SELECT has_table_privilege('public', 'analisis.b_cliente', 'SELECT')::text, count(*) FROM pg_indexes WHERE indexname = 'mio'";
    assert_eq!(analysis.rows(kept), ["true|1"]);

    // A column that a view of people's has cannot be changed, and what stands in the way is told.
    analysis.write("models/a_total.sql", "SELECT count(*) AS n FROM b_cliente");
    analysis.write("models/sub/b_cliente.sql", "SELECT cliente_id FROM c_venta");
    let models = analysis.run_failing();
    let error = models["error"].as_str().unwrap();
    assert!(
        error.contains("b_cliente") && error.contains("view public.mia"),
        "{error}"
    );
    assert_eq!(
        analysis.rows("SELECT sum(importe) FROM public.mia"),
        ["650.00"]
    );
}

#[test]
fn in_duckdb_what_is_made_anew_keeps_its_indices_and_comments() {
    let analysis = Analysis::new("comments", Where::DuckDb, &FILES);
    analysis.run();
    analysis.sql(
        "COMMENT ON TABLE analisis.b_cliente IS 'de la ''casa'''; COMMENT ON COLUMN analisis.b_cliente.importe IS 'en euros';
         COMMENT ON VIEW analisis.c_venta IS 'sin nulos'; COMMENT ON COLUMN analisis.c_venta.importe IS 'en euros';
         CREATE INDEX mio ON analisis.b_cliente (importe)",
    );
    let all = "SELECT table_name AS a, comment AS b FROM duckdb_tables() WHERE comment IS NOT NULL \
         UNION ALL SELECT view_name, comment FROM duckdb_views() WHERE comment IS NOT NULL \
         UNION ALL SELECT concat(table_name, '.', column_name), comment FROM duckdb_columns() WHERE comment IS NOT NULL \
         UNION ALL SELECT index_name, expressions FROM duckdb_indexes() ORDER BY 1";
    let before = analysis.rows(all);
    assert_eq!(
        before[..4],
        [
            "b_cliente|de la 'casa'",
            "b_cliente.importe|en euros",
            "c_venta|sin nulos",
            "c_venta.importe|en euros"
        ]
    );
    assert!(before[4].starts_with("mio|"));
    // The view has another text, and becomes a table; what reads it is built anew both times.
    for kind in ["view", "table"] {
        let text = "SELECT id, cliente_id, precio_total + 0 AS importe FROM ventas";
        analysis.write(
            "models/c_venta.sql",
            &format!("-- materialized: {kind}\n{text}"),
        );
        let models = analysis.run();
        assert!(statuses(&models).contains(&"b_cliente built".to_owned()));
        assert_eq!(analysis.rows(all), before, "{kind}");
    }
}

/// The days of moments are those of UTC on both destinations, wherever the command runs.
#[test]
fn days_of_moments_do_not_depend_on_the_machine() {
    for place in BOTH {
        let files = [(
            "models/meses.sql",
            "SELECT date_trunc('month', CAST('2024-01-31 23:30:00+00' AS timestamptz)) AS mes, CAST(CAST('2024-01-31 23:30:00+00' AS timestamptz) AS date) AS dia, count(*) AS n FROM ventas",
        )];
        let analysis = Analysis::new("zones", place, &files);
        let run = analysis.arguments(&["run", "--output", "json"]);
        let mut command = analysis.project.command(&run);
        command.env("TZ", "Asia/Tokyo");
        let output = Output::of(command);
        assert_eq!(output.status, Some(0), "{output:?}");
        assert_eq!(
            analysis.rows("SELECT CAST(dia AS text) || ' ' || CAST(CAST(mes AT TIME ZONE 'UTC' AS date) AS text) AS x FROM analisis.meses"),
            ["2024-01-31 2024-01-01"]
        );
    }
}

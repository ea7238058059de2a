//! What a model reads, by the engine's own parser.

use super::{Analysis, BOTH, Where};

/// What `models graph` says of each model, as `model <- what it reads`.
fn graph(analysis: &Analysis) -> Vec<String> {
    let output = analysis.acequia(&["models", "graph"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    output.stdout.lines().map(str::to_owned).collect()
}

#[test]
fn names_of_with_comments_and_texts_are_no_tables() {
    for place in BOTH {
        let analysis = Analysis::new(
            "names",
            place,
            &[
                ("models/base.sql", "SELECT id, cliente_id FROM ventas"),
                (
                    // The inner `base` is the model; the outer one, and `clientes`, are what WITH calls so.
                    "models/sombra.sql",
                    "/* FROM clientes */ WITH base AS (SELECT * FROM base), clientes AS (SELECT 1 AS uno)\n\
                     SELECT b.id, 'FROM ventas' AS texto FROM base AS b, clientes -- JOIN ventas",
                ),
                (
                    "models/anidada.sql",
                    "SELECT x.n FROM (WITH ventas AS (SELECT count(*) AS n FROM sombra) SELECT n FROM ventas) AS x \
                     WHERE EXISTS (SELECT 1 FROM replica.\"clientes\") ORDER BY (SELECT max(id) FROM \"base\")",
                ),
                (
                    "models/recursiva.sql",
                    "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT sum(n) AS n FROM t",
                ),
                (
                    "models/frescura.sql",
                    "SELECT stream, max(loaded_at) AS hasta FROM _acequia_loads GROUP BY stream",
                ),
                (
                    "models/nombrada.sql",
                    "-- depends_on: {{ ref('sombra') }}\nSELECT 1 AS uno",
                ),
            ],
        );
        analysis.run();
        assert_eq!(
            graph(&analysis),
            [
                "base <- ventas",
                "sombra <- base",
                "anidada <- base, sombra, clientes",
                "frescura <- _acequia_loads",
                "nombrada <- sombra",
                "recursiva",
            ]
        );
        assert_eq!(analysis.rows("SELECT n FROM analisis.anidada"), ["3"]);
        assert_eq!(analysis.rows("SELECT n FROM analisis.recursiva"), ["6"]);
        let mermaid = analysis.acequia(&["models", "graph", "--mermaid"]).stdout;
        assert!(
            mermaid.starts_with("flowchart LR\n") && mermaid.contains("m_base --> m_sombra"),
            "{mermaid}"
        );
        let json = analysis.ended(&["models", "graph"], 0);
        assert_eq!(
            json["models"][2]["models"],
            serde_json::json!(["base", "sombra"])
        );
    }
}

#[test]
fn quoted_names_are_taken_as_they_are() {
    for place in BOTH {
        let analysis = Analysis::new("quoted", place, &[]);
        analysis.project.streams(
            r#"
[models]
path = "analisis/models"
dataset = "Mi Análisis"

[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "full"
destination_table = "Mis \"Ventas\""
"#,
        );
        analysis.write(
            "models/vista.sql",
            "-- materialized: view\n-- unique: \"Año, €\"\nSELECT id AS \"Año, €\", precio_total FROM \"Mis \"\"Ventas\"\"\"",
        );
        analysis.write("models/tabla.sql", "SELECT sum(\"Año, €\") AS n FROM vista");
        analysis.run();
        assert_eq!(
            graph(&analysis),
            ["vista <- Mis \"Ventas\"", "tabla <- vista"]
        );
        assert_eq!(analysis.rows("SELECT n FROM \"Mi Análisis\".tabla"), ["6"]);
        assert_eq!(
            analysis.rows("SELECT count(*) FROM \"Mi Análisis\".vista"),
            ["3"]
        );
    }
}

#[test]
fn what_people_have_in_the_models_schema_comes_before_the_streams_tables() {
    for place in BOTH {
        let analysis = Analysis::new(
            "people",
            place,
            &[("models/cuenta.sql", "SELECT count(*) AS n FROM clientes")],
        );
        analysis.run();
        assert_eq!(graph(&analysis), ["cuenta <- clientes"]);
        analysis.sql("CREATE TABLE analisis.clientes AS SELECT 1 AS uno");
        assert_eq!(graph(&analysis), ["cuenta <- analisis.clientes"]);
        analysis.run();
        assert_eq!(analysis.rows("SELECT n FROM analisis.cuenta"), ["1"]);
        // Nobody tells when it changes, so it is read each time.
        analysis.sql("INSERT INTO analisis.clientes VALUES (2)");
        analysis.run();
        assert_eq!(analysis.rows("SELECT n FROM analisis.cuenta"), ["2"]);
    }
}

#[test]
fn in_duckdb_files_and_long_expressions_are_read() {
    let deep = vec!["'x'"; 100].join(" || ");
    let analysis = Analysis::new(
        "duck",
        Where::DuckDb,
        &[
            (
                "models/profunda.sql",
                &format!("SELECT length({deep}) AS n FROM ventas LIMIT 1"),
            ),
            (
                "models/archivo.sql",
                "SELECT count(*) AS n FROM read_csv('datos.csv')",
            ),
            (
                "models/pivote.sql",
                "-- materialized: view\nSELECT * FROM (PIVOT ventas ON cliente_id IN (1, 2) USING sum(precio_total) GROUP BY curso_id)",
            ),
        ],
    );
    std::fs::write(analysis.project.path("datos.csv"), "a,b\n1,2\n3,4\n").unwrap();
    analysis.run();
    assert_eq!(analysis.rows("SELECT n FROM analisis.profunda"), ["100"]);
    assert_eq!(analysis.rows("SELECT n FROM analisis.archivo"), ["2"]);
    assert_eq!(
        analysis.rows("SELECT \"1\" FROM analisis.pivote"),
        ["500.00"]
    );
    assert_eq!(
        super::statuses(&analysis.run()),
        ["archivo built", "pivote unchanged", "profunda unchanged"]
    );
}

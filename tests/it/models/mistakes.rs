//! Bad input: file, line and remedy, and loads stay committed.

use super::{Analysis, BOTH};

/// The error that a run tells of models.
fn error(analysis: &Analysis) -> String {
    let models = analysis.run_failing();
    models["error"].as_str().unwrap().to_owned()
}

#[test]
fn a_mistake_is_told_with_file_line_and_remedy_and_the_loads_stay() {
    let cases: [(&str, &str); 14] = [
        (
            "-- description: x\nSELECT id\nFRM nope FROM ventas",
            "analisis/models/m.sql:3: syntax error at or near \"nope\"",
        ),
        (
            "-- ñ\n\nSELECT 'ñ', *\nFROM ventass",
            "analisis/models/m.sql:4: `ventass` is not there; did you mean `ventas`?",
        ),
        (
            "SELECT *\nFROM nada.ventas",
            "analisis/models/m.sql:2: `nada.ventas` is not there",
        ),
        (
            "SELECT 'ñ',\n  importe\nFROM ventas",
            "analisis/models/m.sql:2: ",
        ),
        (
            "SELECT *\nFROM m",
            "analisis/models/m.sql:2: the models read each other in a circle: m -> m",
        ),
        ("SELECT *\nFROM analisis.otro", "analisis.otro` is a model"),
        (
            "SELECT 1;\nDROP TABLE ventas",
            "analisis/models/m.sql:2: a second statement begins here",
        ),
        ("DELETE FROM ventas", "analisis/models/m.sql:1: "),
        (
            "WITH x AS (DELETE FROM ventas RETURNING id) SELECT * FROM x",
            "analisis/models/m.sql:1: ",
        ),
        (
            "-- not_null: ide\nSELECT id FROM ventas",
            "analisis/models/m.sql:1: there is no column `ide`; did you mean `id`?",
        ),
        (
            "-- relationships: id -> nadie.id\nSELECT id FROM ventas",
            "analisis/models/m.sql:1: `nadie` is not there",
        ),
        (
            "-- relationships: id -> otro.ido\nSELECT id FROM ventas",
            "analisis/models/m.sql:1: there is no column `ido`",
        ),
        (
            "-- depends_on: {{ ref('otra') }}\nSELECT 1 AS uno",
            "analisis/models/m.sql:1: there is no model `otra`; did you mean `otro`?",
        ),
        ("SELECT nofun(id)\nFROM ventas", "analisis/models/m.sql:1: "),
    ];
    for place in BOTH {
        let first = [
            ("models/otro.sql", "SELECT 1 AS id"),
            ("models/m.sql", "SELECT * FROM nada"),
        ];
        let analysis = Analysis::new("wrong", place, &first);
        assert!(error(&analysis).contains("analisis/models/m.sql:1: `nada` is not there"));
        assert_eq!(analysis.rows("SELECT count(*) FROM replica.ventas"), ["3"]);
        for (sql, expected) in cases {
            analysis.write("models/m.sql", sql);
            let output = analysis.acequia(&["models", "run"]);
            assert_eq!(output.status, Some(2), "{sql}: {output:?}");
            let report = &output.stderr;
            assert!(report.contains(expected), "{place:?} {sql}\n{report}");
            assert!(report.contains("remedy: "), "{sql}\n{report}");
            let tables =
                "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'analisis'";
            assert_eq!(analysis.rows(tables), ["0"], "nothing is built");
        }
        let checked = analysis.acequia(&["check"]);
        assert_eq!(checked.status, Some(1), "{checked:?}");
        assert!(
            checked.stdout.contains("analisis/models/m.sql:1: "),
            "{checked:?}"
        );
    }
}

#[test]
fn models_that_read_each_other_are_told_with_the_way_round() {
    for place in BOTH {
        let analysis = Analysis::new(
            "circle",
            place,
            &[
                ("models/a.sql", "SELECT *\nFROM b"),
                ("models/b.sql", "SELECT *\n\nFROM c"),
                ("models/c.sql", "SELECT * FROM a"),
                ("models/d.sql", "SELECT * FROM a"),
            ],
        );
        let report = error(&analysis);
        assert!(
            report.contains(
                "analisis/models/c.sql:1: the models read each other in a circle: a -> b -> c -> a"
            ),
            "{report}"
        );
        assert_eq!(report.matches("circle").count(), 1, "told once: {report}");
    }
}

#[test]
fn a_value_that_a_model_cannot_take_is_told_without_it() {
    for place in BOTH {
        let analysis = Analysis::new(
            "value",
            place,
            &[
                ("models/a.sql", "SELECT 1 AS uno"),
                (
                    "models/n.sql",
                    "SELECT CAST(nombre AS INTEGER) AS n FROM clientes",
                ),
            ],
        );
        let output = analysis.acequia(&["run"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        assert!(
            output.stdout.contains("model n (analisis/models/n.sql)"),
            "{output:?}"
        );
        assert!(
            !output.stdout.contains("Dos") && !output.stderr.contains("Dos"),
            "{output:?}"
        );
        let tables =
            "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'analisis'";
        assert_eq!(analysis.rows(tables), ["0"], "one transaction");
    }
}

#[test]
fn a_table_that_was_never_loaded_is_no_mistake_of_the_models() {
    for place in BOTH {
        let analysis = Analysis::new(
            "unloaded",
            place,
            &[("models/m.sql", "SELECT count(*) AS n FROM clientes")],
        );
        let before = analysis.acequia(&["check"]);
        assert_eq!(before.status, Some(0), "{before:?}");
        let output = analysis.acequia(&["models", "list"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        assert!(
            output.stderr.contains("nothing was loaded yet"),
            "{output:?}"
        );
        let models = analysis.ended(&["run", "ventas"], 1)["models"].clone();
        let error = models["error"].as_str().unwrap();
        assert!(
            error.contains(
                "analisis/models/m.sql:1: the table `clientes` of the stream clientes is not there"
            ),
            "{error}"
        );
        let checked = analysis.acequia(&["check"]);
        assert_eq!(checked.status, Some(0), "{checked:?}");
        assert!(
            checked.stdout.contains("acequia run clientes"),
            "{checked:?}"
        );
        analysis.run();
        assert_eq!(analysis.rows("SELECT n FROM analisis.m"), ["2"]);
    }
}

#[test]
fn the_configuration_is_checked() {
    let analysis = Analysis::new("settings", super::Where::DuckDb, &[]);
    for (models, expected) in [
        (
            "path = \"m\"\ndataset = \"replica\"",
            "this is the dataset of the pipeline",
        ),
        (
            "path = \"m\"\ndataset = \"pg_catalog\"",
            "belongs to the database itself",
        ),
        ("path = \"\"", "it names no folder"),
        (
            "path = \"m\"\ntest = \"x\"",
            "unknown key `test`; did you mean `tests`?",
        ),
    ] {
        let streams = super::STREAMS.split("[streams.ventas]").nth(1).unwrap();
        analysis
            .project
            .streams(&format!("[models]\n{models}\n\n[streams.ventas]{streams}"));
        let output = analysis.acequia(&["check"]);
        assert_eq!(output.status, Some(2), "{output:?}");
        assert!(output.stderr.contains(expected), "{output:?}");
    }
    let streams = super::STREAMS.replace("analisis/models", "no/such");
    analysis.project.streams(&streams);
    let models = analysis.run_failing();
    let error = models["error"].as_str().unwrap();
    assert!(error.contains("no/such: it is not there"), "{error}");
}

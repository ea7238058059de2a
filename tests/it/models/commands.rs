//! What people see.

use super::{Analysis, Where};
use crate::json::assert_documented;

#[test]
fn a_run_shows_the_models_that_it_built() {
    let analysis = Analysis::new(
        "screen",
        Where::DuckDb,
        &[(
            "models/m.sql",
            "-- unique: n\nSELECT count(*) AS n FROM ventas",
        )],
    );
    let output = analysis.acequia(&["run"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(
        output
            .stdout
            .contains("1 model built in analisis, 1 test passed, in "),
        "{output:?}"
    );
    let again = analysis.acequia(&["run"]);
    assert!(
        again
            .stdout
            .contains("0 models built in analisis, 1 unchanged, 0 tests passed, in "),
        "{again:?}"
    );
    let listed = analysis.acequia(&["models", "list"]);
    assert!(
        listed.stdout.contains("leaves it") && listed.stdout.contains("1 passed"),
        "{listed:?}"
    );
}

#[test]
fn without_models_a_run_and_the_commands_say_so() {
    let analysis = Analysis::new("none", Where::DuckDb, &[]);
    analysis.project.streams(crate::support::VENTAS);
    assert_eq!(analysis.run(), serde_json::Value::Null);
    let output = analysis.acequia(&["models", "run"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(
        output.stderr.contains("the configuration has no models"),
        "{output:?}"
    );
}

#[test]
fn a_lake_is_refused_before_anything_is_read() {
    let analysis = Analysis::new(
        "lake",
        Where::DuckDb,
        &[("models/m.sql", "SELECT 1 AS uno")],
    );
    let lake = "[destinations.lago]\nkind = \"iceberg\"\ncatalog = \"http://127.0.0.1:9\"\nwarehouse = \"w\"\n";
    analysis
        .project
        .streams(&format!("{lake}{}", super::STREAMS));
    for command in [["run", "--destination"], ["models list", "--destination"]] {
        let words: Vec<&str> = command
            .iter()
            .flat_map(|word| word.split(' '))
            .chain(["lago"])
            .collect();
        let output = analysis.project.acequia(&words);
        assert_eq!(output.status, Some(2), "{output:?}");
        assert!(
            output
                .stderr
                .contains("models are not built in an Iceberg lake")
                && output.stderr.contains("--no-models"),
            "{output:?}"
        );
    }
}

#[test]
fn every_key_of_every_result_is_documented() {
    let analysis = Analysis::new(
        "keys",
        Where::DuckDb,
        &[
            (
                "models/m.sql",
                "-- not_null: n\nSELECT count(*) AS n FROM ventas",
            ),
            ("models/n.sql", "SELECT n FROM m, read_csv('x.csv')"),
            ("models/vieja.sql", "SELECT 1 AS uno"),
            ("tests/t.sql", "SELECT 1 FROM m WHERE n < 0"),
        ],
    );
    std::fs::write(analysis.project.path("x.csv"), "a\n1\n").unwrap();
    analysis.run();
    analysis.remove("models/vieja.sql");
    analysis.write(
        "models/m.sql",
        "-- not_null: nada\nSELECT count(*) AS n, NULL AS nada FROM ventas",
    );
    let failed = analysis.ended(&["models", "run"], 1);
    assert_documented("models run", &[failed]);
    assert_documented("models test", &[analysis.ended(&["models", "test"], 0)]);
    assert_documented("models list", &[analysis.ended(&["models", "list"], 0)]);
    assert_documented("models graph", &[analysis.ended(&["models", "graph"], 0)]);
}

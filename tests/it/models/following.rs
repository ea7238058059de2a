//! Models of a run that follows.

use crate::cdc::following::{Follower, eventually};
use crate::cdc::project;

const MODELS: &str = "[models]\npath = \"models\"\ndataset = \"analisis\"\n";

#[test]
fn models_follow_each_batch_that_they_read_and_a_failed_test_does_not_end_it() {
    let project = project(
        "follow_models",
        "CREATE TABLE t (id int8 PRIMARY KEY, v int8); CREATE TABLE otra (id int8 PRIMARY KEY)",
        &["t", "otra"],
        "",
    );
    let text = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    project.configure(&format!("{text}\n{MODELS}"));
    std::fs::create_dir(project.path("models")).unwrap();
    let model = |name: &str, sql: &str| {
        std::fs::write(project.path("models").join(name), sql).unwrap();
    };
    model(
        "suma.sql",
        "-- unique: paridad\nSELECT v % 2 AS paridad, CAST(sum(v) AS BIGINT) AS suma FROM t GROUP BY 1",
    );
    model("otras.sql", "SELECT count(*) AS n FROM otra");
    std::fs::create_dir(project.path("tests")).unwrap();
    std::fs::write(
        project.path("tests/negativo.sql"),
        "SELECT * FROM suma WHERE suma < 0",
    )
    .unwrap();
    project.source.batch("INSERT INTO t VALUES (0, 4)").unwrap();
    project.run(&[]);

    let follower = Follower::start(&project);
    let sum = "SELECT sum(suma)::VARCHAR FROM analisis.suma";
    project.source.batch("INSERT INTO t VALUES (1, 6)").unwrap();
    eventually(&project, sum, "10");
    // The other model does not read what came.
    assert_eq!(follower.line("built"), "1 model built");

    project
        .source
        .batch("INSERT INTO t VALUES (2, -100)")
        .unwrap();
    let line = follower.line("negativo");
    assert!(
        line.contains("test negativo (tests/negativo.sql): 1 row should not be there"),
        "{line}"
    );
    eventually(&project, "SELECT count(*)::VARCHAR FROM replica.t", "3");
    eventually(&project, sum, "10");

    project
        .source
        .batch("UPDATE t SET v = 1 WHERE id = 2")
        .unwrap();
    eventually(&project, sum, "11");
    let report = follower.stop();
    assert_eq!(report["streams"][0]["status"], "ok");
    assert_eq!(report["models"]["error"], serde_json::Value::Null);
    assert_ne!(report["models"]["tests"][1]["status"], "failed");
}

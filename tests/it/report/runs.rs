//! The page as runs, commands and mistakes have it.

use serde_json::json;

use super::{REPORT, STREAMS, made, project};
use crate::support::Output;

#[test]
fn a_run_makes_the_page_and_says_so() {
    let project = project("report_run");
    project.streams(&format!(
        "{STREAMS}{}",
        REPORT.replace("after_run = false", "")
    ));
    let report = project.run(&[]);
    let page = project.path("informe.html");
    assert_eq!(report["page"]["path"], json!(page));
    assert_eq!(report["page"]["error"], json!(null));
    let first = std::fs::read_to_string(&page).unwrap();
    assert!(first.contains("Formación: análisis"));
    // Nothing is left beside it.
    let beside = std::fs::read_dir(project.folder.path()).unwrap();
    let beside = beside.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().starts_with(".informe")
    });
    assert_eq!(beside.count(), 0);
    let output = project.acequia(&["run"]);
    assert!(output.stdout.contains("✓ the report page"), "{output:?}");
}

#[test]
fn a_page_that_cannot_be_made_leaves_the_loads_and_the_page_before() {
    let project = project("report_fails");
    project.streams(&format!(
        "{STREAMS}{}",
        REPORT.replace("after_run = false", "")
    ));
    project.run(&[]);
    let before = std::fs::read_to_string(project.path("informe.html")).unwrap();
    project
        .source
        .batch("UPDATE ventas SET estado = 'completado' WHERE id = 7")
        .unwrap();
    std::fs::write(
        project.path("informe/99-mal.sql"),
        "-- title: Mal\n-- description: Mal\nSELECT nada FROM ventas",
    )
    .unwrap();
    let output = project.acequia(&["run", "--output", "json"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    let report = output.json();
    assert!(
        report["streams"]
            .as_array()
            .unwrap()
            .iter()
            .all(|stream| stream["status"] == "ok")
    );
    let error = report["page"]["error"].as_str().unwrap();
    assert!(
        error.contains("99-mal.sql: its query is refused"),
        "{error}"
    );
    assert!(
        error.contains("nada") && error.contains("remedy"),
        "{error}"
    );
    assert_eq!(
        std::fs::read_to_string(project.path("informe.html")).unwrap(),
        before
    );
    assert_eq!(
        project
            .value("SELECT estado FROM replica.ventas WHERE id = 7")
            .as_deref(),
        Some("completado")
    );
    // The failure is told on standard error as well, for cron.
    assert!(output.stderr.contains("99-mal.sql"), "{}", output.stderr);
}

#[test]
fn mistakes_are_told_with_file_line_and_remedy_and_nothing_is_written() {
    let project = project("report_mistakes");
    let output = project.acequia(&["report"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stderr.contains("nothing was loaded"), "{output:?}");
    assert!(output.stderr.contains("`acequia run`"), "{output:?}");
    project.run(&[]);
    let chart = std::fs::read_to_string(project.path("informe/30-ingresos-curso.vl.json")).unwrap();
    for (text, told) in [
        (
            chart.replace("\"bar\"", "\"bra\""),
            "30-ingresos-curso.vl.json:6: Vega-Lite has no mark `bra`; did you mean `bar`?",
        ),
        (
            chart.replace("\"field\": \"curso\"", "\"field\": \"cursos\""),
            "30-ingresos-curso.vl.json:8: its data has no column `cursos`",
        ),
        (
            chart.replace("FROM ventas", "FROM venta"),
            "30-ingresos-curso.vl.json:5: its query is refused",
        ),
        (
            chart.replace("SELECT c.nombre", "DELETE FROM ventas; SELECT c.nombre"),
            "30-ingresos-curso.vl.json:5: its query is refused",
        ),
        (
            chart.replace("},\n  \"mark\"", "}\n  \"mark\""),
            "30-ingresos-curso.vl.json:6: it is not JSON",
        ),
    ] {
        std::fs::write(project.path("informe/30-ingresos-curso.vl.json"), text).unwrap();
        let output = project.acequia(&["report"]);
        assert_eq!(output.status, Some(2), "{output:?}");
        assert!(output.stderr.contains(told), "{told}\n{}", output.stderr);
        assert!(output.stderr.contains("remedy: "), "{}", output.stderr);
        assert!(!project.path("informe.html").exists());
    }
    assert_eq!(
        project
            .value("SELECT count(*) FROM replica.ventas")
            .as_deref(),
        Some("3000")
    );
}

#[test]
fn a_configuration_without_a_report_says_how_to_have_one() {
    let project = project("report_none");
    project.streams(STREAMS);
    let output = project.acequia(&["report"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(output.stderr.contains("add [report]"), "{output:?}");
}

#[test]
fn a_page_goes_where_it_is_told_and_has_the_rights_that_the_mask_leaves() {
    use std::os::unix::fs::PermissionsExt as _;

    let project = project("report_elsewhere");
    project.run(&[]);
    let output = project.acequia(&["report", "--page", "otra.html", "--output", "json"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    let page = project.path("otra.html");
    assert_eq!(
        output.json()["page"],
        json!(std::fs::canonicalize(&page).unwrap())
    );
    let mode = std::fs::metadata(&page).unwrap().permissions().mode() & 0o777;
    let mask = std::fs::metadata(project.path("formacion.duckdb"))
        .unwrap()
        .permissions()
        .mode()
        & 0o666;
    assert_eq!(mode & 0o666, mask & 0o666);
    assert!(!project.path("informe.html").exists());
    let output = project.acequia(&["report", "--page", "no/hay.html"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stderr.contains("make its folder"), "{output:?}");
}

#[test]
fn postgres_makes_the_same_page() {
    let project = project("report_postgres").with_warehouse();
    project.run(&[]);
    project.run(&["--destination", "almacen"]);
    let of_duckdb = rows(&made(&project));
    let output = project.acequia(&["report", "--destination", "almacen"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    let of_postgres = rows(&std::fs::read_to_string(project.path("informe.html")).unwrap());
    assert_eq!(
        of_duckdb.as_array().unwrap().len(),
        of_postgres.as_array().unwrap().len()
    );
    // The two databases sort text each in its own way, and round averages each in its own way.
    for (one, other) in of_duckdb
        .as_array()
        .unwrap()
        .iter()
        .zip(of_postgres.as_array().unwrap())
    {
        for (name, data) in one["data"].as_object().unwrap() {
            let other = &other["data"][name];
            let id = &one["id"];
            let count = |data: &serde_json::Value| data["rows"].as_array().unwrap().len();
            assert_eq!(count(data), count(other), "{id}");
            assert_eq!(data["columns"], other["columns"], "{id}");
        }
    }
    let sum = |rows: &serde_json::Value| rows[5]["data"]["rows"]["rows"][0].clone();
    assert_eq!(sum(&of_duckdb), sum(&of_postgres));
}

/// The charts and tables of a page, as its script reads them.
fn rows(html: &str) -> serde_json::Value {
    let (_, rest) = html.split_once("id=\"report-data\">").unwrap();
    let data = rest.split_once("</script>").unwrap().0;
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    data["parts"].clone()
}

#[test]
fn a_page_waits_for_whoever_has_the_file() {
    let project = project("report_waits");
    project.run(&[]);
    let held = project.duckdb();
    held.execute_batch("CREATE TABLE ajena (n INTEGER)")
        .unwrap();
    let waiting = project
        .command(&["report"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(600));
    assert!(!project.path("informe.html").exists());
    drop(held);
    let output = Output::from(waiting.wait_with_output().unwrap());
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(project.path("informe.html").exists());
}

#[test]
fn the_page_shows_the_models_of_the_same_run() {
    let project = project("report_models");
    let models = "\n[models]\npath = \"modelos\"\ndataset = \"mart\"\n";
    project.streams(&format!(
        "{STREAMS}{models}{}",
        REPORT.replace("after_run = false", "")
    ));
    std::fs::create_dir(project.path("modelos")).unwrap();
    std::fs::write(
        project.path("modelos/por_estado.sql"),
        "SELECT estado, count(*) AS ventas FROM ventas GROUP BY 1",
    )
    .unwrap();
    std::fs::write(
        project.path("informe/97-modelo.vl.json"),
        r#"{"title": "T", "description": "D", "data": {"model": "por_estado"}, "mark": "bar",
            "encoding": {"x": {"field": "estado", "type": "nominal"}, "y": {"field": "ventas", "type": "quantitative"}}}"#,
    )
    .unwrap();
    let output = project.acequia(&["check"]);
    assert!(
        output.stdout.contains("✓ report: written as it should be"),
        "{output:?}"
    );
    let report = project.run(&[]);
    assert_eq!(report["page"]["error"], json!(null));
    let parts = rows(&std::fs::read_to_string(project.path("informe.html")).unwrap());
    let shown = parts.as_array().unwrap().last().unwrap();
    assert_eq!(shown["id"], json!("97-modelo"));
    let shown = shown["data"]["acequia_0"]["rows"].as_array().unwrap();
    let sum: i64 = shown.iter().map(|row| row[1].as_i64().unwrap()).sum();
    assert_eq!((shown.len(), sum), (4, 3_000));
    let output = project.acequia(&["check"]);
    assert!(
        output.stdout.contains("its queries are answered"),
        "{output:?}"
    );
    // A model that is not there is a mistake with a line.
    std::fs::remove_file(project.path("modelos/por_estado.sql")).unwrap();
    let chart = std::fs::read_to_string(project.path("informe/97-modelo.vl.json")).unwrap();
    std::fs::write(
        project.path("informe/97-modelo.vl.json"),
        chart.replace("por_estado", "por_estados"),
    )
    .unwrap();
    let output = project.acequia(&["report"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(
        output
            .stderr
            .contains("97-modelo.vl.json:1: its model `por_estados` cannot be read"),
        "{output:?}"
    );
}

use super::*;
use crate::report::rows::{Column, Kind};

const GOOD: &str = r#"{
  "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
  "title": "Ventas por curso",
  "description": "Una barra por curso.",
  "data": {"sql": "SELECT curso, mes, ventas FROM ventas_mes;"},
  "transform": [{"calculate": "datum.ventas / 1000", "as": "miles"}],
  "mark": {"type": "bar"},
  "encoding": {
    "x": {"field": "mes", "type": "temporal"},
    "y": {"field": "miles", "type": "quantitative"},
    "color": {"field": "curso", "type": "nominal", "sort": {"field": "ventas", "op": "sum"}}
  }
}"#;

fn parsed(text: &str) -> Chart {
    let mut problems = Problems::default();
    let chart = parse("20-c.vl.json", text, &mut problems);
    problems.finish(()).unwrap();
    chart.unwrap()
}

fn refused(text: &str) -> String {
    let mut problems = Problems::default();
    parse("20-c.vl.json", text, &mut problems);
    problems.finish(()).unwrap_err().report()
}

#[test]
fn a_chart_is_a_specification_and_queries() {
    let chart = parsed(GOOD);
    assert_eq!(chart.title, "Ventas por curso");
    assert_eq!(chart.description, "Una barra por curso.");
    assert_eq!(chart.spec["data"], serde_json::json!({"name": "acequia_0"}));
    assert_eq!(chart.spec.get("title"), None);
    let sql = "SELECT curso, mes, ventas FROM ventas_mes".to_owned();
    assert_eq!(chart.data[0].query, Query::Sql(sql));
    assert_eq!(chart.data[0].line, Some(5));
    assert_eq!(chart.temporal, BTreeSet::from(["mes".to_owned()]));
}

#[test]
fn data_may_stand_in_a_layer_and_in_a_lookup() {
    let chart = parsed(
        r#"{"title": ["Dos", "líneas"], "description": "d", "layer": [
            {"data": {"model": "a"}, "mark": "bar", "encoding": {"x": {"field": "n"}}},
            {"data": {"values": [{"meta": 5}]}, "mark": "rule", "encoding": {"y": {"datum": 5}}},
            {"data": {"sql": "SELECT 1"}, "mark": "line",
             "transform": [{"lookup": "k", "from": {"data": {"model": "b"}, "key": "k", "fields": ["v"]}}]}]}"#,
    );
    assert_eq!(chart.title, "Dos líneas");
    let queries: Vec<&Query> = chart.data.iter().map(|data| &data.query).collect();
    assert_eq!(
        queries,
        [
            &Query::Model("a".to_owned()),
            &Query::Sql("SELECT 1".to_owned()),
            &Query::Model("b".to_owned())
        ]
    );
    assert_eq!(
        chart.spec["layer"][2]["transform"][0]["from"]["data"]["name"],
        "acequia_2"
    );
}

#[test]
fn what_is_not_vega_lite_is_told_with_its_line_and_the_remedy() {
    for (text, place, what) in [
        ("{\n\"mark\": \"bar\",\n}", ":3", "it is not JSON"),
        ("[]", ":1", "no specification of Vega-Lite"),
        (
            &GOOD.replace("vega-lite/v6", "vega/v6"),
            ":2",
            "$schema is not that of Vega-Lite",
        ),
        (&GOOD.replace("lite/v6", "lite/v4"), ":2", "another version"),
        (&GOOD.replace("\"title\"", "\"name\""), ":1", "no title"),
        (
            &GOOD.replace("Una barra por curso.", " "),
            ":4",
            "no description",
        ),
        (
            &GOOD.replace("\"bar\"", "\"bra\""),
            ":7",
            "did you mean `bar`?",
        ),
        (
            &GOOD.replace("\"encoding\"", "\"encodings\""),
            ":8",
            "did you mean `encoding`?",
        ),
        (
            &GOOD.replace("\"color\"", "\"colour\""),
            ":11",
            "did you mean `color`?",
        ),
        (
            &GOOD.replace("\"temporal\"", "\"time\""),
            ":9",
            "no type `time`",
        ),
        (&GOOD.replace("\"sql\"", "\"url\""), ":5", "fetches nothing"),
        (
            &GOOD.replace("{\"sql\"", "{\"model\": \"x\", \"sql\""),
            ":5",
            "neither one query",
        ),
        (
            &GOOD.replace("\"sql\"", "\"slq\""),
            ":5",
            "neither a query nor a model",
        ),
        (
            &GOOD.replace("\"mark\": {\"type\": \"bar\"},", ""),
            ":1",
            "no view",
        ),
        (
            &GOOD.replace(
                "\"data\": {\"sql\": \"SELECT curso, mes, ventas FROM ventas_mes;\"},",
                "",
            ),
            ":1",
            "it has no data",
        ),
    ] {
        let report = refused(text);
        assert!(
            report.contains(&format!("20-c.vl.json{place}: ")),
            "{text}\n{report}"
        );
        assert!(report.contains(what), "{text}\n{report}");
        assert!(report.contains("remedy: "), "{report}");
    }
}

#[test]
fn a_column_that_its_rows_lack_is_told() {
    let columns = |names: &[&str]| Rows {
        columns: names
            .iter()
            .map(|name| Column {
                name: (*name).to_owned(),
                kind: Kind::Text,
            })
            .collect(),
        rows: Vec::new(),
    };
    let check = |names: &[&str]| {
        let mut problems = Problems::default();
        parsed(GOOD).check_fields("20-c.vl.json", &[&columns(names)], &mut problems);
        problems.finish(()).map_err(|error| error.report())
    };
    check(&["curso", "mes", "ventas"]).unwrap();
    insta::assert_snapshot!(check(&["cursos", "mes", "ventas"]).unwrap_err(), @r"
    the report's 20-c.vl.json:11: its data has no column `curso`; did you mean `cursos`?
      remedy: the columns are cursos, mes, miles and ventas
    ");
}

#[test]
fn a_field_is_in_a_column() {
    for (field, expected) in [("a", "a"), ("a.b", "a"), ("a[0]", "a"), (r"a\.b", "a.b")] {
        assert_eq!(column(field), expected);
    }
}

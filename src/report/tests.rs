//! A report of rows that a test hands in: what the page holds, and what is told of queries that fail.

use serde_json::{Value, json};

use super::*;
use crate::config::Language;

/// A report of these parts.
fn report(files: &[(&str, &str)]) -> Report {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    Report::read(&config::Report {
        folder: folder.path().to_owned(),
        output: folder.path().join("report.html"),
        title: "Ventas <b>\"y\"</b> más".to_owned(),
        language: Language::Es,
        after_run: false,
        streams: Vec::new(),
    })
    .unwrap()
}

const CHART: (&str, &str) = (
    "20-c.vl.json",
    r#"{"title": "T </script>", "description": "D", "data": {"sql": "SELECT * FROM t"}, "mark": "bar",
 "encoding": {"x": {"field": "n", "type": "quantitative"}}}"#,
);

const TABLE: (&str, &str) = (
    "30-t.sql",
    "-- title: Tabla\n-- description: Filas\nSELECT * FROM u",
);

fn objects(objects: &[Value]) -> Vec<Box<RawValue>> {
    objects
        .iter()
        .map(|object| serde_json::value::to_raw_value(object).unwrap())
        .collect()
}

/// The data of a page, as its script reads it.
fn data(html: &str) -> Value {
    let (_, rest) = html
        .split_once("<script type=\"application/json\" id=\"report-data\">")
        .unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_page_has_the_rows_of_its_queries_and_nothing_that_ends_early() {
    let report = report(&[("10-a.md", "# Uno\n\n<script>x</script>"), CHART, TABLE]);
    let hostile = "</script><script>alert(1)</script><!--";
    let rows = report
        .ask(&mut |sql| {
            Ok(objects(&match sql {
                "SELECT * FROM t" => [json!({"n": 1.5, "texto": hostile})],
                "-- title: Tabla\n-- description: Filas\nSELECT * FROM u" => {
                    [json!({"n": 2, "texto": "x"})]
                }
                other => panic!("{other}"),
            }))
        })
        .unwrap();
    let freshness = [Freshness {
        stream: "ventas".to_owned(),
        loaded_at: None,
        rows: 0,
        failed: true,
    }];
    let page = report.page(&rows, &freshness).unwrap();
    let data = data(&page.html);
    let of_part = |at: usize| &data["parts"][at]["data"];
    assert_eq!(of_part(0)["acequia_0"]["rows"], json!([[1.5, hostile]]));
    assert_eq!(of_part(1)["rows"]["rows"], json!([[2, "x"]]));
    assert_eq!(data["freshness"][0]["failed"], json!(true));
    // Three libraries and their licences, the page's own script, and its data.
    assert_eq!(page.html.matches("<script").count(), 6);
    assert_eq!(page.html.matches("</script>").count(), 6);
    assert!(
        page.html
            .contains("<title>Ventas &lt;b&gt;&quot;y&quot;&lt;/b&gt; más</title>")
    );
    assert!(page.html.contains("data-charts=\"1\""));
    assert!(page.html.contains("la última ejecución falló"));
}

#[test]
fn the_policy_has_the_hash_of_each_script_and_nothing_else_may_run() {
    use sha2::{Digest, Sha256};

    let report = report(&[("10-a.md", "x")]);
    let rows = report.ask(&mut |_| unreachable!()).unwrap();
    let html = report.page(&rows, &[]).unwrap().html;
    let (_, policy) = html
        .split_once("Content-Security-Policy\" content=\"")
        .unwrap();
    let policy = policy.split_once('"').unwrap().0;
    let scripts: Vec<&str> = html
        .split("<script>")
        .skip(1)
        .map(|rest| rest.split_once("</script>").unwrap().0)
        .collect();
    assert_eq!(scripts.len(), 5);
    for script in scripts {
        let hash = openssl::base64::encode_block(&Sha256::digest(script));
        assert!(policy.contains(&format!("'sha256-{hash}'")));
    }
    assert!(
        policy.starts_with("default-src 'none'; script-src 'sha256-"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe-eval"), "{policy}");
    // The one style is the page's own, and those that Vega sets on what it draws.
    assert_eq!(policy.matches("unsafe-inline").count(), 1, "{policy}");
}

#[test]
fn a_query_without_rows_still_has_its_columns() {
    let report = report(&[CHART]);
    let rows = report
        .ask(&mut |sql| {
            Ok(if sql.contains("acequia_columns") {
                assert!(sql.contains("\nSELECT * FROM t\n"), "{sql}");
                objects(&[json!({"n": null})])
            } else {
                Vec::new()
            })
        })
        .unwrap();
    let page = report.page(&rows, &[]).unwrap();
    assert_eq!(
        data(&page.html)["parts"][0]["data"]["acequia_0"],
        json!({"columns": [{"name": "n", "kind": "text"}], "rows": []})
    );
}

#[test]
fn queries_that_are_refused_are_told_all_at_once() {
    let report = report(&[CHART, TABLE]);
    let error = report
        .ask(&mut |sql| {
            if sql.ends_with('t') {
                Ok(objects(&[json!({"m": 1})]))
            } else {
                Err(Error::destination("the query cannot be run").cause("Table u does not exist"))
            }
        })
        .unwrap_err();
    insta::assert_snapshot!(error.report(), @r"
    2 things are wrong with the report
    - 20-c.vl.json:2: its data has no column `n`; did you mean `m`?
      remedy: the columns are m
    - 30-t.sql: its query is refused: the query cannot be run: Table u does not exist
      remedy: correct the query; names without a schema are those of the models, then those of the streams' tables
    ");
}

#[test]
fn what_is_not_the_querys_fault_is_no_fault_of_the_report() {
    let report = report(&[CHART]);
    let error = report
        .ask(&mut |_| Err(Error::destination("the connection is lost").for_now()))
        .unwrap_err();
    assert!(matches!(error, Error::Destination(_)), "{error:?}");
}

#[test]
fn more_rows_than_a_page_can_hold_are_refused() {
    let report = report(&[CHART]);
    let error = report
        .ask(&mut |_| Ok(objects(&vec![json!({"n": 1}); MOST_ROWS + 1])))
        .unwrap_err()
        .report();
    assert!(
        error.contains("20-c.vl.json:1: it has 50001 rows"),
        "{error}"
    );
}

#[test]
fn a_page_differs_in_form_only_where_it_must_be_loaded_anew() {
    let page = |files: &[(&str, &str)], n: i32| {
        let report = report(files);
        let rows = report
            .ask(&mut |_| Ok(objects(&[json!({"n": n})])))
            .unwrap();
        data(&report.page(&rows, &[]).unwrap().html)["form"].clone()
    };
    let one = page(&[CHART], 1);
    assert_eq!(page(&[CHART], 2), one);
    assert_ne!(page(&[CHART, ("10-a.md", "x")], 1), one);
    let other = CHART.1.replace("bar", "line");
    assert_ne!(page(&[(CHART.0, &other)], 1), one);
}

/// The colours of a block of the page's style, by name.
fn colours(block: &str) -> Vec<(String, [f64; 3])> {
    let lines = block.lines().filter_map(|line| {
        let (name, value) = line.trim().strip_prefix("--")?.split_once(": #")?;
        let number = u32::from_str_radix(value.trim_end_matches(';'), 16).unwrap();
        let part = |shift: u32| {
            let level = f64::from((number >> shift) & 255) / 255.0;
            if level <= 0.040_45 {
                level / 12.92
            } else {
                ((level + 0.055) / 1.055).powf(2.4)
            }
        };
        Some((name.to_owned(), [part(16), part(8), part(0)]))
    });
    lines.collect()
}

/// The contrast of two colours (WCAG 2.2, "contrast ratio").
fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let luminance = |[r, g, b]: [f64; 3]| 0.2126 * r + 0.7152 * g + 0.0722 * b;
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[test]
fn colours_have_contrast_on_light_and_on_dark() {
    let mut blocks = assets::STYLE.split("--paper").skip(1);
    for scheme in ["light", "dark"] {
        let block = format!(
            "--paper{}",
            blocks.next().unwrap().split_once('}').unwrap().0
        );
        let colours = colours(&block);
        let colour = |name: &str| {
            let found = colours.iter().find(|(known, _)| known == name);
            found.unwrap_or_else(|| panic!("{scheme}: {name}")).1
        };
        for ground in ["paper", "ground"] {
            for text in ["ink", "muted", "link", "bad"] {
                let ratio = contrast(colour(text), colour(ground));
                assert!(ratio >= 4.5, "{scheme}: {text} on {ground}: {ratio:.2}");
            }
        }
        for series in 1..=8 {
            let ratio = contrast(colour(&format!("c{series}")), colour("paper"));
            assert!(ratio >= 3.0, "{scheme}: c{series}: {ratio:.2}");
        }
    }
}

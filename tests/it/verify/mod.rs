//! `acequia verify`: what differs is found, and what does not is equal.

use serde_json::Value;
use testkit::Seed;

use crate::support::{CURSOS_AND_VENTAS, Output, Project, VENTAS, stream_report};

mod changes;
mod counts;
mod matrix;
mod modes;
mod renamed;
mod repair;

/// A pipeline of which everything is loaded.
fn loaded(name: &str, ventas: u64, streams: &str) -> Project {
    let project = Project::operational(name, streams);
    Seed::new(6, ventas)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.run(&[]);
    project
}

impl Project {
    /// `acequia verify --output json` with these arguments, which must find everything equal: what it reports.
    pub fn verify(&self, arguments: &[&str]) -> Value {
        let output = self.acequia(&[&["verify", "--output", "json"], arguments].concat());
        assert_eq!(output.status, Some(0), "{output:?}");
        output.json()
    }

    /// The same, where something differs: what it reports of the stream.
    pub fn verify_differing(&self, stream: &str, arguments: &[&str]) -> Value {
        let output = self.acequia(&[&["verify", "--output", "json"], arguments].concat());
        assert_eq!(output.status, Some(1), "{output:?}");
        let report = stream_report(&output.json(), stream);
        assert_eq!(report["result"], "different", "{report}");
        report
    }

    fn alter(&self, sql: &str) {
        self.duckdb().execute_batch(sql).unwrap();
    }
}

/// Rows that are missing, extra, and that differ.
pub fn found(report: &Value) -> [u64; 3] {
    ["missing", "extra", "differ"].map(|key| report[key].as_u64().unwrap())
}

#[test]
fn what_was_loaded_is_equal_and_that_is_written_down() {
    let project = loaded("verify_equal", 2_000, CURSOS_AND_VENTAS);
    let report = project.verify(&[]);
    for stream in ["cursos", "ventas"] {
        let told = stream_report(&report, stream);
        assert_eq!(told["result"], "equal", "{told}");
        assert_eq!(found(&told), [0, 0, 0]);
        assert_eq!(told["rows_source"], told["rows_destination"]);
        assert_eq!(told["columns_left_out"], serde_json::json!([]));
    }
    assert_eq!(stream_report(&report, "ventas")["rows_source"], 2_000);
    let written = project.value(
        "SELECT string_agg(concat_ws(' ', stream, mode, against, result, rows_source, sample), '; ' ORDER BY stream DESC) \
         FROM replica._acequia_verifications",
    );
    let written = written.unwrap();
    assert!(
        written.starts_with("ventas incremental source equal 2000 1"),
        "{written}"
    );
}

#[test]
fn missing_doubled_extra_altered_and_swapped_rows_are_found() {
    let project = loaded("verify_found", 3_000, VENTAS);
    let alterations: [(&str, [u64; 3]); 5] = [
        ("DELETE FROM replica.ventas WHERE id = 7", [1, 0, 0]),
        (
            "INSERT INTO replica.ventas SELECT * FROM replica.ventas WHERE id = 8",
            [0, 1, 0],
        ),
        (
            "INSERT INTO replica.ventas SELECT * REPLACE (99999999 AS id) FROM replica.ventas WHERE id = 9",
            [0, 1, 0],
        ),
        (
            "UPDATE replica.ventas SET precio_total = precio_total + 0.01 WHERE id = 10",
            [0, 0, 1],
        ),
        (
            "UPDATE replica.ventas SET id = CASE id WHEN 11 THEN 12 ELSE 11 END WHERE id IN (11, 12)",
            [0, 0, 2],
        ),
    ];
    let mut all = [0; 3];
    for (sql, expected) in alterations {
        project.alter("CREATE OR REPLACE TABLE whole AS FROM replica.ventas");
        project.alter(sql);
        let told = project.verify_differing("ventas", &[]);
        assert_eq!(found(&told), expected, "{sql}: {told}");
        project.alter("DELETE FROM replica.ventas; INSERT INTO replica.ventas FROM whole");
        for (all, one) in all.iter_mut().zip(expected) {
            *all += one;
        }
    }
    for (sql, _) in alterations {
        project.alter(sql);
    }
    let told = project.verify_differing("ventas", &[]);
    assert_eq!(found(&told), all);
    assert_eq!(told["columns"]["precio_total"], 3, "{told}");
    assert_eq!(told["is_complete"], true);
    let output = project.acequia(&["verify"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(
        output
            .stdout
            .contains("1 missing, 2 extra, 3 with other values"),
        "{output:?}"
    );
}

#[test]
fn values_are_told_only_where_they_are_asked_for() {
    let project = loaded("verify_show", 300, VENTAS);
    let estado = project
        .source
        .value("SELECT estado FROM ventas WHERE id = 5");
    let estado = estado.unwrap().unwrap();
    project.alter(
        "UPDATE replica.ventas SET estado = 'secreto_b' WHERE id = 5; \
         DELETE FROM replica.ventas WHERE id = 6",
    );
    for arguments in [["verify", "-vv"], ["verify", "--output=json"]] {
        let output = project.acequia(&arguments);
        assert_eq!(output.status, Some(1), "{output:?}");
        for value in ["secreto", &estado] {
            assert!(!format!("{output:?}").contains(value), "{output:?}");
        }
    }
    let told = project.verify_differing("ventas", &["--show"]);
    let rows = told["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 2, "{told}");
    assert_eq!(rows[0]["difference"], "differs");
    assert_eq!(rows[0]["key"]["id"], "5");
    assert_eq!(rows[0]["source"]["estado"], *estado);
    assert_eq!(rows[0]["destination"]["estado"], "secreto_b");
    assert_eq!(rows[1]["difference"], "missing");
    assert_eq!(rows[1]["source"]["id"], "6");
    assert_eq!(rows[1]["destination"], Value::Null);
    let output = project.acequia(&["verify", "--show", "1"]);
    assert!(
        output.stdout.contains(&format!(
            "differs id=5; source: estado={estado}; destination: estado=secreto_b"
        )),
        "{output:?}"
    );
    assert!(!output.stdout.contains("missing id=6"), "{output:?}");
}

#[test]
fn keys_alone_and_a_sample_are_compared_where_that_is_asked_for() {
    let project = loaded("verify_counts", 2_000, VENTAS);
    project.alter("UPDATE replica.ventas SET estado = 'otro' WHERE id = 10");
    project.verify(&["--keys"]);
    project.alter("DELETE FROM replica.ventas WHERE id BETWEEN 20 AND 29");
    let told = project.verify_differing("ventas", &["--keys"]);
    assert_eq!(found(&told), [10, 0, 0]);
    let output = project.acequia(&["verify", "--sample", "50%", "--output", "json"]);
    let told = stream_report(&output.json(), "ventas");
    let rows = told["rows_source"].as_u64().unwrap();
    assert!((800..1_200).contains(&rows), "{told}");
    let sampled = project
        .value("SELECT max(sample) FILTER (WHERE sample < 1) FROM replica._acequia_verifications");
    assert_eq!(sampled.as_deref(), Some("0.5"));
    let output = project.acequia(&["verify", "--sample", "0"]);
    assert_eq!(output.status, Some(2), "{output:?}");
}

/// The lines of the page's examples, each with runs of spaces as one, and numbers with a point, which differ from run to run, as `T`.
fn example(page: &str, command: &str) -> Vec<String> {
    let block = page.split("```console\n").find_map(|block| {
        let rest = block.strip_prefix(&format!("$ {command}\n"))?;
        rest.split_once("```").map(|(block, _)| block.to_owned())
    });
    lines(&block.unwrap())
}

fn lines(text: &str) -> Vec<String> {
    let is_told = |word: &&str| word.parse::<f64>().is_ok_and(|_| word.contains('.'));
    text.lines()
        .map(|line| {
            let words = line.split_whitespace();
            let words: Vec<&str> = words
                .map(|word| if is_told(&word) { "T" } else { word })
                .collect();
            words.join(" ")
        })
        .collect()
}

#[test]
fn the_examples_of_the_page_are_what_is_printed() {
    let page =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verify.md")).unwrap();
    let project = loaded("verify_page", 2_000, CURSOS_AND_VENTAS);
    let output = project.acequia(&["verify"]);
    assert_eq!(lines(&output.stdout), example(&page, "acequia verify"));
    let counts = "acequia verify --counts";
    let output = project.acequia(&["verify", "--counts"]);
    assert_eq!(lines(&output.stdout), example(&page, counts));
    project.alter(
        "CREATE TABLE whole AS FROM replica.ventas; DELETE FROM replica.ventas WHERE id = 7",
    );
    let counts = "acequia verify ventas --counts";
    let output = project.acequia(&["verify", "ventas", "--counts"]);
    assert_as_on_page(&output, &example(&page, counts));
    project.alter(
        "DELETE FROM replica.ventas; INSERT INTO replica.ventas FROM whole; DROP TABLE whole",
    );
    project.alter(
        "UPDATE replica.ventas SET precio_total = precio_total + 0.01 WHERE id = 10; DELETE FROM replica.ventas WHERE id = 7; \
         INSERT INTO replica.ventas SELECT * REPLACE (9999 AS id) FROM replica.ventas WHERE id = 9",
    );
    let output = project.acequia(&["verify", "ventas", "--show"]);
    assert_as_on_page(&output, &example(&page, "acequia verify ventas --show"));
    let output = project.acequia(&["verify", "ventas", "--repair"]);
    assert_as_on_page(&output, &example(&page, "acequia verify ventas --repair"));
}

fn assert_as_on_page(output: &Output, expected: &[String]) {
    let told = lines(&output.stdout);
    assert_eq!(told.len(), expected.len(), "{output:?}");
    for (told, expected) in told.iter().zip(expected) {
        // What a row holds besides is left out of the page.
        let (expected, told) = match expected.strip_suffix('…') {
            Some(beginning) => (beginning, told.get(..beginning.len()).unwrap_or_default()),
            None => (expected.as_str(), told.as_str()),
        };
        assert_eq!(told, expected, "{output:?}");
    }
}

//! Webhook and command: what they are told, and when.

use testkit::PASSWORD;

use super::Watched;
use crate::support::{Project, example};

#[test]
fn a_failure_is_told_when_it_begins_and_when_it_is_over() {
    let watched = Watched::new("aviso", "");
    watched.project.run(&[]);
    assert!(watched.texts().is_empty() && watched.events().is_empty());
    watched.break_ventas();
    let failed = watched.acequia(&["run", "--output", "json"]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    let notices = failed.json()["notices"].clone();
    assert_eq!(notices.as_array().unwrap().len(), 2, "{notices}");
    assert_eq!(notices[0]["event"], "failure");
    assert!(notices[0]["error"].is_null() && notices[1]["error"].is_null());
    let texts = watched.texts();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(
        texts[0].starts_with("acequia: formacion into duckdb failed\nstream ventas: "),
        "{texts:?}"
    );
    let events = watched.events();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0]["event"], "failure");
    assert_eq!(events[0]["streams"][0]["stream"], "ventas");
    assert!(
        events[0]["streams"][0]["error"]
            .as_str()
            .unwrap()
            .contains("ventas")
    );
    assert!(events[0]["run_id"].is_string());
    let variables = std::fs::read_to_string(watched.project.path("variables")).unwrap();
    assert_eq!(variables, "failure formacion duckdb ventas\n");
    // It lasts, and is not told again.
    assert_eq!(watched.acequia(&["run"]).status, Some(1));
    assert!(watched.texts().is_empty());
    watched.mend_ventas();
    watched.project.run(&[]);
    let texts = watched.texts();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(
        texts[0].starts_with("acequia: formacion into duckdb is well again: ventas, after "),
        "{texts:?}"
    );
    watched.project.run(&[]);
    assert!(watched.texts().is_empty());
    assert_eq!(watched.events().len(), 2);
}

#[test]
fn a_failure_that_lasts_is_told_again_where_that_is_wanted_and_only_what_is_wanted() {
    let watched = Watched::new(
        "aviso_otra_vez",
        "remind = \"0s\"\non = [\"failure\"]\nformat = \"json\"",
    );
    watched.break_ventas();
    for _ in 0..2 {
        assert_eq!(watched.acequia(&["run"]).status, Some(1));
        let received = watched.receiver.take();
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].json().unwrap()["event"], "failure");
    }
    let (first, second) = (watched.events()[0].clone(), watched.events()[1].clone());
    assert!(first["streams"][0]["since"].as_str() <= second["streams"][0]["since"].as_str());
    watched.mend_ventas();
    watched.project.run(&[]);
    assert!(watched.receiver.take().is_empty());
}

#[test]
fn a_notice_that_cannot_be_sent_is_told_and_fails_no_run() {
    let watched = Watched::new("aviso_perdido", "");
    let config = std::fs::read_to_string(watched.project.path("acequia.toml")).unwrap();
    let with = |command: &str| {
        let at = config.find("command = '''").unwrap();
        watched
            .project
            .configure(&format!("{}command = '''{command}'''\n", &config[..at]));
    };
    with("echo 'no such channel' >&2; exit 3");
    watched.receiver.answer_with(404).unwrap();
    watched.break_ventas();
    watched.acequia(&["run"]);
    watched.receiver.take();
    watched.mend_ventas();
    // The failure was told to nobody. So it is over silently, and the run succeeds.
    let run = watched.acequia(&["run", "--output", "json"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(watched.texts().is_empty());
    watched.break_ventas();
    let run = watched.acequia(&["run", "--output", "json"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    for told in ["404", "exit status: 3", "no such channel"] {
        assert!(run.stderr.contains(told), "{told}: {run:?}");
    }
    assert!(!run.stderr.contains("s3cr3t"), "{run:?}");
    let notices = run.json()["notices"].to_string();
    assert!(
        notices.contains("404") && !notices.contains("s3cr3t"),
        "{notices}"
    );
    // It is told as soon as somebody can be.
    watched.receiver.answer_with(200).unwrap();
    watched.receiver.take();
    watched.acequia(&["run"]);
    assert_eq!(watched.texts().len(), 1);
    // A receiver that is away.
    with("sleep 0");
    watched.mend_ventas();
    let url = watched.receiver.url();
    drop(watched.receiver);
    let run = watched.project.acequia(&["run"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert!(run.stderr.contains("cannot be reached"), "{run:?}");
    assert!(
        !run.stderr.contains(&url) && !run.stderr.contains("s3cr3t"),
        "{run:?}"
    );
}

#[test]
fn neither_a_secret_nor_a_value_is_in_a_notice_or_in_a_run_that_is_kept() {
    let streams = "[streams.t]\nsource = \"operativa\"\ntable = \"public.t\"\nmode = \"full\"\n";
    let project = Project::new("aviso_secreto", "");
    let value = "4711.0123456789012345";
    project
        .source
        .batch(&format!(
            "CREATE TABLE t (n numeric); INSERT INTO t VALUES ({value})"
        ))
        .unwrap();
    let mut watched = Watched::of(project, streams, "");
    assert_eq!(watched.acequia(&["run"]).status, Some(1));
    let url = watched.project.source.password_url().to_owned();
    let wrong = format!("{PASSWORD}-mal");
    watched
        .project
        .set("OPERATIVA_URL", &url.replace(PASSWORD, &wrong));
    let config = std::fs::read_to_string(watched.project.path("acequia.toml")).unwrap();
    watched
        .project
        .configure(&format!("{config}\nremind = \"0s\"\n"));
    let run = watched.acequia(&["run"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    let events = std::fs::read_to_string(watched.project.path("events")).unwrap();
    let texts = watched.texts();
    assert_eq!(texts.len(), 2, "{texts:?}");
    let kept = watched
        .project
        .value("SELECT string_agg(failures, ' ') FROM replica._acequia_runs")
        .unwrap();
    for told in [texts.join(" "), events, kept, run.stderr] {
        for secret in [value, "0123456789012345", &wrong, PASSWORD] {
            assert!(!told.contains(secret), "{secret}: {told}");
        }
        assert!(!told.is_empty());
    }
}

#[test]
fn a_configuration_that_is_wrong_is_told() {
    let watched = Watched::new("aviso_mal", "");
    let config = std::fs::read_to_string(watched.project.path("acequia.toml")).unwrap();
    watched
        .project
        .configure(&config.replace("cursor = \"updated_at\"", "cursor = \"${FALTA}\""));
    let run = watched.acequia(&["run"]);
    assert_eq!(run.status, Some(2), "{run:?}");
    let texts = watched.texts();
    assert_eq!(texts.len(), 1);
    assert!(
        texts[0].contains("the variable FALTA is not set"),
        "{texts:?}"
    );
    assert_eq!(watched.acequia(&["run", "--dry-run"]).status, Some(2));
    assert!(watched.texts().is_empty());
    watched.project.configure(&config);
    watched.project.run(&[]);
    assert!(watched.texts()[0].contains("is well again"));
}

#[test]
fn notices_that_nobody_could_get_are_refused() {
    let watched = Watched::new("aviso_nadie", "");
    for (keys, told) in [
        ("", "[notify]: it says nobody who is told"),
        ("command = \" \"", "[notify] command: it is empty"),
        ("webhook = \"http://avisos.example.com/x\"", "in clear"),
        (
            "webhook = \"avisos\"",
            "[notify] webhook: this is no address",
        ),
        (
            "command = \"cat\"\nremind = \"soon\"",
            "[notify] remind: this is no duration",
        ),
        ("command = \"cat\"\non = [\"success\"]", "[notify] on: "),
    ] {
        watched
            .project
            .streams(&format!("{}\n[notify]\n{keys}\n", crate::support::VENTAS));
        let run = watched.acequia(&["run"]);
        assert_eq!(run.status, Some(2), "{run:?}");
        assert!(run.stderr.contains(told), "{told}: {run:?}");
    }
}

#[test]
fn a_stream_that_is_too_old_is_told_until_a_run_brings_it_up_to_date() {
    let watched = Watched::new("aviso_viejo", "");
    let never = watched.acequia(&["status", "--max-age", "6h"]);
    assert_eq!(never.status, Some(1), "{never:?}");
    assert!(
        never
            .stdout
            .contains("stream ventas: never brought up to date"),
        "{never:?}"
    );
    assert!(watched.texts()[0].contains("ventas: never"));
    watched.project.run(&[]);
    assert!(watched.texts()[0].contains("is well again: ventas"));
    let fresh = watched.acequia(&["status", "--max-age", "6h", "--output", "json"]);
    assert_eq!(fresh.status, Some(0), "{fresh:?}");
    assert_eq!(fresh.json()["streams"][0]["stale"], false);
    assert_eq!(fresh.json()["max_age_seconds"], 21_600);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    // Told once.
    for told in [1, 0] {
        let old = watched.acequia(&["status", "--max-age", "1s"]);
        assert_eq!(old.status, Some(1), "{old:?}");
        assert!(old.stdout.contains("which is more than 1 s"), "{old:?}");
        assert_eq!(watched.texts().len(), told);
    }
    // A run that finds nothing new brings the stream up to date as well.
    watched.project.run(&[]);
    assert!(watched.texts()[0].contains("is well again: ventas"));
    let status = watched.acequia(&["status", "--max-age", "1h", "--output", "json"]);
    let stream = status.json()["streams"][0].clone();
    assert!(
        stream["synced_at"].as_str() > stream["loaded_at"].as_str(),
        "{stream}"
    );
    // A stale stream that a longer age allows is over, too.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    watched.acequia(&["status", "--max-age", "1s"]);
    watched.acequia(&["status", "--max-age", "1h"]);
    let events = watched.events();
    let names: Vec<&str> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "stale", "recovery", "stale", "recovery", "stale", "recovery"
        ]
    );
    watched.break_ventas();
    watched.acequia(&["run"]);
    assert_eq!(watched.acequia(&["status"]).status, Some(1));
}

/// The page's own example, word for word.
#[test]
fn the_example_of_the_page_works() {
    let page = include_str!("../../../docs/notices.md");
    let example = example("notices.md", 0);
    let mut watched = Watched::new("aviso_pagina", "");
    let url = watched.receiver.url();
    watched.project.set("SLACK_WEBHOOK", &url);
    watched
        .project
        .streams(&format!("{}\n{example}", crate::support::VENTAS));
    watched.break_ventas();
    assert_eq!(watched.acequia(&["run"]).status, Some(1));
    let told = watched.receiver.take()[0].json().unwrap();
    assert!(told["text"].as_str().unwrap().contains("failed"), "{told}");
    let event = std::fs::read_to_string(watched.project.path("avisos.jsonl")).unwrap();
    let event: serde_json::Value = serde_json::from_str(&event).unwrap();
    // The keys that the page shows, and no others.
    let shown = page
        .split("```json\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    let shown: serde_json::Value = serde_json::from_str(shown).unwrap();
    let keys = |value: &serde_json::Value| -> Vec<String> {
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys(&event), keys(&shown));
    assert_eq!(keys(&event["streams"][0]), keys(&shown["streams"][0]));
}

/// The address of the metrics is another program's: the run does not begin, and that is kept and told as any failure.
#[test]
fn a_run_whose_metrics_cannot_be_had_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let streams =
        "[streams.ventas]\nsource = \"operativa\"\ntable = \"public.ventas\"\nmode = \"cdc\"\n";
    let watched = Watched::of(
        Project::operational("metrics_taken", ""),
        streams,
        &format!("[metrics]\nlisten = \"{address}\"\n"),
    );
    let failed = watched.acequia(&["run", "--follow"]);
    assert_eq!(failed.status, Some(2), "{failed:?}");
    assert!(failed.stderr.contains(&address.to_string()), "{failed:?}");
    let texts = watched.texts();
    assert!(
        texts.iter().any(|text| text.contains("ventas")),
        "{texts:?}"
    );
    let runs = watched.acequia(&["runs", "--output", "json"]).json();
    assert_eq!(runs["runs"][0]["status"], "failed", "{runs}");
}

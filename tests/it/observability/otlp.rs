//! OpenTelemetry: traces and metrics by OTLP, decoded by what OpenTelemetry generates of its specification.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::Receiver;

use super::judges::Otlp;
use super::{PLANTED, hanging, in_time, nobody, seeded, times};
use crate::cdc;
use crate::cdc::following::Follower;
use crate::support::Project;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// A collector that a pipeline sends to.
fn collected(mut project: Project) -> (Project, Receiver) {
    let collector = Receiver::start().unwrap();
    project.set(ENDPOINT, &collector.url());
    (project, collector)
}

/// The span that another is in.
fn parent<'a>(otlp: &'a Otlp, span: &Value) -> &'a str {
    let found = otlp
        .spans
        .iter()
        .find(|other| other["id"] == span["parent"]);
    found.map_or("", |found| found["name"].as_str().unwrap())
}

#[test]
fn a_run_is_a_trace_of_what_each_stream_did_and_its_metrics_are_sent() {
    let (mut project, collector) = collected(seeded("otlp"));
    project.set(
        "OTEL_EXPORTER_OTLP_HEADERS",
        &format!("x-api-key={}", PLANTED[2]),
    );
    project.set(
        "OTEL_RESOURCE_ATTRIBUTES",
        "deployment.environment.name=prueba",
    );
    let report = project.run(&[]);
    let received = collector.take();
    for sent in &received {
        assert_eq!(sent.header("x-api-key"), Some(PLANTED[2]));
        let text = String::from_utf8_lossy(&sent.body);
        for planted in PLANTED {
            assert!(!text.contains(planted), "{text}");
        }
    }
    let otlp = Otlp::read(&received);
    let run = otlp.span("run", None);
    assert_eq!(
        (&run["parent"], &run["status"]),
        (&json!(""), &json!("STATUS_CODE_OK"))
    );
    let attributes = &run["attributes"];
    assert_eq!(attributes["acequia.pipeline"], "formacion");
    assert_eq!(attributes["acequia.destination.kind"], "duckdb");
    assert!(attributes["acequia.run.id"].is_string());
    assert_eq!(run["resource"]["service.name"], "acequia");
    assert_eq!(run["resource"]["deployment.environment.name"], "prueba");
    assert!(otlp.spans.iter().all(|span| span["trace"] == run["trace"]));
    // Nothing of the log is in it: at some levels it has what nobody else must see.
    assert!(otlp.spans.iter().all(|span| span["events"] == 0));
    for stream in ["cursos", "ventas"] {
        let told = crate::support::stream_report(&report, stream);
        let span = otlp.span("stream", Some(stream));
        assert_eq!(parent(&otlp, span), "run");
        assert_eq!(span["status"], "STATUS_CODE_OK");
        let attributes = &span["attributes"];
        assert_eq!(attributes["acequia.status"], "ok");
        assert_eq!(attributes["acequia.source"], "operativa");
        assert_eq!(attributes["acequia.mode"], told["mode"]);
        assert_eq!(attributes["acequia.rows.extracted"], told["rows_extracted"]);
        assert_eq!(attributes["acequia.rows.inserted"], told["inserted"]);
        assert_eq!(attributes["acequia.bytes.landed"], told["bytes_landed"]);
        assert_eq!(attributes["acequia.load.id"], told["load_id"]);
        assert_eq!(attributes["acequia.retries"], 0);
        for (step, within) in [
            ("open", "stream"),
            ("extract", "stream"),
            ("land", "extract"),
            ("load", "stream"),
        ] {
            assert_eq!(
                parent(&otlp, otlp.span(step, Some(stream))),
                within,
                "{step}"
            );
        }
        let land = &otlp.span("land", Some(stream))["attributes"];
        assert_eq!(land["acequia.rows.extracted"], told["rows_extracted"]);
        assert!(land["acequia.parts"].as_i64() > Some(0));
        let load = &otlp.span("load", Some(stream))["attributes"];
        assert_eq!(load["acequia.rows.inserted"], told["inserted"]);
        let rows = told["rows_extracted"].as_f64();
        assert_eq!(otlp.value("acequia_stream_rows_extracted", stream), rows);
        assert_eq!(otlp.value("acequia_stream_success", stream), Some(1.0));
    }
    assert_eq!(otlp.value("acequia_run_success", "formacion"), Some(1.0));
    let seconds = otlp
        .values
        .iter()
        .find(|value| value["name"] == "acequia_stream_duration_seconds");
    assert_eq!(seconds.unwrap()["unit"], "s");
}

#[test]
fn a_stream_that_fails_is_an_error_in_the_trace_and_in_the_metrics() {
    let (mut project, collector) = collected(seeded("otlp_falla"));
    project.run(&[]);
    collector.take();
    project.set("OTEL_SERVICE_NAME", "carga-nocturna");
    project
        .source
        .batch("ALTER TABLE ventas RENAME TO ventas_fuera")
        .unwrap();
    let failed = project.run_failing("ventas");
    let otlp = Otlp::read(&collector.take());
    for (span, class) in [
        (otlp.span("open", Some("ventas")), "source"),
        (otlp.span("stream", Some("ventas")), "source"),
        (otlp.span("run", None), "streams"),
    ] {
        assert_eq!(span["status"], "STATUS_CODE_ERROR", "{span}");
        assert_eq!(span["attributes"]["error.type"], class, "{span}");
        assert!(
            span["message"].as_str().unwrap().contains("ventas"),
            "{span}"
        );
    }
    let stream = otlp.span("stream", Some("ventas"));
    assert_eq!(stream["message"], failed["error"]);
    assert_eq!(stream["resource"]["service.name"], "carga-nocturna");
    assert_eq!(
        otlp.span("stream", Some("cursos"))["status"],
        "STATUS_CODE_OK"
    );
    assert_eq!(otlp.value("acequia_run_success", "formacion"), Some(0.0));
    assert_eq!(otlp.value("acequia_stream_success", "ventas"), Some(0.0));
    // A value that cannot be copied is an error of the data, which does not say what the value is.
    project
        .source
        .batch(&format!(
            "ALTER TABLE ventas_fuera RENAME TO ventas; CREATE TABLE n (x numeric); INSERT INTO n VALUES (1e40); \
             CREATE VIEW v AS SELECT ('{}' || x)::int4 AS x FROM n",
            PLANTED[0]
        ))
        .unwrap();
    project.streams("[streams.v]\nsource = \"operativa\"\ntable = \"public.v\"\nmode = \"full\"\n");
    let failed = project.run_failing("v");
    let received = collector.take();
    let otlp = Otlp::read(&received);
    assert_eq!(otlp.span("stream", Some("v"))["message"], failed["error"]);
    for sent in received {
        assert!(
            !String::from_utf8_lossy(&sent.body).contains(PLANTED[0]),
            "{failed}"
        );
    }
}

#[test]
fn a_run_is_a_part_of_the_trace_of_whoever_started_it() {
    let (mut project, collector) = collected(seeded("otlp_parte"));
    project.set("OTEL_METRICS_EXPORTER", "none");
    let trace = "0af7651916cd43dd8448eb211c80319c";
    project.set("TRACEPARENT", &format!("00-{trace}-b7ad6b7169203331-01"));
    project.run(&[]);
    let received = collector.take();
    assert!(received.iter().all(|sent| sent.line == "POST /v1/traces"));
    let otlp = Otlp::read(&received);
    let run = otlp.span("run", None);
    assert_eq!(
        (&run["trace"], &run["parent"]),
        (&json!(trace), &json!("b7ad6b7169203331"))
    );
    assert!(otlp.spans.iter().all(|span| span["trace"] == trace));
    for (command, span, steps) in [
        (&["verify"][..], "verify", ["compare", "compare"]),
        (
            &["replay", "--destination", "otro"],
            "replay",
            ["stream", "load"],
        ),
    ] {
        project.streams(&format!(
            "{}\n[destinations.otro]\nkind = \"duckdb\"\npath = \"otro.duckdb\"\n",
            crate::support::CURSOS_AND_VENTAS
        ));
        in_time(&project, command);
        let otlp = Otlp::read(&collector.take());
        let whole = otlp.span(span, None);
        assert_eq!(
            (&whole["trace"], &whole["status"]),
            (&json!(trace), &json!("STATUS_CODE_OK"))
        );
        for step in steps {
            assert_eq!(otlp.named(step).len(), 2, "{step}: {otlp:#?}");
        }
    }
    // One that is not sampled is not sent.
    project.set("TRACEPARENT", &format!("00-{trace}-b7ad6b7169203331-00"));
    project.run(&[]);
    assert!(collector.take().is_empty());
    // Commands that only look send nothing.
    project.set("TRACEPARENT", "");
    in_time(&project, &["status"]);
    in_time(&project, &["check"]);
    project.set("OTEL_SDK_DISABLED", "true");
    project.run(&[]);
    assert!(collector.take().is_empty());
}

#[test]
fn a_collector_that_does_not_take_anything_is_told_once_and_fails_no_run() {
    let mut project = seeded("otlp_nadie");
    let told = "traces or metrics do not arrive at OTEL_EXPORTER_OTLP_ENDPOINT";
    let (_listener, hanging) = hanging();
    let failing = Receiver::start().unwrap();
    for (url, status, why) in [
        (nobody(), 200, "Connection refused"),
        (hanging, 200, "within 5 s"),
        (failing.url(), 500, "500 Internal Server Error"),
        (failing.url(), 401, "401 Unauthorized"),
        (failing.url(), 302, "302 Found"),
    ] {
        failing.answer_with(status).unwrap();
        project.set(ENDPOINT, &format!("{url}/{}", PLANTED[1]));
        let run = in_time(&project, &["run"]);
        assert_eq!(times(&run.stderr, told), 1, "{run:?}");
        assert!(run.stderr.contains(why), "{why}: {run:?}");
        assert!(!run.stderr.contains(PLANTED[1]), "{run:?}");
    }
    // What acequia does not speak is told, too, and nothing is sent.
    failing.take();
    project.set("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
    let run = in_time(&project, &["run"]);
    assert_eq!(
        times(
            &run.stderr,
            "OTEL_EXPORTER_OTLP_PROTOCOL asks for another protocol"
        ),
        2,
        "{run:?}"
    );
    project.set("OTEL_EXPORTER_OTLP_PROTOCOL", "");
    project.set(ENDPOINT, &format!("no address {}", PLANTED[1]));
    let run = in_time(&project, &["run"]);
    let why = format!("no traces are sent: what {ENDPOINT} says is not understood");
    assert!(
        run.stderr.contains(&why) && !run.stderr.contains(PLANTED[1]),
        "{run:?}"
    );
    assert!(failing.take().is_empty());
}

#[test]
fn a_run_that_follows_sends_metrics_now_and_then_and_each_pass_is_a_trace() {
    let project = cdc::project(
        "otlp_sigue",
        "CREATE TABLE t (id int8 PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5)",
        &["t"],
        "",
    );
    let (mut project, collector) = collected(project);
    project.set("OTEL_METRIC_EXPORT_INTERVAL", "200");
    project.set("OTEL_BSP_SCHEDULE_DELAY", "100");
    let follower = Follower::start(&project);
    // While it lasts, without any end.
    let mut received = Vec::new();
    let until = |received: &mut Vec<_>, is_there: &dyn Fn(&Otlp) -> bool| {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        loop {
            received.extend(collector.take());
            let otlp = Otlp::read(received);
            if is_there(&otlp) {
                return otlp;
            }
            assert!(std::time::Instant::now() < deadline, "{otlp:#?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let first = until(&mut received, &|otlp| {
        otlp.value("acequia_stream_rows_landed_total", "t") == Some(5.0)
            && otlp.value("acequia_source_connected", "operativa") == Some(1.0)
            && !otlp.named("stream").is_empty()
    });
    assert_eq!(first.span("stream", Some("t"))["status"], "STATUS_CODE_OK");
    assert!(first.named("pass").is_empty() && first.named("run").is_empty());
    for number in [6, 7] {
        project
            .source
            .batch(&format!("INSERT INTO t VALUES ({number})"))
            .unwrap();
        follower.line("in the destination");
        // The pass ends with what is made of it.
        let passes = usize::try_from(number - 5).unwrap();
        let otlp = until(&mut received, &|otlp| otlp.named("pass").len() == passes);
        let pass = otlp.named("pass")[passes - 1];
        assert_eq!(pass["parent"], "");
        assert_eq!(pass["attributes"]["acequia.changes"], 1);
        assert!(pass["attributes"]["acequia.lag.seconds"].as_f64() > Some(0.0));
        let of_pass = |name: &str| {
            let found = otlp.named(name);
            let found = found
                .into_iter()
                .filter(|span| span["trace"] == pass["trace"]);
            found.count()
        };
        assert_eq!((of_pass("land"), of_pass("load")), (1, 1), "{otlp:#?}");
    }
    let otlp = until(&mut received, &|otlp| {
        otlp.value("acequia_source_changes_total", "operativa") == Some(2.0)
    });
    let sum = otlp
        .values
        .iter()
        .find(|value| value["name"] == "acequia_source_changes_total");
    assert_eq!(sum.unwrap()["kind"], "sum");
    follower.stop();
    received.extend(collector.take());
    let otlp = Otlp::read(&received);
    let run = otlp.span("run", None);
    assert!(
        otlp.named("pass")
            .iter()
            .all(|pass| pass["links"] == json!([run["id"]]))
    );
    assert_eq!(otlp.value("acequia_run_success", "formacion"), Some(1.0));
    assert_eq!(
        otlp.value("acequia_stream_rows_landed_total", "t"),
        Some(7.0)
    );
}

//! Events of `OpenLineage`, taken by its own client.

use serde_json::{Value, json};
use testkit::Receiver;

use super::judges::lineage;
use super::{PLANTED, hanging, in_time, nobody, seeded, times};
use crate::cdc;
use crate::cdc::following::Follower;
use crate::support::{CURSOS_AND_VENTAS, Project, example};

/// Streams whose columns are renamed and masked, and where events go.
const SHAPED: &str = r#"
[streams.cursos]
source = "operativa"
table = "public.cursos"
mode = "full"
rename = { nombre = "titulo" }
mask = { nombre = "sha256" }

[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"

[streams.resumen]
source = "operativa"
query = "SELECT id, nombre FROM cursos"
mode = "full"
"#;

/// The events of a file.
fn events(project: &Project, file: &str) -> Vec<Value> {
    let lines = std::fs::read_to_string(project.path(file)).unwrap_or_default();
    let lines = lines.lines();
    let events: Vec<Value> = lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    lineage(&events);
    events
}

/// The events of a job, in the order in which they came.
fn of<'a>(events: &'a [Value], job: &str) -> Vec<&'a Value> {
    events
        .iter()
        .filter(|event| event["job"]["name"] == job)
        .collect()
}

/// Their transitions.
fn transitions(events: &[&Value]) -> Vec<String> {
    let types = events
        .iter()
        .map(|event| event["eventType"].as_str().unwrap());
    types.map(str::to_owned).collect()
}

#[test]
fn each_run_of_a_stream_tells_what_it_read_and_wrote() {
    let mut project = seeded("linaje");
    let receiver = Receiver::start().unwrap();
    project.set("OPENLINEAGE_URL", &receiver.url());
    project.set("OPENLINEAGE_API_KEY", PLANTED[1]);
    // The page's own example.
    let example = example("lineage.md", 0).replace("https://lineage.example", "${OPENLINEAGE_URL}");
    project.streams(&format!("{SHAPED}\n{example}"));
    let report = project.run(&[]);
    let sent = receiver.take();
    for request in &sent {
        assert_eq!(request.line, "POST /api/v1/lineage");
        assert_eq!(
            request.header("authorization"),
            Some(format!("Bearer {}", PLANTED[1]).as_str())
        );
    }
    let sent: Vec<Value> = sent.iter().map(|request| request.json().unwrap()).collect();
    let told = events(&project, "lineage.ndjson");
    assert_eq!(sent, told, "service and file are told the same");
    for planted in PLANTED {
        assert!(!json!(told).to_string().contains(planted));
    }
    let runs = of(&told, "formacion");
    assert_eq!(transitions(&runs), ["START", "COMPLETE"]);
    let run = &runs[0]["run"]["runId"];
    assert_eq!(&runs[1]["run"]["runId"], run);
    let server = url::Url::parse(project.source.url()).unwrap();
    let server_name = format!(
        "postgres://{}:{}",
        server.host_str().unwrap(),
        server.port().unwrap()
    );
    let database = project.source.name();
    let file = project.path("formacion.duckdb");
    let file = file.canonicalize().unwrap();
    for (stream, columns) in [("cursos", true), ("ventas", false)] {
        let reported = crate::support::stream_report(&report, stream);
        let all = of(&told, &format!("formacion.{stream}"));
        assert_eq!(transitions(&all), ["START", "COMPLETE"]);
        let parent = &all[1]["run"]["facets"]["parent"];
        assert_eq!(
            (&parent["run"]["runId"], &parent["job"]["name"]),
            (run, &json!("formacion"))
        );
        assert_eq!(all[1]["job"]["namespace"], "prod");
        let tags = all[1]["run"]["facets"]["tags"]["tags"].as_array().unwrap();
        assert_eq!(tags.last().unwrap()["value"], reported["load_id"]);
        let (input, output) = (&all[1]["inputs"][0], &all[1]["outputs"][0]);
        assert_eq!(input["namespace"], json!(server_name));
        assert_eq!(input["name"], json!(format!("{database}.public.{stream}")));
        assert_eq!(
            input["inputFacets"]["inputStatistics"]["rowCount"],
            reported["rows_extracted"]
        );
        assert_eq!(
            output["namespace"],
            json!(format!("duckdb://{}", file.display()))
        );
        assert_eq!(output["name"], json!(format!("formacion.replica.{stream}")));
        let statistics = &output["outputFacets"]["outputStatistics"];
        assert_eq!(statistics["rowCount"], reported["inserted"]);
        assert_eq!(statistics["size"], reported["bytes_landed"]);
        let lineage = output["facets"]["columnLineage"]["fields"]
            .as_object()
            .unwrap();
        assert!(!lineage.keys().any(|name| name.starts_with("_acequia")));
        if columns {
            let from = &lineage["titulo"]["inputFields"][0];
            assert_eq!(
                (&from["field"], &from["name"]),
                (&json!("nombre"), &input["name"])
            );
            let masked = &from["transformations"][0];
            assert_eq!(
                (&masked["masking"], &masked["description"]),
                (&json!(true), &json!("mask: sha256"))
            );
            let id = &lineage["id"]["inputFields"][0];
            assert_eq!(
                (&id["field"], &id["transformations"][0]["subtype"]),
                (&json!("id"), &json!("IDENTITY"))
            );
            let read = input["facets"]["schema"]["fields"].as_array().unwrap();
            assert!(
                read.iter().any(|field| field["name"] == "nombre"),
                "{read:?}"
            );
            assert!(
                !read.iter().any(|field| field["name"] == "titulo"),
                "{read:?}"
            );
        }
    }
    // Which tables a query reads, the database knows.
    let query = of(&told, "formacion.resumen")[1];
    assert_eq!(query["inputs"], json!([]));
    assert!(query["outputs"][0]["facets"]["columnLineage"].is_null());
}

#[test]
fn a_run_that_fails_says_why_and_one_without_rows_what_it_read() {
    let project = seeded("linaje_falla");
    project.streams(&format!(
        "{CURSOS_AND_VENTAS}\n[openlineage]\nfile = \"eventos.ndjson\"\n"
    ));
    project.run(&[]);
    std::fs::remove_file(project.path("eventos.ndjson")).unwrap();
    project
        .source
        .batch("ALTER TABLE cursos RENAME TO cursos_fuera")
        .unwrap();
    let failed = project.run_failing("cursos");
    let told = events(&project, "eventos.ndjson");
    let failure = of(&told, "formacion.cursos")[1];
    assert_eq!(failure["eventType"], "FAIL");
    assert_eq!(
        failure["run"]["facets"]["errorMessage"]["message"],
        failed["error"]
    );
    let run = of(&told, "formacion");
    assert_eq!(transitions(&run), ["START", "FAIL"]);
    let why = run[1]["run"]["facets"]["errorMessage"]["message"]
        .as_str()
        .unwrap();
    assert!(why.starts_with("stream cursos: "), "{why}");
    let idle = of(&told, "formacion.ventas")[1];
    assert_eq!(idle["eventType"], "COMPLETE");
    assert_eq!(
        idle["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"],
        0
    );
    assert!(idle["outputs"][0]["facets"]["columnLineage"].is_object());
    // One that cannot begin at all is told, too: here another has the file of the destination.
    std::fs::remove_file(project.path("eventos.ndjson")).unwrap();
    let config = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    project.configure(&config.replace("formacion.duckdb", "no/such/folder.duckdb"));
    assert_ne!(project.acequia(&["run"]).status, Some(0));
    let told = events(&project, "eventos.ndjson");
    assert_eq!(transitions(&of(&told, "formacion")), ["START", "FAIL"]);
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn the_usual_variables_say_where_to_and_whose_part_a_run_is() {
    let mut project = seeded("linaje_entorno");
    let receiver = Receiver::start().unwrap();
    let (task, dag) = (
        "01993b5c-5f0e-7d3a-8d3e-3e6d4f2c1b0a",
        "01993b5c-0000-7000-8000-3e6d4f2c1b0a",
    );
    for (name, value) in [
        ("URL", format!("{}/", receiver.url())),
        ("ENDPOINT", "/eventos?x=1".to_owned()),
        ("NAMESPACE", "nocturno".to_owned()),
        ("PARENT_ID", format!("airflow/dag.tarea/{task}")),
        ("ROOT_PARENT_ID", format!("airflow/dag/{dag}")),
    ] {
        project.set(&format!("OPENLINEAGE_{name}"), &value);
    }
    project.run(&[]);
    let sent = receiver.take();
    assert!(
        sent.iter()
            .all(|request| request.line == "POST /eventos?x=1")
    );
    assert!(
        sent.iter()
            .all(|request| request.header("authorization").is_none())
    );
    let told: Vec<Value> = sent.iter().map(|request| request.json().unwrap()).collect();
    lineage(&told);
    let run = &of(&told, "formacion")[0];
    assert_eq!(run["job"]["namespace"], "nocturno");
    let parent = &run["run"]["facets"]["parent"];
    assert_eq!(
        (&parent["run"]["runId"], &parent["job"]["name"]),
        (&json!(task), &json!("dag.tarea"))
    );
    let stream = &of(&told, "formacion.cursos")[1]["run"]["facets"]["parent"];
    assert_eq!(stream["run"]["runId"], run["run"]["runId"]);
    assert_eq!(stream["root"]["run"]["runId"], json!(dag));
    project.set("OPENLINEAGE_DISABLED", "true");
    project.run(&[]);
    assert!(receiver.take().is_empty());
    // What is written for others fails no run.
    project.set("OPENLINEAGE_DISABLED", "");
    project.set("OPENLINEAGE_PARENT_ID", "x");
    project.set("OPENLINEAGE_URL", "kafka:9092");
    let run = in_time(&project, &["run"]);
    assert!(
        run.stderr.contains("OPENLINEAGE_URL is no address"),
        "{run:?}"
    );
}

#[test]
fn a_service_that_does_not_take_anything_is_told_once_and_fails_no_run() {
    let project = seeded("linaje_nadie");
    let (_listener, hanging) = hanging();
    let failing = Receiver::start().unwrap();
    let told = "an event of OpenLineage could not be sent";
    for (url, status, why) in [
        (nobody(), 200, "Connection refused"),
        (hanging, 200, "within 5 s"),
        (failing.url(), 500, "500 Internal Server Error"),
        (failing.url(), 401, "401 Unauthorized"),
    ] {
        failing.answer_with(status).unwrap();
        let section = format!(
            "[openlineage]\nurl = \"{url}/{}\"\napi_key = \"{}\"\n",
            PLANTED[1], PLANTED[2]
        );
        project.streams(&format!("{CURSOS_AND_VENTAS}\n{section}"));
        let run = in_time(&project, &["run"]);
        assert_eq!(times(&run.stderr, told), 1, "{run:?}");
        assert!(run.stderr.contains(why), "{why}: {run:?}");
        for planted in PLANTED {
            assert!(!run.stderr.contains(planted), "{run:?}");
        }
    }
    // Nor does a file that cannot be written.
    project.streams(&format!(
        "{CURSOS_AND_VENTAS}\n[openlineage]\nfile = \"no/such/folder.ndjson\"\n"
    ));
    let run = in_time(&project, &["run"]);
    assert_eq!(times(&run.stderr, "[openlineage] file: "), 1, "{run:?}");
}

#[test]
fn a_busy_service_is_asked_again_and_what_is_wrong_in_the_configuration_is_told() {
    let project = seeded("linaje_mal");
    for (section, why) in [
        ("", "it says nowhere"),
        ("url = \"ftp://x\"", "this is no address"),
        (
            "url = \"http://lineage.example\"\napi_key = \"k\"",
            "a secret would travel in clear",
        ),
        (
            "url = \"https://ana:k@lineage.example\"",
            "it has a user or a password in it",
        ),
        ("file = \"${NO_SUCH}\"", "NO_SUCH is not set"),
    ] {
        project.streams(&format!("{CURSOS_AND_VENTAS}\n[openlineage]\n{section}\n"));
        let run = project.acequia(&["run"]);
        assert_eq!(run.status, Some(2), "{run:?}");
        assert!(run.stderr.contains(why), "{why}: {run:?}");
    }
    let receiver = Receiver::start().unwrap();
    receiver.answer_with(503).unwrap();
    project.streams(&format!(
        "{CURSOS_AND_VENTAS}\n[openlineage]\nurl = \"{}\"\n",
        receiver.url()
    ));
    let run = project
        .command(&["run"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    receiver.wait(super::RUN).unwrap();
    receiver.answer_with(201).unwrap();
    let run = crate::support::Output::from(run.wait_with_output().unwrap());
    assert_eq!(
        (run.status, times(&run.stderr, "OpenLineage")),
        (Some(0), 0),
        "{run:?}"
    );
    let mut told: Vec<Value> = receiver
        .take()
        .iter()
        .map(|sent| sent.json().unwrap())
        .collect();
    told.dedup();
    assert_eq!(transitions(&of(&told, "formacion")), ["START", "COMPLETE"]);
}

#[test]
fn a_run_that_follows_is_running_until_it_is_stopped() {
    let project = cdc::project(
        "linaje_sigue",
        "CREATE TABLE t (id int8 PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 5)",
        &["t"],
        "",
    );
    let streams = cdc::streams(&["t"], "changelog = true");
    project.streams(&format!(
        "{streams}\n[openlineage]\nfile = \"eventos.ndjson\"\n"
    ));
    let follower = Follower::start(&project);
    project.source.batch("INSERT INTO t VALUES (6)").unwrap();
    follower.line("in the destination");
    follower.stop();
    let told = events(&project, "eventos.ndjson");
    let stream = of(&told, "formacion.t");
    assert_eq!(transitions(&stream), ["START", "RUNNING", "COMPLETE"]);
    assert_eq!(
        stream[0]["job"]["facets"]["jobType"]["processingType"],
        "STREAMING"
    );
    let rows =
        |event: &Value| event["inputs"][0]["inputFacets"]["inputStatistics"]["rowCount"].clone();
    assert_eq!((rows(stream[1]), rows(stream[2])), (json!(5), json!(6)));
    let outputs = stream[2]["outputs"].as_array().unwrap();
    assert_eq!(outputs[1]["name"], "formacion.replica.t__changes");
    assert_eq!(transitions(&of(&told, "formacion")), ["START", "COMPLETE"]);
    // One that is killed says no more, and the next one begins anew.
    let follower = Follower::start(&project);
    follower.kill();
    project.run(&[]);
    let told = events(&project, "eventos.ndjson");
    let mut all = transitions(&of(&told, "formacion.t")).split_off(3);
    // It may have been killed before it had said so.
    all.retain(|transition| transition != "RUNNING");
    assert_eq!(all, ["START", "START", "COMPLETE"]);
}

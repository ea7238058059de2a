//! A landing area in an object store: a real S3 server.

use testkit::{Changes, S3Server, Seed};

use crate::support::{Project, counts};

#[test]
fn a_landing_area_in_s3_does_all_that_a_folder_does() {
    let server = S3Server::start().unwrap();
    let mut project = Project::operational("s3", "");
    for (name, value) in server.env() {
        project.set(name, &value);
    }
    project.configure(&format!(
        r#"
[pipeline]
name = "formacion"
dataset = "replica"
destination = "duckdb"
landing = "{}"
part_size = "1MB"

[destinations.duckdb]
kind = "duckdb"
path = "formacion.duckdb"

[sources.operativa]
kind = "postgres"
url = "${{OPERATIVA_URL}}"

[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"
"#,
        server.url("zona/acequia")
    ));
    let mut client = project.source.client().unwrap();
    Seed::new(4, 300_000)
        .only_ventas()
        .apply(&mut client)
        .unwrap();
    assert_eq!(project.acequia(&["check"]).status, Some(0));

    project.crash_at("landing.part_written", &["run"]);
    project.crash_at("landing.after_manifest", &["run"]);
    assert_eq!(counts(&project.run(&[]), "ventas").2, 0);
    project.assert_same("ventas");

    Changes::day(1).apply(&mut client).unwrap();
    let report = project.run(&[]);
    project.assert_same("ventas");

    let load_id = report["streams"][0]["load_id"].as_str().unwrap().to_owned();
    let shown = project.acequia(&["inspect", &load_id]);
    assert_eq!(shown.status, Some(0), "{shown:?}");
    assert!(shown.stdout.contains("updated_at"), "{shown:?}");
    assert!(
        !project.path("landing").exists(),
        "nothing is landed in a folder"
    );
}

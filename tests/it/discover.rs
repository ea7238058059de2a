//! What a source has, and a configuration of it that runs: `acequia discover` and `acequia init --from`.

use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::{HUBSPOT_TOKEN, HubSpotServer};

use crate::cdc;
use crate::json::assert_documented;
use crate::support::{Output, stream_report};

const TABLES: &str = "
CREATE TABLE chica (id int PRIMARY KEY, v text); INSERT INTO chica VALUES (1, 'a');
CREATE TABLE grande (id bigint PRIMARY KEY, v text, creada timestamptz DEFAULT now(), updated_at timestamptz);
INSERT INTO grande SELECT g, repeat('x', 100), now(), now() FROM generate_series(1, 150000) g;
CREATE INDEX ON grande (updated_at);
CREATE TABLE sin_cursor (id bigint PRIMARY KEY, v text);
INSERT INTO sin_cursor SELECT g, repeat('x', 100) FROM generate_series(1, 150000) g;
CREATE VIEW una_vista AS SELECT 1 AS uno;
CREATE TABLE por_mes (dia date, n int) PARTITION BY RANGE (dia);
CREATE TABLE por_mes_1 PARTITION OF por_mes FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE SCHEMA otro; CREATE TABLE otro.chica (id int PRIMARY KEY);
ANALYZE";

fn table<'a>(found: &'a Value, name: &str) -> &'a Value {
    let tables = found["tables"].as_array().unwrap();
    tables.iter().find(|table| table["name"] == name).unwrap()
}

/// Runs acequia in a folder, without any of the pipeline's variables.
fn acequia_in(folder: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_acequia"));
    command
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null());
    Output::of(command)
}

#[test]
fn what_init_finds_runs_as_it_is_written() {
    let project = cdc::project("init_from", TABLES, &[], "");
    let folder = tempfile::tempdir().unwrap();
    let url = project.source.password_url();
    let output = acequia_in(folder.path(), &["init", "nueva", "--from", url]);
    assert_eq!(output.status, Some(0), "{output:?}");
    let nueva = folder.path().join("nueva");
    let text = std::fs::read_to_string(nueva.join("acequia.toml")).unwrap();
    for part in [
        "[streams.grande]",
        "cursor = \"updated_at\"",
        "null_cursor = \"include\"",
        "[streams.public_chica]",
        "[streams.otro_chica]",
        "# Views and foreign tables can be read too, with mode = \"full\": public.una_vista",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(
        !text.contains("por_mes_1") && !text.contains(testkit::PASSWORD),
        "{text}"
    );
    assert!(
        !format!("{output:?}").contains(testkit::PASSWORD),
        "{output:?}"
    );
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(nueva.join(".env"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let checked = acequia_in(&nueva, &["check"]);
    assert_eq!(checked.status, Some(0), "{checked:?}");
    let run = acequia_in(&nueva, &["run", "--output", "json"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    let report = run.json();
    assert_eq!(stream_report(&report, "grande")["mode"], "incremental");
    assert_eq!(stream_report(&report, "grande")["rows_extracted"], 150_000);
    assert_eq!(stream_report(&report, "public_chica")["mode"], "full");
    assert_eq!(report["streams"].as_array().unwrap().len(), 5);

    let again = acequia_in(folder.path(), &["init", "nueva", "--from", url]);
    assert_eq!(again.status, Some(2), "nothing is overwritten: {again:?}");
}

#[test]
fn a_large_table_is_followed_where_the_server_and_the_role_allow_it() {
    let mut project = cdc::project("discover", TABLES, &[], "");
    let found = project
        .acequia(&["discover", "operativa", "--output", "json"])
        .json();
    assert_eq!(table(&found, "sin_cursor")["proposal"]["mode"], "cdc");
    assert_eq!(found["no_changes"], Value::Null);
    assert_documented("discover", std::slice::from_ref(&found));
    assert_eq!(table(&found, "grande")["rows"], 150_000);
    assert_eq!(table(&found, "grande")["key"], serde_json::json!(["id"]));
    assert_eq!(
        table(&found, "grande")["cursors"][0]["column"],
        "updated_at"
    );
    assert_eq!(table(&found, "por_mes")["rows"], 0);

    let role = project.as_newcomer();
    project
        .source
        .batch(&format!("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; REVOKE SELECT ON grande FROM {role}"))
        .unwrap();
    let found = project
        .acequia(&["discover", "operativa", "--output", "json"])
        .json();
    assert_eq!(table(&found, "sin_cursor")["proposal"]["mode"], "full");
    assert!(
        found["no_changes"]
            .as_str()
            .unwrap()
            .contains("may not replicate"),
        "{found}"
    );
    let problem = table(&found, "grande")["problem"].as_str().unwrap();
    assert!(
        problem.contains("GRANT SELECT ON \"public\".\"grande\""),
        "{problem}"
    );
    let shown = project.acequia(&["discover", "operativa"]);
    assert!(
        shown.stdout.contains("public.sin_cursor") && !shown.stdout.contains("por_mes_1"),
        "{shown:?}"
    );
    let all = project.acequia(&["discover", "operativa", "--all"]);
    assert!(all.stdout.contains("public.por_mes_1"), "{all:?}");
}

#[test]
fn the_objects_that_a_token_may_read_are_written_and_run() {
    let server = HubSpotServer::options().companies(30).start().unwrap();
    server.deny_scope("crm.objects.deals.read");
    let folder = tempfile::tempdir().unwrap();
    let host = server.url().replace("http://", "");
    let from = format!("hubspot://{HUBSPOT_TOKEN}@{host}");
    let output = acequia_in(folder.path(), &["init", "--from", &from]);
    assert_eq!(output.status, Some(0), "{output:?}");
    let text = std::fs::read_to_string(folder.path().join("acequia.toml")).unwrap();
    assert!(text.contains("[streams.companies]\nsource = \"hubspot\"\nobject = \"companies\"\nmode = \"incremental\""), "{text}");
    assert!(text.contains("# [streams.deals]"), "{text}");
    assert!(text.contains("# It is left out: "), "{text}");
    assert!(!text.contains(HUBSPOT_TOKEN), "{text}");
    let run = acequia_in(folder.path(), &["run", "companies", "--output", "json"]);
    assert_eq!(run.status, Some(0), "{run:?}");
    assert_eq!(
        stream_report(&run.json(), "companies")["rows_extracted"],
        30
    );
    let wrong = acequia_in(
        folder.path(),
        &["discover", &format!("hubspot://falso@{host}")],
    );
    assert_eq!(wrong.status, Some(1), "{wrong:?}");
    assert!(!wrong.stderr.contains("falso"), "{wrong:?}");
}

//! What is wrong is told: the thing, the cause and the remedy, with the exit status as designed; and nothing is lost.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::{Cluster, PASSWORD, PASSWORD_ROLE, Seed};

use crate::support::{Output, Project, VENTAS, counts};

fn seeded(name: &str, rows: u64) -> Project {
    let project = Project::operational(name, VENTAS);
    Seed::new(2, rows)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project
}

/// Runs and expects an exit status and these words.
fn assert_told(output: &Output, status: i32, words: &[&str]) {
    assert_eq!(output.status, Some(status), "{output:?}");
    let told = format!("{}{}", output.stdout, output.stderr);
    for word in words {
        assert!(told.contains(word), "`{word}` is not in:\n{told}");
    }
}

#[test]
fn an_unknown_key_is_told_with_its_place_and_without_the_line() {
    let project = seeded("unknown_key", 10);
    project.streams(&format!("{VENTAS}pasword = \"s3cr3t\"\n"));
    let output = project.acequia(&["run"]);
    assert_told(&output, 2, &["acequia.toml", "pasword"]);
    assert!(!output.stderr.contains("s3cr3t"), "{output:?}");
}

#[test]
fn a_missing_variable_is_told_with_its_place() {
    let project = seeded("missing_variable", 10);
    let mut command = project.command(&["run"]);
    command.env_remove("OPERATIVA_URL");
    assert_told(
        &Output::of(command),
        2,
        &["OPERATIVA_URL", "operativa", ".env"],
    );
}

#[test]
fn a_wrong_password_is_told_and_no_password_is_printed() {
    let mut project = seeded("wrong_password", 10);
    let url = project.source.password_url().replace(PASSWORD, "s3cr3t");
    project.set("OPERATIVA_URL", &url);
    let output = project.acequia(&["run", "-vv"]);
    assert_told(
        &output,
        1,
        &["stream ventas", PASSWORD_ROLE, "give the right password"],
    );
    assert!(!format!("{output:?}").contains("s3cr3t"), "{output:?}");
}

#[test]
fn a_server_that_is_not_there_is_told_at_once() {
    let mut project = seeded("no_server", 10);
    project.set("OPERATIVA_URL", "postgres://ana@127.0.0.1:1/operativa");
    let began = Instant::now();
    assert_told(
        &project.acequia(&["run"]),
        1,
        &["127.0.0.1:1/operativa", "start the server"],
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_server_that_hangs_up_is_told() {
    let server = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = server.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in server.incoming().map_while(Result::ok) {
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    let mut project = seeded("hangs_up", 10);
    for tls in ["disable", "prefer"] {
        let url = format!("postgres://ana@127.0.0.1:{port}/operativa?sslmode={tls}");
        project.set("OPERATIVA_URL", &url);
        let told = [
            "closed the connection",
            "may be starting or stopping",
            "the source's `url`",
        ];
        assert_told(&project.acequia(&["check"]), 1, &told);
    }
}

#[test]
fn a_table_that_is_not_there_is_told_with_the_one_that_is() {
    let project = seeded("no_table", 10);
    project.streams(&VENTAS.replace("public.ventas", "public.venta"));
    assert_told(
        &project.acequia(&["run"]),
        1,
        &["\"public\".\"venta\"", "there is public.ventas"],
    );
}

#[test]
fn a_column_that_is_not_there_is_told_with_those_that_are() {
    let project = seeded("no_column", 10);
    project.streams(&VENTAS.replace("updated_at", "modificado"));
    assert_told(
        &project.acequia(&["run"]),
        1,
        &["`modificado`", "num_participantes"],
    );
    project.streams(&format!("{VENTAS}exclude = [\"nada\"]\n"));
    assert_told(
        &project.acequia(&["run"]),
        1,
        &["`exclude` names the column `nada`"],
    );
}

#[test]
fn a_key_that_is_left_out_is_told_as_left_out() {
    let project = seeded("key_left_out", 10);
    for (left_out, by) in [
        ("exclude = [\"id\"]\n", "`exclude`"),
        (
            "columns = [\"updated_at\", \"precio_total\"]\n",
            "`columns`",
        ),
    ] {
        project.streams(&format!("{VENTAS}{left_out}"));
        let output = project.acequia(&["run"]);
        let what = format!("the key column `id` is left out by {by}");
        assert_told(&output, 1, &[&what, "take `id`", "append"]);
        assert!(!output.stderr.contains("does not exist"), "{output:?}");
    }
}

#[test]
fn a_key_that_nothing_keeps_unique_is_told() {
    let project = seeded("doubtful_key", 10);
    let streams = format!("{VENTAS}primary_key = [\"cliente\"]\n");
    project.streams(&streams);
    project
        .source
        .batch(
            "ALTER TABLE ventas ADD COLUMN cliente int, ADD COLUMN codigo int, DISABLE TRIGGER USER; \
             UPDATE ventas SET cliente = id % 3, codigo = id, \
             updated_at = updated_at + id * interval '1 second'; \
             CREATE UNIQUE INDEX ON ventas (codigo) WHERE codigo > 0",
        )
        .unwrap();
    let what = "primary_key is (cliente), and nothing in \"public\".\"ventas\" sees to it";
    let told = |report: &serde_json::Value| {
        crate::support::stream_report(report, "ventas")["warnings"].to_string()
    };
    let warned = told(&project.run(&[])).replace('\\', "");
    assert!(
        warned.contains(what) && warned.contains("the highest `updated_at`"),
        "{warned}"
    );
    assert_told(&project.acequia(&["check"]), 0, &[what]);
    // A partial index does not keep all rows apart, and one of all that are not NULL does.
    project.streams(&streams.replace("cliente", "codigo"));
    let warned = told(&project.run(&["--full-refresh"]));
    assert!(warned.contains("(codigo)"), "{warned}");
    project
        .source
        .batch("CREATE UNIQUE INDEX ON ventas (codigo)")
        .unwrap();
    assert_eq!(told(&project.run(&[])), "[]");
    // Of a query nothing is known.
    project.streams(&streams.replace("cliente", "nombre").replace(
        "table = \"public.ventas\"",
        "query = \"SELECT *, id AS nombre FROM ventas\"",
    ));
    assert_eq!(told(&project.run(&["--full-refresh"])), "[]");
}

#[test]
fn a_missing_privilege_is_told_with_the_grant_that_mends_it() {
    let mut project = seeded("no_privilege", 10);
    let role = project.as_newcomer();
    let grant = format!("GRANT SELECT ON \"public\".\"ventas\" TO \"{role}\";");
    assert_told(&project.acequia(&["run"]), 1, &[&grant]);
    assert_told(&project.acequia(&["check"]), 1, &[&grant]);
    project.source.batch(&grant).unwrap();
    project.run(&[]);
    project.assert_same("ventas");
    project
        .source
        .batch(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .unwrap();
}

/// Ends the sessions that extract, and returns once there were any.
fn end_extracts(project: &Project) {
    let mut admin = project.source.client().unwrap();
    let name = project.source.name().to_owned();
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        let ended = admin
            .query(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND query LIKE 'COPY%' AND state = 'active'",
                &[&name],
            )
            .unwrap();
        if !ended.is_empty() {
            return;
        }
    }
    panic!("the extract was over too soon");
}

fn a_backend_that_ends_is_read_again(name: &str, reader: &str) {
    let project = seeded(name, 400_000);
    let config = std::fs::read_to_string(project.path("acequia.toml")).unwrap();
    project.configure(&config.replace(
        "url = \"${OPERATIVA_URL}\"",
        &format!("url = \"${{OPERATIVA_URL}}\"\nreader = \"{reader}\""),
    ));
    let child = project
        .command(&["run", "--output", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for _ in 0..2 {
        end_extracts(&project);
    }
    let output = Output::from(child.wait_with_output().unwrap());
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(
        output
            .stderr
            .contains("stream ventas is read again in 1 s (attempt 2 of 6): ")
            && output.stderr.contains("in 2 s (attempt 3 of 6)"),
        "{output:?}"
    );
    let report = output.json();
    assert_eq!(counts(&report, "ventas"), (400_000, 400_000, 0, 0));
    assert_eq!(report["streams"][0]["retries"], 2);
    assert_eq!(
        project.loads("ventas").len(),
        1,
        "nothing half landed stays"
    );
    project.assert_same("ventas");
    assert_eq!(counts(&project.run(&[]), "ventas").1, 0);
}

#[test]
fn a_backend_that_ends_amid_an_extract_is_read_again_and_nothing_comes_twice() {
    a_backend_that_ends_is_read_again("server_gone", "copy");
}

#[cfg(feature = "connectorx")]
#[test]
fn a_backend_that_ends_amid_an_extract_of_connectorx_is_read_again() {
    a_backend_that_ends_is_read_again("server_gone_cx", "connectorx");
}

/// A server that crashes, and is up again while the run waits; and one that stays away, until the run is stopped.
#[test]
fn a_server_that_crashes_amid_an_extract_is_waited_for_and_loses_nothing() {
    let mut cluster = Cluster::start().unwrap();
    let source = cluster.database("crash").unwrap();
    source.apply_schema().unwrap();
    Seed::new(2, 400_000)
        .only_ventas()
        .apply(&mut source.client().unwrap())
        .unwrap();
    let project = Project::on(source, VENTAS);
    for away in [false, true] {
        let child = project
            .command(&["run", "--full-refresh", "--output", "json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        project.wait_for_extract();
        cluster.take_down().unwrap();
        std::thread::sleep(Duration::from_secs(2));
        if away {
            let output = Output::of_stopped(child);
            assert_eq!(output.status, Some(130), "{output:?}");
            cluster.bring_up().unwrap();
        } else {
            cluster.bring_up().unwrap();
            let output = Output::from(child.wait_with_output().unwrap());
            assert_eq!(output.status, Some(0), "{output:?}");
            assert!(
                output.json()["streams"][0]["retries"].as_u64() > Some(0),
                "{output:?}"
            );
        }
        project.assert_same("ventas");
    }
    project.run(&[]);
    project.assert_same("ventas");
}

#[test]
fn a_destination_held_by_another_process_is_told_with_its_pid() {
    let project = seeded("locked", 10);
    in_duckdb(&project, "path = \"formacion.duckdb\"\nwait = \"0s\"");
    let _held = project.duckdb();
    let pid = std::process::id().to_string();
    assert_told(&project.acequia(&["run"]), 1, &["formacion.duckdb", &pid]);
}

/// Writes these keys for the DuckDB file instead of its path.
fn in_duckdb(project: &Project, keys: &str) {
    let path = project.path("acequia.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text.replace("path = \"formacion.duckdb\"", keys)).unwrap();
}

#[test]
fn a_full_disk_in_the_landing_area_loses_nothing() {
    let project = seeded("disk_full", 200_000);
    let mount = project.path("landing");
    std::fs::create_dir(&mount).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(&mount)
        .status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this user may not mount a small file system");
        return;
    }
    let output = project.acequia(&["run"]);
    let unmounted = std::process::Command::new("umount")
        .arg(&mount)
        .status()
        .unwrap();
    assert!(unmounted.success());
    assert_told(&output, 1, &["stream ventas", "part-", "free some space"]);
    project.run(&[]);
    project.assert_same("ventas");
}

#[test]
fn a_value_that_does_not_fit_is_refused_with_the_types_key() {
    let project = Project::new(
        "unfit",
        r#"
[streams.t]
source = "operativa"
table = "t"
mode = "full"
"#,
    );
    let cases = [
        ("'NaN'::numeric", "NaN or infinity"),
        ("'-Infinity'::numeric", "NaN or infinity"),
        ("0.0000000001::numeric", "decimal(38,9)"),
        ("1e30::numeric", "decimal(38,9)"),
        ("'{{1,2},{3,4}}'::int[]", "several dimensions"),
        ("'[0:1]={1,2}'::int[]", "first index"),
        ("'294276-12-31 23:59:59'::timestamp", "294246"),
    ];
    for (value, word) in cases {
        project
            .source
            .batch(&format!(
                "DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT {value} AS x"
            ))
            .unwrap();
        let failed = project.run_failing("t");
        let error = failed["error"].as_str().unwrap();
        assert!(error.contains("stream t: column `x`"), "{value}: {error}");
        assert!(error.contains(word), "{value}: {error}");
        assert!(error.contains("[streams.t.types]"), "{value}: {error}");
    }
    project.streams(
        r#"
[streams.t]
source = "operativa"
table = "t"
mode = "full"
types = { x = "text" }
"#,
    );
    for (value, _) in cases {
        project
            .source
            .batch(&format!(
                "DROP TABLE IF EXISTS t; CREATE TABLE t AS SELECT {value} AS x"
            ))
            .unwrap();
        project.run(&["--full-refresh"]);
        let expected = project.source.value("SELECT x::text FROM t").unwrap();
        assert_eq!(project.value("SELECT x FROM replica.t"), expected);
    }
}

#[test]
fn a_table_that_acequia_did_not_make_is_not_touched() {
    let project = seeded("foreign_table", 10);
    project
        .duckdb()
        .execute_batch("CREATE SCHEMA replica; CREATE TABLE replica.ventas AS SELECT 42 AS mine")
        .unwrap();
    assert_told(
        &project.acequia(&["run"]),
        1,
        &["replica", "ventas", "destination_table"],
    );
    assert_eq!(
        project.value("SELECT mine FROM replica.ventas").unwrap(),
        "42"
    );
}

#[test]
fn names_that_duckdb_cannot_tell_apart_are_refused() {
    let project = Project::new(
        "collide",
        r#"
[streams.t]
source = "operativa"
table = "t"
mode = "full"
"#,
    );
    project
        .source
        .batch("CREATE TABLE t (\"Nombre\" int, nombre int)")
        .unwrap();
    assert_told(
        &project.acequia(&["run"]),
        1,
        &["Nombre", "nombre", "exclude"],
    );
}

#[test]
fn an_interrupt_stops_cleanly_and_loses_nothing() {
    let project = seeded("interrupt", 1_500_000);
    let mut command = project.command(&["run"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    project.wait_for_extract();
    let pid = child.id().to_string();
    let signalled = std::process::Command::new("kill")
        .args(["-INT", &pid])
        .status()
        .unwrap();
    assert!(signalled.success());
    let began = Instant::now();
    let stderr: Vec<String> = BufReader::new(child.stderr.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .collect();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{stderr:?}");
    assert!(began.elapsed() < Duration::from_secs(5));
    project.run(&[]);
    project.assert_same("ventas");
}

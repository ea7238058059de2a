//! Passwords that a command prints: from one that is right to one that has expired, and what does not print any.

use testkit::{Cluster, PASSWORD, PASSWORD_ROLE, Seed};

use crate::support::{Project, counts};

const STREAMS: &str = r#"
[streams.cursos]
source = "operativa"
table = "public.cursos"
mode = "full"

[streams.ventas]
source = "otra"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"
"#;

/// A pipeline whose sources, one with each reader, and whose destination `almacen` have their password from that command.
fn project(name: &str, command: &str) -> Project {
    let source = Cluster::shared().unwrap().database(name).unwrap();
    source.apply_schema().unwrap();
    let mut project = Project::on(source, "").with_warehouse();
    let cluster = Cluster::shared().unwrap();
    let without = |database: &str| {
        let url = cluster.url_as(database, PASSWORD_ROLE, "");
        url.replacen(":@", "@", 1)
    };
    let url = without(project.source.name());
    project.set("OPERATIVA_URL", &url);
    let warehouse = project.warehouse().name().to_owned();
    project.set("ALMACEN_URL", &without(&warehouse));
    let mut admin = project.warehouse().client().unwrap();
    admin
        .batch_execute(&format!(
            "GRANT CREATE, TEMPORARY ON DATABASE {warehouse} TO {PASSWORD_ROLE}"
        ))
        .unwrap();
    let mut source = project.source.client().unwrap();
    Seed::new(7, 50).only_ventas().apply(&mut source).unwrap();
    project.configure(&format!(
        r#"
[pipeline]
name = "claves"
dataset = "replica"
destination = "duckdb"
[destinations.duckdb]
kind = "duckdb"
path = "almacen.duckdb"
[destinations.almacen]
kind = "postgres"
url = "${{ALMACEN_URL}}"
password_command = '''{command}'''
[sources.operativa]
kind = "postgres"
url = "${{OPERATIVA_URL}}"
password_command = '''{command}'''
[sources.otra]
kind = "postgres"
url = "${{OPERATIVA_URL}}"
reader = "connectorx"
password_command = '''{command}'''
{STREAMS}"#
    ));
    project
}

/// How often the command ran.
fn runs(project: &Project) -> usize {
    let log = std::fs::read_to_string(project.path("runs")).unwrap_or_default();
    log.lines().count()
}

#[test]
fn a_command_prints_the_password_of_sources_and_destination() {
    let project = project("claves", &format!("echo run >> runs; echo {PASSWORD}"));
    let checked = project.acequia(&["check", "--destination", "almacen"]);
    assert_eq!(checked.status, Some(0), "{checked:?}");
    let before = runs(&project);
    let report = project.run(&["--destination", "almacen"]);
    assert_eq!(counts(&report, "ventas").0, 50);
    // Once for each of two sources and the destination, however many connections they make.
    assert_eq!(runs(&project) - before, 3);
}

#[test]
fn a_password_that_was_refused_is_asked_for_again() {
    let command = format!(
        "echo run >> runs; if [ -e first ]; then echo {PASSWORD}; else touch first; echo expired; fi"
    );
    let project = project("caducada", &command);
    project.run(&["cursos"]);
    assert_eq!(runs(&project), 2);
}

#[test]
fn a_command_that_gives_no_password_is_told_with_what_it_said() {
    let project = project(
        "sin_clave",
        "echo hush; echo 'Unable to locate credentials' >&2; exit 3",
    );
    let report = project.run_failing("cursos");
    let error = report["error"].as_str().unwrap();
    for told in [
        "[sources.operativa] password_command",
        "exit status: 3",
        "Unable to locate credentials",
    ] {
        assert!(error.contains(told), "{error}");
    }
    assert!(!error.contains("hush"), "{error}");
}

#[test]
fn one_that_is_wrong_each_time_is_told() {
    let project = project("clave_mala", "echo no-es-esta");
    let report = project.run_failing("cursos");
    let error = report["error"].as_str().unwrap();
    assert!(
        error.contains("see that [sources.operativa] password_command prints the password of")
            && !error.contains("no-es-esta"),
        "{error}"
    );
}

#[test]
fn two_passwords_are_refused() {
    let mut project = project("dos_claves", "echo x");
    let url = project.source.password_url().to_owned();
    project.set("OPERATIVA_URL", &url);
    let output = project.acequia(&["run", "cursos"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(
        output.stderr.contains("the url has a password already")
            && !output.stderr.contains(PASSWORD),
        "{output:?}"
    );
}

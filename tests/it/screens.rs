//! What people see, word for word. Where a change of it is wanted: `INSTA_UPDATE=always make test`, and look at the
//! difference before it is committed.
//!
//! What differs from run to run (ids, times, sizes, places) is replaced by its name in angle brackets, and runs of spaces by
//! one, as columns are as wide as what stands in them.

use insta::{Settings, assert_snapshot};
use testkit::{Changes, Seed};

use crate::support::{CURSOS_AND_VENTAS, Output, Project};

fn project() -> Project {
    let project = Project::operational("screens", CURSOS_AND_VENTAS);
    Seed::new(6, 300)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project
}

/// What a command prints, and how it ends, with all that differs from run to run replaced.
fn shown(project: &Project, arguments: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = project.acequia(arguments);
    let mut text = format!("$ acequia {}\n{stdout}", arguments.join(" "));
    if !stderr.is_empty() {
        text.push_str("--- standard error\n");
        text.push_str(&stderr);
    }
    text.push_str(&format!(
        "--- exit {}\n",
        status.map_or_else(|| "by a signal".to_owned(), |status| status.to_string())
    ));
    text.replace(&project.folder.path().display().to_string(), "<folder>")
        .replace(project.source.name(), "<database>")
}

fn settings() -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, name) in [
        (r"\b\d{8}T\d{9}-[0-9a-f]{8}-[0-9a-f]{4}\b", "<load>"),
        (r"PostgreSQL \d+\.\d+( \([^)]*\))?", "PostgreSQL <version>"),
        (
            r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?UTC|Z)?",
            "<time>",
        ),
        (r"\b\d+(\.\d+)? ?(ms|s|min)\b", "<seconds>"),
        (r"\b\d+(\.\d+)? [kMG]?B\b", "<bytes>"),
        (r"\b[0-9a-f]{64}\b", "<sha256>"),
        (r"127\.0\.0\.1:\d+|localhost:\d+", "<server>"),
        (r"[─━]{2,}", "──"),
        (r" {2,}", "  "),
    ] {
        settings.add_filter(pattern, name);
    }
    settings
}

#[test]
fn a_check_a_run_and_what_they_leave() {
    let project = project();
    settings().bind(|| {
        assert_snapshot!("check", shown(&project, &["check"]));
        assert_snapshot!("dry_run", shown(&project, &["run", "--dry-run"]));
        assert_snapshot!("status_before", shown(&project, &["status"]));
        assert_snapshot!("run", shown(&project, &["run"]));
        Changes::day(1)
            .apply(&mut project.source.client().unwrap())
            .unwrap();
        assert_snapshot!("run_again", shown(&project, &["run"]));
        assert_snapshot!("status", shown(&project, &["status"]));
        assert_snapshot!("landing_list", shown(&project, &["landing", "list"]));
        let load = project.loads("cursos").pop().unwrap();
        let load = load.file_name().unwrap().to_str().unwrap();
        assert_snapshot!(
            "inspect",
            shown(&project, &["inspect", load, "--rows", "2"])
        );
        std::fs::remove_file(project.path("formacion.duckdb")).unwrap();
        assert_snapshot!("replay", shown(&project, &["replay"]));
    });
}

#[test]
fn what_is_wrong() {
    let project = project();
    settings().bind(|| {
        assert_snapshot!("no_such_stream", shown(&project, &["run", "venta"]));
        project
            .source
            .batch("ALTER TABLE ventas RENAME COLUMN updated_at TO cambiada")
            .unwrap();
        assert_snapshot!("no_cursor", shown(&project, &["run"]));
        assert_snapshot!("status_failed", shown(&project, &["status"]));
        let wrong = std::fs::read_to_string(project.path("acequia.toml"))
            .unwrap()
            .replace("mode = \"full\"", "mode = \"ful\"\nkeys = [\"id\"]");
        project.configure(&wrong);
        assert_snapshot!("wrong_configuration", shown(&project, &["check"]));
        std::fs::remove_file(project.path("acequia.toml")).unwrap();
        assert_snapshot!("no_configuration", shown(&project, &["run"]));
    });
}

#[test]
fn help() {
    let project = Project::new("screens_help", "");
    settings().bind(|| {
        assert_snapshot!("help", shown(&project, &["--help"]));
        for command in [
            "init", "check", "run", "status", "runs", "inspect", "replay", "report", "verify",
        ] {
            assert_snapshot!(
                format!("help_{command}"),
                shown(&project, &[command, "--help"])
            );
        }
        assert_snapshot!(
            "help_landing_prune",
            shown(&project, &["landing", "prune", "--help"])
        );
        assert_snapshot!(
            "help_replication_drop",
            shown(&project, &["replication", "drop", "--help"])
        );
    });
}

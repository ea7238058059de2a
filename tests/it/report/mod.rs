//! The report page: made by the command and by runs, and read in a browser.

use std::path::{Path, PathBuf};

use testkit::Seed;

use crate::support::Project;

mod chromium;
mod live;
mod pages;
mod runs;

use chromium::Browser;

/// What the reports of these tests read.
const STREAMS: &str = r#"
[streams.clientes]
source = "operativa"
table = "public.clientes"
mode = "full"

[streams.cursos]
source = "operativa"
table = "public.cursos"
mode = "full"

[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"
"#;

/// The report's part of the configuration.
const REPORT: &str = r#"
[report]
path = "informe"
output = "informe.html"
title = "Formación: análisis"
language = "es"
after_run = false
"#;

/// A pipeline with a report, whose source has rows.
fn project(name: &str) -> Project {
    let project = Project::operational(name, &format!("{STREAMS}{REPORT}"));
    let mut client = project.source.client().unwrap();
    Seed::new(7, 3_000).apply(&mut client).unwrap();
    std::fs::create_dir(project.path("informe")).unwrap();
    for entry in std::fs::read_dir(parts()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(
            &path,
            project.path("informe").join(path.file_name().unwrap()),
        )
        .unwrap();
    }
    project
}

/// The folder with the parts that most of these tests make a page of.
fn parts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/report/parts")
}

/// Where what the tests made is kept to look at.
fn artefacts() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("report")
}

/// Makes the page.
fn made(project: &Project) -> String {
    let output = project.acequia(&["report"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    std::fs::read_to_string(project.path("informe.html")).unwrap()
}

/// The address of a project's page as a file.
fn address(project: &Project) -> String {
    format!("file://{}", project.path("informe.html").display())
}

/// Opens a project's page, and waits until it is drawn.
fn opened(project: &Project) -> Browser {
    let mut browser = Browser::start();
    browser.width(1440);
    browser.open(&address(project));
    drawn(&mut browser);
    browser
}

/// Waits until every chart is drawn.
fn drawn(browser: &mut Browser) {
    browser.until("document.body.dataset.drawn === document.body.dataset.charts && document.body.dataset.shown > 0");
}

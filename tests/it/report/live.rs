//! The page while it changes: made after each batch of a run that follows, and shown on the loopback address.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::json;

use super::chromium::Browser;
use super::{artefacts, drawn};
use crate::cdc;
use crate::cdc::following::Follower;
use crate::support::Project;

/// A report that is shown.
struct Shown {
    process: Child,
    address: String,
}

impl Shown {
    fn start(project: &Project) -> Self {
        let mut process = project
            .command(&["report", "--serve", "--port", "0"])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let line = lines.find_map(|line| {
            let line = line.unwrap();
            line.contains("http://").then_some(line)
        });
        let line = line.expect("the report is not shown");
        std::thread::spawn(move || lines.for_each(drop));
        let address = line
            .split_whitespace()
            .find(|word| word.starts_with("http://"));
        Self {
            address: address.unwrap().to_owned(),
            process,
        }
    }

    fn socket(&self) -> SocketAddr {
        let host = self
            .address
            .trim_start_matches("http://")
            .trim_end_matches('/');
        host.parse().unwrap()
    }

    /// What is answered to a request, headers and all.
    fn answer(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.socket()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Stops it as Ctrl-C does, which must end well and at once.
    fn stop(mut self) {
        let asked = Instant::now();
        let sent = Command::new("kill")
            .args(["-INT", &self.process.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
        assert!(
            asked.elapsed() < Duration::from_secs(5),
            "{:?}",
            asked.elapsed()
        );
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A pipeline with a table whose changes are followed, and a report of it.
fn followed(name: &str) -> Project {
    let keys = "\n[report]\npath = \"informe\"\ntitle = \"Ahora\"\n";
    let project = cdc::project(
        name,
        "CREATE TABLE t (id int8 PRIMARY KEY, v text)",
        &["t"],
        keys,
    );
    std::fs::create_dir(project.path("informe")).unwrap();
    let parts = [
        ("10-ahora.md", "# Now\n"),
        (
            "20-ahora.vl.json",
            r#"{"title": "Rows", "description": "How many rows there are of each kind.",
                "data": {"sql": "SELECT v AS kind, count(*) AS n FROM t GROUP BY 1 ORDER BY 1"}, "mark": "bar",
                "encoding": {"x": {"field": "kind", "type": "nominal"}, "y": {"field": "n", "type": "quantitative"}}}"#,
        ),
        (
            "30-total.sql",
            "-- title: Total\n-- description: All rows.\nSELECT count(*) AS n FROM t",
        ),
        (
            "filters.json",
            r#"[{"field": "kind", "label": "Kind", "type": "select"}]"#,
        ),
    ];
    for (file, text) in parts {
        std::fs::write(project.path("informe").join(file), text).unwrap();
    }
    project
        .source
        .batch("INSERT INTO t VALUES (0, 'a')")
        .unwrap();
    project
}

#[test]
fn a_run_that_follows_makes_the_page_after_each_batch() {
    let project = followed("report_follow");
    let follower = Follower::start(&project);
    let page = project.path("report.html");
    let until = |text: &str| {
        let began = Instant::now();
        while !std::fs::read_to_string(&page).is_ok_and(|html| html.contains(text)) {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{text} did not come"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        began.elapsed()
    };
    until("\"rows\":[[1]]");
    for id in 1..=3_i64 {
        project
            .source
            .execute("INSERT INTO t VALUES ($1, 'b')", &[&id])
            .unwrap();
        let took = until(&format!("\"rows\":[[{}]]", id + 1));
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    // A part that is wrong is told once, and the rows go on coming.
    let wrong = project.path("informe/40-mal.sql");
    std::fs::write(&wrong, "-- title: M\n-- description: M\nSELECT nada FROM t").unwrap();
    project
        .source
        .batch("INSERT INTO t VALUES (10, 'c')")
        .unwrap();
    let told = follower.line("the report page stays as it was");
    assert!(told.contains("40-mal.sql"), "{told}");
    std::fs::remove_file(&wrong).unwrap();
    project
        .source
        .batch("INSERT INTO t VALUES (11, 'c')")
        .unwrap();
    follower.line("the report page is made again");
    until("\"rows\":[[6]]");
    let report = follower.stop();
    assert_eq!(report["page"]["error"], json!(null), "{report}");
}

#[test]
fn a_page_that_is_open_is_redrawn_when_rows_come() {
    let project = followed("report_live");
    let follower = Follower::start(&project);
    let shown = Shown::start(&project);
    let mut browser = Browser::start();
    browser.width(820);
    browser.open(&shown.address);
    drawn(&mut browser);
    browser.eval("window.same = true");
    let chosen = "document.getElementById('filter-0')";
    browser.eval(&format!(
        "{chosen}.value = '=a'; {chosen}.dispatchEvent(new Event('change'))"
    ));
    for id in 1..=2_i64 {
        project
            .source
            .execute("INSERT INTO t VALUES ($1, 'a')", &[&id])
            .unwrap();
        let began = Instant::now();
        browser.until(&format!(
            "document.querySelector('[id=\"30-total\"] tbody td').textContent === '{}'",
            id + 1
        ));
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{:?}",
            began.elapsed()
        );
        browser.until(&format!(
            "document.querySelector('[id=\"20-ahora\"] svg [aria-roledescription=\"bar\"]').getAttribute('aria-label') === 'kind: a; n: {}'",
            id + 1
        ));
    }
    // It is the page that was opened, with what was chosen in it.
    assert_eq!(
        browser.eval(&format!("[window.same, {chosen}.value]")),
        json!([true, "=a"])
    );
    browser.screenshot(&artefacts().join("page-live.png"), 2_000.0);
    // A part that its author changes has it loaded anew.
    std::fs::write(project.path("informe/10-ahora.md"), "# Right now\n").unwrap();
    browser.until("document.querySelector('h2')?.textContent === 'Right now'");
    drawn(&mut browser);
    assert_eq!(browser.eval("location.search"), json!("?kind=a"));
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(browser);
    shown.stop();
    follower.stop();
    // Nobody wrote a page for the one who only looks: this one is the run's.
    assert!(project.path("report.html").exists());
}

#[test]
fn nothing_but_the_page_is_answered_and_nobody_but_this_machine() {
    let project = followed("report_answers");
    project.run(&[]);
    let shown = Shown::start(&project);
    let host = shown.socket().to_string();
    let request = |line: &str, host: &str| {
        shown.answer(&format!(
            "{line} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
    };
    let page = request("GET /", &host);
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{}", &page[..200]);
    for header in [
        "x-frame-options: DENY",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(page.contains(header), "{header}");
    }
    assert!(!page.to_lowercase().contains("access-control-allow"));
    assert!(request("GET /data", &host).contains("\"parts\":["));
    for path in [
        "/acequia.toml",
        "/../acequia.toml",
        "/..%2facequia.toml",
        "//etc/passwd",
        "/informe/",
        "/report.html",
        "/.env",
    ] {
        let answer = request(&format!("GET {path}"), &host);
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE"] {
        let answer = request(&format!("{method} /"), &host);
        assert!(answer.starts_with("HTTP/1.1 405"), "{method}: {answer}");
    }
    for stranger in [
        "example.com",
        "example.com:80",
        &host.replace("127.0.0.1", "attacker.test"),
        "127.0.0.1:1",
    ] {
        let answer = request("GET /data", stranger);
        assert!(answer.starts_with("HTTP/1.1 403"), "{stranger}: {answer}");
    }
    // Whoever says nothing does not keep others from being answered, nor it from stopping.
    let silent: Vec<TcpStream> = (0..20)
        .map(|_| TcpStream::connect(shown.socket()).unwrap())
        .collect();
    assert!(request("GET /", &host).starts_with("HTTP/1.1 200"));
    // The port of another program is told.
    let output = project.acequia(&[
        "report",
        "--serve",
        "--port",
        &shown.socket().port().to_string(),
    ]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(output.stderr.contains("--port"), "{output:?}");
    shown.stop();
    drop(silent);
}

//! The tutorial, run as a reader does it: its configuration is written, its commands and queries are run, one block after the
//! other, and what they print is what the page shows. Only times, sizes, versions and places may differ.
//!
//! With `INSTA_UPDATE=always` the page is rewritten with what was printed.

use std::path::Path;
use std::process::{Command, Stdio};

use comfy_table::{Table, presets};
use postgres::SimpleQueryMessage;
use testkit::{Cluster, HUBSPOT_TOKEN, HubSpotServer, TestDb};

use super::{Block, blocks, read, root};

const COMPANIES: u64 = 20;

/// What the reader has besides the page.
struct Desk {
    folder: tempfile::TempDir,
    operativa: TestDb,
    almacen: TestDb,
    crm: HubSpotServer,
}

impl Desk {
    fn new(cluster: &Cluster) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(root().join("schema.sql"), folder.path().join("schema.sql")).unwrap();
        Self {
            folder,
            operativa: cluster.database("operativa").unwrap(),
            almacen: cluster.database("almacen").unwrap(),
            crm: HubSpotServer::options()
                .companies(COMPANIES)
                .start()
                .unwrap(),
        }
    }

    /// Adds text to a file.
    fn append(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let gap = if before.is_empty() { "" } else { "\n" };
        std::fs::write(path, format!("{before}{gap}{text}")).unwrap();
    }

    /// The variables that a block of `.env` names, with this desk's values.
    fn variables(&self, block: &str) -> String {
        let mut variables = String::new();
        for line in block.lines() {
            let (name, _) = line.split_once('=').unwrap();
            let value = match name {
                "OPERATIVA_URL" => self.operativa.url(),
                "ALMACEN_URL" => self.almacen.url(),
                "HUBSPOT_TOKEN" => HUBSPOT_TOKEN,
                other => panic!("the page has a variable that the test does not know: {other}"),
            };
            variables.push_str(&format!("{name}={value}\n"));
        }
        variables
    }

    /// A piece of configuration, with the simulator in HubSpot's place.
    fn configuration(&self, block: &str) -> String {
        let here = format!("kind = \"hubspot\"\nbase_url = \"{}\"", self.crm.url());
        block.replace("kind = \"hubspot\"", &here)
    }

    /// Runs a block of commands, which must succeed. Returns what they print.
    fn shell(&self, commands: &str) -> String {
        let folder = Path::new(env!("CARGO_BIN_EXE_acequia")).parent().unwrap();
        let path = std::env::var("PATH").unwrap();
        let output = Command::new("bash")
            .args(["-euc", commands])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", folder.display()))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        let printed = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{commands}{printed}{told}");
        printed
    }

    /// Runs a block of SQL where its first line says. Returns its rows.
    fn sql(&self, block: &str) -> String {
        match block.lines().next().unwrap() {
            "-- in operativa" => rows_of_postgres(&self.operativa, block),
            "-- in almacen" => rows_of_postgres(&self.almacen, block),
            "-- in formacion.duckdb" => {
                rows_of_duckdb(&self.folder.path().join("formacion.duckdb"), block)
            }
            other => panic!("the page has SQL for which there is no database: {other}"),
        }
    }
}

fn rows_of_postgres(database: &TestDb, sql: &str) -> String {
    let mut table = plain();
    for message in database.client().unwrap().simple_query(sql).unwrap() {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                table.set_header(columns.iter().map(|column| column.name().to_owned()));
            }
            SimpleQueryMessage::Row(row) => {
                table.add_row((0..row.len()).map(|place| row.get(place).unwrap_or_default()));
            }
            _ => {}
        }
    }
    table.to_string()
}

fn rows_of_duckdb(file: &Path, sql: &str) -> String {
    let config = duckdb::Config::default()
        .access_mode(duckdb::AccessMode::ReadOnly)
        .unwrap();
    let connection = duckdb::Connection::open_with_flags(file, config).unwrap();
    let query = sql.trim_end().trim_end_matches(';');
    // As text, in the order of the query.
    let mut statement = connection
        .prepare(&format!(
            "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM (\n{query}\n)"
        ))
        .unwrap();
    let mut rows = statement.query([]).unwrap();
    let names = rows.as_ref().unwrap().column_names();
    let mut table = plain();
    let width = names.len();
    table.set_header(names);
    while let Some(row) = rows.next().unwrap() {
        table.add_row((0..width).map(|place| {
            let value: Option<String> = row.get(place).unwrap();
            value.unwrap_or_default()
        }));
    }
    table.to_string()
}

fn plain() -> Table {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table
}

/// What is printed, word by word, with what differs from run to run and from place to place replaced.
fn told(text: &str) -> Vec<String> {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "ms", "s", "min"];
    let words: Vec<&str> = text
        .split_whitespace()
        .filter(|word| !word.chars().all(|letter| "-─━|".contains(letter)))
        .collect();
    let mut told: Vec<String> = Vec::new();
    // Whether the words are those of the package that a server came in, as in `(Debian 15.18-0+deb12u1)`.
    let mut in_package = false;
    for (place, word) in words.iter().enumerate() {
        in_package |= word.starts_with('(') && told.last().is_some_and(|last| last == "<version>");
        if in_package {
            in_package = !word.ends_with(')');
            continue;
        }
        let next = words
            .get(place + 1)
            .map_or("", |word| word.trim_end_matches([',', ')', ':']));
        let is_number = word.parse::<f64>().is_ok();
        told.push(if is_number && UNITS.contains(&next) {
            "<amount>".to_owned()
        } else if UNITS.contains(&word.trim_end_matches([',', ')', ':']))
            && told.last().is_some_and(|last| last == "<amount>")
        {
            "<unit>".to_owned()
        } else if word.starts_with('/') {
            "<path>".to_owned()
        } else if word.contains(':') && word.bytes().filter(u8::is_ascii_digit).count() >= 4 {
            // A time, an address.
            "<place or time>".to_owned()
        } else if word.starts_with("20") && word.matches('-').count() == 2 && !word.contains('T') {
            "<date>".to_owned()
        } else if word.contains('T') && word.matches('-').count() >= 2 {
            "<load>".to_owned()
        } else if place > 0 && words[place - 1] == "PostgreSQL" {
            "<version>".to_owned()
        } else if word.contains('/')
            && word.bytes().filter(u8::is_ascii_hexdigit).count() + 1 == word.len()
        {
            "<lsn>".to_owned()
        } else {
            (*word).to_owned()
        });
    }
    told
}

/// Runs a page.
fn follow(page: &str) {
    let path = root().join(page);
    let mut text = read(&path);
    let rewrite = std::env::var("INSTA_UPDATE").is_ok_and(|wish| wish == "always");
    let cluster = Cluster::start().unwrap();
    let desk = Desk::new(&cluster);
    let mut printed = None;
    let mut outputs: Vec<(Block, String)> = Vec::new();
    for block in blocks(&text) {
        let Block {
            language,
            text,
            line,
        } = &block;
        match language.as_str() {
            "toml" => desk.append("acequia.toml", &desk.configuration(text)),
            "dotenv" => desk.append(".env", &desk.variables(text)),
            "sh" => printed = Some(desk.shell(text)),
            "sql" => printed = Some(desk.sql(text)),
            "text" => {
                let printed = printed.take().expect("an output without a command");
                if !rewrite {
                    assert_eq!(
                        told(text),
                        told(&printed),
                        "{page}:{line} shows\n{text}\nand this is what is printed:\n{printed}"
                    );
                }
                outputs.push((block, printed));
            }
            // For the reader alone.
            "console" => {}
            other => panic!("{page}:{line}: a block of the language {other:?} is run by nothing"),
        }
    }
    assert!(outputs.len() > 10, "the page shows next to nothing");
    if rewrite {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (block, printed) in outputs.iter().rev() {
            let shown = shown(&desk, printed);
            let end = block.line + block.text.lines().count();
            lines.splice(
                block.line..end,
                shown.lines().map(|line| line.trim_end().to_owned()),
            );
        }
        text = lines.join("\n") + "\n";
        std::fs::write(path, text).unwrap();
    }
}

/// What was printed, at a reader's place.
fn shown(desk: &Desk, printed: &str) -> String {
    let mut shown = printed.replace(&desk.folder.path().display().to_string(), "/srv/formacion");
    for database in [&desk.operativa, &desk.almacen] {
        let hint = if database.name() == desk.operativa.name() {
            "operativa"
        } else {
            "almacen"
        };
        let port = database.url().rsplit_once(':').unwrap().1;
        let port = port.split_once('/').unwrap().0;
        shown = shown
            .replace(database.name(), hint)
            .replace(&format!("127.0.0.1:{port}"), "localhost:5432")
            .replace(&format!("localhost:{port}"), "localhost:5432");
    }
    shown.replace(&desk.crm.url(), "https://api.hubapi.com")
}

#[test]
fn the_tutorial_does_what_it_shows() {
    follow("docs/tutorial.md");
}

#[test]
fn the_spanish_tutorial_does_what_it_shows() {
    follow("docs/es/tutorial.md");
}

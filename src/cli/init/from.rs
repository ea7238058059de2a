//! `acequia init --from URL`: a configuration of what a source has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::Path;

use acequia::config::source_url::SourceAddress;
use acequia::config::table_name;
use acequia::discovery::{Discovery, FoundTable, TableKind};
use acequia::mode::Mode;
use acequia::names::StreamName;
use acequia::{Error, Result, discover};

use super::{CONFIG, InitReport, change_to, is_there, make, pipeline_name, write_config};
use crate::cli::discover::{TOKEN, full_name};
use crate::cli::{Context, Exit, block_on, figures};

/// Longest name of a stream.
const MAX_NAME: usize = 63;

pub(super) fn run(address: &str, dir: &Path, context: &Context) -> Result<Exit> {
    let address = SourceAddress::parse(address, std::env::var(TOKEN).ok())?;
    let config = dir.join(CONFIG.0);
    if config.exists() {
        return Err(is_there(&config));
    }
    let found = block_on(discover(&address.name, &address.source))?;
    make(dir)?;
    let variable = variable(&address, &found);
    let secrets = dir.join(".env");
    let is_new = write_secret(&secrets, &variable, address.secret.reveal())?;
    let text = configuration(&pipeline_name(dir), &address, &variable, &found);
    let mut report = InitReport {
        written: vec![write_config(dir, &text)?],
        kept: Vec::new(),
    };
    let list = if is_new {
        &mut report.written
    } else {
        &mut report.kept
    };
    list.push(secrets.display().to_string());
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&report)?;
        return Ok(Exit::Ok);
    }
    let streams = streams(&found);
    let of_mode = |mode: Mode| {
        let of_mode = streams
            .iter()
            .filter(|stream| stream.table.proposal.mode == mode);
        of_mode
            .filter(|stream| stream.table.problem.is_none())
            .count()
    };
    printer.line(format!(
        "wrote {}: {} in full, {} incremental, {} cdc",
        config.display(),
        of_mode(Mode::Full),
        of_mode(Mode::Incremental),
        of_mode(Mode::Cdc)
    ))?;
    printer.line(if is_new {
        format!(
            "wrote {}, with {variable}: keep it out of version control",
            secrets.display()
        )
    } else {
        format!("kept {}, which has {variable} already", secrets.display())
    })?;
    printer.line(format!(
        "\nNext:\n  1. {}look at acequia.toml\n  2. acequia check\n  3. acequia run",
        change_to(dir)
    ))?;
    Ok(Exit::Ok)
}

/// The variable that what is secret is kept in.
fn variable(address: &SourceAddress, found: &Discovery) -> String {
    if found.kind == "hubspot" {
        TOKEN.to_owned()
    } else {
        format!("{}_URL", address.name.to_uppercase())
    }
}

/// Writes a variable into a file that only its owner can read; false if the file has it already.
///
/// # Errors
/// The file has another value for it, or cannot be written.
fn write_secret(path: &Path, variable: &str, value: &str) -> Result<bool> {
    let failed = |error| Error::config(format!("cannot write {}", path.display())).cause(error);
    if value.contains(char::is_control) {
        return Err(Error::config("the address has control characters in it"));
    }
    // A quote ends the value; in an address it can be written otherwise.
    let line = format!("{variable}='{}'", value.replace('\'', "%27"));
    let known = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(Error::config(format!("cannot read {}", path.display())).cause(error));
        }
    };
    if known.lines().any(|other| other == line) {
        return Ok(false);
    }
    let is_it = |line: &str| line.trim_start().starts_with(&format!("{variable}="));
    if known.lines().any(is_it) {
        return Err(Error::config(format!(
            "{} has another value of {variable} already",
            path.display()
        ))
        .remedy("take that line out, or name another folder; init overwrites nothing"));
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    let gap = if known.is_empty() || known.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    file.write_all(format!("{gap}{line}\n").as_bytes())
        .map_err(failed)?;
    Ok(true)
}

/// A stream of the configuration.
struct FoundStream<'a> {
    name: StreamName,
    table: &'a FoundTable,
}

/// The streams of the tables, with names that do not meet. A table that no stream can be called after is left out.
fn streams(found: &Discovery) -> Vec<FoundStream<'_>> {
    let wanted = |table: &&FoundTable| matches!(table.kind, TableKind::Table | TableKind::Object);
    let tables: Vec<&FoundTable> = found.tables.iter().filter(wanted).collect();
    let mut number: BTreeMap<String, usize> = BTreeMap::new();
    for table in &tables {
        *number.entry(plain(&table.name).to_lowercase()).or_default() += 1;
    }
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut streams = Vec::with_capacity(tables.len());
    for table in tables {
        let own = plain(&table.name);
        let is_alone = number.get(&own.to_lowercase()) == Some(&1);
        let base = match &table.schema {
            Some(schema) if !is_alone => plain(&format!("{schema}_{}", table.name)),
            _ => own,
        };
        let mut candidates = (1_usize..).map(|place| match place {
            1 => base.clone(),
            place => format!(
                "{}_{place}",
                base.chars().take(MAX_NAME - 8).collect::<String>()
            ),
        });
        let free = candidates.find(|name| !taken.contains(&name.to_lowercase()));
        let Some(Ok(name)) = free.map(|name| name.parse::<StreamName>()) else {
            continue;
        };
        taken.insert(name.as_str().to_lowercase());
        streams.push(FoundStream { name, table });
    }
    streams
}

/// A name with letters that a stream's name can have.
fn plain(name: &str) -> String {
    let letters = name.chars().map(|letter| {
        if letter.is_ascii_alphanumeric() || letter == '-' {
            letter
        } else {
            '_'
        }
    });
    let mut name: String = letters.take(MAX_NAME - 2).collect();
    if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_') {
        name.insert(0, '_');
    }
    if name.starts_with("_acequia") {
        name.insert(0, 't');
    }
    name
}

fn configuration(
    pipeline: &str,
    address: &SourceAddress,
    variable: &str,
    found: &Discovery,
) -> String {
    let mut text = format!(
        "# Written by `acequia init --from`, of {}.\n\
         # docs/configuration.md has every key; `acequia check` tells what is missing.\n\n\
         [pipeline]\nname = {}\ndataset = \"replica\"            # the schema in the destination\nlanding = \"landing\"\n\
         destination = \"duckdb\"\n\n[destinations.duckdb]\nkind = \"duckdb\"\npath = {}\n\n[sources.{}]\nkind = \"{}\"\n",
        comment(&found.server),
        quoted(pipeline),
        quoted(&format!("{pipeline}.duckdb")),
        address.name,
        found.kind,
    );
    // Writing to a String does not fail.
    let _ = match found.kind {
        "hubspot" => writeln!(text, "token = \"${{{variable}}}\"         # in .env"),
        _ => writeln!(text, "url = \"${{{variable}}}\"         # in .env"),
    };
    if let Some(base_url) = &address.base_url {
        let _ = writeln!(text, "base_url = {}", quoted(base_url));
    }
    if let Some(why) = &found.no_changes {
        let _ = write!(
            text,
            "\n# mode = \"cdc\" (every change, deletes too, by logical replication) is not possible as things are: {}\n",
            comment(why)
        );
    }
    for stream in streams(found) {
        stream.write(&mut text, &address.name, found.kind);
    }
    let views: Vec<String> = found
        .tables
        .iter()
        .filter(|table| table.kind == TableKind::View)
        .map(full_name)
        .collect();
    if !views.is_empty() {
        let views = comment(&views.join(", "));
        let _ = write!(
            text,
            "\n# Views and foreign tables can be read too, with mode = \"full\": {views}\n"
        );
    }
    text
}

impl FoundStream<'_> {
    fn write(&self, text: &mut String, source: &str, kind: &str) {
        let Self { name, table } = self;
        let mut facts = Vec::new();
        facts.extend(
            table
                .rows
                .map(|rows| format!("about {} rows", figures::count(rows))),
        );
        facts.extend(table.bytes.map(figures::bytes));
        if !table.key.is_empty() {
            facts.push(format!("key ({})", table.key.join(", ")));
        }
        let proposal = &table.proposal;
        facts.push(format!("{}: {}", proposal.mode, proposal.why));
        let mut lines = vec![
            format!("[streams.{name}]"),
            format!("source = {}", quoted(source)),
        ];
        if kind == "hubspot" {
            lines.push(format!("object = {}", quoted(&table.name)));
        } else {
            let schema = table.schema.as_deref().unwrap_or_default();
            lines.push(format!(
                "table = {}",
                quoted(&table_name(schema, &table.name))
            ));
        }
        lines.push(format!("mode = \"{}\"", proposal.mode));
        if let Some(cursor) = &proposal.cursor {
            lines.push(format!("cursor = {}", quoted(&cursor.column)));
            if cursor.nullable {
                lines.push(
                    "null_cursor = \"include\"    # rows without one are read by every run"
                        .to_owned(),
                );
            }
            if !table.key_is_primary {
                let key: Vec<String> = table.key.iter().map(|column| quoted(column)).collect();
                lines.push(format!("primary_key = [{}]", key.join(", ")));
            }
        }
        if kind != "hubspot" && table.name != name.as_str() {
            lines.push(format!(
                "destination_table = {}",
                quoted(&self.destination_table())
            ));
        }
        let _ = write!(text, "\n# {}\n", comment(&facts.join("; ")));
        let out = match &table.problem {
            Some(problem) => {
                let _ = writeln!(text, "# It is left out: {}", comment(problem));
                "# "
            }
            None => "",
        };
        for line in lines {
            let _ = writeln!(text, "{out}{line}");
        }
    }

    /// The table's own name where the stream's differs only by its letters and the name is not one of acequia's own, else the stream's.
    fn destination_table(&self) -> String {
        let reserved = self.table.name.to_lowercase().starts_with("_acequia");
        if plain(&self.table.name) == self.name.as_str() && !reserved {
            self.table.name.replace("${", "$${")
        } else {
            self.name.to_string()
        }
    }
}

/// A table's name as the configuration has it, without a variable in it.
fn table_name(schema: &str, name: &str) -> String {
    table_name::written(schema, name).replace("${", "$${")
}

/// A text of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(letter);
            }
            letter if letter.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(letter));
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// A text that stays within a comment.
fn comment(text: &str) -> String {
    text.chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter })
        .collect()
}

#[cfg(test)]
mod tests {
    use acequia::config::{Document, Selection};
    use acequia::discovery::{CanFollow, FoundCursor, Proposal};

    use super::*;

    fn table(schema: &str, name: &str, bytes: u64) -> FoundTable {
        let mut table = FoundTable {
            schema: Some(schema.to_owned()),
            name: name.to_owned(),
            kind: TableKind::Table,
            rows: Some(5),
            bytes: Some(bytes),
            key: vec!["id\"x".to_owned()],
            key_is_primary: false,
            cursors: vec![FoundCursor::new("updated_at".to_owned(), true, true)],
            problem: None,
            proposal: Proposal::default(),
        };
        table.propose(CanFollow(false));
        table
    }

    #[test]
    fn whatever_tables_are_called_the_configuration_can_be_resolved() {
        let folder = tempfile::tempdir().unwrap();
        let address = SourceAddress::parse("postgres://u:se'creto@h/mi_base", None).unwrap();
        let mut denied = table("a", "denied", 1);
        denied.problem = Some("no\n[streams.x]".to_owned());
        let found = Discovery {
            source: "mi_base".to_owned(),
            kind: "postgres",
            server: "PostgreSQL\n[oh]".to_owned(),
            no_changes: Some("none".to_owned()),
            tables: vec![
                table("a", "ventas", 1 << 40),
                table("b", "Ventas", 1),
                table("b", "a_ventas", 1),
                table("a", "Años ${X} \"y\".z\\", 1),
                table("a", "1", 1),
                table("a", "_acequia_loads", 1),
                table("a", &"x".repeat(63), 1),
                denied,
            ],
        };
        let text = configuration("mia", &address, "MI_BASE_URL", &found);
        fs::write(folder.path().join("acequia.toml"), &text).unwrap();
        assert!(
            write_secret(
                &folder.path().join(".env"),
                "MI_BASE_URL",
                address.secret.reveal()
            )
            .unwrap()
        );
        assert!(!text.contains("creto"), "{text}");
        let document = Document::read(&folder.path().join("acequia.toml"))
            .map_err(|error| error.report())
            .unwrap();
        let pipeline = document
            .resolve(&Selection::default())
            .map_err(|error| error.report())
            .unwrap();
        let streams: Vec<&str> = pipeline
            .streams
            .iter()
            .map(|stream| stream.name.as_str())
            .collect();
        assert_eq!(
            streams,
            [
                "A_os___X___y__z_",
                "_1",
                "a_ventas",
                "a_ventas_2",
                "b_Ventas",
                "t_acequia_loads",
                &"x".repeat(61)
            ]
        );
        assert!(text.contains("primary_key = [\"id\\\"x\"]"), "{text}");
        assert!(text.contains("null_cursor = \"include\""), "{text}");
    }

    #[test]
    fn a_secret_is_written_once_for_its_owner_alone_and_never_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".env");
        assert!(write_secret(&path, "A_URL", "postgres://u:p@h/a").unwrap());
        assert!(!write_secret(&path, "A_URL", "postgres://u:p@h/a").unwrap());
        let error = write_secret(&path, "A_URL", "postgres://u:otro@h/a").unwrap_err();
        assert!(!error.report().contains("otro"), "{}", error.report());
        assert!(write_secret(&path, "B_URL", "x").unwrap());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}

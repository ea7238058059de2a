//! `acequia init`

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use acequia::names::StreamName;
use acequia::{Error, Result};
use serde::Serialize;

use super::{Context, Exit, InitArgs};

mod from;

const CONFIG: (&str, &str) = ("acequia.toml", include_str!("acequia.toml"));
const VARIABLES: (&str, &str) = (".env.example", include_str!("env.example"));

/// The name of the pipeline in it.
const EXAMPLE: &str = "formacion";

/// What `--output json` prints.
#[derive(Serialize)]
struct InitReport {
    written: Vec<String>,
    kept: Vec<String>,
}

pub(crate) fn run(args: &InitArgs, context: &mut Context) -> Result<Exit> {
    if let Some(address) = &args.from {
        return from::run(address, &args.dir, context);
    }
    let report = init(&args.dir)?;
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&report)?;
        return Ok(Exit::Ok);
    }
    for path in &report.written {
        printer.line(format!("wrote {path}"))?;
    }
    for path in &report.kept {
        printer.line(format!("kept {path}, which was there already"))?;
    }
    let here = change_to(&args.dir);
    printer.line(format!(
        "\nNext:\n  1. {here}cp .env.example .env\n     put your database's connection URI there, and keep it out of version \
         control\n  2. name your tables in acequia.toml\n  3. acequia check\n  4. acequia run"
    ))?;
    Ok(Exit::Ok)
}

/// The command that goes to a folder, as the beginning of others.
fn change_to(dir: &Path) -> String {
    if dir == Path::new(".") {
        String::new()
    } else {
        format!("cd {}\n     ", dir.display())
    }
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| {
        Error::config(format!("cannot make the folder {}", dir.display())).cause(error)
    })
}

/// Writes the configuration, if there is none yet.
fn write_config(dir: &Path, text: &str) -> Result<String> {
    let config = dir.join(CONFIG.0);
    if write_new(&config, text)? {
        return Ok(config.display().to_string());
    }
    Err(is_there(&config))
}

fn is_there(config: &Path) -> Error {
    Error::config(format!("{} is there already", config.display()))
        .remedy("name another folder, or move the file away; init overwrites nothing")
}

fn init(dir: &Path) -> Result<InitReport> {
    make(dir)?;
    // Pipelines of one name would share what they have on a source's server.
    let text = CONFIG.1.replace(EXAMPLE, &pipeline_name(dir));
    let config = write_config(dir, &text)?;
    let (name, text) = VARIABLES;
    let variables = dir.join(name);
    let mut report = InitReport {
        written: vec![config],
        kept: Vec::new(),
    };
    let list = if write_new(&variables, text)? {
        &mut report.written
    } else {
        &mut report.kept
    };
    list.push(variables.display().to_string());
    Ok(report)
}

/// A pipeline's name after that of its folder.
fn pipeline_name(dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_owned());
    let folder = dir.file_name().unwrap_or_default().to_string_lossy();
    let mut name = String::new();
    for c in folder.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_alphanumeric() {
            name.push(c);
        } else if !name.is_empty() && !name.ends_with('_') {
            name.push('_');
        }
    }
    let name = name.trim_end_matches('_');
    let name = if name.starts_with(|first: char| first.is_ascii_digit()) {
        format!("p{name}")
    } else {
        name.to_owned()
    };
    // With room for what is added to it on a source's server.
    let name: String = name.chars().take(30).collect();
    if name.parse::<StreamName>().is_ok() {
        name
    } else {
        EXAMPLE.to_owned()
    }
}

/// Writes a file that is not there yet; false if it is.
fn write_new(path: &Path, text: &str) -> Result<bool> {
    let failed = |error| Error::config(format!("cannot write {}", path.display())).cause(error);
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file
            .write_all(text.as_bytes())
            .map_err(failed)
            .map(|()| true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use acequia::config::{Document, Selection};

    use super::*;

    #[test]
    fn what_init_writes_can_be_read_and_resolved() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/b");
        let report = init(&dir).unwrap();
        assert_eq!((report.written.len(), report.kept.len()), (2, 0));
        fs::copy(dir.join(".env.example"), dir.join(".env")).unwrap();
        let document = Document::read(&dir.join("acequia.toml")).unwrap();
        let pipeline = document.resolve(&Selection::default()).unwrap();
        let streams: Vec<&str> = pipeline
            .streams
            .iter()
            .map(|stream| stream.name.as_str())
            .collect();
        assert_eq!(streams, ["cursos", "ventas"]);
    }

    #[test]
    fn every_example_in_a_comment_can_be_taken_out_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acequia.toml");
        let lines: Vec<&str> = CONFIG.1.lines().collect();
        let examples: Vec<usize> = (0..lines.len())
            .filter(|index| is_example(lines[*index]))
            .collect();
        assert!(examples.len() > 12, "{examples:?}");
        for example in examples {
            // The keys of a table come out of their comments together with its header.
            let block_start = (0..=example)
                .rev()
                .take_while(|index| is_example(lines[*index]))
                .find(|index| lines[*index].starts_with("# ["))
                .unwrap_or(example);
            let in_block = |index: usize| {
                let has_header = lines[block_start].starts_with("# [");
                index == example
                    || has_header
                        && index >= block_start
                        && (block_start..=index).all(|line| is_example(lines[line]))
            };
            let taken_out: Vec<&str> = (0..lines.len())
                .map(|index| match lines[index] {
                    line if in_block(index) => line.trim_start_matches("# "),
                    line => line,
                })
                .collect();
            let text = taken_out.join("\n");
            fs::write(&path, text).unwrap();
            Document::read(&path)
                .map(drop)
                .map_err(|error| error.report())
                .unwrap();
        }
    }

    /// `# key = value` and `# [table]`, as against prose.
    fn is_example(line: &str) -> bool {
        line.strip_prefix("# ").is_some_and(|rest| {
            rest.starts_with('[')
                || rest
                    .split_once(" = ")
                    .is_some_and(|(key, _)| !key.contains(' '))
        })
    }

    #[test]
    fn every_key_has_an_example() {
        let schema = serde_json::to_value(crate::cli::config_schema::schema()).unwrap();
        for (definition, keys) in schema["$defs"].as_object().unwrap() {
            for key in keys["properties"]
                .as_object()
                .into_iter()
                .flat_map(|keys| keys.keys())
            {
                let shown = CONFIG.1.lines().any(|line| {
                    let line = line.trim_start_matches("# ");
                    line.starts_with(&format!("{key} = ")) || line.ends_with(&format!(".{key}]"))
                });
                assert!(shown, "{definition}: {key}");
            }
        }
    }

    #[test]
    fn a_pipeline_is_named_after_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        for (dir, name) in [
            ("ventas-norte", "ventas_norte"),
            ("Año 2026", "a_o_2026"),
            ("2026", "p2026"),
            ("ñ", "formacion"),
        ] {
            let dir = folder.path().join(dir);
            init(&dir).unwrap();
            let document = Document::read(&dir.join("acequia.toml")).unwrap();
            assert_eq!(document.landing().unwrap().pipeline.as_str(), name);
            let text = fs::read_to_string(dir.join("acequia.toml")).unwrap();
            assert_eq!(text.contains("formacion"), name == "formacion");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let mine = folder.path().join(".env.example");
        fs::write(&mine, "MINE=1\n").unwrap();
        let report = init(folder.path()).unwrap();
        assert_eq!(report.kept, [mine.display().to_string()]);
        let error = init(folder.path()).map(drop).unwrap_err();
        assert!(
            error.report().contains("is there already"),
            "{}",
            error.report()
        );
        assert_eq!(fs::read_to_string(mine).unwrap(), "MINE=1\n");
    }
}

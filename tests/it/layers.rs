//! What ARCHITECTURE.md says that each part does not know: no module names one of a part above it, nor one that names it back.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The parts that a part of `src/` may not name.
const UNKNOWN: [(&str, &[&str]); 13] = [
    ("config", &["source", "landing", "destination", "pipeline"]),
    ("models", &["source", "landing", "destination", "pipeline"]),
    ("landing", &["source", "destination", "pipeline", "config"]),
    ("source", &["landing", "destination", "pipeline"]),
    ("report", &["source", "landing", "destination", "pipeline"]),
    ("destination", &["source", "pipeline"]),
    (
        "postgres",
        &["source", "landing", "destination", "pipeline"],
    ),
    (
        "exact",
        &["source", "landing", "destination", "pipeline", "config"],
    ),
    (
        "mask",
        &["source", "landing", "destination", "pipeline", "config"],
    ),
    (
        "metrics",
        &["source", "landing", "destination", "pipeline", "config"],
    ),
    (
        "telemetry",
        &["source", "landing", "destination", "pipeline", "config"],
    ),
    (
        "openlineage",
        &["source", "landing", "destination", "pipeline"],
    ),
    // The files beside the folders.
    (
        "",
        &["source", "landing", "destination", "pipeline", "config"],
    ),
];

/// The library itself, the binary, and what fuzz targets, benches and tests see.
const ABOVE_ALL: [&str; 4] = ["lib.rs", "main.rs", "fuzzing.rs", "internals.rs"];

fn sources(part: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(part);
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_test = name == "tests" || name == "tests.rs" || name == "conformance";
            if path.is_dir() && !part.is_empty() && !is_test {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs")
                && !is_test
                && !ABOVE_ALL.contains(&name)
            {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "src/{part} has no sources");
    found
}

/// The lines of code of a file up to its tests, each with its number.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate();
    lines
        .take_while(|(_, line)| !line.starts_with("mod tests"))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(at, line)| (at + 1, line))
}

#[test]
fn no_part_names_one_above_it() {
    let mut upward = Vec::new();
    for (part, unknown) in UNKNOWN {
        for file in sources(part) {
            let text = std::fs::read_to_string(&file).unwrap();
            for (number, line) in code(&text) {
                for above in unknown {
                    if line.contains(&format!("crate::{above}::")) {
                        upward.push(format!("{}:{number}: {}", file.display(), line.trim()));
                    }
                }
            }
        }
    }
    assert!(upward.is_empty(), "{}", upward.join("\n"));
}

/// The module that a file of `src/` is: `source::postgres::cursor`.
fn module(root: &Path, file: &Path) -> String {
    let path = file.strip_prefix(root).unwrap().with_extension("");
    let names = path.iter().map(|name| name.to_str().unwrap());
    let names: Vec<&str> = names.filter(|name| *name != "mod").collect();
    names.join("::")
}

/// Whole paths of a `use` tree: `a::{b, c::{d, e}}` has three.
fn leaves(tree: &str) -> Vec<String> {
    let Some((head, rest)) = tree.split_once('{') else {
        return vec![tree.trim().to_owned()];
    };
    let inner = rest.trim_end().strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut branch, mut branches) = (0, String::new(), Vec::new());
    for letter in inner.chars() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if letter == ',' && depth == 0 {
            branches.push(std::mem::take(&mut branch));
        } else {
            branch.push(letter);
        }
    }
    branches.push(branch);
    let branches = branches.iter().filter(|branch| !branch.trim().is_empty());
    let whole = branches.flat_map(|branch| leaves(&format!("{}{}", head.trim(), branch.trim())));
    whole.collect()
}

/// The paths that a module's code names which begin with `crate::` or `super::`, from the library's root on.
fn named(module: &str, text: &str) -> Vec<Vec<String>> {
    let lines: Vec<&str> = code(text).map(|(_, line)| line).collect();
    let code = lines.join("\n");
    let mut paths: Vec<String> = Vec::new();
    for statement in code.split(';') {
        let used = statement.rsplit_once("use ").map(|(_, tree)| tree);
        if let Some(tree) =
            used.filter(|tree| tree.starts_with("super") || tree.starts_with("crate"))
        {
            paths.extend(leaves(tree));
        }
    }
    let is_path = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
    let words = code.split(|letter| !is_path(letter));
    paths.extend(
        words
            .filter(|word| word.starts_with("super::") || word.starts_with("crate::"))
            .map(str::to_owned),
    );
    let absolute = |path: String| {
        let mut from: Vec<String> = module.split("::").map(str::to_owned).collect();
        let mut names = path.split("::").map(str::trim).peekable();
        if names.next_if_eq(&"crate").is_some() {
            from.clear();
        }
        while names.next_if_eq(&"super").is_some() {
            from.pop();
        }
        from.extend(names.map(str::to_owned));
        from
    };
    paths.into_iter().map(absolute).collect()
}

/// A file may name the files below its own folder's `mod.rs` and be named by it; else what one names does not name it back, on
/// whatever way round.
#[test]
fn no_modules_name_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let parts = [
        "",
        "config",
        "source",
        "landing",
        "destination",
        "models",
        "postgres",
        "pipeline",
        "report",
        "exact",
    ];
    let files: Vec<PathBuf> = parts.iter().flat_map(|part| sources(part)).collect();
    let modules: BTreeMap<String, &PathBuf> = files
        .iter()
        .map(|file| (module(&root, file), file))
        .collect();
    let mut names: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (module, file) in &modules {
        let text = std::fs::read_to_string(file).unwrap();
        for path in named(module, &text) {
            let mut longest = (1..=path.len()).rev().map(|end| path[..end].join("::"));
            let found = longest.find_map(|name| modules.get_key_value(&name));
            if let Some((other, _)) = found.filter(|(other, _)| *other != module) {
                names.entry(module).or_default().insert(other);
            }
        }
    }
    assert!(names["source::postgres::stream"].contains("source::postgres::cursor"));
    let reaches: BTreeMap<&str, BTreeSet<&str>> = names
        .keys()
        .map(|name| (*name, reached(&names, name)))
        .collect();
    let circles: Vec<String> = names
        .iter()
        .filter(|(name, _)| reaches[*name].contains(*name))
        .map(|(name, others)| {
            let back = |other: &&&str| reaches.get(**other).is_some_and(|all| all.contains(name));
            let others: Vec<&str> = others.iter().filter(back).copied().collect();
            format!("{name} names {}", others.join(", "))
        })
        .collect();
    assert!(
        circles.is_empty(),
        "these modules name each other in circles:\n{}",
        circles.join("\n")
    );
}

/// The modules that a module names, that those name, and so on.
fn reached<'a>(names: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = vec![from];
    while let Some(module) = open.pop() {
        for other in names.get(module).into_iter().flatten() {
            if found.insert(*other) {
                open.push(other);
            }
        }
    }
    found
}

//! What ARCHITECTURE.md says that each part does not know: no module names one of a part above it.

use std::path::{Path, PathBuf};

/// The parts that a part of `src/` may not name.
const UNKNOWN: [(&str, &[&str]); 7] = [
    ("config", &["source", "landing", "destination", "pipeline"]),
    ("landing", &["source", "destination", "pipeline", "config"]),
    ("source", &["landing", "destination", "pipeline"]),
    ("destination", &["source", "pipeline"]),
    (
        "postgres",
        &["source", "landing", "destination", "pipeline"],
    ),
    (
        "exact",
        &["source", "landing", "destination", "pipeline", "config"],
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

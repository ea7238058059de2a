//! Troubleshooting by message: what the page quotes is what acequia says.

use std::path::{Path, PathBuf};

use super::{read, root};
use crate::support::files_below;

/// All string literals and other code of `src/`, with the breaks of long literals taken out.
fn sources() -> String {
    let is_code = |path: &&PathBuf| path.extension().is_some_and(|end| end == "rs");
    let is_test = |path: &&PathBuf| {
        let below = path.strip_prefix(root()).unwrap();
        below.iter().any(|part| part == "tests")
    };
    let files = files_below(&root().join("src"));
    let code = files.iter().filter(is_code).filter(|path| !is_test(path));
    code.map(|path| joined(&read(path))).collect()
}

/// A backslash at the end of a line leaves out the break and the blanks after it.
fn joined(code: &str) -> String {
    let mut pieces = code.split("\\\n");
    let mut text = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        text.push_str(piece.trim_start());
    }
    text.replace("\\\"", "\"")
}

/// The messages that a page has as headings, in backquotes.
fn quoted(page: &Path) -> Vec<String> {
    read(page)
        .lines()
        .filter_map(|line| {
            line.strip_prefix("### `")?
                .strip_suffix('`')
                .map(str::to_owned)
        })
        .collect()
}

#[test]
fn the_messages_that_troubleshooting_explains_are_those_of_acequia() {
    let code = sources();
    let messages = quoted(&root().join("docs/troubleshooting.md"));
    assert!(messages.len() > 20, "only {} messages", messages.len());
    for message in &messages {
        // What differs from case to case is `…` on the page.
        let mut pieces = message
            .split('…')
            .map(str::trim)
            .filter(|piece| !piece.is_empty());
        let longest = pieces.clone().map(str::len).max().unwrap_or_default();
        assert!(longest >= 8, "`{message}` says too little to be looked for");
        if let Some(piece) = pieces.find(|piece| !code.contains(*piece)) {
            panic!("`{message}`: acequia says nowhere `{piece}`");
        }
    }
}

#[test]
fn the_spanish_page_explains_the_same_messages() {
    assert_eq!(
        quoted(&root().join("docs/es/troubleshooting.md")),
        quoted(&root().join("docs/troubleshooting.md"))
    );
}

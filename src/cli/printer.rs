//! Output: results go to standard output ([`Printer`]), everything else to standard error ([`Notices`]).
//!
//! Texts from databases and files are printed here, so control characters are made visible instead of being obeyed.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Stdout, Write};

use acequia::{Error, Result};
use chrono::{SecondsFormat, Utc};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use super::{LogFormat, Output};

/// Standard output. If its reader has ended, as `| head` does, the rest is dropped silently.
pub(crate) struct Printer {
    out: Stdout,
    output: Output,
    colour: bool,
}

/// The sign before a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// ✓
    Good,
    /// !
    Warning,
    /// ✗
    Bad,
}

impl Printer {
    pub(crate) fn new(output: Output) -> Self {
        let out = io::stdout();
        Self {
            colour: out.is_terminal() && colour_is_wanted(),
            out,
            output,
        }
    }

    /// Whether a person sees both results and what goes to standard error.
    pub(crate) fn is_seen(&self) -> bool {
        self.out.is_terminal() && io::stderr().is_terminal()
    }

    /// Whether results are for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.output == Output::Json
    }

    /// A text as it is.
    pub(crate) fn raw(&self, text: &str) -> Result<()> {
        match write(self.out.lock(), text) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::destination("cannot write to standard output").cause(error))
            }
            _ => Ok(()),
        }
    }

    /// A line, or several.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<()> {
        self.raw(&format!("{}\n", visible(text.as_ref())))
    }

    /// A line with a sign before it. Further lines are indented to follow the sign.
    pub(crate) fn marked(&self, mark: Mark, text: &str) -> Result<()> {
        let (sign, colour) = match mark {
            Mark::Good => ("✓", 32),
            Mark::Warning => ("!", 33),
            Mark::Bad => ("✗", 31),
        };
        let text = visible(text).replace('\n', "\n  ");
        if self.colour {
            self.raw(&format!("\x1b[{colour}m{sign}\x1b[0m {text}\n"))
        } else {
            self.raw(&format!("{sign} {text}\n"))
        }
    }

    /// A value as JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::internal("cannot write the result as JSON").cause(error))?;
        self.raw(&format!("{text}\n"))
    }

    /// A table. A column whose heading begins with `>` is for numbers.
    pub(crate) fn table<R>(&self, headings: &[&str], rows: R) -> Result<()>
    where
        R: IntoIterator<Item = Vec<String>>,
    {
        let terminal = Table::new().width();
        self.line(table_text(headings, rows, terminal))
    }
}

/// Standard error, shared with the progress bars that may be there.
#[derive(Clone)]
pub(crate) struct Notices {
    bars: MultiProgress,
    /// Whether failures are written in JSON, as the log is.
    json: bool,
}

impl Notices {
    pub(crate) fn new(log_format: LogFormat) -> Self {
        Self {
            bars: MultiProgress::with_draw_target(ProgressDrawTarget::stderr()),
            json: log_format == LogFormat::Json,
        }
    }

    /// Writes a message. If even standard error is closed, the message is lost.
    pub(crate) fn say(&self, text: &str) {
        let text = format!("{}\n", visible(text));
        let _ = self.bars.suspend(|| write(io::stderr().lock(), &text));
    }

    /// What failed. Off a terminal it says when, and where the log is JSON, it is.
    pub(crate) fn failure(&self, error: &str) {
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
        if self.json {
            let line = serde_json::json!({"timestamp": now, "level": "ERROR", "fields": {"message": error}});
            self.say(&line.to_string());
        } else if io::stderr().is_terminal() {
            self.say(&format!("error: {error}"));
        } else {
            self.say(&format!("{now} error: {error}"));
        }
    }

    /// The progress bars.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.bars
    }
}

/// The log's way to standard error.
impl Write for Notices {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bars.suspend(|| io::stderr().lock().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().lock().flush()
    }
}

/// Whether colour is welcome: see <https://no-color.org>; and there are terminals that have none.
pub(crate) fn colour_is_wanted() -> bool {
    let is_empty = |value: std::ffi::OsString| value.is_empty();
    std::env::var_os("NO_COLOR").is_none_or(is_empty)
        && std::env::var_os("TERM").is_none_or(|terminal| terminal != "dumb")
}

fn write(mut out: impl Write, text: &str) -> io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The text with its control characters escaped, but for line ends and tabs.
fn visible(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| c.is_control() && c != '\n' && c != '\t';
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hidden(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    Cow::Owned(shown)
}

/// A table; where it would be wider than the terminal and its numbers be broken, each row with a line for each of its cells.
fn table_text<R>(headings: &[&str], rows: R, terminal: Option<u16>) -> String
where
    R: IntoIterator<Item = Vec<String>>,
{
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let text = plain_table(headings, &rows);
    let width = text.lines().map(|line| line.chars().count()).max();
    match terminal.map(usize::from) {
        Some(terminal) if width.is_some_and(|width| width > terminal) => {
            records_text(headings, &rows)
        }
        _ => text,
    }
}

/// Each row as its first cell, and its other cells below, each behind its heading.
fn records_text(headings: &[&str], rows: &[Vec<String>]) -> String {
    let names = headings
        .iter()
        .map(|heading| heading.trim_start_matches('>'));
    let names: Vec<&str> = names.collect();
    let width = names.iter().skip(1).map(|name| name.len()).max();
    let width = width.unwrap_or(0);
    let mut lines = Vec::new();
    for row in rows {
        lines.extend(row.first().map(|first| visible(first).into_owned()));
        let others = names.iter().zip(row).skip(1);
        lines.extend(others.map(|(name, cell)| format!("  {name:width$}  {}", visible(cell))));
    }
    lines.join("\n")
}

fn plain_table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(
            headings
                .iter()
                .map(|heading| heading.trim_start_matches('>')),
        );
    for (column, heading) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        if heading.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in rows {
        table.add_row(row.iter().map(|cell| Cell::new(visible(cell))));
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_not_obeyed() {
        assert_eq!(
            visible("a\x1b[31mb\u{9b}\tñ\n"),
            "a\\u{1b}[31mb\\u{9b}\tñ\n"
        );
    }

    #[test]
    fn a_table_is_plain_and_its_numbers_stand_to_the_right() {
        let rows = [("ventas", "12"), ("cursos", "1,200")]
            .map(|(name, rows)| vec![name.to_owned(), rows.to_owned()]);
        let shown = |terminal| table_text(&["stream", ">rows"], rows.clone(), terminal);
        insta::assert_snapshot!(shown(None), @r"
        stream   rows
        ventas     12
        cursos  1,200
        ");
        for terminal in [80, 13] {
            assert_eq!(shown(Some(terminal)), shown(None));
        }
        // No number is broken where there is no room for a line.
        insta::assert_snapshot!(shown(Some(12)), @r"
        ventas
          rows  12
        cursos
          rows  1,200
        ");
    }
}

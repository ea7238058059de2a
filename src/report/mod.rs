//! The report page: texts, charts and tables in a folder, and the rows of their queries, become one HTML file.
//!
//! [`folder`] reads the parts: [`markdown`], [`chart`], [`table`], [`filters`]; what is wrong with them are [`problems`] with
//! file, line ([`json_lines`]) and remedy. [`Report`] asks for the rows of each [`query`] ([`rows`]), and [`page`] composes the
//! page of them, of the page's own [`words`] and of [`assets`]. [`mod@write`] puts it in its place, and [`server`] shows it while
//! it changes. Nothing here knows of destinations: who makes a report hands in what runs its queries.

use serde_json::value::RawValue;

use crate::config;
use crate::error::{Error, Result, in_one_line};

mod assets;
mod chart;
mod filters;
mod folder;
mod html;
mod json_lines;
mod markdown;
mod page;
mod problems;
mod query;
mod rows;
mod server;
mod table;
mod words;
mod write;

use chrono::Utc;
use folder::{Content, Part, Parts};
pub use page::{Freshness, Page};
use problems::Problems;
use query::Query;
use rows::Rows;
pub use server::Server;
pub use write::write;

/// The most rows that a chart or table may have: more are no chart that people read, and make a page that telephones do not
/// open.
const MOST_ROWS: usize = 50_000;

/// A report whose parts have been read.
#[derive(Debug)]
pub struct Report {
    settings: config::Report,
    parts: Parts,
}

/// The rows of a report, in the order of its parts.
#[derive(Debug)]
pub struct ReportRows(Vec<Vec<Rows>>);

impl Report {
    /// Reads the parts of a report.
    ///
    /// # Errors
    /// [`Error::Config`] with all that is wrong, each with its file, line and remedy.
    pub fn read(settings: &config::Report) -> Result<Self> {
        Ok(Self {
            settings: settings.clone(),
            parts: folder::read(&settings.folder)?,
        })
    }

    /// Asks for the rows of each query by `run`, which returns them as JSON objects.
    ///
    /// # Errors
    /// [`Error::Config`] with all queries that are refused, each with its file and line; else what failed of the destination.
    pub fn ask(
        &self,
        run: &mut dyn FnMut(&str) -> Result<Vec<Box<RawValue>>>,
    ) -> Result<ReportRows> {
        let mut problems = Problems::default();
        let mut asked = Vec::new();
        for part in &self.parts.parts {
            let mut of_part = Vec::new();
            for (query, line) in part.queries() {
                of_part.push(ask(part, &query, line, run, &mut problems)?);
            }
            if let Content::Chart(chart) = &part.content {
                let known: Option<Vec<&Rows>> = of_part.iter().map(Option::as_ref).collect();
                if let Some(rows) = known {
                    chart.check_fields(&part.file, &rows, &mut problems);
                }
            }
            asked.push(of_part.into_iter().map(Option::unwrap_or_default).collect());
        }
        problems.finish(ReportRows(asked))
    }

    /// The page, with these rows.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be written down.
    pub fn page(&self, rows: &ReportRows, freshness: &[Freshness]) -> Result<Page> {
        let frame = page::Frame {
            title: &self.settings.title,
            language: self.settings.language,
            made_at: Utc::now(),
            freshness,
        };
        page::compose(&frame, &self.parts, &rows.0)
    }
}

impl Part {
    /// The part's queries, each with the line that it is on.
    fn queries(&self) -> Vec<(Query, Option<usize>)> {
        match &self.content {
            Content::Text(_) => Vec::new(),
            Content::Chart(chart) => {
                let data = chart.data.iter();
                data.map(|data| (data.query.clone(), data.line)).collect()
            }
            Content::Table(table) => vec![(Query::Sql(table.sql.clone()), None)],
        }
    }
}

/// The rows of a query; none if it is refused, which has been added to the problems.
fn ask(
    part: &Part,
    query: &Query,
    line: Option<usize>,
    run: &mut dyn FnMut(&str) -> Result<Vec<Box<RawValue>>>,
    problems: &mut Problems,
) -> Result<Option<Rows>> {
    let rows = match read(query, run) {
        Ok(rows) => rows,
        // The author cannot mend what is not the query's fault.
        Err(error) if !error.refuses_load() => {
            return Err(error.context(format!("the report's {}", part.file)));
        }
        Err(error) => {
            refuse(part, query, line, &error, problems);
            return Ok(None);
        }
    };
    let what = match rows {
        Ok(rows) if rows.rows.len() <= MOST_ROWS => return Ok(Some(rows)),
        Ok(rows) => {
            let remedy = "aggregate in SQL, or add a LIMIT";
            let what = format!(
                "it has {} rows, and {MOST_ROWS} are the most that a page can hold",
                rows.rows.len()
            );
            (what, remedy)
        }
        Err(rows::SharedName(name)) => (
            format!("two of its columns are called `{name}`"),
            "give each column a name of its own (AS)",
        ),
    };
    problems.add(&part.file, line, what.0, what.1);
    Ok(None)
}

/// The rows of a query. Where there are none, its columns are found by a row of NULLs.
fn read(
    query: &Query,
    run: &mut dyn FnMut(&str) -> Result<Vec<Box<RawValue>>>,
) -> Result<Result<Rows, rows::SharedName>> {
    let sql = query.sql();
    let objects = run(&sql)?;
    if !objects.is_empty() {
        return Ok(Rows::of_json(&objects));
    }
    let columns = run(&format!(
        "SELECT acequia_columns.* FROM (SELECT 1 AS one) AS acequia_one LEFT JOIN (\n{sql}\n) AS acequia_columns ON false"
    ))?;
    Ok(Rows::of_json(&columns).map(Rows::without_rows))
}

fn refuse(part: &Part, query: &Query, line: Option<usize>, error: &Error, problems: &mut Problems) {
    let what = in_one_line(error);
    let what = match query {
        Query::Sql(_) => format!("its query is refused: {what}"),
        Query::Model(name) => format!("its model `{name}` cannot be read: {what}"),
    };
    let remedy = error.remedy_text().unwrap_or(match query {
        Query::Sql(_) => "correct the query; names without a schema are those of the models, then those of the streams' tables",
        Query::Model(_) => "name a model, or a stream's table",
    });
    problems.add(&part.file, line, what, remedy);
}

#[cfg(test)]
mod tests;

//! The page: one HTML file that holds all it needs and fetches nothing. No I/O.

use std::fmt::Write as _;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::assets::{LIBRARIES, Library, SCRIPT, STYLE, THIRD_PARTY};
use super::chart::Chart;
use super::folder::{Content, Part, Parts};
use super::html::{escape, json as script_json};
use super::rows::Rows;
use super::table::Table;
use super::words::{Words, words};
use crate::config::Language;
use crate::error::Result;
use crate::names::hex;

/// How old a stream's rows are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Freshness {
    /// The stream.
    pub stream: String,
    /// When its last load was committed. None if there was none.
    pub loaded_at: Option<DateTime<Utc>>,
    /// The rows of its last load.
    pub rows: u64,
    /// Whether its last run failed.
    pub failed: bool,
}

/// What a page is made of, beside its parts.
#[derive(Debug)]
pub(crate) struct Frame<'a> {
    /// The title.
    pub(crate) title: &'a str,
    /// The language.
    pub(crate) language: Language,
    /// When it is made.
    pub(crate) made_at: DateTime<Utc>,
    /// How old each stream's rows are.
    pub(crate) freshness: &'a [Freshness],
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The page as HTML.
    pub html: String,
    /// What of it changes with the rows, as JSON.
    pub data: String,
}

/// The page of these parts. `rows` are those of each part, in order.
pub(crate) fn compose(frame: &Frame<'_>, parts: &Parts, rows: &[Vec<Rows>]) -> Result<Page> {
    let words = words(frame.language);
    let body = body(frame, parts, words);
    let contents: Vec<Value> = parts
        .parts
        .iter()
        .zip(rows)
        .filter_map(|(part, rows)| data_of(part, rows))
        .collect();
    // What a page that is open would have to be loaded anew for.
    let specs: Vec<&Value> = contents
        .iter()
        .filter_map(|part| part.get("spec"))
        .collect();
    let whole = json!([
        frame.title,
        frame.language.tag(),
        texts(parts),
        specs,
        parts.filters,
        STYLE,
        SCRIPT
    ]);
    let data = script_json(&json!({
        "language": frame.language.tag(),
        "made_at": time(frame.made_at),
        "form": hex(&Sha256::digest(whole.to_string())),
        "freshness": frame.freshness,
        "filters": parts.filters,
        "parts": contents,
        "words": words,
    }))?;
    let html = document(frame, &body, &data);
    Ok(Page { html, data })
}

fn document(frame: &Frame<'_>, body: &str, data: &str) -> String {
    let mut scripts = vec![format!("/*! {THIRD_PARTY}*/")];
    scripts.extend(LIBRARIES.iter().map(Library::script));
    scripts.push(SCRIPT.to_owned());
    let hashes: Vec<String> = scripts
        .iter()
        .map(|script| {
            let digest = openssl::base64::encode_block(&Sha256::digest(script));
            format!("'sha256-{digest}'")
        })
        .collect();
    let policy = format!(
        "default-src 'none'; script-src {}; style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none'; \
         form-action 'none'",
        hashes.join(" ")
    );
    let scripts: Vec<String> = scripts
        .iter()
        .map(|script| format!("<script>{script}</script>"))
        .collect();
    format!(
        "<!DOCTYPE html>\n\
         <html lang=\"{language}\">\n\
         <head>\n\
         <meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"generator\" content=\"acequia {version}\">\n\
         <title>{title}</title>\n\
         <style>\n{STYLE}</style>\n\
         </head>\n\
         {body}\
         <script type=\"application/json\" id=\"report-data\">{data}</script>\n\
         {scripts}\n\
         </body>\n\
         </html>\n",
        language = frame.language.tag(),
        version = env!("CARGO_PKG_VERSION"),
        title = escape(frame.title),
        scripts = scripts.join("\n"),
    )
}

fn body(frame: &Frame<'_>, parts: &Parts, words: &Words) -> String {
    let charts = parts
        .parts
        .iter()
        .filter(|part| matches!(part.content, Content::Chart(_)));
    let libraries: Vec<&str> = LIBRARIES.iter().map(|library| library.name).collect();
    let mut html = String::new();
    // Writing to a String does not fail.
    let _ = write!(
        html,
        "<body data-charts=\"{charts}\" data-drawn=\"0\">\n\
         <a class=\"skip\" href=\"#content\">{skip}</a>\n\
         <header>\n\
         <h1>{title}</h1>\n\
         {head}\
         </header>\n\
         {contents}\
         <form id=\"filters\" class=\"filters\" aria-label=\"{filters}\" hidden></form>\n\
         <p id=\"filtered\" class=\"visually-hidden\" role=\"status\"></p>\n\
         <noscript><p class=\"notice\">{no_script}</p></noscript>\n\
         <main id=\"content\" tabindex=\"-1\">\n\
         {parts}\
         </main>\n\
         <footer>{made_by} acequia {version}; {drawn_with} {libraries}.</footer>\n",
        charts = charts.count(),
        skip = escape(words.skip),
        title = escape(frame.title),
        head = freshness(frame, words),
        contents = contents(parts, words),
        filters = escape(words.filters),
        no_script = escape(words.no_script),
        parts = sections(parts, words),
        made_by = escape(words.made_by),
        version = env!("CARGO_PKG_VERSION"),
        drawn_with = escape(words.drawn_with),
        libraries = libraries.join(", "),
    );
    html
}

/// The head: when the newest load was, when the page was made, and how old each stream is.
fn freshness(frame: &Frame<'_>, words: &Words) -> String {
    let newest = frame
        .freshness
        .iter()
        .filter_map(|stream| stream.loaded_at)
        .max();
    let newest = newest.map_or_else(|| escape(words.never), |at| time_element("time", at));
    let rows: String = frame
        .freshness
        .iter()
        .map(|stream| row(stream, words))
        .collect();
    format!(
        "<div id=\"freshness\" class=\"freshness\">\n\
         <p>{label}: <strong data-newest>{newest}</strong> <span class=\"made\">{made}: <span data-made>{made_at}</span></span></p>\n\
         <details><summary>{streams}</summary>\n\
         <div class=\"scroll\" role=\"region\" aria-label=\"{streams}\" tabindex=\"0\"><table>\n\
         <thead><tr><th scope=\"col\">{stream}</th><th scope=\"col\">{last_load}</th><th scope=\"col\">{age}</th>\
         <th scope=\"col\" class=\"number\">{number}</th></tr></thead>\n\
         <tbody>{rows}</tbody>\n\
         </table></div>\n\
         </details>\n\
         </div>\n",
        label = escape(words.newest),
        made = escape(words.made),
        made_at = time_element("time", frame.made_at),
        streams = escape(words.streams),
        stream = escape(words.stream),
        last_load = escape(words.last_load),
        age = escape(words.age),
        number = escape(words.rows),
    )
}

fn row(stream: &Freshness, words: &Words) -> String {
    let (at, age) = match stream.loaded_at {
        Some(at) => (time_element("time", at), time_element("age", at)),
        None => (escape(words.never), String::new()),
    };
    let failed = if stream.failed {
        format!(" <span class=\"failed\">{}</span>", escape(words.failed))
    } else {
        String::new()
    };
    format!(
        "<tr><th scope=\"row\">{}{failed}</th><td>{at}</td><td>{age}</td><td class=\"number\" data-number>{}</td></tr>",
        escape(&stream.stream),
        stream.rows
    )
}

/// A point in time, which the script writes in the reader's zone and language.
fn time_element(form: &str, at: DateTime<Utc>) -> String {
    format!(
        "<time datetime=\"{}\" data-form=\"{form}\">{}</time>",
        time(at),
        at.format("%Y-%m-%d %H:%M UTC")
    )
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// The list of sections.
fn contents(parts: &Parts, words: &Words) -> String {
    let headings = parts.parts.iter().filter_map(|part| match &part.content {
        Content::Text(text) => Some(&text.headings),
        Content::Chart(_) | Content::Table(_) => None,
    });
    let links: Vec<String> = headings
        .flatten()
        .filter(|heading| heading.level == 2)
        .map(|heading| {
            let (id, text) = (escape(&heading.id), escape(&heading.text));
            format!("<li><a href=\"#{id}\">{text}</a></li>")
        })
        .collect();
    if links.is_empty() {
        return String::new();
    }
    let label = escape(words.contents);
    format!(
        "<nav aria-label=\"{label}\"><ul>{}</ul></nav>\n",
        links.concat()
    )
}

/// The parts. Charts and tables that follow one another stand beside one another where there is room.
fn sections(parts: &Parts, words: &Words) -> String {
    let mut html = String::new();
    let (mut level, mut open) = (2, false);
    for part in &parts.parts {
        let figure = match &part.content {
            Content::Text(text) => {
                if std::mem::take(&mut open) {
                    html.push_str("</div>\n");
                }
                if !text.headings.is_empty() {
                    level = 3;
                }
                let id = escape(&part.id);
                // Writing to a String does not fail.
                let _ = writeln!(
                    html,
                    "<div class=\"text\" id=\"{id}\">\n{}</div>",
                    text.html
                );
                continue;
            }
            Content::Chart(chart) => chart_figure(part, chart, level, words),
            Content::Table(table) => table_figure(part, table, level),
        };
        if !std::mem::replace(&mut open, true) {
            html.push_str("<div class=\"cards\">\n");
        }
        html.push_str(&figure);
    }
    if open {
        html.push_str("</div>\n");
    }
    html
}

fn chart_figure(part: &Part, chart: &Chart, level: usize, words: &Words) -> String {
    let id = escape(&part.id);
    let wide = if is_wide(&chart.spec) { " wide" } else { "" };
    format!(
        "<figure class=\"chart{wide}\" id=\"{id}\" aria-labelledby=\"{id}-title\">\n\
         <h{level} id=\"{id}-title\">{title}</h{level}>\n\
         <p class=\"description\">{description}</p>\n\
         <p class=\"unfiltered\" hidden></p>\n\
         <div class=\"drawing\"></div>\n\
         <p class=\"empty\" hidden>{empty}</p>\n\
         <details><summary>{as_table}</summary><div class=\"data\"></div></details>\n\
         </figure>\n",
        title = escape(&chart.title),
        description = escape(&chart.description),
        empty = escape(words.no_rows),
        as_table = escape(words.as_table),
    )
}

fn table_figure(part: &Part, table: &Table, level: usize) -> String {
    let id = escape(&part.id);
    format!(
        "<figure class=\"table wide\" id=\"{id}\" aria-labelledby=\"{id}-title\">\n\
         <h{level} id=\"{id}-title\">{title}</h{level}>\n\
         <p class=\"description\">{description}</p>\n\
         <p class=\"unfiltered\" hidden></p>\n\
         <div class=\"data\"></div>\n\
         </figure>\n",
        title = escape(&table.title),
        description = escape(&table.description),
    )
}

/// Whether a chart has a row for itself: its views stand beside one another, or its author says so.
fn is_wide(spec: &Value) -> bool {
    let composed = ["concat", "hconcat", "vconcat", "repeat", "facet"];
    composed.iter().any(|key| spec.get(key).is_some())
        || ["row", "column", "facet"]
            .iter()
            .any(|channel| spec.pointer(&format!("/encoding/{channel}")).is_some())
        || spec.pointer("/usermeta/acequia/wide") == Some(&Value::Bool(true))
}

/// What the script is given of a part.
fn data_of(part: &Part, rows: &[Rows]) -> Option<Value> {
    match &part.content {
        Content::Text(_) => None,
        Content::Chart(chart) => {
            let data: serde_json::Map<String, Value> = chart
                .data
                .iter()
                .zip(rows)
                .map(|(data, rows)| (data.name.clone(), json!(rows)))
                .collect();
            Some(json!({
                "id": part.id,
                "spec": chart.spec,
                "temporal": chart.temporal,
                "data": data,
            }))
        }
        Content::Table(table) => Some(json!({
            "id": part.id,
            "limit": table.limit,
            "data": {"rows": rows.first()},
        })),
    }
}

/// What of the parts does not come from rows.
fn texts(parts: &Parts) -> Vec<Value> {
    let parts = parts.parts.iter();
    parts
        .map(|part| match &part.content {
            Content::Text(text) => json!([part.id, text.html]),
            Content::Chart(chart) => json!([part.id, chart.title, chart.description]),
            Content::Table(table) => json!([part.id, table.title, table.description, table.limit]),
        })
        .collect()
}

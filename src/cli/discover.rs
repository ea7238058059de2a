//! `acequia discover`

use acequia::config::source_url::SourceAddress;
use acequia::config::{Document, Source};
use acequia::discovery::{Discovery, FoundTable, TableKind};
use acequia::{Result, discover};

use super::printer::Mark;
use super::{Context, DiscoverArgs, Exit, block_on, figures};

/// The variable that a HubSpot token is taken from, where the address has none.
pub(super) const TOKEN: &str = "HUBSPOT_TOKEN";

pub(crate) fn run(args: &DiscoverArgs, context: &mut Context) -> Result<Exit> {
    let (name, source) = look_up(&args.source, context)?;
    let mut found = block_on(discover(&name, &source))?;
    if !args.all {
        found.tables.retain(|table| table.kind != TableKind::Part);
    }
    let printer = &context.printer;
    if printer.is_json() {
        printer.json(&found)?;
        return Ok(Exit::Ok);
    }
    printer.line(&found.server)?;
    let what = if found.kind == "hubspot" {
        "object"
    } else {
        "table"
    };
    let headings = [what, ">rows", ">size", "key", "cursors", "mode", "why"];
    printer.table(&headings, found.tables.iter().map(row))?;
    for table in &found.tables {
        if let Some(problem) = &table.problem {
            let text = format!("{}: {}", full_name(table), problem);
            printer.marked(Mark::Warning, &text)?;
        }
    }
    tell_changes(&found, context)?;
    Ok(Exit::Ok)
}

fn tell_changes(found: &Discovery, context: &Context) -> Result<()> {
    match &found.no_changes {
        Some(why) => {
            let text = format!("mode = \"cdc\" is not possible as things are: {why}");
            context.printer.marked(Mark::Warning, &text)
        }
        None => Ok(()),
    }
}

/// The source of that name in the configuration, or at that address.
fn look_up(source: &str, context: &Context) -> Result<(String, Source)> {
    if source.contains("://") {
        let address = SourceAddress::parse(source, std::env::var(TOKEN).ok())?;
        return Ok((address.name, address.source));
    }
    let document = Document::read(&context.global.config)?;
    Ok((source.to_owned(), document.source(source)?))
}

/// Its name with its schema.
pub(super) fn full_name(table: &FoundTable) -> String {
    match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    }
}

fn row(table: &FoundTable) -> Vec<String> {
    let none = || "-".to_owned();
    let listed = |names: Vec<String>| {
        if names.is_empty() {
            none()
        } else {
            names.join(", ")
        }
    };
    let cursors = table.cursors.iter().map(|cursor| {
        let index = if cursor.indexed { " (indexed)" } else { "" };
        format!("{}{index}", cursor.column)
    });
    vec![
        full_name(table),
        table.rows.map_or_else(none, figures::count),
        table.bytes.map_or_else(none, figures::bytes),
        listed(table.key.clone()),
        listed(cursors.collect()),
        table.proposal.mode.to_string(),
        table.proposal.why.clone(),
    ]
}

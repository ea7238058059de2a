//! `acequia inspect`: what a load or a Parquet file consists of. Needs neither destination nor source.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use acequia::config::Document;
use acequia::landing::manifest::{FORMAT_VERSION, MANIFEST, MAX_MANIFEST, Manifest};
use acequia::landing::{Landing, LocalParts};
use acequia::names::LoadId;
use acequia::{Error, Result};
use serde::Serialize;

use super::printer::Printer;
use super::{Context, Exit, InspectArgs, block_on, figures};

mod part;

use part::{ColumnSummary, PartSummary, Parts, Sample};

/// Longer cells are cut on the screen. JSON has them whole.
const MAX_CELL: usize = 60;

/// The files to inspect, and the manifest that names them, if there is one.
struct Target {
    location: String,
    manifest: Option<Manifest>,
    files: Vec<PathBuf>,
    /// Keeps copies of remote parts until they have been read.
    _copies: Option<LocalParts>,
}

/// What `--output json` prints.
#[derive(Serialize)]
struct Inspection {
    location: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<Manifest>,
    rows: u64,
    bytes: u64,
    columns: Vec<ColumnSummary>,
    parts: Vec<PartSummary>,
    sample: Sample,
}

pub(crate) fn run(args: &InspectArgs, context: &mut Context) -> Result<Exit> {
    let target = find(&args.what, &context.global.config)?;
    let inspection = inspect(target, args.rows)?;
    if context.printer.is_json() {
        context.printer.json(&inspection)?;
    } else {
        print(&inspection, &context.printer)?;
    }
    Ok(Exit::Ok)
}

/// A path if there is one of that name, else a load's id.
fn find(what: &str, config: &Path) -> Result<Target> {
    let path = Path::new(what);
    if path.is_dir() {
        return load_folder(path);
    }
    if path.is_file() {
        return match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => load_folder(path.parent().unwrap_or(Path::new(""))),
            _ => Ok(Target {
                location: what.to_owned(),
                manifest: None,
                files: vec![path.to_owned()],
                _copies: None,
            }),
        };
    }
    match what.parse() {
        Ok(load_id) => block_on(landed(&load_id, config)),
        Err(_) => Err(Error::config(format!("there is no {what}")).remedy(
            "name a Parquet file, a load's folder, a manifest.json, or a load's id as `acequia status` shows it",
        )),
    }
}

/// A load's folder on this machine.
fn load_folder(folder: &Path) -> Result<Target> {
    let path = folder.join(MANIFEST);
    let shown = path.display();
    let text = read_manifest(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => Error::landing(format!("there is no {shown}")).remedy(
            "a load's folder without one is an unfinished extract, which the next run removes; name a Parquet file to \
             look into it",
        ),
        _ => Error::landing(format!("cannot read {shown}")).cause(error),
    })?;
    let manifest = Manifest::read(&text)
        .map_err(|fault| Error::landing(format!("{shown} is no manifest: {fault}")))?;
    if manifest.format_version > FORMAT_VERSION {
        return Err(Error::landing(format!(
            "{shown} has format version {}, and this acequia knows {FORMAT_VERSION} at most",
            manifest.format_version
        ))
        .remedy(format!("use acequia {} or later", manifest.acequia_version)));
    }
    let mut files = Vec::with_capacity(manifest.parts.len());
    for part in &manifest.parts {
        let mut components = Path::new(&part.path).components();
        match (components.next(), components.next()) {
            (Some(Component::Normal(name)), None) => files.push(folder.join(name)),
            _ => {
                return Err(Error::landing(format!(
                    "{shown} names a part outside its folder"
                )));
            }
        }
    }
    Ok(Target {
        location: folder.display().to_string(),
        manifest: Some(manifest),
        files,
        _copies: None,
    })
}

/// The text of a manifest, or of as much of it as makes none.
fn read_manifest(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?
        .take(MAX_MANIFEST + 1)
        .read_to_end(&mut text)?;
    if text.len() as u64 > MAX_MANIFEST {
        return Err(io::Error::other(format!(
            "it has more than {MAX_MANIFEST} bytes, and no manifest has"
        )));
    }
    Ok(text)
}

/// A load in the landing area of the configuration. Its parts are checked against the manifest.
async fn landed(load_id: &LoadId, config: &Path) -> Result<Target> {
    let area = Document::read(config)?.landing()?;
    let landing = Landing::open(&area.root)?;
    let Some(address) = landing.find(&area.pipeline, load_id).await? else {
        return Err(Error::config(format!(
            "there is no load {load_id} in {}",
            landing.location()
        ))
        .remedy("see `acequia status` for the loads that there are"));
    };
    let location = landing.describe(&address);
    let Some(manifest) = landing.manifest(&address).await? else {
        return Err(Error::landing(format!("{location} has no manifest"))
            .remedy("it is an unfinished extract, which the next run removes"));
    };
    let parts = landing.local_parts(&address, &manifest).await?;
    Ok(Target {
        location,
        manifest: Some(manifest),
        files: parts.files.clone(),
        _copies: Some(parts),
    })
}

fn inspect(target: Target, sample_rows: usize) -> Result<Inspection> {
    let mut parts = Parts::new(sample_rows);
    for file in &target.files {
        parts.read(file).map_err(|cause| {
            Error::landing(format!("cannot read {}", file.display()))
                .cause(cause)
                .remedy("see whether it is a whole Parquet file")
        })?;
    }
    let (mut columns, parts, sample) = parts.finish();
    // The manifest knows acequia's own type names, and has the columns of a load without parts.
    if let Some(manifest) = &target.manifest {
        let mut known: Vec<ColumnSummary> = manifest
            .schema
            .columns
            .iter()
            .map(ColumnSummary::of)
            .collect();
        for column in &mut known {
            if let Some(found) = columns.iter_mut().find(|found| found.name == column.name) {
                column.take_range(found);
            }
        }
        columns = known;
    }
    Ok(Inspection {
        location: target.location,
        rows: parts.iter().map(|part| part.rows).sum(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        manifest: target.manifest,
        columns,
        parts,
        sample,
    })
}

fn print(inspection: &Inspection, printer: &Printer) -> Result<()> {
    printer.line(&inspection.location)?;
    if let Some(manifest) = &inspection.manifest {
        printer.line(summary(manifest))?;
    }
    printer.line(format!(
        "{} rows, {} in {}\n",
        figures::count(inspection.rows),
        figures::bytes(inspection.bytes),
        figures::plural(inspection.parts.len(), "part"),
    ))?;
    let text = |value: &Option<String>| value.as_deref().map_or_else(|| "-".to_owned(), cut);
    printer.table(
        &[
            ">field id",
            "column",
            "type",
            "null",
            ">nulls",
            "min",
            "max",
        ],
        inspection.columns.iter().map(|column| {
            vec![
                column
                    .field_id
                    .map_or_else(|| "-".to_owned(), |id| id.to_string()),
                column.name.clone(),
                column.column_type.clone(),
                if column.nullable { "yes" } else { "no" }.to_owned(),
                column.nulls.map_or_else(|| "-".to_owned(), figures::count),
                text(&column.min),
                text(&column.max),
            ]
        }),
    )?;
    if !inspection.parts.is_empty() {
        printer.line("")?;
        print_row_groups(inspection, printer)?;
    }
    if !inspection.sample.rows.is_empty() {
        printer.line("")?;
        let headings: Vec<&str> = inspection
            .sample
            .columns
            .iter()
            .map(String::as_str)
            .collect();
        let null = || "NULL".to_owned();
        let rows = inspection.sample.rows.iter().map(|row| {
            row.iter()
                .map(|cell| cell.as_deref().map_or_else(null, cut))
                .collect()
        });
        printer.table(&headings, rows)?;
    }
    Ok(())
}

fn print_row_groups(inspection: &Inspection, printer: &Printer) -> Result<()> {
    let rows = inspection.parts.iter().flat_map(|part| {
        part.row_groups.iter().enumerate().map(|(index, group)| {
            vec![
                part.path.clone(),
                index.to_string(),
                figures::count(group.rows),
                figures::bytes(group.compressed),
                figures::bytes(group.uncompressed),
                group.ratio(),
            ]
        })
    });
    printer.table(
        &[
            "part",
            ">row group",
            ">rows",
            ">compressed",
            ">uncompressed",
            ">ratio",
        ],
        rows,
    )
}

fn summary(manifest: &Manifest) -> String {
    let mut lines = vec![
        format!("load        {}", manifest.load_id),
        format!("stream      {} of {}", manifest.stream, manifest.pipeline),
        format!("table       {}", manifest.table),
        format!("mode        {}, {}", manifest.mode, manifest.disposition),
    ];
    if let Some(amends) = &manifest.amends {
        lines.push(format!("amends      {amends}"));
    }
    if !manifest.primary_key.is_empty() {
        lines.push(format!("key         {}", manifest.primary_key.join(", ")));
    }
    if manifest.amends.is_some() && manifest.position_after.is_none() {
        lines.push(format!(
            "position    stays at {}",
            figures::position(manifest.position_before.as_ref())
        ));
    } else if manifest.cursor.is_some() {
        lines.push(format!(
            "position    from {} to {}",
            figures::start(manifest.position_before.as_ref()),
            figures::position(manifest.position_after.as_ref()),
        ));
    }
    lines.push(format!(
        "extracted   {} by acequia {}",
        figures::moment(manifest.extracted_at),
        manifest.acequia_version
    ));
    lines.join("\n")
}

/// A cell on one line, and no longer than fits.
fn cut(text: &str) -> String {
    let mut line: String = text.chars().take(MAX_CELL).collect();
    if line.len() < text.len() {
        line.push('…');
    }
    line.replace('\n', "\\n").replace('\t', "\\t")
}

#[cfg(test)]
mod tests;

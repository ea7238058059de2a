//! What the fuzz targets call, each with bytes as they may come from outside: nothing may panic, and what is taken must hold
//! together. For `fuzz/` and the tests alone; no part of the library's face.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a panic is what a fuzzer looks for"
)]

use std::collections::BTreeMap;

use arrow::array::Array;
use bytes::Bytes;

use crate::config::{Document, Selection};
use crate::evolution::{assign_field_ids, with_misfits};
use crate::exact::decimal;
use crate::landing::LoadAddress;
use crate::landing::manifest::Manifest;
use crate::postgres::binary::{ColumnBuilder, WireType};
use crate::schema::{Schema, samples};
use crate::source::hubspot::builder::{RECORD_COLUMNS, RecordBuilder, record_columns};
use crate::source::hubspot::properties::{Property, PropertyColumn, columns, misfits};
use crate::source::postgres::replication::body;
use crate::source::postgres::replication::pgoutput::{Message, Value, decode};
use crate::source::postgres::text::TextForm;

/// A message of the output plugin.
pub fn pgoutput(bytes: &[u8]) {
    let Ok(Message::Insert { new, .. } | Message::Update { new, .. }) = decode(bytes) else {
        return;
    };
    for value in new.0 {
        if let Value::Text(place) | Value::Binary(place) = value {
            assert!(
                bytes.get(place).is_some(),
                "a value lies outside its message"
            );
        }
    }
}

/// What a connection in replication mode receives: events of the stream, and rows of a query's answer.
pub fn replication_body(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let _ = body::log_event(bytes.clone());
    if let Ok(Some(field)) = body::copied_field(&bytes) {
        assert!(field.len() < bytes.len());
    }
}

/// A field in binary form, of every type.
pub fn binary_field(bytes: &[u8]) {
    for column in samples::columns() {
        for wire in [WireType::Bytea, WireType::Text] {
            let mut builder = ColumnBuilder::new(&column, wire);
            let pushed = builder.push_binary(Some(bytes));
            let array = builder.finish();
            assert!(pushed.is_err() || array.len() == 1 && array.is_valid(0));
        }
    }
}

/// A field in text form, of every type; and a decimal number, which is written as it is read.
pub fn text_field(bytes: &[u8]) {
    for column in samples::columns() {
        for form in [TextForm::Plain, TextForm::Bool, TextForm::Float4] {
            let mut builder = ColumnBuilder::new(&column, WireType::Text);
            let pushed = builder.push_text(Some(bytes), form);
            let array = builder.finish();
            assert!(pushed.is_err() || array.len() == 1 && array.is_valid(0));
        }
    }
    for scale in [0, 2, 38] {
        if let Ok(value) = decimal::parse(bytes, 38, scale) {
            let text = decimal::text(value, scale);
            assert_eq!(decimal::parse(text.as_bytes(), 38, scale), Ok(value));
        }
    }
}

/// A page of records of HubSpot: what is refused leaves nothing behind, and what is taken is JSON.
pub fn hubspot_page(bytes: &[u8]) {
    let (schema, properties) = records();
    let mut builder = RecordBuilder::new(&schema, &properties).unwrap();
    let mut admitted = 0;
    let page = builder.page(bytes, |head| {
        let admits = head.id % 3 != 0;
        admitted += usize::from(admits);
        admits
    });
    let rows = builder.take().unwrap().map_or(0, |batch| batch.num_rows());
    match page {
        Ok(end) => {
            assert!(rows == admitted && rows <= end.records);
            serde_json::from_slice::<serde::de::IgnoredAny>(bytes).unwrap();
        }
        Err(_) => assert_eq!(rows, 0),
    }
}

/// A manifest: what is read is written, and read again.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::read(bytes) else {
        return;
    };
    if let Ok(pipeline) = manifest.pipeline.parse() {
        let address = LoadAddress {
            pipeline,
            stream: manifest.stream.clone(),
            load_id: manifest.load_id.clone(),
        };
        let _ = manifest.check(&address);
    }
    let written = serde_json::to_vec(&manifest).unwrap();
    assert_eq!(Manifest::read(&written).as_ref(), Ok(&manifest));
}

/// A configuration. No error shows what is in it.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(document) = Document::of_text(text) {
        let _ = document.resolve(&Selection::default());
    }
}

/// Records with a property of each type.
fn records() -> (Schema, Vec<PropertyColumn>) {
    let kinds = [
        "string",
        "number",
        "bool",
        "date",
        "datetime",
        "json",
        "enumeration",
    ];
    let properties: Vec<Property> = kinds
        .into_iter()
        .map(|kind| Property {
            name: kind.to_owned(),
            kind: kind.to_owned(),
            ..Property::default()
        })
        .collect();
    let planned = columns(&properties, &RECORD_COLUMNS, &BTreeMap::new());
    let schema = assign_field_ids(None, record_columns(&planned));
    (with_misfits(None, &schema, &misfits(&planned)), planned)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Calls a target with each of its seeds.
    fn take_seeds(target: &str, call: fn(&[u8]), is_sound: fn(&[u8]) -> bool) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/seeds")
            .join(target);
        for seed in std::fs::read_dir(folder).unwrap() {
            let path = seed.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            assert!(is_sound(&bytes), "{}", path.display());
            call(&bytes);
        }
    }

    #[test]
    fn every_target_takes_its_seeds() {
        take_seeds("pgoutput", pgoutput, |bytes| decode(bytes).is_ok());
        take_seeds("replication_body", replication_body, |_| true);
        take_seeds("binary_field", binary_field, |_| true);
        take_seeds("text_field", text_field, |_| true);
        take_seeds("hubspot_page", hubspot_page, |bytes| {
            let (schema, properties) = records();
            let mut builder = RecordBuilder::new(&schema, &properties).unwrap();
            builder.page(bytes, |_| true).is_ok()
        });
        take_seeds("manifest", manifest, |bytes| Manifest::read(bytes).is_ok());
        take_seeds("configuration", configuration, |bytes| {
            Document::of_text(std::str::from_utf8(bytes).unwrap()).is_ok()
        });
    }
}

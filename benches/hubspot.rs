//! A page of a hundred companies of two hundred properties, from JSON to Arrow: as acequia does it, and through a tree of
//! `serde_json` values, into the same columns. Figures are in bytes of JSON a second.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::hint::black_box;

use acequia::internals::hubspot::ColumnBuilder;
use acequia::internals::hubspot::{Property, PropertyColumn, columns, misfits};
use acequia::internals::hubspot::{RECORD_COLUMNS, RecordBuilder, record_columns};
use acequia::internals::{assign_field_ids, with_misfits};
use acequia::schema::Schema;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::Value;
use testkit::HubSpotServer;

const RECORDS: usize = 100;
/// With those that companies have anyway, 200.
const PROPERTIES: usize = 183;

fn json_to_arrow(c: &mut Criterion) {
    let server = HubSpotServer::options()
        .companies(RECORDS as u64)
        .properties(PROPERTIES)
        .start()
        .expect("the server starts");
    let page = server.page("companies", RECORDS).into_bytes();
    let properties = properties(&server);
    let planned = columns(&properties, &RECORD_COLUMNS, &BTreeMap::new());
    let schema = assign_field_ids(None, record_columns(&planned));
    let schema = with_misfits(None, &schema, &misfits(&planned));

    let mut group = c.benchmark_group("hubspot_json_to_arrow");
    group.throughput(Throughput::Bytes(page.len() as u64));
    group.bench_function("acequia", |b| {
        let mut builder = RecordBuilder::new(&schema, &planned).unwrap();
        b.iter(|| {
            builder.page(black_box(&page), |_| true).unwrap();
            builder.take().unwrap()
        });
    });
    group.bench_function("serde_json::Value", |b| {
        let mut builders: Vec<ColumnBuilder> = schema
            .columns
            .iter()
            .map(|column| ColumnBuilder::new(column).unwrap())
            .collect();
        b.iter(|| through_values(black_box(&page), &schema, &planned, &mut builders));
    });
    group.finish();
}

/// The same by a tree: parsed whole, then looked up column by column.
fn through_values(
    page: &[u8],
    schema: &Schema,
    planned: &[PropertyColumn],
    builders: &mut [ColumnBuilder],
) -> usize {
    let page: Value = serde_json::from_slice(page).unwrap();
    let records = page.get("results").and_then(Value::as_array).unwrap();
    let mut names: BTreeMap<&str, (&str, bool)> = BTreeMap::new();
    for (column, key) in
        RECORD_COLUMNS
            .iter()
            .zip(["id", "createdAt", "updatedAt", "archived", "archivedAt"])
    {
        names.insert(column, (key, false));
    }
    for column in planned {
        names.insert(&column.column.name, (&column.property, true));
    }
    for (row, record) in records.iter().enumerate() {
        let properties = record.get("properties").unwrap();
        for (column, builder) in schema.columns.iter().zip(builders.iter_mut()) {
            let value = names
                .get(column.name.as_str())
                .and_then(|(key, is_property)| {
                    if *is_property {
                        properties.get(key)
                    } else {
                        record.get(key)
                    }
                });
            let pushed = match value {
                Some(Value::String(text)) if !text.is_empty() => builder.push(text),
                Some(Value::Bool(flag)) => builder.push(if *flag { "true" } else { "false" }),
                _ => Ok(()),
            };
            pushed.unwrap();
            builder.pad(row + 1);
        }
    }
    builders
        .iter_mut()
        .map(|builder| builder.finish().unwrap().len())
        .sum()
}

/// The properties, as the client would be told them.
fn properties(server: &HubSpotServer) -> Vec<Property> {
    let first: Value = serde_json::from_str(&server.page("companies", 1)).unwrap();
    let kinds = server.portal().property_kinds("companies");
    let record = first
        .pointer("/results/0/properties")
        .and_then(Value::as_object)
        .unwrap();
    record
        .keys()
        .map(|name| Property {
            name: name.clone(),
            kind: kinds.get(name).cloned().unwrap(),
            ..Property::default()
        })
        .collect()
}

criterion_group!(benches, json_to_arrow);
criterion_main!(benches);

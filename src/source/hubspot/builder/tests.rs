use std::collections::BTreeMap;

use arrow::array::{Array, AsArray};
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::evolution::{assign_field_ids, with_misfits};
use crate::source::hubspot::properties::{Property, columns, misfits};

const WHOLE: &str = "{\"results\":[{\"id\":\"7\",\"createdAt\":\"2026-01-01T00:00:00Z\",\"updatedAt\":\"2026-01-02T00:00:00.5Z\",\
                     \"archived\":false,\"beside\":[1,{\"y\":\"}\"}],\"properties\":{\"name\":\"Ca\\u00f1a \\\"y\\\"\",\"amount\":\
                     \"67340.0\",\"other\":null,\"hs_merged_object_ids\":\"5;6\"}},{\"id\":8,\"createdAt\":\
                     \"2026-01-01T00:00:00Z\",\"properties\":{\"amount\":\"N/A\",\"name\":1.50}}],\"paging\":{\"next\":\
                     {\"after\":\"9\",\"link\":\"ñ\"}},\"errors\":[{\"category\":\"OBJECT_NOT_FOUND\",\"context\":{\"ids\":[\"3\",\
                     \"4\"]}}]}";

/// For records with a name and an amount.
fn builder() -> RecordBuilder {
    let properties: Vec<Property> = [("name", "string"), ("amount", "number")]
        .into_iter()
        .map(|(name, kind)| Property {
            name: name.to_owned(),
            kind: kind.to_owned(),
            ..Property::default()
        })
        .collect();
    let planned = columns(&properties, &RECORD_COLUMNS, &BTreeMap::new());
    let schema = assign_field_ids(None, record_columns(&planned));
    let schema = with_misfits(None, &schema, &misfits(&planned));
    RecordBuilder::new(&schema, &planned).unwrap()
}

/// A column of a batch, as text.
fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    let array = batch.column_by_name(column).unwrap();
    let array = arrow::compute::cast(array, &arrow::datatypes::DataType::Utf8).unwrap();
    let texts = array.as_string::<i32>();
    texts.iter().map(|text| text.map(str::to_owned)).collect()
}

fn some(texts: &[&str]) -> Vec<Option<String>> {
    texts.iter().map(|text| Some((*text).to_owned())).collect()
}

#[test]
fn a_page_becomes_rows_and_what_it_says_besides() {
    let mut builder = builder();
    let mut heads = Vec::new();
    let end = builder
        .page(WHOLE.as_bytes(), |head| {
            heads.push((head.id, head.updated_at, head.merged_ids.to_owned()));
            true
        })
        .unwrap();
    assert_eq!(
        end,
        PageEnd {
            after: Some("9".to_owned()),
            records: 2,
            highest: 8,
            missing: vec![3, 4],
        }
    );
    let updated = value::instant("2026-01-02T00:00:00.5Z");
    assert_eq!(
        heads,
        [(7, updated, "5;6".to_owned()), (8, None, String::new())]
    );
    let misfits: Vec<u64> = builder.misfits().map(|(.., count)| count).collect();
    assert_eq!(misfits, [1]);
    let batch = builder.take().unwrap().unwrap();
    assert_eq!(texts(&batch, "id"), some(&["7", "8"]));
    assert_eq!(texts(&batch, "archived"), some(&["false", "false"]));
    assert_eq!(texts(&batch, "name"), some(&["Caña \"y\"", "1.50"]));
    let amounts = batch.column_by_name("amount").unwrap();
    assert!(amounts.is_valid(0) && amounts.is_null(1));
}

#[test]
fn what_is_not_json_is_refused_and_nothing_of_it_is_kept() {
    let mut builder = builder();
    builder.page(WHOLE.as_bytes(), |_| true).unwrap();
    let mut refused: Vec<Vec<u8>> = (0..WHOLE.len())
        .map(|end| WHOLE.as_bytes()[..end].to_vec())
        .collect();
    for broken in [
        "[1,,2]",
        "[1,]",
        "truefalse",
        "{\"b\" 1}",
        "{\"b\":1,}",
        "1-+.e5",
        "01",
        "{\"b\":1:2}",
        "\"uno\ndos\"",
        "\"\\x\"",
        "'uno'",
        "NaN",
        "",
    ] {
        for place in ["[1,{\"y\":\"}\"}]", "\"67340.0\"", "null"] {
            assert!(WHOLE.contains(place));
            refused.push(WHOLE.replacen(place, broken, 1).into_bytes());
        }
    }
    refused.push(format!("{WHOLE}{{").into_bytes());
    refused.push(b"<!DOCTYPE html><html></html>".to_vec());
    refused.push(b"{}".to_vec());
    refused.push(WHOLE.replace("\"7\"", "\"siete\"").into_bytes());
    refused.push(
        WHOLE
            .replace("\"archived\":false", "\"archived\":\"?\"")
            .into_bytes(),
    );
    refused.push(WHOLE.replace("OBJECT_NOT_FOUND", "OTHER").into_bytes());
    refused.push(WHOLE.replace("\\u00f1", "\\ud83d").into_bytes());
    for body in refused {
        let shown = String::from_utf8_lossy(&body).into_owned();
        assert!(builder.page(&body, |_| true).is_err(), "{shown}");
        assert_eq!(builder.rows, 2, "{shown}");
    }
    let batch = builder.take().unwrap().unwrap();
    assert_eq!(texts(&batch, "id"), some(&["7", "8"]));
    assert_eq!(builder.misfits().map(|(.., count)| count).sum::<u64>(), 1);
}

#[test]
fn a_value_that_comes_twice_is_the_last() {
    let mut builder = builder();
    let body = "{\"results\":[{\"id\":\"1\",\"createdAt\":\"2026-01-01T00:00:00Z\",\"properties\":{\"name\":\"uno\",\"name\":\"dos\"}}]}";
    builder.page(body.as_bytes(), |_| true).unwrap();
    let batch = builder.take().unwrap().unwrap();
    assert_eq!(texts(&batch, "name"), some(&["dos"]));
}

/// A value of JSON, of any depth.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn values_are_those_that_a_tree_of_them_has(
        names in prop::collection::vec((json(), prop::collection::btree_map(any::<String>(), json(), 0..6)), 1..5),
        pretty in any::<bool>(),
    ) {
        let mut expected = Vec::new();
        let records: Vec<Value> = names
            .into_iter()
            .enumerate()
            .map(|(id, (name, mut beside))| {
                expected.push(match &name {
                    Value::Null => None,
                    Value::String(text) => Some(text.clone()),
                    other if pretty => Some(serde_json::to_string_pretty(other).unwrap()),
                    other => Some(other.to_string()),
                });
                beside.remove("amount");
                beside.insert("name".to_owned(), name);
                serde_json::json!({"id": id.to_string(), "createdAt": 0, "properties": beside})
            })
            .collect();
        let page = serde_json::json!({"results": records, "beside": expected});
        let text = if pretty {
            serde_json::to_string_pretty(&page).unwrap()
        } else {
            page.to_string()
        };
        let mut builder = builder();
        builder.page(text.as_bytes(), |_| true).unwrap();
        let batch = builder.take().unwrap().unwrap();
        let found = texts(&batch, "name");
        // Lists and objects are indented by where they stand.
        let flat = |text: &Option<String>| text.as_ref().map(|text| text.replace(' ', ""));
        prop_assert_eq!(
            found.iter().map(flat).collect::<Vec<_>>(),
            expected.iter().map(flat).collect::<Vec<_>>()
        );
    }

    #[test]
    fn nothing_that_comes_makes_it_panic(
        body in prop::collection::vec(any::<u8>(), 0..200),
        at in 0..WHOLE.len(),
        byte in any::<u8>(),
    ) {
        let mut builder = builder();
        let _ = builder.page(&body, |_| true);
        let mut changed = WHOLE.as_bytes().to_vec();
        changed[at] = byte;
        let _ = builder.page(&changed, |_| true);
        let _ = builder.take();
    }
}

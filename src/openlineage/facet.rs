//! Facets, of which events and datasets consist. No I/O.

use serde_json::{Value, json};

/// Who makes the events. There is no address for it, but a name.
pub(super) const PRODUCER: &str = concat!("urn:acequia:", env!("CARGO_PKG_VERSION"));

/// A facet: what it says, with who says it and where its form is specified, as in `1-2-0/SchemaDatasetFacet`.
pub(super) fn facet(schema: &str, mut says: Value) -> Value {
    let (_, name) = schema.split_once('/').unwrap_or(("", schema));
    if let Some(says) = says.as_object_mut() {
        says.insert("_producer".to_owned(), json!(PRODUCER));
        let url = format!("https://openlineage.io/spec/facets/{schema}.json#/$defs/{name}");
        says.insert("_schemaURL".to_owned(), json!(url));
    }
    says
}

//! Datasets, named as the naming conventions of `OpenLineage` have it, and what is known of them. No I/O.

use serde_json::{Map, Value, json};

use super::facet::facet;
use crate::evolution::TableSchema;

/// A table, or what a source calls one.
#[derive(Debug, Clone)]
pub(crate) struct Dataset {
    namespace: String,
    name: String,
    facets: Map<String, Value>,
    /// The facets that it has as an input, or as an output.
    own: Option<(&'static str, Map<String, Value>)>,
}

impl Dataset {
    fn new(namespace: String, name: String) -> Self {
        Self {
            namespace,
            name,
            facets: Map::new(),
            own: None,
        }
    }

    /// A table of PostgreSQL. Without a schema the server's search path finds it, which mostly begins with `public`.
    pub(crate) fn postgres(
        (host, port, database): &(String, u16, String),
        schema: Option<&str>,
        table: &str,
    ) -> Self {
        let schema = schema.unwrap_or("public");
        Self::new(
            format!("postgres://{host}:{port}"),
            format!("{database}.{schema}.{table}"),
        )
    }

    /// A table of a file of DuckDB.
    pub(crate) fn duckdb(file: &std::path::Path, schema: &str, table: &str) -> Self {
        let database = file.file_stem().unwrap_or_default().to_string_lossy();
        Self::new(
            format!("duckdb://{}", file.display()),
            format!("{database}.{schema}.{table}"),
        )
    }

    /// A table of Iceberg, as its catalog knows it. Where its files are, the catalog decides.
    pub(crate) fn iceberg(catalog: &str, destination: &str, schema: &str, table: &str) -> Self {
        let mut dataset = Self::new(catalog.to_owned(), format!("{schema}.{table}"));
        dataset.add(
            "catalog",
            "1-1-0/CatalogDatasetFacet",
            json!({"framework": "iceberg", "type": "rest", "name": destination, "metadataUri": catalog}),
        );
        dataset
    }

    /// What HubSpot has of an object. Its accounts all have one address: the source's name tells them apart.
    pub(crate) fn hubspot(base_url: &str, source: &str, object: &str) -> Self {
        let host = base_url
            .split_once("://")
            .map_or(base_url, |(_, host)| host);
        let host = host.trim_end_matches('/');
        Self::new(format!("hubspot://{host}"), format!("{source}.{object}"))
    }

    fn add(&mut self, name: &str, schema: &str, facet_of_it: Value) {
        self.facets
            .insert(name.to_owned(), facet(schema, facet_of_it));
    }

    /// Adds the columns of the source, as far as they are read: by the names and types that it gives them.
    pub(crate) fn with_source_columns(mut self, table: &TableSchema) -> Self {
        let columns = table.columns.iter().filter(|column| !column.retired);
        let columns = columns.map(|column| &column.column);
        let fields: Vec<Value> = columns
            .filter(|column| !is_own(&column.name))
            .map(|column| json!({"name": column.source_name(), "type": column.source_type}))
            .collect();
        self.add(
            "schema",
            "1-2-0/SchemaDatasetFacet",
            json!({"fields": fields}),
        );
        self
    }

    /// Adds the columns of a table and, if it is known what they are made of, of which column each is.
    pub(crate) fn with_columns(mut self, table: &TableSchema, source: Option<&Self>) -> Self {
        let columns = table.columns.iter();
        let fields: Vec<Value> = columns
            .map(|column| json!({"name": column.column.name, "type": column.column.column_type.to_string()}))
            .collect();
        self.add(
            "schema",
            "1-2-0/SchemaDatasetFacet",
            json!({"fields": fields}),
        );
        let Some(source) = source else {
            return self;
        };
        let columns = table.columns.iter().filter(|column| !column.retired);
        let columns = columns.map(|column| &column.column);
        let lineage: Map<String, Value> = columns
            .filter(|column| !is_own(&column.name))
            .map(|column| {
                let transformation = match &column.mask {
                    None => json!({"type": "DIRECT", "subtype": "IDENTITY", "description": "", "masking": false}),
                    Some(mask) => {
                        // A key's identification is nobody's business here.
                        let mask = mask.split(" (").next().unwrap_or_default();
                        let description = format!("mask: {mask}");
                        json!({"type": "DIRECT", "subtype": "TRANSFORMATION", "description": description, "masking": true})
                    }
                };
                let input = json!({
                    "namespace": source.namespace,
                    "name": source.name,
                    "field": column.source_name(),
                    "transformations": [transformation],
                });
                (column.name.clone(), json!({"inputFields": [input]}))
            })
            .collect();
        self.add(
            "columnLineage",
            "1-2-0/ColumnLineageDatasetFacet",
            json!({"fields": lineage}),
        );
        self
    }

    /// Adds how many rows were read of it.
    pub(crate) fn read(mut self, rows: u64) -> Self {
        let statistics = facet(
            "1-0-0/InputStatisticsInputDatasetFacet",
            json!({"rowCount": rows}),
        );
        let facets = Map::from_iter([("inputStatistics".to_owned(), statistics)]);
        self.own = Some(("inputFacets", facets));
        self
    }

    /// Adds how many rows were written to it, and how many bytes of Parquet they were.
    pub(crate) fn written(mut self, rows: u64, bytes: u64) -> Self {
        let statistics = facet(
            "1-0-2/OutputStatisticsOutputDatasetFacet",
            json!({"rowCount": rows, "size": bytes}),
        );
        let facets = Map::from_iter([("outputStatistics".to_owned(), statistics)]);
        self.own = Some(("outputFacets", facets));
        self
    }

    /// As an event has it.
    pub(super) fn json(&self) -> Value {
        let mut dataset = json!({
            "namespace": self.namespace,
            "name": self.name,
            "facets": self.facets,
        });
        if let (Some((name, own)), Some(dataset)) = (&self.own, dataset.as_object_mut()) {
            dataset.insert((*name).to_owned(), json!(own));
        }
        dataset
    }
}

/// Whether a column is acequia's own: no column of a source has its name.
fn is_own(name: &str) -> bool {
    name.starts_with("_acequia_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datasets_are_named_as_other_tools_name_them() {
        let server = ("db.example".to_owned(), 5433, "ventas".to_owned());
        let file = std::path::Path::new("/srv/formacion.duckdb");
        let catalog = "https://catalog.example/api";
        for (dataset, namespace, name) in [
            (
                Dataset::postgres(&server, Some("tienda"), "pedidos"),
                "postgres://db.example:5433",
                "ventas.tienda.pedidos",
            ),
            (
                Dataset::postgres(&server, None, "pedidos"),
                "postgres://db.example:5433",
                "ventas.public.pedidos",
            ),
            (
                Dataset::duckdb(file, "replica", "pedidos"),
                "duckdb:///srv/formacion.duckdb",
                "formacion.replica.pedidos",
            ),
            (
                Dataset::iceberg(catalog, "lake", "replica", "pedidos"),
                catalog,
                "replica.pedidos",
            ),
            (
                Dataset::hubspot("https://api.hubapi.com/", "crm", "deals"),
                "hubspot://api.hubapi.com",
                "crm.deals",
            ),
        ] {
            let json = dataset.json();
            assert_eq!(
                (&json["namespace"], &json["name"]),
                (&json!(namespace), &json!(name))
            );
        }
        let lake = Dataset::iceberg(catalog, "lake", "replica", "pedidos").json();
        assert_eq!(lake["facets"]["catalog"]["framework"], "iceberg");
    }
}

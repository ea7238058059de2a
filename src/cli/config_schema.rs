//! `acequia config-schema`

use acequia::Result;
use acequia::config::model::Config;
use schemars::{Schema, SchemaGenerator};

use super::{Context, Exit};

pub(crate) fn run(context: &mut Context) -> Result<Exit> {
    context.printer.json(&schema())?;
    Ok(Exit::Ok)
}

/// The JSON Schema (draft 2020-12) of `acequia.toml`.
pub(super) fn schema() -> Schema {
    let mut schema = SchemaGenerator::default().into_root_schema_for::<Config>();
    schema.insert("title".to_owned(), "acequia.toml".into());
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_knows_names_durations_and_what_each_kind_wants() {
        let schema = serde_json::to_value(schema()).unwrap();
        let streams = schema["properties"]["streams"].to_string();
        assert!(streams.contains("[A-Za-z_]"), "{streams}");
        let defs = &schema["$defs"];
        for (definition, key) in [
            ("PipelineConfig", "retention"),
            ("PipelineConfig", "part_size"),
            ("DestinationConfig", "wait"),
            ("DestinationConfig", "memory_limit"),
        ] {
            let property = &defs[definition]["properties"][key];
            assert!(property["pattern"].is_string(), "{key}: {property}");
        }
        let rules = defs["DestinationConfig"]["allOf"].to_string();
        assert!(rules.contains("path") && rules.contains("url"), "{rules}");
        assert_eq!(defs["SourceConfig"]["allOf"].as_array().unwrap().len(), 2);
        assert_eq!(defs["StreamConfig"]["oneOf"].as_array().unwrap().len(), 4);
    }

    #[test]
    fn the_schema_has_a_title_and_describes_every_key() {
        let schema = serde_json::to_value(schema()).unwrap();
        assert_eq!(
            schema["$schema"],
            "https://json-schema.org/draft/2020-12/schema"
        );
        assert_eq!(schema["title"], "acequia.toml");
        for definition in [
            "PipelineConfig",
            "DestinationConfig",
            "SourceConfig",
            "StreamConfig",
        ] {
            let definition = &schema["$defs"][definition];
            assert_eq!(definition["additionalProperties"], false);
            for (key, property) in definition["properties"].as_object().unwrap() {
                assert!(property["description"].is_string(), "{key}: {property}");
            }
        }
    }
}

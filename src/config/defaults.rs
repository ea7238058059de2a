//! `[defaults]`: keys that a stream has unless it gives them itself, and where they have a meaning for it. No I/O.
//!
//! They are put into the text's own tree before it is read, so that a mistake is told with its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Keys that only a stream of HubSpot's source does not have.
const SQL_KEYS: [&str; 2] = ["parallel", "row_security"];
/// Keys that only an incremental stream of PostgreSQL has.
const CURSOR_KEYS: [&str; 2] = ["cursor", "null_cursor"];
/// Keys that only a stream of changes has.
const CHANGE_KEYS: [&str; 2] = ["deletes", "changelog"];

/// Gives every stream the keys of `[defaults]` that it lacks.
pub(super) fn apply(document: &mut DeTable<'_>) {
    let Some(DeValue::Table(defaults)) = document.get("defaults").map(Spanned::get_ref) else {
        return;
    };
    let defaults = defaults.clone();
    let kinds = document.get("sources").map(Spanned::get_ref).cloned();
    let Some(DeValue::Table(streams)) = document.get_mut("streams").map(Spanned::get_mut) else {
        return;
    };
    let names: Vec<_> = streams.keys().cloned().collect();
    for name in names {
        let Some(DeValue::Table(stream)) = streams.get_mut(&name).map(Spanned::get_mut) else {
            continue;
        };
        let given = |key: &str, stream: &DeTable<'_>| {
            text(stream.get(key).or_else(|| defaults.get(key))).map(str::to_owned)
        };
        let source = given("source", stream);
        let mode = given("mode", stream);
        let is_hubspot = source.is_some_and(|source| is_hubspot(kinds.as_ref(), &source));
        let has = |key: &str| {
            let mode = mode.as_deref();
            if CURSOR_KEYS.contains(&key) {
                mode == Some("incremental") && !is_hubspot
            } else if key == "lag" {
                mode == Some("incremental")
            } else if CHANGE_KEYS.contains(&key) {
                mode == Some("cdc") && !is_hubspot
            } else {
                !is_hubspot || !SQL_KEYS.contains(&key)
            }
        };
        for (key, value) in &defaults {
            if !stream.contains_key(key.get_ref().as_ref()) && has(key.get_ref()) {
                stream.insert(key.clone(), value.clone());
            }
        }
    }
}

fn is_hubspot(sources: Option<&DeValue<'_>>, name: &str) -> bool {
    let Some(DeValue::Table(sources)) = sources else {
        return false;
    };
    match sources.get(name).map(Spanned::get_ref) {
        Some(DeValue::Table(source)) => text(source.get("kind")) == Some("hubspot"),
        _ => false,
    }
}

fn text<'a>(value: Option<&'a Spanned<DeValue<'_>>>) -> Option<&'a str> {
    match value?.get_ref() {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Document;
    use crate::config::model::{Scalar, StreamConfig};
    use crate::mode::Mode;

    const HEAD: &str = "[pipeline]\nname = \"p\"\ndataset = \"d\"\ndestination = \"w\"\n\
                        [destinations.w]\nkind = \"duckdb\"\npath = \"w.duckdb\"\n\
                        [sources.s]\nkind = \"postgres\"\nurl = \"u\"\n\
                        [sources.h]\nkind = \"hubspot\"\ntoken = \"t\"\n\
                        [defaults]\nsource = \"s\"\nmode = \"incremental\"\ncursor = \"updated_at\"\nlag = \"10m\"\n\
                        changelog = true\nparallel = 2\n";

    fn stream(lines: &str) -> StreamConfig {
        let text = format!("{HEAD}[streams.x]\n{lines}");
        let document = Document::of_text(&text).map_err(|error| error.report());
        document
            .unwrap()
            .config()
            .streams
            .values()
            .next()
            .unwrap()
            .clone()
    }

    #[test]
    fn a_stream_has_the_defaults_that_mean_something_to_it() {
        let plain = stream("table = \"t\"\n");
        assert_eq!(
            (plain.source.as_str(), plain.mode),
            ("s", Mode::Incremental)
        );
        assert_eq!(plain.cursor.as_deref(), Some("updated_at"));
        assert_eq!(plain.lag, Some(Scalar::Text("10m".to_owned())));
        assert_eq!(plain.changelog, None);

        let full = stream("table = \"t\"\nmode = \"full\"\n");
        assert_eq!((full.cursor, full.lag), (None, None));
        let cdc = stream("table = \"t\"\nmode = \"cdc\"\n");
        assert_eq!((cdc.cursor, cdc.changelog), (None, Some(true)));
        let own = stream("table = \"t\"\ncursor = \"id\"\nparallel = 1\n");
        assert_eq!(own.cursor.as_deref(), Some("id"));
        assert_eq!(own.parallel.map(usize::from), Some(1));
        let hubspot = stream("source = \"h\"\nobject = \"companies\"\n");
        assert_eq!((hubspot.cursor, hubspot.parallel), (None, None));
        assert!(hubspot.lag.is_some());
    }

    #[test]
    fn a_wrong_default_is_told_with_its_own_place() {
        let text = HEAD.replace("\"incremental\"", "\"secret\"") + "[streams.x]\ntable = \"t\"\n";
        let error = Document::of_text(&text).map(drop).unwrap_err().report();
        assert!(error.contains("acequia.toml:16:8"), "{error}");
        assert!(!error.contains("secret"), "{error}");
        let text = HEAD.replace("parallel", "paralel");
        let error = Document::of_text(&text).map(drop).unwrap_err().report();
        assert!(error.contains("did you mean `parallel`?"), "{error}");
    }
}

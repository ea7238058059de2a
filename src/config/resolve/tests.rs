use super::*;
use crate::config::postgres::{ColumnSelection, Cursor, Relation, TableName};
use crate::config::{CatalogAccess, NullCursor, Source, StreamSource, Target};
use crate::mode::{Disposition, Mode};
use crate::position::Lag;

const HEAD: &str = r#"
[pipeline]
name = "formacion"
dataset = "replica"
destination = "duckdb"

[destinations.duckdb]
kind = "duckdb"
path = "formacion.duckdb"

[destinations.other]
kind = "duckdb"
path = "${ACEQUIA_T_UNSET_PATH}"

[sources.operativa]
kind = "postgres"
url = "${ACEQUIA_T_URL}"

[sources.unused]
kind = "postgres"
url = "${ACEQUIA_T_UNSET_URL}"
"#;

fn document(text: &str) -> (tempfile::TempDir, Document) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join(".env"),
        "ACEQUIA_T_URL='postgres://u:secret@h/db'\n",
    )
    .unwrap();
    let path = folder.path().join("acequia.toml");
    std::fs::write(&path, text).unwrap();
    let document = Document::read(&path)
        .map_err(|error| error.report())
        .unwrap();
    (folder, document)
}

fn resolve(text: &str) -> Result<Pipeline, String> {
    let (folder, document) = document(text);
    document.resolve(&Selection::default()).map_err(|error| {
        error
            .report()
            .replace(&folder.path().display().to_string(), "…")
    })
}

/// The one stream of a configuration, with these lines.
fn stream(lines: &str) -> Result<Stream, String> {
    resolve(&format!(
        "{HEAD}\n[streams.ventas]\nsource = \"operativa\"\n{lines}"
    ))
    .map(|pipeline| pipeline.streams.into_iter().next().unwrap())
}

const CURSOS: &str =
    "\n[streams.cursos]\nsource = \"operativa\"\ntable = \"public.cursos\"\nmode = \"full\"\n";

#[test]
fn a_pipeline_has_its_paths_made_absolute_and_its_variables_filled_in() {
    let (folder, document) = document(&format!("{HEAD}{CURSOS}"));
    let pipeline = document.resolve(&Selection::default()).unwrap();
    assert_eq!(
        pipeline.landing,
        folder.path().join("landing").to_str().unwrap()
    );
    assert_eq!(pipeline.part_size, 256_000_000);
    assert_eq!(pipeline.retention, None);
    let Target::DuckDb { path, memory_limit } = &pipeline.destination.target else {
        panic!("not DuckDB");
    };
    assert_eq!(*path, folder.path().join("formacion.duckdb"));
    assert_eq!(*memory_limit, None);
    let mut sources = pipeline.sources();
    assert_eq!(sources.keys().collect::<Vec<_>>(), [&"operativa"]);
    let Some(Ok(Source::Postgres(source))) = sources.remove("operativa") else {
        panic!("not PostgreSQL");
    };
    assert_eq!(source.url.uri.reveal(), "postgres://u:secret@h/db");
}

#[test]
fn a_destination_of_postgresql_has_a_url_and_nothing_of_duckdb() {
    let with = |keys: &str| {
        let text = format!("{HEAD}{CURSOS}\n[destinations.almacen]\nkind = \"postgres\"\n{keys}\n");
        let (_folder, document) = document(&text);
        document.resolve(&Selection {
            streams: Vec::new(),
            destination: Some("almacen".to_owned()),
        })
    };
    let pipeline = with("url = \"${ACEQUIA_T_URL}\"").unwrap();
    let Target::Postgres { url } = &pipeline.destination.target else {
        panic!("not PostgreSQL");
    };
    assert_eq!(url.uri.reveal(), "postgres://u:secret@h/db");
    assert!(!format!("{pipeline:?}").contains("secret"));
    for (keys, told) in [
        ("", "[destinations.almacen] url: it is missing"),
        ("url = \"mysql://h/db\"", "this is no connection URI"),
        (
            "url = \"postgres://h/db\"\npath = \"x\"\nmemory_limit = \"1GB\"",
            "2 things are wrong",
        ),
    ] {
        let report = with(keys).unwrap_err().report();
        assert!(report.contains(told), "{report}");
    }
    let text = format!("{HEAD}{CURSOS}").replacen(
        "kind = \"duckdb\"",
        "kind = \"duckdb\"\nurl = \"postgres://h/db\"",
        1,
    );
    let report = resolve(&text).unwrap_err();
    assert!(
        report.contains("no meaning with kind = \"duckdb\""),
        "{report}"
    );
}

#[test]
fn a_lake_has_a_catalog_a_warehouse_and_what_the_catalog_is_shown() {
    let with = |keys: &str| {
        let text = format!("{HEAD}{CURSOS}\n[destinations.lake]\nkind = \"iceberg\"\n{keys}\n");
        let (folder, document) = document(&text);
        let pipeline = document.resolve(&Selection {
            streams: Vec::new(),
            destination: Some("lake".to_owned()),
        });
        (folder, pipeline)
    };
    let lake = |keys: &str| {
        let (folder, pipeline) = with(keys);
        let pipeline = pipeline.unwrap();
        assert!(!format!("{pipeline:?}").contains("u:secret"));
        let Target::Iceberg(lake) = pipeline.destination.target else {
            panic!("not a lake");
        };
        (folder, lake)
    };
    let least = "catalog = \"https://c/api/v1/\"\nwarehouse = \"w\"\n";
    let (folder, found) = lake(&format!(
        "{least}credential = \"id:${{ACEQUIA_T_URL}}\"\nextensions = \"ext\"\nengine = \"duckdb\"\nmemory_limit = \"1GB\""
    ));
    assert_eq!(
        (found.catalog.as_str(), found.warehouse.as_str()),
        ("https://c/api", "w")
    );
    assert_eq!(found.extensions, Some(folder.path().join("ext")));
    assert_eq!(found.memory_limit, Some(1_000_000_000));
    let CatalogAccess::Credential {
        id,
        secret,
        oauth2_uri,
        scope,
    } = &found.access
    else {
        panic!("no credential");
    };
    assert_eq!(
        (id.as_str(), secret.reveal()),
        ("id", "postgres://u:secret@h/db")
    );
    assert_eq!(oauth2_uri, "https://c/api/v1/oauth/tokens");
    assert_eq!(scope, "PRINCIPAL_ROLE:ALL");
    let (_folder, found) = lake(&format!("{least}token = \"${{ACEQUIA_T_URL}}\""));
    assert!(matches!(found.access, CatalogAccess::Token(_)));
    assert!(matches!(lake(least).1.access, CatalogAccess::Open));
}

#[test]
fn keys_of_a_lake_that_do_not_go_together_are_refused_with_a_remedy() {
    let least = "catalog = \"https://c/api/v1/\"\nwarehouse = \"w\"\n";
    for (keys, told) in [
        (
            "warehouse = \"w\"",
            "[destinations.lake] catalog: it is missing",
        ),
        (
            "catalog = \"https://c\"",
            "[destinations.lake] warehouse: it is missing",
        ),
        (
            "catalog = \"c\"\nwarehouse = \"w\"",
            "catalog: this is no address",
        ),
        (
            "catalog = \"http://c\"\nwarehouse = \"w\"",
            "set insecure_http = true",
        ),
        (
            &format!("{least}engine = \"sc://spark:15002\""),
            if cfg!(feature = "spark") {
                "[destinations.lake] engine: the engine does not see the landing area"
            } else {
                "[destinations.lake] engine: this acequia was built without Spark Connect"
            },
        ),
        (
            &format!("{least}engine = \"spark\""),
            "there is no such engine",
        ),
        (
            &format!("{least}engine_catalog = \"lake\""),
            "engine_catalog: it has no meaning where DuckDB writes the rows",
        ),
        (
            &format!("{least}credential = \"id\""),
            "[destinations.lake] credential: there is no `:` in it",
        ),
        (
            &format!("{least}credential = \"a:b\"\ntoken = \"t\""),
            "credential: there is a `token` as well",
        ),
        (
            &format!("{least}scope = \"x\""),
            "[destinations.lake] scope: it has no meaning without `credential`",
        ),
        (
            &format!("{least}path = \"x\"\nurl = \"y\""),
            "2 things are wrong",
        ),
        (
            &format!("{least}warehose = \"w\""),
            "did you mean `warehouse`?",
        ),
    ] {
        let text = format!("{HEAD}{CURSOS}\n[destinations.lake]\nkind = \"iceberg\"\n{keys}\n");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("acequia.toml");
        std::fs::write(
            folder.path().join(".env"),
            "ACEQUIA_T_URL='postgres://u@h/db'\n",
        )
        .unwrap();
        std::fs::write(&path, text).unwrap();
        let selection = Selection {
            streams: Vec::new(),
            destination: Some("lake".to_owned()),
        };
        let resolved = Document::read(&path).and_then(|document| document.resolve(&selection));
        let report = resolved.unwrap_err().report();
        assert!(report.contains(told), "{report}");
    }
    let text = format!("{HEAD}{CURSOS}").replacen(
        "kind = \"duckdb\"",
        "kind = \"duckdb\"\nwarehouse = \"w\"",
        1,
    );
    let report = resolve(&text).unwrap_err();
    assert!(
        report.contains("warehouse: it has no meaning with kind = \"duckdb\"")
            && report.contains("use kind = \"iceberg\""),
        "{report}"
    );
}

#[test]
fn what_is_not_in_use_need_not_be_set() {
    let other = format!(
        "{HEAD}{CURSOS}\n[streams.x]\nsource = \"unused\"\ntable = \"${{ACEQUIA_T_UNSET}}\"\nmode = \"full\"\n"
    );
    let (_folder, document) = document(&other);
    let only = |name: &str| Selection {
        streams: vec![name.to_owned()],
        destination: None,
    };
    assert_eq!(document.resolve(&only("cursos")).unwrap().streams.len(), 1);
    assert!(document.landing().is_ok());

    let report = document.resolve(&only("x")).unwrap_err().report();
    assert!(report.contains("2 things are wrong"), "{report}");
    assert!(
        report.contains("- [streams.x] table: the variable ACEQUIA_T_UNSET is not set"),
        "{report}"
    );
    assert!(
        report.contains("- [sources.unused] url: the variable ACEQUIA_T_UNSET_URL is not set"),
        "{report}"
    );
    assert!(
        report.contains("export ACEQUIA_T_UNSET_URL, or write a line"),
        "{report}"
    );

    let other = Selection {
        destination: Some("other".to_owned()),
        ..only("cursos")
    };
    let report = document.resolve(&other).unwrap_err().report();
    assert!(
        report.contains("[destinations.other] path: the variable ACEQUIA_T_UNSET_PATH"),
        "{report}"
    );
}

#[test]
fn without_sources_no_variable_of_a_source_is_needed() {
    let text = format!("{HEAD}{CURSOS}").replace("ACEQUIA_T_URL", "ACEQUIA_T_UNSET");
    let (_folder, document) = document(&text);
    assert!(document.resolve(&Selection::default()).is_err());
    let pipeline = document
        .resolve_without_sources(&Selection::default())
        .unwrap();
    assert_eq!(pipeline.streams.len(), 1);
    let report = pipeline.streams[0].from.source().unwrap_err().report();
    assert!(
        report.contains("[sources.operativa] url: the variable ACEQUIA_T_UNSET is not set"),
        "{report}"
    );
}

#[test]
fn an_unknown_name_is_answered_with_the_known_ones() {
    let (_folder, document) = document(&format!("{HEAD}{CURSOS}"));
    let selection = Selection {
        streams: vec!["curso".to_owned()],
        destination: Some("postgres".to_owned()),
    };
    insta::assert_snapshot!(document.resolve(&selection).unwrap_err().report(), @r"
    acequia.toml: 2 things are wrong
    - --destination: there is no destination `postgres`
      remedy: the destinations are duckdb and other
    - there is no stream `curso`; did you mean `cursos`?
      remedy: the streams are cursos
    ");
}

#[test]
fn a_stream_comes_out_as_it_was_meant() {
    let ventas = stream(
        "table = 'ventas.\"v.1\"'\nmode = \"incremental\"\ncursor = \"updated_at\"\nlag = \"10m\"\n\
         initial_value = 2024-01-01T00:00:00Z\nprimary_key = \"id\"\nnull_cursor = \"include\"\n\
         destination_table = \"hechos\"\nparallel = 2\nwhere = \"id > 0\"\nexclude = [\"nota\"]\n",
    )
    .unwrap();
    assert_eq!(
        (ventas.mode(), ventas.disposition()),
        (Mode::Incremental, Disposition::Merge)
    );
    assert_eq!(ventas.primary_key(), Some(["id".to_owned()].as_slice()));
    assert_eq!(ventas.table, "hechos");
    let StreamSource::Rows(rows) = ventas.from else {
        panic!("not rows");
    };
    assert_eq!(
        rows.relation,
        Relation::Table(TableName {
            schema: Some("ventas".to_owned()),
            name: "v.1".to_owned()
        })
    );
    assert_eq!(
        rows.cursor(),
        Some(&Cursor {
            column: "updated_at".to_owned(),
            initial_value: Some("2024-01-01T00:00:00Z".to_owned()),
            lag: Some(Lag::Time(chrono::TimeDelta::minutes(10))),
            nulls: NullCursor::Include,
        })
    );
    let excluded = ColumnSelection::Except(vec!["nota".to_owned()]);
    assert_eq!(rows.columns.selected, excluded);

    let query = stream(
        "query = \"SELECT 1 AS id ;\\n\"\nmode = \"incremental\"\ncursor = \"id\"\nlag = 5\ndisposition = \"append\"\n",
    )
    .unwrap();
    assert_eq!(query.disposition(), Disposition::Append);
    let StreamSource::Rows(query) = query.from else {
        panic!("not rows");
    };
    assert_eq!(query.relation, Relation::Query("SELECT 1 AS id".to_owned()));
    assert_eq!(query.cursor().unwrap().lag, Some(Lag::Units(5)));
}

/// That a stream with these lines is refused, and what the report says first.
fn refuses(lines: &str, expected: &str) {
    let report = stream(lines).unwrap_err();
    let expected = format!("acequia.toml: [streams.ventas] {expected}");
    assert!(report.starts_with(&expected), "{lines}\n{report}");
    assert!(report.contains("\n  remedy: "), "{report}");
}

#[test]
fn keys_that_do_not_go_together_are_refused_with_a_remedy() {
    let full = "table = \"t\"\nmode = \"full\"\n";
    let incremental = "table = \"t\"\nmode = \"incremental\"\ncursor = \"c\"\n";
    for (lines, expected) in [
        (
            "mode = \"full\"\n".to_owned(),
            "table: the stream has neither a table nor a query",
        ),
        (
            format!("{full}query = \"SELECT 1\"\n"),
            "table: the stream has a query as well",
        ),
        (
            "table = \"a.b.c\"\nmode = \"full\"\n".to_owned(),
            "table: it has more than two parts",
        ),
        (
            "table = \"\"\nmode = \"full\"\n".to_owned(),
            "table: a part of the name is empty",
        ),
        (
            "query = \" ; \"\nmode = \"full\"\n".to_owned(),
            "query: it is empty",
        ),
        (
            format!("{full}cursor = \"c\"\n"),
            "cursor: it has no meaning with mode = \"full\"",
        ),
        (
            format!("{full}initial_value = 1\n"),
            "initial_value: it has no meaning",
        ),
        (format!("{full}lag = 1\n"), "lag: it has no meaning"),
        (
            format!("{full}null_cursor = \"error\"\n"),
            "null_cursor: it has no meaning",
        ),
        (
            format!("{full}disposition = \"append\"\n"),
            "disposition: full reads every row each time, so append",
        ),
        (
            format!("{full}disposition = \"merge\"\n"),
            "disposition: full reads every row, so its table is replaced",
        ),
        (
            "table = \"t\"\nmode = \"incremental\"\n".to_owned(),
            "cursor: mode = \"incremental\" needs one",
        ),
        (
            format!("{incremental}disposition = \"replace\"\n"),
            "disposition: incremental reads only what has changed",
        ),
        (format!("{incremental}lag = -1\n"), "lag: it is negative"),
        (
            format!("{incremental}lag = \"10\"\n"),
            "lag: this is no duration",
        ),
    ] {
        refuses(&lines, expected);
    }
}

#[test]
fn columns_that_contradict_each_other_are_refused_with_a_remedy() {
    let full = "table = \"t\"\nmode = \"full\"\n";
    let incremental = "table = \"t\"\nmode = \"incremental\"\ncursor = \"c\"\n";
    for (lines, expected) in [
        (
            format!("{incremental}primary_key = []\n"),
            "primary_key: it names no column",
        ),
        (
            format!("{incremental}primary_key = [\"a\", \"a\"]\n"),
            "primary_key: it names the column `a` twice",
        ),
        (
            format!("{incremental}exclude = [\"c\"]\n"),
            "cursor: exclude leaves the column `c` out",
        ),
        (
            format!("{incremental}columns = [\"a\"]\n"),
            "cursor: the column `c` is not among columns",
        ),
        (
            format!("{incremental}primary_key = \"k\"\nexclude = [\"k\"]\n"),
            "primary_key: exclude leaves the column `k` out",
        ),
        (
            format!("{full}columns = [\"a\"]\n[streams.ventas.types]\nb = \"text\"\n"),
            "types: the column `b` is not among columns",
        ),
        (
            format!("{full}columns = [\"a\"]\nexclude = [\"b\"]\n"),
            "exclude: columns says already",
        ),
        (
            format!("{full}columns = []\n"),
            "columns: it names no column",
        ),
        (format!("{full}where = \" \"\n"), "where: it is empty"),
        (
            format!("{full}destination_table = \"_Acequia_x\"\n"),
            "destination_table: names that begin with",
        ),
        (
            format!("{full}destination_table = \"{}\"\n", "x".repeat(64)),
            "destination_table: a name has 1 to 63 bytes",
        ),
        (
            "query = \"SELECT 1\"\nmode = \"incremental\"\ncursor = \"c\"\n".to_owned(),
            "primary_key: this disposition needs a key, and a query has none",
        ),
    ] {
        refuses(&lines, expected);
    }
}

#[test]
fn the_pipeline_and_its_places_are_checked() {
    for (from, to, expected) in [
        (
            "\"replica\"",
            "\"_acequia\"",
            "[pipeline] dataset: names that begin with",
        ),
        (
            "\"replica\"",
            "\"\"",
            "[pipeline] dataset: a name has 1 to 63 bytes",
        ),
        (
            "\"replica\"",
            "\"information_schema\"",
            "[pipeline] dataset: this schema belongs to",
        ),
        (
            "\"replica\"",
            "\"r\"\npart_size = \"1KB\"",
            "[pipeline] part_size: it is less than 1MB",
        ),
        (
            "\"replica\"",
            "\"r\"\npart_size = \"big\"",
            "[pipeline] part_size: this is no size",
        ),
        (
            "\"replica\"",
            "\"r\"\nretention = \"30 days\"",
            "[pipeline] retention: this is no duration",
        ),
        (
            "\"replica\"",
            "\"r\"\nlanding = \"\"",
            "[pipeline] landing: it is empty",
        ),
        (
            "destination = \"duckdb\"",
            "destination = \"dukdb\"",
            "[pipeline] destination: there is no destination `dukdb`",
        ),
        (
            "path = \"formacion.duckdb\"",
            "",
            "[destinations.duckdb] path: it is missing",
        ),
        (
            "\"formacion.duckdb\"",
            "\":memory:\"",
            "[destinations.duckdb] path: a database in memory",
        ),
        (
            "\"${ACEQUIA_T_URL}\"",
            "\"mysql://secret\"",
            "[sources.operativa] url: this is no connection URI",
        ),
        (
            "\"${ACEQUIA_T_URL}\"",
            "\"secret${\"",
            "[sources.operativa] url: `${` is not followed by",
        ),
        (
            "url = \"${ACEQUIA_T_URL}\"",
            "",
            "[sources.operativa] url: it is missing",
        ),
        (
            "source = \"operativa\"",
            "source = \"operativ\"",
            "[streams.cursos] source: there is no source `operativ`",
        ),
    ] {
        let report = resolve(&format!("{HEAD}{CURSOS}").replace(from, to))
            .map(drop)
            .unwrap_err();
        assert!(
            report.starts_with(&format!("acequia.toml: {expected}")),
            "{report}"
        );
        assert!(report.contains("\n  remedy: "), "{report}");
        assert!(!report.contains("secret"), "{report}");
    }
    let report = resolve(HEAD).map(drop).unwrap_err();
    assert!(
        report.contains("[streams]: there are no streams"),
        "{report}"
    );
}

#[test]
fn a_landing_area_in_an_object_store_stays_a_url() {
    let text =
        format!("{HEAD}{CURSOS}").replace("\"replica\"", "\"r\"\nlanding = \"s3://bucket/prefix\"");
    assert_eq!(resolve(&text).unwrap().landing, "s3://bucket/prefix");
}

#[test]
fn two_streams_do_not_share_a_table() {
    let text = format!(
        "{HEAD}{CURSOS}destination_table = \"t\"\n{}",
        CURSOS.replace(".cursos]", ".T]")
    );
    let report = resolve(&text).map(drop).unwrap_err();
    insta::assert_snapshot!(report, @r"
    acequia.toml: [streams.cursos] destination_table: the streams T and cursos would both be loaded into the table t
      remedy: give one of them another destination_table
    ");
}

const CRM: &str = "\n[sources.crm]\nkind = \"hubspot\"\ntoken = \"pat-x\"\n";

#[test]
fn a_stream_of_hubspot_comes_to_a_stream_for_each_table() {
    let pipeline = resolve(&format!(
        "{HEAD}{CRM}[streams.companies]\nsource = \"crm\"\nobject = \"companies\"\nmode = \"incremental\"\n\
         history = \"city\"\nassociations = [\"contacts\", \"2-123\"]\ndestination_table = \"empresas\"\n"
    ))
    .unwrap();
    let found: Vec<(&str, &str, Mode)> = pipeline
        .streams
        .iter()
        .map(|stream| (stream.name.as_str(), stream.table.as_str(), stream.mode()))
        .collect();
    assert_eq!(
        found,
        [
            ("companies", "empresas", Mode::Incremental),
            ("companies__history", "empresas__history", Mode::Incremental),
            ("companies__contacts", "empresas__contacts", Mode::Full),
            ("companies__2_123", "empresas__2_123", Mode::Full),
        ]
    );
    assert!(!format!("{pipeline:?}").contains("pat-x"));
}

#[test]
fn keys_of_one_kind_of_source_are_refused_with_another() {
    let crm = |lines: &str| {
        resolve(&format!(
            "{HEAD}{CRM}[streams.s]\nsource = \"crm\"\nmode = \"full\"\n{lines}"
        ))
        .unwrap_err()
    };
    assert!(crm("").contains("[streams.s] object: it is missing"));
    assert!(crm("object = \"companies\"\ntable = \"x\"\n").contains("[streams.s] table:"));
    assert!(crm("object = \"a b\"\n").contains("no object of HubSpot"));
    assert!(crm("object = \"owners\"\nhistory = \"x\"\n").contains("read in full"));
    assert!(crm("object = \"owners\"\nexclude = [\"x\"]\n").contains("read in full"));
    assert!(crm("object = \"owners\"\ntypes.x = \"text\"\n").contains("read in full"));
    let incremental = |lines: &str| {
        let head =
            "[streams.s]\nsource = \"crm\"\nobject = \"companies\"\nmode = \"incremental\"\n";
        resolve(&format!("{HEAD}{CRM}{head}{lines}")).unwrap_err()
    };
    assert!(incremental("lag = 5\n").contains("[streams.s] lag: this is no duration"));
    assert!(incremental("initial_value = \"5\"\n").contains("initial_value: this is no time"));
    let sql = stream("table = \"t\"\nmode = \"full\"\nobject = \"companies\"\n").unwrap_err();
    assert!(sql.contains("[streams.ventas] object:"));
}

#[test]
fn a_table_beside_another_is_not_shared() {
    let error = resolve(&format!(
        "{HEAD}{CRM}[streams.s]\nsource = \"crm\"\nobject = \"companies\"\nmode = \"full\"\nassociations = \"deals\"\n\
         [streams.s__deals]\nsource = \"crm\"\nobject = \"deals\"\nmode = \"full\"\n"
    ))
    .unwrap_err();
    assert!(
        error.contains("both be loaded into the table s__deals"),
        "{error}"
    );
}

//! What stands in the way is told with its remedy, and nothing is half written.

use std::fs;

use serde_json::json;

use super::Shore;
use crate::support::CURSOS_AND_VENTAS;

/// What a run, which must fail, says, and what `check` does.
fn told(shore: &Shore) -> String {
    let run = shore.acequia(&["run"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    let check = shore.acequia(&["check"]);
    assert_eq!(check.status, Some(1), "{check:?}");
    assert!(!run.stderr.contains("panicked") && !check.stderr.contains("panicked"));
    assert!(!run.stderr.contains("secreto-del-lago"), "{run:?}");
    run.stderr
}

fn assert_told(shore: &Shore, words: &[&str]) {
    let told = told(shore);
    for word in words {
        assert!(told.contains(word), "{word} is not in: {told}");
    }
}

/// No table, and no load that would wait to be applied.
fn assert_nothing(shore: &Shore) {
    assert!(shore.lake.tables(&shore.dataset).unwrap().is_empty());
    assert!(shore.loads("ventas").is_empty(), "nothing was extracted");
}

fn shore(name: &str) -> Shore {
    Shore::operational(name, 50, CURSOS_AND_VENTAS)
}

#[test]
fn a_catalog_that_cannot_be_reached() {
    let shore = shore("sin_catalogo").at("http://127.0.0.1:1");
    assert_told(
        &shore,
        &[
            "destination lago",
            "http://127.0.0.1:1",
            "cannot be reached",
            "`catalog`",
        ],
    );
    assert_nothing(&shore);
}

#[test]
fn an_address_that_is_no_catalogs() {
    let shore = shore("otro_servicio");
    let s3 = shore.lake.endpoint();
    let shore = shore.at(&s3);
    assert_told(&shore, &[&s3, "`catalog`"]);
    assert_nothing(&shore);
}

#[test]
fn a_credential_that_is_wrong() {
    let mut shore = shore("credencial");
    shore.set("LAGO", "ACEQUIALAKEKEY:otra-clave");
    assert_told(&shore, &["destination lago", "`credential`"]);
    let credential = shore.lake.credential();
    shore.set("LAGO", &credential);
    assert_nothing(&shore);
}

#[test]
fn keys_of_the_object_storage_that_are_wrong_or_missing() {
    let mut shore = shore("claves");
    shore.set("AWS_SECRET_ACCESS_KEY", "otra-clave");
    let run = shore.acequia(&["run"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.stderr.contains("AWS_"), "{run:?}");
    assert!(!run.stderr.contains("otra-clave"), "{run:?}");
    for (name, value) in shore.lake.env() {
        shore.set(name, &value);
    }
    shore.run(&[]);
    shore.assert_same("ventas");
}

#[test]
fn a_warehouse_that_is_not_there() {
    let shore = shore("sin_almacen");
    let text = fs::read_to_string(shore.path("acequia.toml")).unwrap();
    shore.configure(&text.replace("warehouse = \"lake\"", "warehouse = \"pantano\""));
    assert_told(&shore, &["destination lago", "pantano", "`warehouse`"]);
    assert_nothing(&shore);
}

#[test]
fn a_namespace_that_is_not_there_is_made_and_one_that_cannot_be_is_told() {
    let mut shore = shore("espacios");
    shore.run(&[]);
    shore.assert_same("ventas");
    shore.anew();
    shore.dataset = "Réplica 1".to_owned();
    shore.write();
    assert_told(&shore, &["Réplica 1", "`dataset`"]);
}

#[test]
fn a_table_that_is_not_acequias() {
    let shore = shore("ajena");
    let rows = [json!({"id": 1, "de": "otra"})];
    shore.lake.create(&shore.dataset, "ventas", &rows).unwrap();
    let run = shore.acequia(&["run"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    for word in ["ventas", "destination_table"] {
        assert!(run.stderr.contains(word), "{word}: {run:?}");
    }
    assert_eq!(shore.rows("ventas"), rows);
    // The other stream is not hindered.
    shore.assert_same("cursos");
}

#[test]
fn a_ledger_that_is_not_acequias() {
    let shore = shore("ajeno_libro");
    let rows = [json!({"load_id": "x"})];
    shore
        .lake
        .create(&shore.dataset, "acequia_loads", &rows)
        .unwrap();
    let run = shore.acequia(&["run"]);
    assert_eq!(run.status, Some(1), "{run:?}");
    assert!(run.stderr.contains("acequia_loads"), "{run:?}");
    assert_eq!(
        shore.lake.tables(&shore.dataset).unwrap(),
        ["acequia_loads"]
    );
    assert_eq!(shore.rows("acequia_loads"), rows);
}

#[test]
fn an_extension_that_is_missing() {
    let mut shore = shore("sin_extension");
    fs::create_dir(shore.path("ext")).unwrap();
    "extensions = \"ext\"\n".clone_into(&mut shore.keys);
    shore.write();
    assert_told(
        &shore,
        &[
            "httpfs",
            "INSTALL httpfs; INSTALL avro; INSTALL iceberg",
            "`extensions`",
        ],
    );
    for extension in ["httpfs", "avro"] {
        let file = format!("{extension}.duckdb_extension");
        fs::copy(
            shore.lake.extensions().join(&file),
            shore.path("ext").join(&file),
        )
        .unwrap();
    }
    assert_told(&shore, &["DuckDB's extension iceberg", "`extensions`"]);
    assert_nothing(&shore);
}

#[test]
fn an_extension_of_another_duckdb() {
    let mut shore = shore("otra_extension");
    fs::create_dir(shore.path("ext")).unwrap();
    for extension in ["httpfs", "avro", "iceberg"] {
        let file = format!("{extension}.duckdb_extension");
        let mut bytes = fs::read(shore.lake.extensions().join(&file)).unwrap();
        // The version that it was built for is in the last bytes.
        let end = bytes.len() - 512;
        let at = bytes[end..]
            .windows(6)
            .position(|found| found == b"v1.5.5")
            .unwrap()
            + end;
        bytes[at + 5] = b'4';
        fs::write(shore.path("ext").join(&file), bytes).unwrap();
    }
    "extensions = \"ext\"\n".clone_into(&mut shore.keys);
    shore.write();
    assert_told(
        &shore,
        &["httpfs is of another DuckDB", "1.5.5", "INSTALL httpfs"],
    );
    assert_nothing(&shore);
}

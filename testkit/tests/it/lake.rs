use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use testkit::Lake;

#[test]
fn tables_are_made_appended_to_read_and_dropped() -> Result<()> {
    let lake = Lake::shared()?;
    let namespace = lake.namespace("kit");
    ensure!(lake.tables(&namespace)?.is_empty());

    let rows = [
        json!({"id": 1, "nombre": "Prevención", "precio": 12.5}),
        json!({"id": 2, "nombre": null, "precio": -2.5}),
    ];
    lake.create(&namespace, "cursos", &rows)?;
    lake.append(
        &namespace,
        "cursos",
        &[json!({"id": 9_007_199_254_740_993_i64})],
    )?;
    ensure!(lake.tables(&namespace)? == ["cursos"]);
    ensure!(lake.snapshots(&namespace, "cursos")?.len() == 2);

    let read = lake.rows(&namespace, "cursos")?;
    ensure!(read.len() == 3, "{read:?}");
    ensure!(
        read.contains(&rows[0]) && read.contains(&rows[1]),
        "{read:?}"
    );
    let sums = lake.sums(&namespace, "cursos")?;
    ensure!(
        sums == json!({"rows": 3, "columns": {
            "id": {"values": 3, "sum": "9007199254740996"},
            "nombre": {"values": 1, "sum": null},
            "precio": {"values": 2, "sum": "10.0"},
        }}),
        "{sums}"
    );

    let query = format!("SELECT sum(precio) AS total, max(nombre) FROM {namespace}.cursos");
    let answer = lake.query(&namespace, &query)?;
    ensure!(answer.names[0] == "total" && answer.rows == [["10", "Prevención"]]);

    let properties = BTreeMap::from([("de".to_owned(), "otra".to_owned())]);
    lake.set_properties(&namespace, "cursos", &properties)?;
    ensure!(
        lake.properties(&namespace, "cursos")?
            .get("de")
            .is_some_and(|value| value == "otra")
    );

    let folder = tempfile::tempdir()?;
    let file = folder.path().join("cursos.parquet");
    ensure!(lake.scan_into(&namespace, "cursos", &file)? == 3 && file.exists());

    lake.drop_table(&namespace, "cursos")?;
    ensure!(lake.tables(&namespace)?.is_empty());
    let error = lake
        .rows(&namespace, "cursos")
        .err()
        .context("it is gone")?;
    ensure!(
        format!("{error:#}").contains("NoSuchTableError"),
        "{error:#}"
    );
    Ok(())
}

#[test]
fn duckdb_attaches_the_catalog_and_reads_what_pyiceberg_wrote() -> Result<()> {
    let lake = Lake::shared()?;
    let namespace = lake.namespace("kit");
    lake.create(&namespace, "ventas", &[json!({"id": 1}), json!({"id": 41})])?;
    let query = format!(
        "import duckdb; c = duckdb.connect(); c.execute('''{}'''); \
         print(c.sql('SELECT count(*), sum(id) FROM lago.{namespace}.ventas').fetchone())",
        lake.attach_sql("lago")
    );
    let output = Command::new(lake.python()).args(["-c", &query]).output()?;
    ensure!(output.stdout == b"(2, 42)\n", "{output:?}");
    Ok(())
}

#[test]
fn a_token_is_given_for_the_credentials() -> Result<()> {
    let token = Lake::shared()?.token()?;
    ensure!(token.split('.').count() == 3, "no JSON web token: {token}");
    Ok(())
}

#[test]
fn a_lake_ends_with_its_value_and_leaves_nothing() -> Result<()> {
    let lake = Lake::start()?;
    let port = port_of(&lake)?;
    ensure!(testkit::listens(port));
    let s3 = lake.endpoint();
    let s3 = s3.rsplit(':').next().context("no port")?;
    let socket = format!("/tmp/seaweedfs-s3-{s3}.sock");
    ensure!(
        std::fs::exists(&socket)?,
        "there is no {socket} to look for"
    );
    drop(lake);
    ensure!(!testkit::listens(port), "it still listens");
    ensure!(!std::fs::exists(&socket)?, "{socket} was left");
    Ok(())
}

#[test]
fn a_lake_ends_when_its_test_panics() {
    let mut port = 0;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let lake = Lake::start().unwrap();
        port = port_of(&lake).unwrap();
        panic!("as a failed test does");
    }));
    assert!(panicked.is_err());
    assert!(port != 0 && !testkit::listens(port));
}

fn port_of(lake: &Lake) -> Result<u16> {
    let catalog = lake.catalog();
    Ok(catalog.rsplit(':').next().context("no port")?.parse()?)
}

#[test]
fn the_command_prints_the_variables_and_ends_with_its_input() -> Result<()> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testkit"))
        .arg("lake")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(command.stdout.take().context("no pipe")?).lines();
    let variable = "LAKE_CATALOG=http://127.0.0.1:";
    let line = lines.find_map(|line| line.ok().filter(|line| line.starts_with(variable)));
    let port: u16 = line.context("no catalog")?.replace(variable, "").parse()?;
    ensure!(testkit::listens(port));
    drop(command.stdin.take());
    ensure!(command.wait()?.success() && !testkit::listens(port));
    Ok(())
}

#[test]
fn what_is_not_installed_is_told_with_the_command_that_installs_it() -> Result<()> {
    let empty = tempfile::tempdir()?;
    let output = Command::new(env!("CARGO_BIN_EXE_testkit"))
        .arg("lake")
        .env("ACEQUIA_TOOLS", empty.path())
        .output()?;
    let told = String::from_utf8(output.stderr)?;
    ensure!(!output.status.success());
    ensure!(
        told.contains("SeaweedFS") && told.contains("run scripts/setup.sh"),
        "{told}"
    );
    Ok(())
}

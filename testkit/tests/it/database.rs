use std::thread;

use anyhow::{Result, ensure};
use testkit::{Cluster, TestDb};

fn with_schema(hint: &str) -> Result<TestDb> {
    let db = Cluster::shared()?.database(hint)?;
    db.apply_schema()?;
    Ok(db)
}

fn exists(name: &str) -> Result<bool> {
    let mut admin = Cluster::shared()?.admin()?;
    let row = admin.query_one(
        "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)",
        &[&name],
    )?;
    Ok(row.try_get(0)?)
}

#[test]
fn databases_are_apart_and_made_at_the_same_time() -> Result<()> {
    let names = thread::scope(|scope| {
        let makers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> Result<_> { Cluster::shared()?.database("Año nuevo: ventas") })
            })
            .collect();
        makers
            .into_iter()
            .filter_map(|maker| maker.join().ok())
            .collect::<Result<Vec<_>>>()
    })?;
    let mut distinct: Vec<_> = names.iter().map(TestDb::name).collect();
    distinct.dedup();
    ensure!(distinct.len() == 4, "{distinct:?}");
    Ok(())
}

#[test]
fn a_dropped_database_is_gone_though_in_use() -> Result<()> {
    let db = with_schema("uso")?;
    let name = db.name().to_owned();
    let mut client = db.client()?;
    client.batch_execute("SELECT pg_create_logical_replication_slot('uso_slot', 'pgoutput')")?;
    ensure!(exists(&name)?);
    drop(db);
    ensure!(!exists(&name)?);
    Ok(())
}

#[test]
fn a_database_is_dropped_though_its_slot_is_streaming() -> Result<()> {
    let db = with_schema("flujo")?;
    let name = db.name().to_owned();
    db.batch("SELECT pg_create_logical_replication_slot('flujo_slot', 'test_decoding')")?;
    // A walsender that stays: what pg_recvlogical starts.
    let bin = std::process::Command::new("pg_config")
        .arg("--bindir")
        .output()?;
    let program =
        std::path::Path::new(String::from_utf8_lossy(&bin.stdout).trim()).join("pg_recvlogical");
    let mut receiver = std::process::Command::new(program)
        .args([
            "--slot",
            "flujo_slot",
            "--start",
            "--no-loop",
            "-f",
            "-",
            "-d",
            db.url(),
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()?;
    for _ in 0..200 {
        if db
            .value("SELECT active FROM pg_replication_slots WHERE slot_name = 'flujo_slot'")?
            .as_deref()
            == Some("true")
        {
            break;
        }
        thread::sleep(std::time::Duration::from_millis(20));
    }
    ensure!(receiver.try_wait()?.is_none(), "pg_recvlogical ended");
    drop(db);
    ensure!(!exists(&name)?);
    receiver.wait()?;
    Ok(())
}

#[test]
fn an_update_of_a_sale_renews_updated_at() -> Result<()> {
    let db = with_schema("trigger")?;
    db.batch(
        "INSERT INTO clientes (nombre) VALUES ('Conservas Ebro');
         INSERT INTO cursos (nombre, duracion_horas, precio_base) VALUES ('SQL', 8, 120.50);
         INSERT INTO ventas (cliente_id, curso_id, num_participantes, precio_total, updated_at)
         VALUES (1, 1, 3, 361.50, '2020-01-01'), (1, 1, 4, 482.00, '2020-01-01');
         UPDATE ventas SET num_participantes = 5, updated_at = '1999-01-01' WHERE id = 1;",
    )?;
    ensure!(
        db.value("SELECT updated_at > now() - interval '1 minute' FROM ventas WHERE id = 1")?
            .as_deref()
            == Some("true")
    );
    ensure!(
        db.value("SELECT updated_at = '2020-01-01' FROM ventas WHERE id = 2")?
            .as_deref()
            == Some("true")
    );
    ensure!(
        db.value("SELECT estado FROM ventas WHERE id = 2")?
            .as_deref()
            == Some("programado")
    );
    Ok(())
}

#[test]
fn the_schema_refuses_what_makes_no_sense() -> Result<()> {
    let db = with_schema("checks")?;
    db.batch(
        "INSERT INTO clientes (nombre) VALUES ('Conservas Ebro');
         INSERT INTO cursos (nombre, duracion_horas, precio_base) VALUES ('SQL', 8, 120.50);",
    )?;
    for refused in [
        "INSERT INTO clientes (nombre) VALUES ('')",
        "INSERT INTO cursos (nombre, duracion_horas, precio_base) VALUES ('SQL', 0, 1)",
        "INSERT INTO ventas (cliente_id, curso_id, num_participantes, precio_total) VALUES (9, 1, 1, 1)",
        "INSERT INTO ventas (cliente_id, curso_id, num_participantes, precio_total) VALUES (1, 1, 0, 1)",
        "INSERT INTO ventas (cliente_id, curso_id, num_participantes, precio_total, estado) VALUES (1, 1, 1, 1, 'x')",
        "INSERT INTO ventas (cliente_id, curso_id, num_participantes, precio_total, fecha_inicio, fecha_fin)
         VALUES (1, 1, 1, 1, '2024-02-02', '2024-02-01')",
        "DELETE FROM ventas; INSERT INTO participantes (venta_id, nombre, apellido) VALUES (1, 'a', 'b')",
    ] {
        ensure!(db.batch(refused).is_err(), "accepted: {refused}");
    }
    Ok(())
}

#[test]
fn value_tells_null_from_text() -> Result<()> {
    let db = Cluster::shared()?.database("value")?;
    ensure!(db.value("SELECT NULL::int")?.is_none());
    ensure!(db.value("SELECT 'año'")?.as_deref() == Some("año"));
    ensure!(db.execute("CREATE TABLE t AS SELECT generate_series(1, 3)", &[])? == 3);
    Ok(())
}

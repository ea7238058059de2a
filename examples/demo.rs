//! `make demo`: a throw-away PostgreSQL with the company's schema and a throw-away CRM that answers as HubSpot does, the
//! pipeline of `acequia.toml` run against them, a day of changes, the pipeline again, a few queries on what arrived, and what
//! the models of `analisis/` and their page tell of it.
//!
//! It loads DuckDB; with `DESTINATION=postgres` in the environment, a PostgreSQL database instead; with `DESTINATION=lake`, a
//! throw-away Iceberg catalog, which DuckDB and PyIceberg are both asked; a lake has neither models nor page.
//!
//! It leaves `formacion.duckdb`, `informe.html` and `landing/` to look at. The servers and their data go when it ends.

#![allow(clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use comfy_table::Table;
use duckdb::types::Value;
use postgres::SimpleQueryMessage;
use testkit::{Changes, Cluster, HUBSPOT_TOKEN, HubSpotServer, Lake, Seed};

const VENTAS: u64 = 6_000;
const PARTICIPANTES: u64 = 48_000;
const ACTIVIDADES: u64 = 800_000;
/// Companies in the CRM that nobody has sold anything to.
const PROSPECTS: u64 = 60;
const SEED: u64 = 42;

/// Changes of rows that were carried already, and of one that was not.
const CORRECTIONS: &str = "\
UPDATE actividades_participantes SET tipo_actividad = 'corregida' WHERE id = 7;
DELETE FROM actividades_participantes WHERE id = 8;
INSERT INTO actividades_participantes (participante_id, tipo_actividad)
    SELECT max(participante_id), 'sesion_iniciada' FROM actividades_participantes;";

const QUESTIONS: [(&str, &str); 4] = [
    (
        "What happened to the activities since the first run, in the order of commits?",
        "SELECT _acequia_op AS op, count(*) AS cambios, min(id) AS primero, max(id) AS último,
                count(DISTINCT _acequia_lsn) AS transacciones
         FROM replica.actividades_participantes__changes WHERE _acequia_op <> 'r' GROUP BY 1 ORDER BY 1",
    ),
    (
        "Which courses bring in the most?",
        "SELECT c.nombre AS curso, count(*) AS ventas, sum(v.precio_total) AS ingresos
         FROM replica.ventas v JOIN replica.cursos c ON c.id = v.curso_id
         WHERE v.estado <> 'cancelado' GROUP BY 1 ORDER BY 3 DESC LIMIT 5",
    ),
    (
        "How did each year go?",
        "SELECT extract(year FROM fecha_venta) AS año, count(*) AS ventas, sum(precio_total) AS ingresos,
                round(100.0 * count(*) FILTER (WHERE estado = 'cancelado') / count(*), 1) AS \"% canceladas\"
         FROM replica.ventas GROUP BY 1 ORDER BY 1",
    ),
    (
        "What did each run do? (the ledger)",
        "SELECT stream, mode, disposition, rows_extracted, inserted, updated, deleted
         FROM replica._acequia_loads ORDER BY loaded_at, stream",
    ),
];

/// What the models of `analisis/` answer.
const FIGURES: [(&str, &str); 4] = [
    (
        "How is the company doing? (now, and in the period before)",
        "SELECT indicador, unidad, round(valor, 3) AS valor, round(antes, 3) AS antes FROM analisis.resumen ORDER BY orden",
    ),
    (
        "Which courses lose their people?",
        "SELECT curso, participantes, abandono, nota_media FROM analisis.curso_resultado
         WHERE participantes >= 100 ORDER BY abandono DESC NULLS LAST LIMIT 3",
    ),
    (
        "Whom must the tutors call this week?",
        "SELECT motivo, count(*) AS personas, count(DISTINCT curso) AS cursos FROM analisis.engagement_participante
         WHERE en_riesgo GROUP BY motivo ORDER BY 2 DESC",
    ),
    (
        "Where does the funnel leak?",
        "SELECT nombre AS paso, empresas, del_anterior FROM analisis.embudo ORDER BY 2 DESC, 1",
    ),
];

fn main() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let acequia = binary()?;
    let destination = std::env::var("DESTINATION").unwrap_or_else(|_| "duckdb".to_owned());
    if !["duckdb", "postgres", "lake"].contains(&destination.as_str()) {
        bail!("DESTINATION is duckdb, postgres or lake, not {destination}");
    }
    clean(root)?;

    say(
        "A throw-away PostgreSQL with the schema of schema.sql, a throw-away CRM, and made-up rows",
    );
    let cluster = Cluster::start()?;
    let source = cluster.database("operativa")?;
    source.apply_schema()?;
    let warehouse = cluster.database("almacen")?;
    let mut client = source.client()?;
    let lake = (destination == "lake").then(Lake::start).transpose()?;
    let seed = Seed::new(SEED, VENTAS)
        .participantes(PARTICIPANTES)
        .actividades(ACTIVIDADES)
        .until_today();
    let seeded = seed.apply(&mut client)?;
    let crm = HubSpotServer::options()
        .companies(seed.clientes())
        .prospects(PROSPECTS)
        .start()?;
    println!(
        "{} clientes (and as many companies in the CRM, with {PROSPECTS} prospects), {} cursos, {} ventas, {} participantes, {} actividades",
        seeded.clientes, seeded.cursos, seeded.ventas, seeded.participantes, seeded.actividades
    );
    let run = |arguments: &[&str]| -> Result<()> {
        let mut arguments = arguments.to_vec();
        if destination != "duckdb" {
            arguments.extend(["--destination", &destination]);
        }
        println!("\n$ acequia {}", arguments.join(" "));
        let status = Command::new(&acequia)
            .envs(lake.iter().flat_map(Lake::variables))
            .args(&arguments)
            .current_dir(root)
            .env("OPERATIVA_URL", source.url())
            .env("WAREHOUSE_URL", warehouse.url())
            .env("HUBSPOT_URL", crm.url())
            .env("HUBSPOT_TOKEN", HUBSPOT_TOKEN)
            .status()
            .with_context(|| format!("cannot start {}", acequia.display()))?;
        if !status.success() {
            bail!("acequia {} ended with {status}", arguments.join(" "));
        }
        Ok(())
    };

    say("Could the pipeline of acequia.toml run?");
    run(&["check"])?;

    // Models are not built in a lake.
    let go: &[&str] = if lake.is_some() {
        &["run", "--no-models"]
    } else {
        &["run"]
    };

    say("The first run: everything");
    run(go)?;

    say("A day passes");
    let changed = Changes {
        insert_actividades: 600,
        recent_actividades: true,
        ..Changes::day(SEED)
    }
    .apply(&mut client)?;
    println!("{changed:?}");
    client.batch_execute(CORRECTIONS)?;
    println!("and somebody corrected the activities:\n{CORRECTIONS}");

    say("The second run: of ventas, actividades_participantes and companies, only what changed");
    run(go)?;
    run(&["status"])?;

    say(&format!("What the analysts see in {destination}"));
    let mut answer: Answer<'_> = if destination == "duckdb" {
        let connection = duckdb::Connection::open(root.join("formacion.duckdb"))?;
        Box::new(move |sql| Ok(answer_of_duckdb(&connection, sql)?.to_string()))
    } else if let Some(lake) = &lake {
        let connection = duckdb::Connection::open_in_memory()?;
        connection.execute_batch(&lake.attach_sql("lake"))?;
        Box::new(move |sql| answer_of_both(&connection, lake, sql))
    } else {
        let mut client = warehouse.client()?;
        Box::new(move |sql| answer_of_postgres(&mut client, sql))
    };
    ask(&mut answer, &QUESTIONS)?;
    if lake.is_none() {
        say("What the models of analisis/ tell");
        ask(&mut answer, &FIGURES)?;
    }

    say("Left to look at");
    if lake.is_none() {
        println!(
            "informe.html       the report page, for a browser: {}",
            root.join("informe.html").display()
        );
    }
    if destination == "duckdb" {
        println!(
            "formacion.duckdb   with the DuckDB shell, or any client that reads it: schemas `replica` and `analisis`"
        );
    }
    println!(
        "landing/           the Parquet parts and manifests: acequia inspect landing/formacion/ventas/<load>"
    );
    Ok(())
}

/// Runs a query in the destination and lays its rows out as a table.
type Answer<'a> = Box<dyn FnMut(&str) -> Result<String> + 'a>;

fn ask(answer: &mut Answer<'_>, questions: &[(&str, &str)]) -> Result<()> {
    for (question, sql) in questions {
        println!("\n{question}");
        println!("{}", answer(sql)?);
    }
    Ok(())
}

/// The binary that was built along with this example.
fn binary() -> Result<PathBuf> {
    let example = std::env::current_exe()?;
    let release = example
        .parent()
        .and_then(Path::parent)
        .context("the example is not in a build folder")?;
    let binary = release.join(format!("acequia{}", std::env::consts::EXE_SUFFIX));
    if !binary.exists() {
        bail!(
            "{} is missing: run `make demo`, which builds it",
            binary.display()
        );
    }
    Ok(binary)
}

/// Removes what an earlier demo left.
fn clean(root: &Path) -> Result<()> {
    for file in ["formacion.duckdb", "formacion.duckdb.wal", "informe.html"] {
        let path = root.join(file);
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| {
                format!("cannot remove {}: is it open elsewhere?", path.display())
            })?;
        }
    }
    let landed = root.join("landing/formacion");
    if landed.exists() {
        std::fs::remove_dir_all(&landed)
            .with_context(|| format!("cannot remove {}", landed.display()))?;
    }
    Ok(())
}

fn say(what: &str) {
    println!(
        "\n── {what} {}",
        "─".repeat(100_usize.saturating_sub(what.chars().count() + 4))
    );
}

/// Runs a query in PostgreSQL and lays its rows out as a table.
fn answer_of_postgres(client: &mut postgres::Client, sql: &str) -> Result<String> {
    let mut table = Table::new();
    for message in client.simple_query(sql)? {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                table.set_header(columns.iter().map(|column| column.name().to_owned()));
            }
            SimpleQueryMessage::Row(row) => {
                table.add_row((0..row.len()).map(|place| row.get(place).unwrap_or_default()));
            }
            _ => {}
        }
    }
    Ok(table.to_string())
}

/// Runs a query on the lake's tables as DuckDB reads them and as PyIceberg does, which must be the same.
fn answer_of_both(connection: &duckdb::Connection, lake: &Lake, sql: &str) -> Result<String> {
    // Catalogs do not all take names that begin so.
    let sql = sql.replace("_acequia_loads", "acequia_loads");
    let by_duckdb = answer_of_duckdb(connection, &sql.replace("replica.", "lake.replica."))?;
    let by_pyiceberg = lake.query("replica", &sql)?;
    let mut table = Table::new();
    table.set_header(by_pyiceberg.names);
    let rows = by_pyiceberg.rows.len();
    table.add_rows(by_pyiceberg.rows);
    if table.to_string() != by_duckdb.to_string() {
        bail!("DuckDB reads\n{by_duckdb}\nand PyIceberg\n{table}");
    }
    Ok(format!(
        "{by_duckdb}\nread by DuckDB, and by PyIceberg: the same {rows} rows"
    ))
}

/// Runs a query in DuckDB and lays its rows out as a table.
fn answer_of_duckdb(connection: &duckdb::Connection, sql: &str) -> Result<Table> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut table = Table::new();
    let names = rows
        .as_ref()
        .map(duckdb::Statement::column_names)
        .unwrap_or_default();
    let width = names.len();
    table.set_header(names);
    while let Some(row) = rows.next()? {
        let cells = (0..width).map(|place| Ok(text(&row.get(place)?)));
        table.add_row(cells.collect::<Result<Vec<String>>>()?);
    }
    Ok(table)
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Text(text) => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::BigInt(number) => number.to_string(),
        Value::HugeInt(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Decimal(number) => number.to_string(),
        other => format!("{other:?}"),
    }
}

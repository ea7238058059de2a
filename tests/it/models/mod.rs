//! Models: tables that are made of the streams' tables, in DuckDB and in PostgreSQL.

use postgres::SimpleQueryMessage;
use serde_json::Value;

use crate::support::{Output, Project};

mod building;
mod commands;
mod crashes;
mod dbt;
mod following;
mod mistakes;
mod reading;
mod testing;
mod views;

/// What the tests' models are made of.
const STREAMS: &str = r#"
[models]
path = "analisis/models"
dataset = "analisis"

[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "incremental"
cursor = "updated_at"

[streams.clientes]
source = "operativa"
table = "public.clientes"
mode = "incremental"
cursor = "fecha_registro"
"#;

/// Two clients, three sales.
const ROWS: &str = "
    INSERT INTO clientes (id, nombre, dominio) VALUES (1, 'Uno', 'uno.es'), (2, 'Dos', NULL);
    INSERT INTO cursos (id, nombre, duracion_horas, precio_base) VALUES (1, 'Rust', 10, 100);
    INSERT INTO ventas (cliente_id, curso_id, fecha_venta, num_participantes, precio_total)
    VALUES (1, 1, '2026-01-10', 2, 200), (1, 1, '2026-02-10', 3, 300), (2, 1, '2026-02-20', 1, 100)";

/// Where models are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Where {
    DuckDb,
    Postgres,
}

pub const BOTH: [Where; 2] = [Where::DuckDb, Where::Postgres];

/// A pipeline with models, and one of the two destinations.
pub struct Analysis {
    pub project: Project,
    place: Where,
}

impl Analysis {
    /// With these models, by path below `analisis`.
    pub fn new(name: &str, place: Where, files: &[(&str, &str)]) -> Self {
        let name = format!("{name}_{}", format!("{place:?}").to_lowercase());
        let project = Project::operational(&name, STREAMS).with_warehouse();
        project.source.batch(ROWS).unwrap();
        std::fs::create_dir_all(project.path("analisis/models")).unwrap();
        let analysis = Self { project, place };
        for (file, text) in files {
            analysis.write(file, text);
        }
        analysis
    }

    pub fn write(&self, file: &str, text: &str) {
        let path = self.project.path("analisis").join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn remove(&self, file: &str) {
        std::fs::remove_file(self.project.path("analisis").join(file)).unwrap();
    }

    pub fn arguments<'a>(&self, arguments: &[&'a str]) -> Vec<&'a str> {
        let mut arguments = arguments.to_vec();
        if self.place == Where::Postgres {
            arguments.extend(["--destination", "almacen"]);
        }
        arguments
    }

    pub fn acequia(&self, arguments: &[&str]) -> Output {
        self.project.acequia(&self.arguments(arguments))
    }

    /// `acequia run`, which must succeed: what it says of models.
    pub fn run(&self) -> Value {
        self.ended(&["run"], 0)["models"].clone()
    }

    /// `acequia run`, which must fail with status 1.
    pub fn run_failing(&self) -> Value {
        self.ended(&["run"], 1)["models"].clone()
    }

    /// A command that must end with that status: its report.
    pub fn ended(&self, arguments: &[&str], status: i32) -> Value {
        let output = self.acequia(&[arguments, &["--output", "json"]].concat());
        assert_eq!(output.status, Some(status), "{output:?}");
        output.json()
    }

    /// The rows of a query in the destination, each as `a|b|c`.
    pub fn rows(&self, sql: &str) -> Vec<String> {
        match self.place {
            Where::DuckDb => {
                let connection = self.project.duckdb();
                let sql = format!("SELECT concat_ws('|', *COLUMNS(*)) FROM ({sql}) AS q");
                let mut statement = connection.prepare(&sql).unwrap();
                let rows = statement
                    .query_map([], |row| row.get::<_, String>(0))
                    .unwrap();
                rows.map(Result::unwrap).collect()
            }
            Where::Postgres => {
                let mut client = self.project.warehouse().client().unwrap();
                let messages = client.simple_query(sql).unwrap();
                let rows = messages.iter().filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => Some(row),
                    _ => None,
                });
                rows.map(|row| {
                    let values = (0..row.len()).filter_map(|column| row.get(column));
                    values.collect::<Vec<_>>().join("|")
                })
                .collect()
            }
        }
    }

    /// Runs statements of a user's in the destination.
    pub fn sql(&self, sql: &str) {
        match self.place {
            Where::DuckDb => self.project.duckdb().execute_batch(sql).unwrap(),
            Where::Postgres => self.project.warehouse().batch(sql).unwrap(),
        }
    }
}

/// The status of each model of a report, as `name status`.
pub fn statuses(models: &Value) -> Vec<String> {
    let models = models["models"].as_array().unwrap();
    let status = |model: &Value| {
        format!(
            "{} {}",
            model["model"].as_str().unwrap(),
            model["status"].as_str().unwrap()
        )
    };
    models.iter().map(status).collect()
}

/// The status of each test of a report, as `test status rows`.
pub fn tests(models: &Value) -> Vec<String> {
    let tests = models["tests"].as_array().unwrap();
    let status = |test: &Value| {
        format!(
            "{} {} {}",
            test["test"].as_str().unwrap(),
            test["status"].as_str().unwrap(),
            test["rows"]
        )
    };
    tests.iter().map(status).collect()
}

//! Rows for the operational schema, made by the server itself: from a hundred sales to tens of millions, in seconds.
//!
//! Each value is a function of the row's number and the seed alone, by `hashint8extended`, whose arithmetic does not
//! depend on the machine. So the same [`Seed`] gives the same rows everywhere, which `random()` would not.

mod calendar;
mod hash;
mod rows;
mod words;

use std::fmt::Write as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use postgres::{Client, Transaction};

pub(crate) use hash::{Hash, mix};
pub(crate) use rows::{HOURS, actividad_columns, numbers, venta_columns};
pub(crate) use words::{ACTIVITIES, FORMS, PLACES, TRADES};

use calendar::DAYS;
use rows::Story;

/// Tables of more rows than this lose their indices while they are filled.
const WITH_INDICES: u64 = 20_000;
/// Days from 1970 to 2023.
const EPOCH: u64 = 19_358;

/// Which rows to make. The defaults of [`Seed::new`] are changed by the methods or by struct update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// Decides every value.
    pub seed: u64,
    /// Number of sales. Clients are a fiftieth of it and ten; courses between 60 and 200.
    pub ventas: u64,
    /// Number of participants.
    pub participantes: u64,
    /// Number of activities.
    pub actividades: u64,
    /// So many days later than from 2023 to 2025.
    pub days_later: u32,
}

/// What [`Seed::apply`] made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seeded {
    /// Rows in `clientes`.
    pub clientes: u64,
    /// Rows in `cursos`.
    pub cursos: u64,
    /// Rows in `ventas`.
    pub ventas: u64,
    /// Rows in `participantes`.
    pub participantes: u64,
    /// Rows in `actividades_participantes`.
    pub actividades: u64,
    /// Time it took.
    pub elapsed: Duration,
}

impl Seed {
    /// So many sales, as many participants, and twice as many activities.
    #[must_use]
    pub const fn new(seed: u64, ventas: u64) -> Self {
        Self {
            seed,
            ventas,
            participantes: ventas,
            actividades: ventas.saturating_mul(2),
            days_later: 0,
        }
    }

    /// No participants and no activities: clients, courses and sales only.
    #[must_use]
    pub const fn only_ventas(mut self) -> Self {
        self.participantes = 0;
        self.actividades = 0;
        self
    }

    /// So many participants.
    #[must_use]
    pub const fn participantes(mut self, rows: u64) -> Self {
        self.participantes = rows;
        self
    }

    /// So many activities.
    #[must_use]
    pub const fn actividades(mut self, rows: u64) -> Self {
        self.actividades = rows;
        self
    }

    /// The three years before today, as this machine's clock has it, so that some courses are under way. Without it all is
    /// over by the end of 2025, and the rows are the same on every day.
    #[must_use]
    pub fn until_today(mut self) -> Self {
        let today = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs() / 86_400);
        self.days_later = u32::try_from(today.saturating_sub(EPOCH + DAYS)).unwrap_or(0);
        self
    }

    /// The courses that lose most of their people after a fourth of the time.
    #[must_use]
    pub const fn losing_courses() -> [i32; 2] {
        rows::LOSING
    }

    /// Number of clients that these sales have.
    #[must_use]
    pub const fn clientes(&self) -> u64 {
        self.ventas / 50 + 10
    }

    /// Number of courses: 60 to 200, by the seed.
    #[must_use]
    pub const fn cursos(&self) -> u64 {
        60 + mix(self.seed) % 141
    }

    /// Fills the tables of `schema.sql`, which must be empty, in one transaction. Needs a superuser, since foreign keys
    /// and triggers are passed over. Sequences go on after the last row; planner statistics are up to date.
    ///
    /// # Errors
    /// When a table is absent or has rows, and when rows refer to a table that is to have none.
    pub fn apply(&self, client: &mut Client) -> Result<Seeded> {
        if self.participantes > 0 && self.ventas == 0 {
            bail!("participants need sales");
        }
        if self.actividades > 0 && self.participantes == 0 {
            bail!("activities need participants");
        }
        let start = Instant::now();
        let mut tx = client.transaction()?;
        tx.batch_execute(
            "SET LOCAL session_replication_role = replica;
             SET LOCAL synchronous_commit = off;
             SET LOCAL maintenance_work_mem = '512MB';
             SET LOCAL work_mem = '512MB';",
        )
        .context("seeding needs a superuser")?;
        let (clientes, cursos) = (self.clientes(), self.cursos());
        let story = Story::of(*self)?;
        fill(&mut tx, "clientes", clientes, &story.clientes(clientes))?;
        fill(&mut tx, "cursos", cursos, &story.cursos(cursos))?;
        fill(&mut tx, "ventas", self.ventas, &story.ventas()?)?;
        if self.participantes > 0 {
            let weight = total(&mut tx, &story.seats_taken())?;
            let select = story.participantes(weight);
            fill(&mut tx, "participantes", self.participantes, &select)?;
        }
        if self.actividades > 0 {
            let weight = total(&mut tx, &story.time_spent())?;
            let select = story.actividades(weight);
            fill(
                &mut tx,
                "actividades_participantes",
                self.actividades,
                &select,
            )?;
        }
        tx.batch_execute(
            "ANALYZE clientes, cursos, ventas, participantes, actividades_participantes",
        )?;
        tx.commit()?;
        Ok(Seeded {
            clientes,
            cursos,
            ventas: self.ventas,
            participantes: self.participantes,
            actividades: self.actividades,
            elapsed: start.elapsed(),
        })
    }
}

/// Columns of each table, in the order in which the rows above give them.
fn columns_of(table: &str) -> &'static str {
    match table {
        "clientes" => "id, nombre, dominio, descripcion, fecha_registro",
        "cursos" => "id, nombre, descripcion, duracion_horas, precio_base",
        "ventas" => {
            "id, cliente_id, curso_id, fecha_venta, fecha_inicio, fecha_fin, num_participantes, precio_total, estado, \
             updated_at"
        }
        "participantes" => "id, venta_id, nombre, apellido, email, calificacion",
        _ => "id, participante_id, tipo_actividad, contenido_id, detalles, \"timestamp\"",
    }
}

/// All weights together.
fn total(tx: &mut Transaction<'_>, weights: &str) -> Result<i64> {
    Ok(tx
        .query_one(
            &format!("SELECT coalesce(sum(peso), 0)::bigint FROM ({weights}) AS pesos"),
            &[],
        )?
        .try_get(0)?)
}

fn fill(tx: &mut Transaction<'_>, table: &str, rows: u64, select: &str) -> Result<()> {
    let occupied: bool = tx
        .query_one(&format!("SELECT EXISTS (SELECT FROM {table})"), &[])
        .with_context(|| format!("cannot read {table}: is schema.sql applied?"))?
        .try_get(0)?;
    if occupied {
        bail!("{table} has rows already: seed an empty database");
    }
    if rows == 0 {
        return Ok(());
    }
    let (drops, creates) = if rows > WITH_INDICES {
        indices(tx, table)?
    } else {
        Default::default()
    };
    tx.batch_execute(&drops)?;
    tx.batch_execute(&format!(
        "INSERT INTO {table} ({}) {select}",
        columns_of(table)
    ))
    .with_context(|| format!("cannot fill {table}"))?;
    tx.batch_execute(&creates)?;
    tx.execute(
        &format!("SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table}"),
        &[],
    )?;
    Ok(())
}

/// Statements that drop, and that make again, the indices of a table that no constraint needs.
fn indices(tx: &mut Transaction<'_>, table: &str) -> Result<(String, String)> {
    let rows = tx.query(
        "SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid)
         FROM pg_index i
         WHERE i.indrelid = to_regclass($1::text)
           AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid AND c.contype IN ('p', 'u', 'x'))
         ORDER BY 1",
        &[&table],
    )?;
    let (mut drops, mut creates) = (String::new(), String::new());
    for row in rows {
        let (name, definition): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        write!(drops, "DROP INDEX {name};")?;
        write!(creates, "{definition};")?;
    }
    Ok((drops, creates))
}

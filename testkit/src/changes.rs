//! What happens to a seeded database afterwards: sales made and changed, courses repriced, activities recorded.

use anyhow::{Context as _, Result};
use postgres::{Client, Transaction};

use crate::seed::{ACTIVITIES, HOURS, Hash, actividad_columns, numbers, venta_columns};

/// How many rows to change, all in one transaction. Which rows, and into what, follows from the seed and the rows that
/// are there; only `updated_at`, `fecha_venta` and `timestamp` come from the server's clock.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Changes {
    /// Decides which rows and values.
    pub seed: u64,
    /// New sales.
    pub insert_ventas: u64,
    /// Sales that get another state and price.
    pub update_ventas: u64,
    /// New courses.
    pub insert_cursos: u64,
    /// Courses that get another price.
    pub reprice_cursos: u64,
    /// New activities; none where there are no participants.
    pub insert_actividades: u64,
    /// Whether the new activities are of the 24 hours before now, at the hours at which people learn, and not of this moment.
    pub recent_actividades: bool,
    /// Activities that get other details: not what the application does, but CDC must follow it.
    pub update_actividades: u64,
    /// Activities that are deleted; likewise.
    pub delete_actividades: u64,
}

/// How many rows [`Changes::apply`] did change: fewer than asked for where the table had fewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Sales inserted.
    pub inserted_ventas: u64,
    /// Sales updated.
    pub updated_ventas: u64,
    /// Courses inserted.
    pub inserted_cursos: u64,
    /// Courses with another price.
    pub repriced_cursos: u64,
    /// Activities inserted.
    pub inserted_actividades: u64,
    /// Activities updated.
    pub updated_actividades: u64,
    /// Activities deleted.
    pub deleted_actividades: u64,
}

impl Changes {
    /// Nothing yet: set the counts by struct update, `Changes { update_ventas: 10, ..Changes::new(7) }`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// A day at the company: some of everything that the application itself does.
    #[must_use]
    pub fn day(seed: u64) -> Self {
        Self {
            insert_ventas: 25,
            update_ventas: 40,
            insert_cursos: 1,
            reprice_cursos: 3,
            insert_actividades: 200,
            ..Self::new(seed)
        }
    }

    /// Makes the changes and commits them.
    ///
    /// # Errors
    /// PostgreSQL's; nothing is changed then.
    pub fn apply(&self, client: &mut Client) -> Result<Changed> {
        let mut tx = client.transaction()?;
        let changed = self.apply_within(&mut tx)?;
        tx.commit()?;
        Ok(changed)
    }

    /// Makes the changes in a transaction of the caller's, who may hold it open, commit it late or roll it back.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub fn apply_within(&self, tx: &mut Transaction<'_>) -> Result<Changed> {
        Ok(Changed {
            // Updates and deletions first, so that they are about the rows that were there before.
            updated_ventas: self.update_ventas(tx).context("cannot update ventas")?,
            repriced_cursos: self.reprice_cursos(tx).context("cannot update cursos")?,
            updated_actividades: self
                .update_actividades(tx)
                .context("cannot update actividades_participantes")?,
            deleted_actividades: self
                .delete_actividades(tx)
                .context("cannot delete from actividades_participantes")?,
            inserted_cursos: self
                .insert_cursos(tx)
                .context("cannot insert into cursos")?,
            inserted_ventas: self
                .insert_ventas(tx)
                .context("cannot insert into ventas")?,
            inserted_actividades: self
                .insert_actividades(tx)
                .context("cannot insert into actividades_participantes")?,
        })
    }

    fn update_ventas(&self, tx: &mut Transaction<'_>) -> Result<u64> {
        run(
            tx,
            self.update_ventas,
            &format!(
                "UPDATE ventas SET
                     estado = CASE estado WHEN 'programado' THEN 'en_curso' WHEN 'en_curso' THEN 'completado'
                                          WHEN 'completado' THEN 'cancelado' ELSE 'programado' END,
                     precio_total = round(precio_total * 0.95, 2) + 0.01
                 WHERE id IN ({})",
                self.some("ventas", "vender", self.update_ventas)
            ),
        )
    }

    fn reprice_cursos(&self, tx: &mut Transaction<'_>) -> Result<u64> {
        run(
            tx,
            self.reprice_cursos,
            &format!(
                "UPDATE cursos SET precio_base = round(precio_base * 1.03, 2) + 0.01 WHERE id IN ({})",
                self.some("cursos", "tarifa", self.reprice_cursos)
            ),
        )
    }

    fn update_actividades(&self, tx: &mut Transaction<'_>) -> Result<u64> {
        run(
            tx,
            self.update_actividades,
            &format!(
                "UPDATE actividades_participantes
                 SET detalles = coalesce(detalles, '{{}}') || '{{\"corregida\": true}}'
                 WHERE id IN ({})",
                self.some(
                    "actividades_participantes",
                    "corregir",
                    self.update_actividades
                )
            ),
        )
    }

    fn delete_actividades(&self, tx: &mut Transaction<'_>) -> Result<u64> {
        run(
            tx,
            self.delete_actividades,
            &format!(
                "DELETE FROM actividades_participantes WHERE id IN ({})",
                self.some(
                    "actividades_participantes",
                    "borrar",
                    self.delete_actividades
                )
            ),
        )
    }

    fn insert_cursos(&self, tx: &mut Transaction<'_>) -> Result<u64> {
        let hash = Hash::new(self.seed);
        run(
            tx,
            self.insert_cursos,
            &format!(
                "INSERT INTO cursos (nombre, descripcion, duracion_horas, precio_base)
                 SELECT 'Novedad ' || {clave}, NULL, 4 + {horas}, 99 + {precio} * 0.01
                 FROM {numbers} ORDER BY n",
                clave = hash.below("n", "clave", 1_000_000),
                horas = hash.below("n", "horas", 40),
                precio = hash.below("n", "precio", 200_000),
                numbers = numbers(1, self.insert_cursos),
            ),
        )
    }

    fn insert_ventas(&self, tx: &mut Transaction<'_>) -> Result<u64> {
        let hash = Hash::new(self.seed);
        let columns = venta_columns(
            &hash,
            &one_of(&hash, "clientes", "cliente"),
            &one_of(&hash, "cursos", "curso"),
            "CURRENT_DATE",
            "CURRENT_DATE",
            1,
        );
        run(
            tx,
            self.insert_ventas,
            &format!(
                "INSERT INTO ventas (cliente_id, curso_id, fecha_venta, fecha_inicio, fecha_fin, num_participantes,
                                     precio_total, estado)
                 SELECT {columns} FROM {} ORDER BY n",
                numbers(1, self.insert_ventas)
            ),
        )
    }

    fn insert_actividades(&self, tx: &mut Transaction<'_>) -> Result<u64> {
        let hash = Hash::new(self.seed);
        let columns = actividad_columns(
            &hash,
            &one_of(&hash, PRESENT, "participante"),
            &hash.pick("n", "tipo", ACTIVITIES),
            &hash.below("n", "duracion", 3600),
            &hash.below("n", "progreso", 1001),
        );
        let (at, order) = if self.recent_actividades {
            let today = format!(
                "date_trunc('day', now(), 'UTC') + ('{{{HOURS}}}'::integer[])[1 + {hour}] * interval '1 hour'
                 + {minute} * interval '1 second'",
                hour = hash.below("n", "hora", HOURS.split(',').count() as u64),
                minute = hash.below("n", "momento", 3_600),
            );
            let at = format!(
                "CASE WHEN {today} <= now() THEN {today} ELSE {today} - interval '1 day' END"
            );
            (at, "5, n")
        } else {
            ("now()".to_owned(), "n")
        };
        run(
            tx,
            self.insert_actividades,
            &format!(
                "INSERT INTO actividades_participantes
                    (participante_id, tipo_actividad, contenido_id, detalles, \"timestamp\")
                 SELECT {columns}, {at} FROM {} WHERE EXISTS (SELECT FROM participantes) ORDER BY {order}",
                numbers(1, self.insert_actividades)
            ),
        )
    }

    /// Subquery: the ids of so many rows, spread over the table, the same ones for the same seed and rows.
    fn some(&self, table: &str, purpose: &str, rows: u64) -> String {
        let order = Hash::new(self.seed).bits("id", purpose);
        format!("SELECT id FROM {table} ORDER BY {order}, id LIMIT {rows}")
    }
}

/// Participants whose course is under way; where there are none, all.
const PRESENT: &str = "(WITH presentes AS (
                            SELECT p.id FROM participantes p JOIN ventas v ON v.id = p.venta_id
                            WHERE v.estado = 'en_curso' AND CURRENT_DATE BETWEEN v.fecha_inicio AND v.fecha_fin)
                        SELECT id FROM presentes
                        UNION ALL SELECT id FROM participantes WHERE NOT EXISTS (SELECT FROM presentes)) AS presentes";

/// The id of one row of a table, by the number `n`. The ids are read once a statement.
fn one_of(hash: &Hash, table: &str, purpose: &str) -> String {
    format!(
        "(SELECT array_agg(id ORDER BY id) FROM {table})[1 + {} % (SELECT count(*) FROM {table})]",
        hash.below("n", purpose, u64::MAX >> 1)
    )
}

fn run(tx: &mut Transaction<'_>, rows: u64, sql: &str) -> Result<u64> {
    if rows == 0 {
        Ok(0)
    } else {
        Ok(tx.execute(sql, &[])?)
    }
}

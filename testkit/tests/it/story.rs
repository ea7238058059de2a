//! What the seeded rows tell, measured: each effect that an analysis is to find.

use anyhow::{Context as _, Result, ensure};
use testkit::{Changes, Cluster, Seed, TestDb};

/// Activities, each with its participant, sale and course.
const DONE: &str = "actividades_participantes a JOIN participantes p ON p.id = a.participante_id
                    JOIN ventas v ON v.id = p.venta_id";

/// 3,000 sales with 24,000 participants, who do ten things each.
fn told(hint: &str, seed: Seed) -> Result<TestDb> {
    let db = Cluster::shared()?.database(hint)?;
    db.apply_schema()?;
    seed.participantes(24_000)
        .actividades(240_000)
        .apply(&mut db.client()?)?;
    Ok(db)
}

fn number(db: &TestDb, sql: &str) -> Result<f64> {
    Ok(db.value(sql)?.context("no value")?.parse()?)
}

/// Each query gives a number within these bounds.
fn ensure_within(db: &TestDb, measures: &[(&str, &str, f64, f64)]) -> Result<()> {
    for (what, sql, least, most) in measures {
        let found = number(db, sql).with_context(|| (*what).to_owned())?;
        ensure!(
            (*least..=*most).contains(&found),
            "{what}: {found}, not {least} to {most}"
        );
    }
    Ok(())
}

#[test]
fn people_are_active_while_their_course_lasts_on_working_days_and_in_order() -> Result<()> {
    let db = told("historia", Seed::new(42, 3_000))?;
    let outside = format!(
        "SELECT count(*) FROM {DONE} WHERE \"timestamp\" < fecha_inicio OR \"timestamp\" >= fecha_fin + 1
            OR estado = 'cancelado' OR fecha_inicio IS NULL OR \"timestamp\" >= '2026-01-01'"
    );
    ensure_within(
        &db,
        &[
            ("outside of the course", &outside, 0.0, 0.0),
            (
                "share of the weekend",
                "SELECT avg((extract(isodow FROM \"timestamp\") > 5)::int) FROM actividades_participantes",
                0.04,
                0.12,
            ),
            (
                "share of office hours",
                "SELECT avg((extract(hour FROM \"timestamp\") BETWEEN 7 AND 16)::int) FROM actividades_participantes",
                0.65,
                0.85,
            ),
            (
                "share of the night",
                "SELECT avg((extract(hour FROM \"timestamp\") BETWEEN 0 AND 5)::int) FROM actividades_participantes",
                0.0,
                0.0,
            ),
            (
                "not in the order of their ids",
                "SELECT count(*) FROM (SELECT \"timestamp\" < lag(\"timestamp\") OVER (ORDER BY id) AS back
                                       FROM actividades_participantes) AS o WHERE back",
                0.0,
                0.0,
            ),
            (
                "progress that goes back",
                "SELECT count(*) FROM (SELECT (detalles->>'progreso')::numeric
                                            < lag((detalles->>'progreso')::numeric) OVER (PARTITION BY participante_id ORDER BY id)
                                            AS back
                                       FROM actividades_participantes WHERE detalles IS NOT NULL) AS o WHERE back",
                0.0,
                0.0,
            ),
        ],
    )
}

#[test]
fn who_does_more_gets_better_grades_and_some_leave() -> Result<()> {
    let db = told("notas", Seed::new(42, 3_000))?;
    let by_course = |condition: &str| {
        format!(
            "SELECT avg((ultimo < 0.6)::int)
             FROM (SELECT p.id, max(extract(epoch FROM \"timestamp\" - v.fecha_inicio) / 86400 / (v.fecha_fin - v.fecha_inicio))
                                AS ultimo
                   FROM {DONE} WHERE v.curso_id {condition} AND v.fecha_fin IS NOT NULL AND v.estado = 'completado'
                   GROUP BY p.id HAVING count(*) > 2) AS visto"
        )
    };
    let losing = Seed::losing_courses();
    let these = format!("IN ({}, {})", losing[0], losing[1]);
    let others = format!("NOT {these}");
    ensure_within(
        &db,
        &[
            (
                "activity and grade",
                "SELECT corr(hecho, calificacion)
                 FROM (SELECT p.id, calificacion, count(a.id) AS hecho
                       FROM participantes p LEFT JOIN actividades_participantes a ON a.participante_id = p.id
                       GROUP BY p.id) AS por_persona",
                0.45,
                0.85,
            ),
            (
                "share that passes",
                "SELECT avg((calificacion >= 5)::int) FROM participantes WHERE calificacion IS NOT NULL",
                0.55,
                0.85,
            ),
            (
                "share that never came",
                "SELECT avg((NOT EXISTS (SELECT FROM actividades_participantes a WHERE a.participante_id = p.id))::int)
                 FROM participantes p JOIN ventas v ON v.id = p.venta_id WHERE v.estado = 'completado'",
                0.04,
                0.10,
            ),
            ("share that leaves two courses", &by_course(&these), 0.5, 0.9),
            ("share that leaves others", &by_course(&others), 0.03, 0.3),
        ],
    )
}

#[test]
fn sales_have_seasons_cancellations_and_room() -> Result<()> {
    let db = told("ventas", Seed::new(42, 3_000))?;
    let losing = Seed::losing_courses();
    let cancelled = |condition: &str| {
        format!(
            "SELECT avg((estado = 'cancelado')::int) FROM ventas WHERE curso_id {condition} ({}, {})",
            losing[0], losing[1]
        )
    };
    ensure_within(
        &db,
        &[
            (
                "August against October",
                "SELECT (count(*) FILTER (WHERE extract(month FROM fecha_venta) = 8))::numeric
                      / count(*) FILTER (WHERE extract(month FROM fecha_venta) = 10) FROM ventas",
                0.08,
                0.25,
            ),
            (
                "the last year against the first",
                "SELECT (count(*) FILTER (WHERE fecha_venta >= '2025-01-01'))::numeric
                      / count(*) FILTER (WHERE fecha_venta < '2024-01-01') FROM ventas",
                1.2,
                1.7,
            ),
            (
                "share sold on weekends",
                "SELECT avg((extract(isodow FROM fecha_venta) > 5)::int) FROM ventas",
                0.01,
                0.06,
            ),
            ("cancelled of two courses", &cancelled("IN"), 0.14, 0.32),
            ("cancelled of the others", &cancelled("NOT IN"), 0.03, 0.10),
            (
                "sales with more people than seats",
                "SELECT count(*) FROM ventas v
                 WHERE num_participantes < (SELECT count(*) FROM participantes p WHERE p.venta_id = v.id)",
                0.0,
                0.0,
            ),
            (
                "share of seats that are taken",
                "SELECT (SELECT count(*) FROM participantes)::numeric / sum(num_participantes) FROM ventas",
                0.55,
                0.9,
            ),
            (
                "share of the tenth of clients that buys most",
                "SELECT sum(ventas) FILTER (WHERE lugar <= 7) / sum(ventas)
                 FROM (SELECT count(*) AS ventas, row_number() OVER (ORDER BY count(*) DESC) AS lugar
                       FROM ventas GROUP BY cliente_id) AS por_cliente",
                0.25,
                0.8,
            ),
            (
                "sales to clients whom the CRM has as leads",
                "SELECT count(*) FROM ventas WHERE cliente_id % 10 IN (9, 0)",
                0.0,
                0.0,
            ),
            (
                "states that do not fit the dates",
                "SELECT count(*) FROM ventas
                 WHERE estado = 'completado' AND fecha_fin >= '2026-01-01' OR estado = 'programado' AND fecha_inicio < '2026-01-01'
                    OR estado = 'en_curso' AND fecha_fin < '2026-01-01'",
                0.0,
                0.0,
            ),
        ],
    )
}

#[test]
fn a_seed_until_today_has_courses_under_way_and_nothing_to_come() -> Result<()> {
    let db = told("hoy", Seed::new(42, 3_000).until_today())?;
    // Of a test that began before midnight, yesterday.
    let today = "(SELECT max(\"timestamp\")::date FROM actividades_participantes)";
    let under_way =
        "SELECT count(*) FROM ventas WHERE estado = 'en_curso' AND fecha_fin >= CURRENT_DATE - 1";
    ensure_within(
        &db,
        &[
            (
                "days since the last activity",
                &format!("SELECT CURRENT_DATE - {today}"),
                1.0,
                4.0,
            ),
            ("courses under way", under_way, 50.0, 500.0),
            (
                "changed in the future",
                "SELECT count(*) FROM ventas WHERE updated_at > now() OR fecha_venta > now()",
                0.0,
                0.0,
            ),
        ],
    )?;
    // What happens next, happens to those whose course is under way.
    Changes {
        insert_actividades: 500,
        ..Changes::new(3)
    }
    .apply(&mut db.client()?)?;
    let stray = format!(
        "SELECT count(*) FROM {DONE} WHERE \"timestamp\" > now() - interval '1 hour'
            AND NOT (estado = 'en_curso' AND CURRENT_DATE BETWEEN fecha_inicio AND fecha_fin + 1)"
    );
    let fresh = "SELECT count(*) FROM actividades_participantes WHERE \"timestamp\" > now() - interval '1 hour'";
    ensure_within(
        &db,
        &[
            ("activities of today", fresh, 500.0, 500.0),
            ("of those not there", &stray, 0.0, 0.0),
        ],
    )?;
    let last_id = "SELECT max(id) FROM actividades_participantes";
    let before = number(&db, last_id)?;
    Changes {
        insert_actividades: 300,
        recent_actividades: true,
        ..Changes::new(4)
    }
    .apply(&mut db.client()?)?;
    let spread = format!(
        "SELECT count(DISTINCT date_trunc('hour', \"timestamp\")) FROM actividades_participantes
         WHERE id > {before} AND \"timestamp\" BETWEEN now() - interval '25 hours' AND now()"
    );
    ensure_within(&db, &[("hours of the day", &spread, 8.0, 18.0)])
}

#[test]
fn any_size_is_filled_whatever_the_proportions() -> Result<()> {
    for (ventas, participantes, actividades) in [
        (1, 1, 1),
        (1, 40, 3),
        (2, 1, 50),
        (10, 1_000, 10),
        (500, 3, 2_000),
        (300, 0, 0),
        (300, 300, 0),
    ] {
        let db = Cluster::shared()?.database("tamaño")?;
        db.apply_schema()?;
        let made = Seed::new(9, ventas)
            .participantes(participantes)
            .actividades(actividades)
            .apply(&mut db.client()?)?;
        ensure!((made.participantes, made.actividades) == (participantes, actividades));
        for (table, rows) in [
            ("ventas", ventas),
            ("participantes", participantes),
            ("actividades_participantes", actividades),
        ] {
            let counted = db.value(&format!(
                "SELECT count(*) || ' ' || coalesce(max(id), 0) FROM {table}"
            ))?;
            ensure!(
                counted == Some(format!("{rows} {rows}")),
                "{table} of {ventas}, {participantes}, {actividades}: {counted:?}"
            );
        }
    }
    Ok(())
}

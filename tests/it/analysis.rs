//! The company's analysis, whole: the repository's own configuration, models, tests and report on a seeded source and CRM, in
//! both destinations. Each figure is compared with what the source's own SQL says.

use std::path::Path;

use testkit::{Changes, HUBSPOT_TOKEN, HubSpotServer, Seed};

use crate::support::Project;

/// A day of Madrid in the source.
const DAY: &str = "(a.\"timestamp\" AT TIME ZONE 'Europe/Madrid')::date";
/// The last day of the source's data.
const TODAY: &str =
    "(SELECT max(\"timestamp\" AT TIME ZONE 'Europe/Madrid')::date FROM actividades_participantes)";

/// A project as the repository has it, with rows in its source and companies in its CRM.
struct Company {
    project: Project,
    _crm: HubSpotServer,
    destination: &'static str,
}

impl Company {
    fn new(destination: &'static str) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut project = Project::operational("analisis", "").with_warehouse();
        let seed = Seed::new(42, 2_000)
            .participantes(15_000)
            .actividades(150_000)
            .until_today();
        let mut client = project.source.client().unwrap();
        seed.apply(&mut client).unwrap();
        let crm = HubSpotServer::options()
            .companies(seed.clientes())
            .prospects(20)
            .start()
            .unwrap();
        let configuration = std::fs::read_to_string(root.join("acequia.toml")).unwrap();
        // The CRM is made of the same seed by default. A server's slots have names that no two of its databases share.
        let own = project.source.name().to_owned();
        project.configure(&configuration.replace("acequia_formacion", &own));
        copy(&root.join("analisis"), &project.path("analisis"));
        let warehouse = project.warehouse().url().to_owned();
        for (name, value) in [
            ("WAREHOUSE_URL", warehouse.as_str()),
            ("HUBSPOT_URL", &crm.url()),
            ("HUBSPOT_TOKEN", HUBSPOT_TOKEN),
            ("LAKE_CATALOG", "http://127.0.0.1:1"),
            ("LAKE_ID", "-"),
            ("LAKE_SECRET", "-"),
            ("LAKE_EXTENSIONS", "-"),
        ] {
            project.set(name, value);
        }
        Self {
            project,
            _crm: crm,
            destination,
        }
    }

    fn run(&self) {
        self.project.run(&["--destination", self.destination]);
    }

    /// The first value of a query on the models, as text.
    fn figure(&self, sql: &str) -> String {
        let sql = format!("SELECT CAST(x AS varchar) FROM ({sql}) AS q(x)");
        let value = if self.destination == "duckdb" {
            let connection = self.project.duckdb();
            connection
                .execute_batch("SET search_path = 'analisis,replica'")
                .unwrap();
            connection.query_row(&sql, [], |row| row.get(0)).unwrap()
        } else {
            let mut client = self.project.warehouse().client().unwrap();
            client
                .batch_execute("SET search_path = analisis, replica")
                .unwrap();
            let row = client.query_one(&sql, &[]).unwrap();
            row.get::<_, Option<String>>(0)
        };
        value.unwrap_or_else(|| "NULL".to_owned())
    }

    /// Asserts that the models say what the source says.
    fn assert_figure(&self, what: &str, models: &str, source: &str) {
        let expected = self
            .project
            .source
            .value(&format!(
                "SELECT CAST(x AS varchar) FROM ({source}) AS q(x)"
            ))
            .unwrap()
            .unwrap();
        assert_eq!(self.figure(models), expected, "{what}");
    }

    fn assert_figures(&self) {
        for (what, models, source) in FIGURES {
            let source = source.replace("DAY", DAY).replace("TODAY", TODAY);
            self.assert_figure(what, models, &source);
        }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// A figure, out of the models and out of the source.
const FIGURES: &[(&str, &str, &str)] = &[
    (
        "revenue",
        "SELECT sum(ingresos) FROM ventas_mes",
        "SELECT sum(precio_total) FROM ventas WHERE estado <> 'cancelado'",
    ),
    (
        "what was cancelled in the month that sold most",
        "SELECT sum(ingresos_cancelados) FROM ventas_mes
         WHERE mes = (SELECT mes FROM ventas_mes GROUP BY mes ORDER BY sum(ventas + canceladas) DESC, mes LIMIT 1)",
        "SELECT coalesce(sum(precio_total) FILTER (WHERE estado = 'cancelado'), 0) FROM ventas
         GROUP BY to_char(fecha_venta, 'YYYY-MM') ORDER BY count(*) DESC, to_char(fecha_venta, 'YYYY-MM') LIMIT 1",
    ),
    (
        "seats that are taken",
        "SELECT sum(plazas_ocupadas) FROM ventas_mes",
        "SELECT count(*) FROM participantes p JOIN ventas v ON v.id = p.venta_id WHERE v.estado <> 'cancelado'",
    ),
    (
        "clients",
        "SELECT count(*) FROM clientes_crm",
        "SELECT count(*) FROM clientes",
    ),
    (
        "clients whose company is in the CRM (see testkit's hubspot::clients)",
        "SELECT count(*) FROM clientes_crm WHERE id_empresa IS NOT NULL",
        "SELECT count(*) FROM clientes WHERE dominio IS NOT NULL AND id % 29 <> 0 AND id % 41 <> 0",
    ),
    (
        "the best client's revenue",
        "SELECT max(ingresos) FROM clientes_crm",
        "SELECT max(ingresos) FROM (SELECT sum(precio_total) AS ingresos FROM ventas WHERE estado <> 'cancelado'
                                    GROUP BY cliente_id) AS c",
    ),
    (
        "clients without a company",
        "SELECT count(*) FROM crm_huecos WHERE hueco = 'cliente sin empresa'",
        "SELECT count(*) FROM clientes WHERE dominio IS NULL OR id % 29 = 0 OR id % 41 = 0",
    ),
    (
        "companies that were entered twice",
        "SELECT count(*) FROM crm_huecos WHERE hueco = 'empresa repetida'",
        "SELECT count(*) FROM clientes c JOIN clientes d ON d.id = c.id + 1 WHERE d.id % 41 = 0 AND c.dominio IS NOT NULL",
    ),
    (
        "activities",
        "SELECT count(*) FROM actividad",
        "SELECT count(*) FROM actividades_participantes",
    ),
    (
        "minutes",
        "SELECT sum(minutos) FROM actividad",
        "SELECT sum(round(coalesce((detalles->>'duracion_s')::numeric, 0) / 60, 2)) FROM actividades_participantes",
    ),
    (
        "activities of Sundays in Madrid",
        "SELECT count(*) FROM actividad WHERE dia_semana = 7",
        "SELECT count(*) FROM actividades_participantes a WHERE to_char(DAY, 'ID') = '7'",
    ),
    (
        "participants",
        "SELECT count(*) FROM engagement_participante",
        "SELECT count(*) FROM participantes",
    ),
    (
        "participants who have not begun a course that is under way",
        "SELECT count(*) FROM engagement_participante WHERE motivo = 'no ha empezado'",
        "SELECT count(*) FROM participantes p JOIN ventas v ON v.id = p.venta_id
         WHERE v.estado <> 'cancelado' AND TODAY BETWEEN v.fecha_inicio + 7 AND v.fecha_fin
           AND NOT EXISTS (SELECT FROM actividades_participantes a WHERE a.participante_id = p.id)",
    ),
    (
        "participants who stopped",
        "SELECT count(*) FROM engagement_participante WHERE motivo = 'sin actividad'",
        "SELECT count(*) FROM participantes p JOIN ventas v ON v.id = p.venta_id
         WHERE v.estado <> 'cancelado' AND TODAY BETWEEN v.fecha_inicio + 7 AND v.fecha_fin
           AND (SELECT max(DAY) FROM actividades_participantes a WHERE a.participante_id = p.id) <= TODAY - 10",
    ),
    (
        "participants who are late",
        "SELECT count(*) FROM engagement_participante WHERE motivo = 'va atrasado'",
        "SELECT count(*)
         FROM participantes p
         JOIN ventas v ON v.id = p.venta_id
         CROSS JOIN LATERAL (SELECT max(DAY) AS ultimo, coalesce(max((detalles->>'progreso')::numeric), 0) AS progreso
                             FROM actividades_participantes a WHERE a.participante_id = p.id) AS h
         WHERE v.estado <> 'cancelado' AND TODAY BETWEEN v.fecha_inicio + 7 AND v.fecha_fin AND h.ultimo > TODAY - 10
           AND 2 * h.progreso * (v.fecha_fin - v.fecha_inicio + 1) < 100 * (TODAY - v.fecha_inicio + 1)",
    ),
    (
        "participants whose course lasts a second week that is over",
        "SELECT sum(inscritos) FROM engagement_curso_semana WHERE semana = 2",
        "SELECT count(*) FROM participantes p JOIN ventas v ON v.id = p.venta_id
         WHERE v.estado <> 'cancelado' AND v.fecha_fin >= v.fecha_inicio + 13 AND v.fecha_inicio + 14 <= TODAY",
    ),
    (
        "those of them who were active in it",
        "SELECT sum(activos) FROM engagement_curso_semana WHERE semana = 2",
        "SELECT count(DISTINCT p.id) FROM participantes p JOIN ventas v ON v.id = p.venta_id
         JOIN actividades_participantes a ON a.participante_id = p.id
         WHERE v.estado <> 'cancelado' AND v.fecha_fin >= v.fecha_inicio + 13 AND v.fecha_inicio + 14 <= TODAY
           AND DAY BETWEEN v.fecha_inicio + 7 AND v.fecha_inicio + 13",
    ),
    (
        "those of them who were active in it or later",
        "SELECT sum(siguen) FROM retencion_cohorte WHERE semana = 2",
        "SELECT count(DISTINCT p.id) FROM participantes p JOIN ventas v ON v.id = p.venta_id
         JOIN actividades_participantes a ON a.participante_id = p.id
         WHERE v.estado <> 'cancelado' AND v.fecha_fin >= v.fecha_inicio + 13 AND v.fecha_inicio + 14 <= TODAY
           AND DAY >= v.fecha_inicio + 7",
    ),
    (
        "clients in the CRM who buy",
        "SELECT empresas FROM embudo WHERE paso = 4",
        "SELECT count(DISTINCT v.cliente_id) FROM ventas v JOIN clientes c ON c.id = v.cliente_id
         WHERE v.estado <> 'cancelado' AND c.dominio IS NOT NULL AND c.id % 29 <> 0 AND c.id % 41 <> 0",
    ),
    (
        "the two courses that lose people",
        "SELECT min(id_curso) * 100 + max(id_curso)
         FROM (SELECT id_curso FROM curso_resultado WHERE participantes > 50 ORDER BY abandono DESC NULLS LAST LIMIT 2) AS c",
        "SELECT 308",
    ),
    (
        "grades",
        "SELECT sum(notas) FROM curso_resultado",
        "SELECT count(calificacion) FROM participantes",
    ),
    (
        "activities of the last 24 hours",
        "SELECT sum(actividades) FROM ahora",
        "SELECT count(*) FROM actividades_participantes
         WHERE \"timestamp\" >= date_trunc('hour', (SELECT max(\"timestamp\") FROM actividades_participantes)) - interval '23 hours'",
    ),
    (
        "streams",
        "SELECT count(*) FROM frescura WHERE minutos BETWEEN 0 AND 60",
        "SELECT 6",
    ),
    (
        "revenue of twelve months",
        "SELECT CAST(valor AS decimal(18, 2)) FROM resumen WHERE orden = 1",
        "SELECT sum(precio_total) FROM ventas
         WHERE estado <> 'cancelado' AND fecha_venta >= date_trunc('month', TODAY) - interval '12 months'
           AND fecha_venta < date_trunc('month', TODAY)",
    ),
];

fn the_whole(destination: &'static str) {
    let company = Company::new(destination);
    company.run();
    company.assert_figures();
    let page = std::fs::read_to_string(company.project.path("informe.html")).unwrap();
    for part in [
        "Cómo vamos",
        "A quién llamar esta semana",
        "El embudo comercial",
    ] {
        assert!(page.contains(part), "{part}");
    }
    // A day passes.
    Changes {
        recent_actividades: true,
        ..Changes::day(5)
    }
    .apply(&mut company.project.source.client().unwrap())
    .unwrap();
    company.run();
    company.assert_figures();
    let later = std::fs::read_to_string(company.project.path("informe.html")).unwrap();
    assert_ne!(page, later);
}

#[test]
fn every_model_tells_in_duckdb_what_the_source_tells() {
    the_whole("duckdb");
}

#[test]
fn every_model_tells_in_postgres_what_the_source_tells() {
    the_whole("postgres");
}

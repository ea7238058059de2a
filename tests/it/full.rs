//! Full loads.

use testkit::Seed;

use crate::support::{Project, counts, files_below, stream_report};

const FIVE_TABLES: &str = r#"
[streams.clientes]
source = "operativa"
table = "public.clientes"
mode = "full"

[streams.cursos]
source = "operativa"
table = "public.cursos"
mode = "full"

[streams.ventas]
source = "operativa"
table = "ventas"
mode = "full"

[streams.participantes]
source = "operativa"
table = "public.participantes"
mode = "full"

[streams.actividades_participantes]
source = "operativa"
table = "public.actividades_participantes"
mode = "full"
"#;

#[test]
fn the_five_tables_arrive_as_they_are() {
    let project = Project::operational("five_tables", FIVE_TABLES);
    Seed::new(7, 20_000)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    let report = project.run(&[]);
    assert_eq!(report["pipeline"], "formacion");
    assert_eq!(counts(&report, "ventas"), (20_000, 20_000, 0, 0));
    for table in [
        "clientes",
        "cursos",
        "ventas",
        "participantes",
        "actividades_participantes",
    ] {
        project.assert_same(table);
        assert_eq!(stream_report(&report, table)["status"], "ok");
    }
}

#[test]
fn a_large_table_is_read_in_ranges_under_one_snapshot() {
    let project = Project::operational(
        "ranges",
        r#"
[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "full"
parallel = 3
"#,
    );
    Seed::new(1, 1_000_000)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    let plan = project.acequia(&["run", "--dry-run"]);
    assert!(plan.stdout.contains("3 ranges of pages"), "{plan:?}");
    assert_eq!(counts(&project.run(&[]), "ventas").0, 1_000_000);
    project.assert_same("ventas");
    let parts = files_below(&project.loads("ventas")[0]);
    assert_eq!(
        parts.len(),
        4,
        "three lanes' parts and the manifest: {parts:?}"
    );
}

#[test]
fn each_run_replaces_the_table() {
    let project = Project::operational("replaced", FIVE_TABLES);
    Seed::new(3, 100)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.run(&["cursos"]);
    project
        .source
        .batch("DELETE FROM ventas; DELETE FROM cursos WHERE id % 2 = 0; UPDATE cursos SET precio_base = precio_base + 1")
        .unwrap();
    project.run(&["cursos"]);
    project.assert_same("cursos");
}

#[test]
fn an_empty_table_arrives_with_its_columns() {
    let project = Project::operational("empty", FIVE_TABLES);
    let report = project.run(&[]);
    assert_eq!(counts(&report, "ventas"), (0, 0, 0, 0));
    project.assert_same("ventas");
    assert_eq!(
        project.value("SELECT data_type FROM duckdb_columns() WHERE table_name = 'cursos' AND column_name = 'precio_base'").unwrap(),
        "DECIMAL(10,2)"
    );
}

#[test]
fn a_view_a_query_a_partitioned_table_and_a_materialized_view_are_read_alike() {
    let project = Project::operational(
        "relations",
        r#"
[streams.vista]
source = "operativa"
table = "caras"
mode = "full"

[streams.consulta]
source = "operativa"
query = "SELECT estado, count(*) AS ventas, sum(precio_total) AS total FROM ventas GROUP BY estado -- all"
mode = "full"
types = { total = "decimal(38,2)" }

[streams.partes]
source = "operativa"
table = "public.partes"
mode = "full"
parallel = 2

[streams.materializada]
source = "operativa"
table = "public.resumen"
mode = "full"
"#,
    );
    Seed::new(3, 2_000)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project
        .source
        .batch(
            "CREATE VIEW caras AS SELECT * FROM ventas WHERE precio_total > 1000;
             CREATE MATERIALIZED VIEW resumen AS SELECT curso_id, count(*) AS n FROM ventas GROUP BY 1;
             CREATE TABLE partes (id int8 PRIMARY KEY, t text) PARTITION BY RANGE (id);
             CREATE TABLE partes_a PARTITION OF partes FOR VALUES FROM (MINVALUE) TO (300000);
             CREATE TABLE partes_b PARTITION OF partes FOR VALUES FROM (300000) TO (MAXVALUE);
             INSERT INTO partes SELECT i, 't' || i FROM generate_series(-5, 600000) AS i;
             ANALYZE partes;
             CREATE VIEW public.totales AS SELECT estado, count(*) AS ventas, sum(precio_total)::numeric(38,2) AS total
                                           FROM ventas GROUP BY estado",
        )
        .unwrap();
    project.run(&[]);
    project.assert_same_as("public.caras", "replica.vista");
    project.assert_same_as("public.totales", "replica.consulta");
    project.assert_same_as("public.partes", "replica.partes");
    project.assert_same_as("public.resumen", "replica.materializada");
    assert_eq!(
        files_below(&project.loads("partes")[0]).len(),
        3,
        "two ranges of keys"
    );
}

#[test]
fn columns_conditions_and_table_names_are_as_the_stream_says() {
    let project = Project::operational(
        "choices",
        r#"
[streams.ventas]
source = "operativa"
table = "public.ventas"
mode = "full"
columns = ["id", "estado", "precio_total"]
where = "estado <> 'cancelado' -- the rest"
destination_table = "Ventas Vivas"
types = { precio_total = "text" }

[streams.raros]
source = "operativa"
table = '"Mi Esquema"."Tabla ""rara"""'
mode = "full"
exclude = ["secreto"]
"#,
    );
    Seed::new(3, 500)
        .only_ventas()
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project
        .source
        .batch(
            r#"CREATE SCHEMA "Mi Esquema";
               CREATE TABLE "Mi Esquema"."Tabla ""rara""" ("select" int, "a b" text, "ñ""x" date, secreto text);
               INSERT INTO "Mi Esquema"."Tabla ""rara""" VALUES (1, 'x', '2024-02-29', 's'), (NULL, '', NULL, NULL);
               CREATE VIEW rara AS SELECT "select", "a b", "ñ""x" FROM "Mi Esquema"."Tabla ""rara""";
               CREATE VIEW vivas AS SELECT id, precio_total::text, estado FROM ventas WHERE estado <> 'cancelado'"#,
        )
        .unwrap();
    project.run(&[]);
    project.assert_same_as("public.vivas", "replica.\"Ventas Vivas\"");
    project.assert_same_as("public.rara", "replica.raros");
}

#[test]
fn one_stream_that_fails_does_not_stop_the_others() {
    let project = Project::operational(
        "others",
        r#"
[streams.cursos]
source = "operativa"
table = "public.cursos"
mode = "full"

[streams.rota]
source = "operativa"
query = "SELECT 1 / (id - 3) AS x FROM cursos"
mode = "full"
"#,
    );
    Seed::new(3, 100)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    let failed = project.run_failing("rota");
    assert_eq!(failed["status"], "failed");
    assert!(
        failed["error"]
            .as_str()
            .unwrap()
            .contains("division by zero"),
        "{failed}"
    );
    project.assert_same("cursos");
    assert_eq!(
        project.loads("rota"),
        Vec::<std::path::PathBuf>::new(),
        "nothing half landed stays"
    );
}

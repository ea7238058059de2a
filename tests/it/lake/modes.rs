//! Every way to read a stream and every way to apply it.

use testkit::{Changes, HUBSPOT_TOKEN, HubSpotServer, Seed};

use super::Shore;
use crate::support::{CURSOS_AND_VENTAS, Project, VENTAS, counts};

#[test]
fn the_five_tables_arrive_and_follow_their_source() {
    let tables = [
        "clientes",
        "cursos",
        "participantes",
        "actividades_participantes",
    ];
    let full = tables.map(|table| {
        format!("[streams.{table}]\nsource = \"operativa\"\ntable = \"public.{table}\"\nmode = \"full\"\n")
    });
    let project = Project::operational("lago", "");
    let mut client = project.source.client().unwrap();
    Seed::new(5, 1_500).apply(&mut client).unwrap();
    let shore = Shore::on(project, &format!("{VENTAS}{}", full.concat()));
    assert_eq!(counts(&shore.run(&[]), "ventas"), (1_500, 1_500, 0, 0));
    for day in 1..3 {
        for table in tables.iter().chain(&["ventas"]) {
            shore.assert_same(table);
        }
        Changes::day(day).apply(&mut client).unwrap();
        let (_, inserted, updated, deleted) = counts(&shore.run(&[]), "ventas");
        assert!(inserted > 0 && updated > 0 && deleted == 0);
    }
    for table in tables.iter().chain(&["ventas"]) {
        shore.assert_same(table);
    }
    assert_eq!(counts(&shore.run(&["ventas"]), "ventas").1, 0);
    // The ledger, for people: every load once, whichever reader asks.
    let loads = shore.rows("acequia_loads");
    let of_ventas: Vec<_> = loads
        .iter()
        .filter(|load| load["stream"] == "ventas")
        .collect();
    assert!(of_ventas.len() >= 3, "{loads:?}");
    let twice = "SELECT count(*) - count(DISTINCT load_id) FROM replica.acequia_loads";
    assert_eq!(shore.value(twice), "0");
}

const EVENTS: &str = r#"
[streams.actividades_participantes]
source = "operativa"
table = "public.actividades_participantes"
mode = "incremental"
cursor = "timestamp"
"#;

#[test]
fn appended_and_inserted_rows_come_once() {
    for disposition in ["append", "insert_only"] {
        let project = Project::operational("anexada", "");
        let mut client = project.source.client().unwrap();
        Seed::new(5, 500).apply(&mut client).unwrap();
        let key = if disposition == "append" {
            ""
        } else {
            "primary_key = [\"id\"]\n"
        };
        let shore = Shore::on(
            project,
            &format!("{EVENTS}disposition = \"{disposition}\"\n{key}"),
        );
        shore.run(&[]);
        for day in 1..4 {
            Changes::day(day).apply(&mut client).unwrap();
            shore.run(&[]);
            shore.assert_same("actividades_participantes");
        }
    }
}

#[test]
fn versions_of_rows_are_kept() {
    let shore = Shore::operational(
        "versiones",
        200,
        &format!("{VENTAS}disposition = \"scd2\"\n"),
    );
    shore.run(&[]);
    let change = "UPDATE ventas SET precio_total = precio_total + 1 WHERE id <= 20";
    for _ in 0..2 {
        shore.source.batch(change).unwrap();
        assert_eq!(counts(&shore.run(&[]), "ventas").2, 20);
    }
    let versions = "SELECT count(*) || ' ' || count(*) FILTER (WHERE _acequia_valid_to IS NULL) FROM replica.ventas";
    assert_eq!(shore.value(versions), "240 200");
    let current: Vec<_> = shore.rows("ventas");
    let current = current
        .iter()
        .filter(|row| row["_acequia_valid_to"].is_null());
    assert_eq!(current.count(), 200);
}

pub(super) const T: &str = "CREATE TABLE t (id int8 PRIMARY KEY, v text, grande text);
                 ALTER TABLE t ALTER COLUMN grande SET STORAGE EXTERNAL";

#[test]
fn every_kind_of_change_arrives_and_the_changes_themselves() {
    let shore = Shore::of_changes("lago_clases", T, &["t"], "changelog = true");
    assert_every_kind_of_change(&shore);
}

/// Every kind of change of [`T`] arrives, and the changes themselves.
pub(super) fn assert_every_kind_of_change(shore: &Shore) {
    let mut client = shore.client();
    client
        .batch_execute(
            "INSERT INTO t SELECT i, 'v' || i, repeat('x', 5000) FROM generate_series(1, 50) AS i",
        )
        .unwrap();
    shore.run(&[]);
    shore.assert_same("t");
    for changes in [
        "UPDATE t SET v = v || '!' WHERE id <= 20",
        "UPDATE t SET id = 103 WHERE id = 3; UPDATE t SET id = 3 WHERE id = 4; UPDATE t SET id = 4 WHERE id = 103",
        "DELETE FROM t WHERE id BETWEEN 40 AND 45; INSERT INTO t VALUES (41, NULL, '')",
        "BEGIN; INSERT INTO t VALUES (200, 'a', 'b'); UPDATE t SET v = 'c' WHERE id = 200; \
         DELETE FROM t WHERE id = 200; INSERT INTO t VALUES (200, 'd', NULL); COMMIT",
        "TRUNCATE t; INSERT INTO t VALUES (1, 'tras', 'todo'), (2, NULL, NULL)",
    ] {
        client.batch_execute(changes).unwrap();
        shore.run(&[]);
        shore.assert_same("t");
    }
    assert_eq!(counts(&shore.run(&[]), "t"), (0, 0, 0, 0));
    let kept = "SELECT string_agg(_acequia_op, '' ORDER BY _acequia_lsn, _acequia_seq) FROM replica.t__changes
                WHERE _acequia_op <> 'r' AND (id IS NULL OR id IN (200, 1) AND _acequia_op <> 'u')";
    assert_eq!(shore.value(kept), "cdctc");
    let log = shore.rows("t__changes");
    assert_eq!(
        log.iter()
            .filter(|change| change["_acequia_op"] == "r")
            .count(),
        50
    );
    assert_eq!(
        log.len().to_string(),
        shore.value("SELECT count(*) FROM replica.t__changes")
    );
}

pub(super) const WITHOUT_KEY: &str =
    "CREATE TABLE t (a int, b text, f float8); ALTER TABLE t REPLICA IDENTITY FULL";

#[test]
fn a_table_without_a_key_holds_each_row_as_often_as_its_source() {
    let shore = Shore::of_changes("lago_sin_clave", WITHOUT_KEY, &["t"], "");
    assert_equal_rows(&shore);
}

/// The table of [`WITHOUT_KEY`] holds each row as often as its source does.
pub(super) fn assert_equal_rows(shore: &Shore) {
    let mut client = shore.client();
    client
        .batch_execute("INSERT INTO t SELECT i % 3, NULLIF(i % 2, 0)::text, 'NaN' FROM generate_series(1, 30) i")
        .unwrap();
    shore.run(&[]);
    for changes in [
        "UPDATE t SET f = -0.0 WHERE a = 1",
        "DELETE FROM t WHERE ctid IN (SELECT ctid FROM t WHERE a = 2 LIMIT 3)",
        "INSERT INTO t VALUES (1, NULL, 0.0), (1, NULL, 0.0); DELETE FROM t WHERE b IS NULL AND a = 0",
    ] {
        client.batch_execute(changes).unwrap();
        shore.run(&[]);
        shore.assert_same("t");
    }
}

pub(super) const EVERY_TYPE: &str = "CREATE TABLE t (id int8 PRIMARY KEY, corto int2, entero int4, si bool, exacto numeric(38,9), f4 float4, f8 float8,
               texto text, bytes bytea, fecha date, marca timestamp, zona timestamptz, u uuid, j jsonb, lista text[], hora time)";

#[test]
fn every_type_arrives_as_documented() {
    assert_every_type(&Shore::of_changes("lago_tipos", EVERY_TYPE, &["t"], ""));
}

/// Every type of value arrives in the table of [`EVERY_TYPE`].
pub(super) fn assert_every_type(shore: &Shore) {
    shore
        .client()
        .batch_execute(
            r#"INSERT INTO t VALUES
               (1, -32768, -2147483648, true, 12345678901234567890123456789.123456789, 'NaN', '-0', 'año ''\n', '\x00ff',
                '0001-01-01', '1899-12-31 23:59:59.999999', '2026-11-29 12:00:00.000001+01',
                '6d0b0c0e-0000-4000-8000-00000000000a', '{"a": [1, null]}', ARRAY['a', NULL, ''], '24:00'),
               (2, 32767, 2147483647, false, -0.000000001, '-Infinity', 1e308, '', '', '9999-12-31', '9999-12-31 00:00',
                '1600-02-29 00:00Z', NULL, 'null', '{}', '00:00:00.000001'),
               (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"#,
        )
        .unwrap();
    shore.run(&[]);
    // A time is text in the lake, and compared as such; a zero has no sign.
    let text = "UPDATE t SET f8 = 0 WHERE f8 = 0; ALTER TABLE t ALTER COLUMN hora TYPE text USING CASE hora WHEN '24:00' THEN '24:00:00.000000'
                ELSE to_char(hora, 'HH24:MI:SS.US') END";
    shore.client().batch_execute(text).unwrap();
    shore.assert_same("t");
}

#[test]
fn a_schema_that_changes_is_followed() {
    let shore = Shore::operational("lago_esquema", 100, CURSOS_AND_VENTAS);
    shore.run(&[]);
    shore
        .source
        .batch("ALTER TABLE ventas ADD COLUMN nota text; ALTER TABLE ventas ALTER COLUMN num_participantes TYPE int8;
                UPDATE ventas SET nota = 'n' || id WHERE id <= 50")
        .unwrap();
    shore.run(&[]);
    shore.assert_same("ventas");
    shore
        .source
        .batch("ALTER TABLE ventas DROP COLUMN nota; UPDATE ventas SET estado = estado")
        .unwrap();
    shore.run(&[]);
    shore.assert_same("ventas");
    assert_eq!(shore.value("SELECT count(nota) FROM replica.ventas"), "0");
}

#[test]
fn the_objects_of_a_crm_arrive() {
    let crm = HubSpotServer::options().companies(120).start().unwrap();
    crm.portal().advance(-86_400);
    let project = Project::operational("lago_crm", "");
    let streams = format!(
        "[sources.crm]\nkind = \"hubspot\"\ntoken = \"{HUBSPOT_TOKEN}\"\nbase_url = \"{}\"\n\
         [streams.companies]\nsource = \"crm\"\nobject = \"companies\"\nmode = \"incremental\"\n",
        crm.url()
    );
    let shore = Shore::on(project, &streams);
    shore.run(&[]);
    let ids = crm.portal().ids("companies");
    crm.portal().advance(3_600);
    crm.portal()
        .update("companies", ids[0], &[("city", Some("Soria"))]);
    crm.portal().archive("companies", ids[1]);
    shore.run(&[]);
    let mut in_use: Vec<u64> = shore
        .rows("companies")
        .iter()
        .filter(|company| company["archived"] == false)
        .map(|company| company["id"].as_str().unwrap().parse().unwrap())
        .collect();
    in_use.sort_unstable();
    let mut expected: Vec<u64> = ids.into_iter().collect();
    expected.remove(1);
    expected.sort_unstable();
    assert_eq!(in_use, expected);
    let moved = "SELECT count(*) FROM replica.companies WHERE city = 'Soria'";
    assert_eq!(shore.value(moved), "1");
}

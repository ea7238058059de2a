//! Masked values: what they become, in every mode, and that nothing that is written has the values themselves.

use testkit::Seed;
use testkit::hubspot::Portal;

use crate::cdc;
use crate::hubspot::Crm;
use crate::support::{Project, assert_in_no_file, counts, example, files_below, stream_report};

const KEY: &str = "a key of thirty-two characters!!";
/// It stands in every value that is masked.
const SECRET: &str = "secreto";
const MASKS: &str = r#"
[streams.personas.mask]
dni = "hmac:${MASK_KEY}"
email = "email"
telefono = "keep-last:4"
nombre = "sha256"
nacimiento = "null"
notas = "redact"
"#;
const PERSONAS: &str = "CREATE TABLE personas (dni text PRIMARY KEY, email text, telefono text, nombre varchar(80), \
                        nacimiento date NOT NULL, notas jsonb, puntos int, updated_at timestamptz NOT NULL DEFAULT now());";

fn row(number: u32) -> String {
    format!(
        "('secreto-dni-{number}', 'secreto{number}@empresa.example', 'secreto-60012{number}', 'Ana secreto {number}', \
         '1980-01-01', '{{\"es\": \"secreto {number}\"}}', {number})"
    )
}

fn insert(numbers: std::ops::RangeInclusive<u32>) -> String {
    let rows: Vec<String> = numbers.map(row).collect();
    format!(
        "INSERT INTO personas (dni, email, telefono, nombre, nacimiento, notas, puntos) VALUES {};",
        rows.join(", ")
    )
}

/// Asserts that the table is the source's, masked.
fn assert_masked(project: &Project) {
    let expected: Vec<String> = project
        .source
        .client()
        .unwrap()
        .query(
            "SELECT concat_ws('|', regexp_replace(email, '.*@', '***@'), '***' || right(telefono, 4),
                              encode(sha256(convert_to(nombre, 'UTF8')), 'hex'), '***', puntos)
             FROM personas ORDER BY puntos",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let connection = project.duckdb();
    let mut statement = connection
        .prepare(
            "SELECT concat_ws('|', email, telefono, nombre, notas, CAST(puntos AS VARCHAR)), dni, nacimiento IS NULL
             FROM replica.personas ORDER BY puntos",
        )
        .unwrap();
    let rows: Vec<(String, String, bool)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let found: Vec<String> = rows.iter().map(|row| row.0.clone()).collect();
    assert_eq!(found, expected);
    let mut keys: Vec<&str> = rows.iter().map(|row| row.1.as_str()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), rows.len());
    for (_, dni, no_birth) in &rows {
        let is_digest = dni.len() == 64 && dni.bytes().all(|byte| byte.is_ascii_hexdigit());
        assert!(is_digest && *no_birth, "{dni}");
    }
}

/// Asserts that neither the landing area nor the destination has a value in clear, and that the manifests name the masks.
fn assert_nothing_in_clear(project: &Project) {
    let connection = project.duckdb();
    let landed: String = connection
        .query_row(
            &format!(
                "SELECT coalesce(string_agg(CAST(t AS VARCHAR), ' '), '') FROM
                 read_parquet('{}/**/*.parquet', union_by_name = true) AS t",
                project.path("landing").display()
            ),
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(!landed.is_empty() && !landed.contains(SECRET), "{landed}");
    drop(connection);
    for hidden in [SECRET, KEY] {
        assert_in_no_file(project.folder.path(), hidden);
    }
    for file in files_below(project.folder.path()) {
        if file.ends_with("manifest.json") {
            let text = std::fs::read_to_string(file).unwrap();
            assert!(text.contains("\"mask\": \"hmac (key "), "{text}");
        }
    }
}

fn project(name: &str, stream: &str) -> Project {
    let mut project = Project::new(
        name,
        &format!("[streams.personas]\nsource = \"operativa\"\n{stream}{MASKS}"),
    );
    project.set("MASK_KEY", KEY);
    project.source.batch(PERSONAS).unwrap();
    project
}

#[test]
fn full_and_incremental_loads_and_queries_are_masked() {
    for (name, stream) in [
        ("enteras", "table = \"personas\"\nmode = \"full\"\n"),
        (
            "consulta",
            "query = \"SELECT * FROM personas\"\nmode = \"full\"\nprimary_key = \"dni\"\n",
        ),
        (
            "cambiadas",
            "table = \"personas\"\nmode = \"incremental\"\ncursor = \"updated_at\"\n",
        ),
    ] {
        let project = project(name, stream);
        project.source.batch(&insert(1..=9)).unwrap();
        project.run(&[]);
        assert_masked(&project);
        let change = "UPDATE personas SET puntos = puntos + 100, updated_at = clock_timestamp() WHERE puntos < 4;";
        project
            .source
            .batch(&format!("{change}{}", insert(10..=12)))
            .unwrap();
        let report = project.run(&[]);
        if name == "cambiadas" {
            // A hashed key still tells which row is which.
            let (_, inserted, updated, deleted) = counts(&report, "personas");
            assert_eq!((inserted, updated, deleted), (3, 3, 0));
        }
        assert_masked(&project);
        assert_nothing_in_clear(&project);
        assert_verified(&project);
    }
}

/// Asserts that the table is found equal to its source, and different once a masked value of it is another.
fn assert_verified(project: &Project) {
    let verified = project.acequia(&["verify"]);
    assert_eq!(verified.status, Some(0), "{verified:?}");
    project
        .duckdb()
        .execute_batch("UPDATE replica.personas SET telefono = '***9999' WHERE puntos = 5")
        .unwrap();
    let verified = project.acequia(&["verify"]);
    assert_eq!(verified.status, Some(1), "{verified:?}");
    assert!(!verified.stdout.contains(SECRET), "{}", verified.stdout);
}

#[test]
fn both_readers_mask_alike() {
    let stream = "table = \"personas\"\nmode = \"full\"\n";
    let project = project("lectores", stream);
    project.source.batch(&insert(1..=9)).unwrap();
    let mut tables = Vec::new();
    for reader in ["copy", "connectorx"] {
        project.streams(&format!(
            "reader = \"{reader}\"\n[streams.personas]\nsource = \"operativa\"\n{stream}{MASKS}"
        ));
        project.run(&[]);
        assert_masked(&project);
        tables.push(
            project.value("SELECT string_agg(dni, ' ' ORDER BY puntos) FROM replica.personas"),
        );
    }
    assert_eq!(tables[0], tables[1]);
}

#[test]
fn changes_of_every_kind_are_masked_and_their_log_too() {
    let mut project = cdc::project(
        "registro",
        PERSONAS,
        &["personas"],
        &format!("changelog = true\n{MASKS}"),
    );
    project.set("MASK_KEY", KEY);
    project.source.batch(&insert(1..=9)).unwrap();
    project.run(&[]);
    assert_masked(&project);
    // Values too long for their row are not sent again by an update of other columns.
    project
        .source
        .batch(&format!(
            "{} UPDATE personas SET notas = to_jsonb((SELECT string_agg('secreto ' || md5(i::text), '') FROM generate_series(1, 500) i))
              WHERE puntos = 1;
             UPDATE personas SET puntos = 1000 WHERE puntos = 1;
             UPDATE personas SET dni = 'secreto-otro' WHERE puntos = 2;
             DELETE FROM personas WHERE puntos = 3;",
            insert(10..=12)
        ))
        .unwrap();
    let (_, inserted, _, deleted) = counts(&project.run(&[]), "personas");
    assert!(inserted >= 3 && deleted >= 1, "{inserted} {deleted}");
    assert_masked(&project);
    let clear = format!(
        "SELECT count(*) FROM replica.personas__changes AS t WHERE CAST(t AS VARCHAR) LIKE '%{SECRET}%'"
    );
    assert_eq!(project.value(&clear).as_deref(), Some("0"));
    assert_nothing_in_clear(&project);
    // The mask names a column, and not what it is renamed to.
    project
        .source
        .batch("ALTER TABLE personas RENAME email TO correo; UPDATE personas SET puntos = 5000 WHERE puntos = 5;")
        .unwrap();
    let failed = project.run_failing("personas");
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("mask") && error.contains("`email`"),
        "{error}"
    );
    assert_nothing_in_clear(&project);
}

#[test]
fn a_server_and_a_replay_have_the_masked_values() {
    let stream = "table = \"personas\"\nmode = \"incremental\"\ncursor = \"updated_at\"\n";
    let project = project("servidor", stream).with_warehouse();
    project.source.batch(&insert(1..=9)).unwrap();
    project.run(&["--destination", "almacen"]);
    let of_server = |project: &Project| {
        let sql = "SELECT string_agg(t::text, ' ' ORDER BY puntos) FROM replica.personas t";
        project.warehouse().value(sql).unwrap().unwrap()
    };
    let loaded = of_server(&project);
    assert!(!loaded.contains(SECRET), "{loaded}");
    project
        .warehouse()
        .batch("DROP SCHEMA replica CASCADE")
        .unwrap();
    let replayed = project.acequia(&["replay", "--destination", "almacen"]);
    assert_eq!(replayed.status, Some(0), "{replayed:?}");
    assert_eq!(of_server(&project), loaded);
}

#[test]
fn a_table_is_not_gone_on_with_under_another_mask() {
    let stream = "table = \"personas\"\nmode = \"incremental\"\ncursor = \"updated_at\"\n";
    let mut project = project("otra", stream);
    project.source.batch(&insert(1..=3)).unwrap();
    project.run(&[]);
    project.set("MASK_KEY", "another key of thirty-two chars!");
    project.source.batch(&insert(4..=4)).unwrap();
    let failed = project.run_failing("personas");
    let error = failed["error"].as_str().unwrap();
    assert!(
        error.contains("`dni` (hmac (key ") && error.contains("--full-refresh"),
        "{error}"
    );
    for command in [&["check"][..], &["run", "--dry-run"]] {
        let looked = project.acequia(command);
        assert_eq!(looked.status, Some(1), "{looked:?}");
    }
    assert_eq!(
        project
            .value("SELECT count(*) FROM replica.personas")
            .as_deref(),
        Some("3")
    );
    project.run(&["--full-refresh"]);
    assert_masked(&project);
    // Nor without any.
    project.streams(&format!(
        "[streams.personas]\nsource = \"operativa\"\n{stream}"
    ));
    let failed = project.run_failing("personas");
    assert!(failed["error"].to_string().contains("now none"), "{failed}");
}

#[test]
fn what_was_landed_before_a_mask_is_not_loaded() {
    let stream =
        "[streams.personas]\nsource = \"operativa\"\ntable = \"personas\"\nmode = \"full\"\n";
    let project = project("pendiente", "table = \"personas\"\nmode = \"full\"\n");
    project.source.batch(&insert(1..=3)).unwrap();
    project.streams(stream);
    project.crash_at("landing.after_manifest", &["run"]);
    project.streams(&format!("{stream}{MASKS}"));
    let report = project.run(&[]);
    let warnings = stream_report(&report, "personas")["warnings"].to_string();
    assert!(warnings.contains("is not loaded"), "{warnings}");
    assert_masked(&project);
}

#[test]
fn masks_that_cannot_be_are_refused() {
    let of = |mask: &str| {
        format!(
            "[streams.personas]\nsource = \"operativa\"\ntable = \"personas\"\nmode = \"incremental\"\ncursor = \
             \"updated_at\"\n[streams.personas.mask]\n{mask}\n"
        )
    };
    let project = project("imposibles", "table = \"personas\"\nmode = \"full\"\n");
    for (mask, status, expected) in [
        (
            "email = \"md5\"",
            2,
            "[streams.personas] mask email: this is no mask",
        ),
        ("email = \"hmac:short-secret\"", 2, "less than 16 bytes"),
        ("email = \"hmac:${UNSET_KEY}\"", 2, "UNSET_KEY"),
        (
            "updated_at = \"redact\"",
            2,
            "what is new is found by this column",
        ),
        ("correo = \"redact\"", 1, "`correo`"),
        ("dni = \"redact\"", 1, "is of the key"),
        (
            "email = \"redact\"\n[streams.personas.types]\nemail = \"json\"",
            2,
            "types has `email` as json",
        ),
        (
            "email = \"redact\"\n[streams.personas]\nexclude = [\"email\"]",
            2,
            "acequia.toml",
        ),
    ] {
        project.streams(&of(mask));
        let output = project.acequia(&["run"]);
        assert_eq!(output.status, Some(status), "{mask}: {output:?}");
        assert!(
            output.stderr.contains(expected),
            "{mask}: {}",
            output.stderr
        );
        assert!(!output.stderr.contains("short-secret"), "{}", output.stderr);
    }
    project.streams(&of("email = \"redact\"").replace("cursor", "exclude = [\"email\"]\ncursor"));
    let output = project.acequia(&["run"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(
        output
            .stderr
            .contains("mask: exclude leaves the column `email` out"),
        "{}",
        output.stderr
    );
}

#[test]
fn check_tells_which_columns_look_personal() {
    let project = project("personales", "table = \"personas\"\nmode = \"full\"\n");
    let stream =
        "[streams.personas]\nsource = \"operativa\"\ntable = \"personas\"\nmode = \"full\"\n";
    project.streams(&format!(
        "{stream}mask = {{ email = \"redact\", telefono = \"none\" }}\n"
    ));
    let output = project.acequia(&["check"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert!(
        output.stdout.contains("`dni`, `nacimiento` look personal"),
        "{}",
        output.stdout
    );
    project.streams(&format!("{stream}{MASKS}"));
    let output = project.acequia(&["check"]);
    assert!(
        !output.stdout.contains("look personal"),
        "{}",
        output.stdout
    );
}

#[test]
fn records_of_hubspot_and_their_history_are_masked() {
    let crm = Crm::of(20, "mode = \"full\"\nobject = \"companies\"\n");
    let stream = "[streams.companies]\nsource = \"crm\"\nobject = \"companies\"\nmode = \"incremental\"\nhistory = [\"city\", \
                  \"name\"]\nmask = { city = \"redact\", annualrevenue = \"sha256\", phone = \"null\", numberofemployees = \"null\" }\n";
    crm.streams(stream);
    crm.run();
    let id = Portal::generated_id(3);
    let odd = [
        ("city", Some("secreto")),
        ("numberofemployees", Some("secreto")),
    ];
    crm.server.portal().update("companies", id, &odd);
    crm.run();
    assert_eq!(
        crm.values("SELECT DISTINCT city FROM replica.companies WHERE city IS NOT NULL"),
        ["***"]
    );
    let revenue = "SELECT bool_and(length(annualrevenue) = 64) FROM replica.companies WHERE annualrevenue IS NOT NULL";
    assert_eq!(crm.value(revenue), "true");
    assert_eq!(crm.value("SELECT count(phone) FROM replica.companies"), "0");
    let history = |property: &str, hidden: &str| {
        crm.value(&format!(
            "SELECT count(*) > 0 AND bool_and((value = '***') = {hidden}) FROM replica.companies__history WHERE property = \
             '{property}'"
        ))
    };
    assert_eq!(history("city", "true"), "true");
    assert_eq!(history("name", "false"), "true");
    crm.assert_complete();
    // A property whose values may not fit its type has a column for those, unless it is masked.
    let columns = crm.columns("companies");
    assert!(columns.contains(&"annualrevenue".to_owned()), "{columns:?}");
    let beside = |column: &&String| {
        column.starts_with("annualrevenue") || column.starts_with("numberofemployees")
    };
    assert_eq!(columns.iter().filter(beside).count(), 2, "{columns:?}");
    crm.streams(&stream.replace("city = \"redact\"", "id = \"redact\""));
    let output = crm.acequia(&["run"]);
    assert_eq!(output.status, Some(2), "{output:?}");
    assert!(output.stderr.contains("mask id"), "{}", output.stderr);
}

/// The example of docs/masks.md.
#[test]
fn the_example_of_the_documentation_runs() {
    let mut project = Project::operational("ejemplo", &example("masks.md", 0));
    project.set("MASK_KEY", KEY);
    Seed::new(5, 200)
        .apply(&mut project.source.client().unwrap())
        .unwrap();
    project.run(&[]);
    let hidden = "SELECT count(*) > 0 AND bool_and(apellido = '***' AND (email IS NULL OR length(email) = 64)) FROM \
                  replica.participantes";
    assert_eq!(project.value(hidden).as_deref(), Some("true"));
}

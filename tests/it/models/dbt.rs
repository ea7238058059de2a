//! The same files under dbt: examples/dbt.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Analysis, Where};

const VENTA: &str = "-- description: Sales\n-- unique: id\nSELECT id, cliente_id, precio_total AS importe FROM ventas";
const CLIENTE: &str = "-- depends_on: {{ ref('c_venta') }}\n-- relationships: cliente_id -> clientes.id\n\
     SELECT v.cliente_id, c.nombre, sum(v.importe) AS importe FROM c_venta AS v JOIN clientes AS c ON c.id = v.cliente_id GROUP BY 1, 2";
const TOTAL: &str =
    "-- depends_on: {{ ref('b_cliente') }}\nSELECT sum(importe) AS total FROM b_cliente";
const SUMA: &str = "-- depends_on: {{ ref('a_total') }}\nSELECT total FROM a_total WHERE total <> (SELECT sum(precio_total) FROM ventas)";

#[cfg(unix)]
#[test]
fn dbt_builds_the_same_tables_of_the_same_files() {
    let dbt = dbt();
    let files = [
        ("models/a_total.sql", TOTAL),
        ("models/sub/b_cliente.sql", CLIENTE),
        ("models/c_venta.sql", VENTA),
        ("tests/suma.sql", SUMA),
    ];
    let analysis = Analysis::new("dbt", Where::DuckDb, &files);
    analysis.run();
    let project = analysis.project.path("dbt");
    std::fs::create_dir(&project).unwrap();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/dbt");
    for file in ["dbt_project.yml", "profiles.yml"] {
        std::fs::copy(example.join(file), project.join(file)).unwrap();
    }
    for folder in ["models", "tests"] {
        let target = analysis.project.path("analisis").join(folder);
        std::os::unix::fs::symlink(target, project.join(folder)).unwrap();
    }
    let output = Command::new(dbt)
        .args(["build", "--no-use-colors", "--profiles-dir", "."])
        .current_dir(&project)
        .env("ACEQUIA_DUCKDB", analysis.project.path("formacion.duckdb"))
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    assert!(shown.contains("PASS=4 WARN=0 ERROR=0 SKIP=0"), "{shown}");
    for (file, text) in files {
        let kept = std::fs::read_to_string(analysis.project.path("analisis").join(file)).unwrap();
        assert_eq!(kept, text, "{file} is as it was written");
    }
    let connection = analysis.project.duckdb();
    let attach = format!(
        "ATTACH '{}' AS dbt (READ_ONLY)",
        project.join("dbt.duckdb").display()
    );
    connection.execute_batch(&attach).unwrap();
    for table in ["a_total", "b_cliente", "c_venta"] {
        let differences = format!(
            "SELECT count(*) FROM ((FROM analisis.{table} EXCEPT ALL FROM dbt.main.{table}) UNION ALL \
             (FROM dbt.main.{table} EXCEPT ALL FROM analisis.{table}))"
        );
        let count: i64 = connection
            .query_row(&differences, [], |row| row.get(0))
            .unwrap();
        assert_eq!(count, 0, "{table}");
    }
}

/// The example's folders are those of the company's pipeline.
#[test]
fn the_example_runs_the_companys_own_files() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/dbt");
    for (link, target) in [
        ("models", "../../analisis/models"),
        ("tests", "../../analisis/tests"),
    ] {
        assert_eq!(
            std::fs::read_link(example.join(link)).unwrap(),
            PathBuf::from(target)
        );
    }
}

/// dbt, where `scripts/setup.sh` puts it.
fn dbt() -> PathBuf {
    let output = Command::new("bash")
        .args(["-c", ". scripts/tools.sh && printf %s \"$DBT_FOLDER\""])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let dbt = Path::new(&String::from_utf8(output.stdout).unwrap()).join("bin/dbt");
    assert!(
        dbt.exists(),
        "dbt is not at {}: install python3 with venv (Debian: python3-venv), then run scripts/setup.sh",
        dbt.display()
    );
    dbt
}

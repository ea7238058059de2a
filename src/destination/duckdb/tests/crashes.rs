//! A process that dies around the commit.

use std::process::Command;

use super::*;

const CRASH: &str = "ACEQUIA_TEST_CRASH";

fn die(fixture: Fixture, point: &str) -> (PathBuf, TempDir) {
    let path = fixture.path();
    drop(fixture.db);
    let status = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "destination::duckdb::tests::crashes::dies_for_another_test",
        ])
        .env(CRASH, &path)
        .env("FAILPOINTS", format!("{point}=return"))
        .status()
        .unwrap();
    assert!(!status.success());
    (path, fixture.folder)
}

/// The load that the crash meets: a changed row, a new row, a new column and a wider one.
fn load() -> Load {
    Load::sales(Disposition::Merge, Some(2), &[(2, 0, 3), (3, 0, 4)])
        .with("importe", "int64", longs([21, 30]))
        .with("nota", "text", texts(["x", "y"]))
}

fn before() -> Fixture {
    let mut fixture = Fixture::new();
    fixture.load(&Load::sales(
        Disposition::Merge,
        None,
        &[(1, 10, 1), (2, 20, 2)],
    ));
    fixture
}

fn importes(db: &DuckDb) -> Vec<String> {
    query(
        db.session.connection(),
        "SELECT importe FROM replica.ventas ORDER BY id",
    )
}

#[test]
fn a_crash_before_the_commit_leaves_no_trace() {
    let (path, folder) = die(before(), "duckdb.before_commit");
    let db = DuckDb::open("warehouse", &path, MEMORY, "replica").unwrap();
    assert_eq!(importes(&db), ["10", "20"]);
    let mut fixture = Fixture { folder, db };
    assert_eq!(fixture.load(&load()), (1, 1));
}

#[test]
fn a_crash_after_the_commit_loses_nothing() {
    let (path, folder) = die(before(), "duckdb.after_commit");
    let db = DuckDb::open("warehouse", &path, MEMORY, "replica").unwrap();
    assert_eq!(importes(&db), ["10", "21", "30"]);
    let mut fixture = Fixture { folder, db };
    assert_eq!(fixture.db.last_loads().unwrap()[0].updated, 1);
    let next = Load::sales(Disposition::Merge, Some(4), &[(3, 31, 5)]);
    assert_eq!(fixture.load(&next), (0, 1));
}

/// The process that dies.
#[test]
fn dies_for_another_test() {
    let Some(path) = std::env::var_os(CRASH).map(PathBuf::from) else {
        return;
    };
    let _scenario = fail::FailScenario::setup();
    let folder = tempfile::tempdir().unwrap();
    let db = DuckDb::open("warehouse", &path, MEMORY, "replica").unwrap();
    Fixture { folder, db }.load(&load());
}

//! What stands in the way of opening a file.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::*;

const HOLD: &str = "ACEQUIA_TEST_HOLD";

fn refused(path: &Path) -> String {
    DuckDb::open("warehouse", path, MEMORY, "replica")
        .unwrap_err()
        .report()
}

#[test]
fn what_is_no_database_is_told_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.duckdb");
    std::fs::write(&file, "name,price\n".repeat(1_000)).unwrap();
    let report = refused(&file);
    assert!(
        report.starts_with("destination warehouse (")
            && report.contains("is not a DuckDB database"),
        "{report}"
    );
    assert_eq!(std::fs::read(&file).unwrap().len(), 11_000);
    let report = refused(folder.path());
    assert!(report.contains("a folder stands where"), "{report}");
    let report = refused(&folder.path().join("none/x.duckdb"));
    assert!(
        report.contains("none does not exist") && report.contains("make the folder"),
        "{report}"
    );
}

/// The first page of a file: its checksum, `DUCK`, the version (DuckDB's `MainHeader::Write` and `Checksum`).
#[test]
fn a_file_of_a_newer_duckdb_is_told_from_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.duckdb");
    drop(DuckDb::open("warehouse", &file, MEMORY, "replica").unwrap());
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[12..20].copy_from_slice(&1_000_000_u64.to_le_bytes());
    std::fs::write(&file, &bytes).unwrap();
    let report = refused(&file);
    assert!(report.contains("is damaged"), "{report}");
    let words = bytes[8..4096].chunks_exact(8);
    let checksum = words.fold(5381, |sum, word| {
        sum ^ u64::from_le_bytes(word.try_into().unwrap()).wrapping_mul(0xbf58_476d_1ce4_e5b9)
    });
    bytes[..8].copy_from_slice(&checksum.to_le_bytes());
    std::fs::write(&file, &bytes).unwrap();
    let report = refused(&file);
    assert!(report.contains("written by a newer DuckDB"), "{report}");
}

#[test]
fn a_new_file_is_for_older_readers_too_and_an_old_one_keeps_its_format() {
    let folder = tempfile::tempdir().unwrap();
    let (new, other) = (
        folder.path().join("new.duckdb"),
        folder.path().join("other.duckdb"),
    );
    Connection::open(&other)
        .unwrap()
        .execute_batch("CREATE TABLE t(a INTEGER)")
        .unwrap();
    for (file, version) in [(&new, "v1.4.0"), (&new, "v1.4.0"), (&other, "v1.0.0")] {
        let db = DuckDb::open("warehouse", file, MEMORY, "replica").unwrap();
        let tags = query(
            &db.session.connection,
            "SELECT tags FROM duckdb_databases() WHERE path IS NOT NULL",
        );
        assert!(tags[0].contains(version), "{tags:?}");
    }
}

#[test]
fn a_view_where_a_table_of_the_ledger_should_be_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.duckdb");
    let user = Connection::open(&file).unwrap();
    user.execute_batch(
        "CREATE SCHEMA replica; CREATE VIEW replica._acequia_destination AS SELECT 'x' AS id",
    )
    .unwrap();
    drop(user);
    let report = refused(&file);
    assert!(
        report.contains("_acequia_destination") && report.contains("a view"),
        "{report}"
    );
}

#[test]
fn a_missing_file_is_an_empty_status_and_is_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.duckdb");
    assert!(
        DuckDb::open_read_only("warehouse", &file, "replica")
            .unwrap()
            .is_none()
    );
    assert!(!file.exists());
}

#[test]
fn a_file_that_another_program_holds_is_told_with_its_pid() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.duckdb");
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "destination::duckdb::tests::opening::holds_a_file_for_another_test",
        ])
        .env(HOLD, &file)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let ready = file.with_extension("ready");
    let start = Instant::now();
    while !ready.exists() {
        assert!(start.elapsed() < Duration::from_mins(1));
        std::thread::sleep(Duration::from_millis(20));
    }
    let reports = [
        refused(&file),
        DuckDb::open_read_only("warehouse", &file, "replica")
            .unwrap_err()
            .report(),
    ];
    drop(holder.stdin.take());
    assert!(holder.wait().unwrap().success());
    for report in reports {
        assert!(
            report.contains(&format!("(PID {}) has the file open", holder.id()))
                || report.contains(&format!("(PID {}),", holder.id())),
            "{report}"
        );
        assert!(report.contains("remedy: close it, or wait"), "{report}");
    }
    DuckDb::open("warehouse", &file, MEMORY, "replica").unwrap();
}

/// The other program: holds the file until its standard input ends.
#[test]
fn holds_a_file_for_another_test() {
    let Some(file) = std::env::var_os(HOLD).map(PathBuf::from) else {
        return;
    };
    let _db = DuckDb::open("warehouse", &file, MEMORY, "replica").unwrap();
    File::create(file.with_extension("ready")).unwrap();
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
}

#[test]
fn no_message_shows_a_value() {
    let mut fixture = Fixture::<DuckDbFile>::new();
    for sql in [
        "SELECT CAST('secreto' AS INTEGER)",
        "SELECT CAST(123456 AS SMALLINT)",
        "SELECT 'secreto' + nothing",
    ] {
        let report = fixture.db.session.execute(sql).unwrap_err().report();
        assert!(
            !report.contains("secreto") && !report.contains("123456"),
            "{report}"
        );
    }
}

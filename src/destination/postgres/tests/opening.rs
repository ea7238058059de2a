//! What stands in the way of opening a dataset.

use super::*;

fn refused(url: &str, dataset: &str) -> String {
    Postgres::open("warehouse", &PostgresUrl::new(url), dataset)
        .unwrap_err()
        .report()
}

#[test]
fn a_second_run_is_told_who_holds_the_dataset() {
    let fixture = Fixture::<Database>::new();
    let report = refused(&fixture.place.url, DATASET);
    let pid = fixture.place.rows(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' \
         AND database = (SELECT oid FROM pg_database WHERE datname = current_database())",
    );
    assert_eq!(pid.len(), 1);
    assert!(
        report.starts_with("destination warehouse (127.0.0.1:")
            && report.contains("another run holds the dataset `replica`")
            && report.contains(&format!("server process {}", pid[0]))
            && report.contains("of postgres, from 127.0.0.1"),
        "{report}"
    );
    assert!(report.contains("remedy: wait until it ends"), "{report}");
    // Another dataset, and a look at this one, go on beside it.
    fixture.place.open("other").unwrap();
    assert!(fixture.place.open_read_only(DATASET).unwrap().is_some());
    fixture.reopen();
}

#[test]
fn what_refuses_a_connection_speaks_of_the_destination() {
    let place = Database::new();
    let port = Cluster::shared().unwrap().port();
    for (url, told) in [
        (
            "postgres://nadie@127.0.0.1:1/nada".to_owned(),
            "correct host and port in the destination's `url`",
        ),
        (
            format!("postgres://postgres@127.0.0.1:{port}/no_hay"),
            "an existing database in the destination's `url`",
        ),
        (
            Cluster::shared().unwrap().url_as(
                place.database().name(),
                testkit::PASSWORD_ROLE,
                "falsa",
            ),
            "the right password for con_clave in the destination's `url`",
        ),
    ] {
        let report = refused(&url, DATASET);
        assert!(
            report.starts_with("destination warehouse (") && report.contains(told),
            "{report}"
        );
        assert!(!report.contains("falsa"), "{report}");
    }
    let report = refused("mysql://u:s3cr3t@h/d", DATASET);
    assert!(
        report.contains("destination warehouse") && !report.contains("s3cr3t"),
        "{report}"
    );
}

#[test]
fn a_look_at_the_ledger_makes_nothing() {
    let place = Database::new();
    assert!(place.open_read_only(DATASET).unwrap().is_none());
    assert!(
        place
            .rows("SELECT 1 FROM pg_namespace WHERE nspname = 'replica'")
            .is_empty()
    );
    let (place, _folder) = Fixture::of(place, tempfile::tempdir().unwrap()).close();
    let mut db = place.open_read_only(DATASET).unwrap().unwrap();
    assert!(db.session.batch("CREATE TABLE replica.x()").is_err());
}

#[test]
fn what_the_user_lacks_is_told_with_the_grant_that_mends_it() {
    let place = Database::new();
    let database = place.database();
    let role = format!("cargador_{}", database.name());
    let name = database.name();
    database
        .batch(&format!(
            "CREATE ROLE {role} LOGIN; REVOKE TEMPORARY ON DATABASE {name} FROM PUBLIC"
        ))
        .unwrap();
    let url = PostgresUrl::new(Cluster::shared().unwrap().url_as(name, &role, "x"));
    let tables = ["cursos".to_owned(), "ventas".to_owned()];
    let missing = || {
        privileges::look("warehouse", &url, DATASET, &tables)
            .unwrap()
            .missing
    };
    let mend = |missing: &[(String, String)]| {
        for (_, sql) in missing {
            database.batch(sql).unwrap();
        }
    };
    let first = missing();
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(
        first[1].0.contains("the schema replica does not exist"),
        "{first:?}"
    );
    let report = refused(url.uri.reveal(), DATASET);
    assert!(report.contains("acequia check"), "{report}");
    mend(&first);
    assert_eq!(missing(), []);

    database
        .batch(
            "ALTER SCHEMA replica OWNER TO postgres; CREATE TABLE replica.cursos(a int); CREATE TABLE replica.otra(a int)",
        )
        .unwrap();
    let second = missing();
    assert_eq!(second.len(), 2, "{second:?}");
    assert!(
        second[0].1.starts_with("GRANT USAGE, CREATE ON SCHEMA"),
        "{second:?}"
    );
    assert!(
        second[1].0.contains("replica.cursos belongs to another"),
        "{second:?}"
    );
    mend(&second);
    assert_eq!(missing(), []);
    database.batch("DROP TABLE replica.cursos").unwrap();
    // With these rights alone a load goes through.
    let mut db = Postgres::open("warehouse", &url, DATASET).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (before, ids) in [(None, [1, 2]), (Some(2), [2, 3])] {
        let rows: Vec<(i64, i32, i64)> = ids.iter().map(|id| (*id, 1, *id)).collect();
        let load = Load::sales(Disposition::Merge, before, &rows);
        let known = db.states().unwrap().pop_first().map(|state| state.1.schema);
        let id = LoadId::new(db.id());
        let staged =
            crate::destination::conformance::stage(&load, known.as_ref(), id, folder.path());
        db.load(&staged).unwrap();
    }
    drop(db);
    database.batch(&format!("DROP OWNED BY {role}")).unwrap();
    database.batch(&format!("DROP ROLE {role}")).unwrap();
}

#[test]
fn no_message_shows_a_value() {
    let mut fixture = Fixture::<Database>::new();
    for sql in [
        "SELECT CAST('secreto' AS integer)",
        "SELECT CAST(123456 AS smallint)",
        "SELECT CAST('{\"a\": secreto}' AS json)",
    ] {
        let report = fixture.db.session.batch(sql).unwrap_err().report();
        assert!(
            !report.contains("secreto") && !report.contains("123456"),
            "{report}"
        );
        assert!(report.contains("SQLSTATE 22"), "{report}");
    }
}

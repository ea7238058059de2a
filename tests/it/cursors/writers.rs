//! Writers whose transactions are long, hidden, prepared or anonymous, and columns of every grain.

use std::time::Duration;

use postgres::Client;
use testkit::{Cluster, TestDb};

use super::{client, insert, project, stream, warnings};
use crate::support::{Project, counts};

/// A transaction that began before a run, and whose row lies below what the run has read, ends after it.
fn a_late_row_arrives(project: &Project, settings: &str) {
    let mut late = client(project);
    let mut early = client(project);
    insert(&mut early, 1);
    project.run(&[]);
    // By itself, so that it is no part of the transaction.
    late.batch_execute(settings).unwrap();
    late.batch_execute("BEGIN").unwrap();
    insert(&mut late, 2);
    std::thread::sleep(Duration::from_millis(20));
    // Whatever the grain: the run sees a row that lies above the late one.
    early
        .batch_execute(
            "INSERT INTO t VALUES (3); INSERT INTO t VALUES (4, now() + interval '40 days')",
        )
        .unwrap();
    project.run(&[]);
    late.batch_execute("COMMIT").unwrap();
    project.run(&[]);
    project.assert_same("t");
}

#[test]
fn a_late_row_arrives_whatever_the_grain_of_the_column() {
    let grains = [
        ("micros", "timestamptz DEFAULT now()"),
        ("seconds", "timestamptz(0) DEFAULT now()"),
        ("millis", "timestamptz(3) DEFAULT now()"),
        ("tenths", "timestamp(1) DEFAULT now()"),
        ("local", "timestamp(0) DEFAULT now()"),
        ("trunc_s", "timestamptz DEFAULT date_trunc('second', now())"),
        (
            "trunc_ms",
            "timestamptz DEFAULT date_trunc('milliseconds', now())",
        ),
        ("minute", "timestamptz DEFAULT date_trunc('minute', now())"),
        (
            "quarter",
            "timestamptz DEFAULT date_bin('15 minutes', now(), '2020-01-01')",
        ),
        ("hour", "timestamp DEFAULT date_trunc('hour', now())"),
        (
            "day",
            "timestamptz DEFAULT date_trunc('day', now(), 'Europe/Madrid')",
        ),
        ("month", "timestamptz DEFAULT date_trunc('month', now())"),
        ("date", "date DEFAULT current_date"),
    ];
    let streams: Vec<String> = grains
        .iter()
        .map(|(name, _)| {
            stream("")
                .replace("streams.t", &format!("streams.{name}"))
                .replace("public.t", &format!("public.{name}"))
        })
        .collect();
    let project = Project::new("grains", &streams.concat());
    let (mut late, mut early) = (client(&project), client(&project));
    let each = |client: &mut Client, statement: &str| {
        for (name, declared) in grains {
            let statement = statement
                .replace("NAME", name)
                .replace("DECLARED", declared);
            client.batch_execute(&statement).unwrap();
        }
    };
    each(
        &mut early,
        "CREATE TABLE NAME (id int PRIMARY KEY, c DECLARED); INSERT INTO NAME VALUES (1)",
    );
    project.run(&[]);
    late.batch_execute("BEGIN").unwrap();
    each(&mut late, "INSERT INTO NAME VALUES (2)");
    std::thread::sleep(Duration::from_millis(20));
    // Whatever the grain: the run sees a row that lies above the late one.
    each(
        &mut early,
        "INSERT INTO NAME VALUES (3); INSERT INTO NAME VALUES (4, now() + interval '40 days')",
    );
    project.run(&[]);
    late.batch_execute("COMMIT").unwrap();
    project.run(&[]);
    for (name, _) in grains {
        eprintln!("{name}");
        project.assert_same(name);
    }
}

#[test]
fn a_late_row_arrives_where_some_writers_cut_off_what_others_do_not() {
    let project = project("grain_mixed", "timestamptz DEFAULT clock_timestamp()");
    a_late_row_arrives(
        &project,
        "CREATE FUNCTION cut() RETURNS trigger LANGUAGE plpgsql AS
         'BEGIN NEW.c := date_trunc(''second'', now()); RETURN NEW; END';
         CREATE TRIGGER cut BEFORE INSERT ON t FOR EACH ROW WHEN (NEW.id = 2) EXECUTE FUNCTION cut()",
    );
}

#[test]
fn a_late_row_of_one_who_does_not_track_its_activity_arrives() {
    for (name, settings) in [
        ("untracked", "SET track_activities = off"),
        ("namesake", "SET application_name = 'acequia'"),
    ] {
        let project = project(name, "timestamptz DEFAULT now()");
        a_late_row_arrives(&project, settings);
    }
    // Off while it begins, on while it is looked at.
    let project = project("turned_on", "timestamptz DEFAULT now()");
    let mut late = client(&project);
    insert(&mut late, 1);
    project.run(&[]);
    late.batch_execute("SET track_activities = off; BEGIN")
        .unwrap();
    late.batch_execute("SET LOCAL track_activities = on")
        .unwrap();
    insert(&mut late, 2);
    std::thread::sleep(Duration::from_millis(20));
    insert(&mut client(&project), 3);
    std::thread::sleep(Duration::from_secs(3));
    insert(&mut client(&project), 4);
    project.run(&[]);
    late.batch_execute("COMMIT").unwrap();
    project.run(&[]);
    project.assert_same("t");
}

#[test]
fn a_late_row_of_a_walsender_arrives() {
    let project = project("walsender", "timestamptz DEFAULT now()");
    let mut early = client(&project);
    insert(&mut early, 1);
    project.run(&[]);
    let config = format!("{}?replication=database", project.source.url());
    let psql = std::process::Command::new("psql")
        .args(["-X", "-q", &config, "-c"])
        .arg("BEGIN; INSERT INTO t VALUES (2); SELECT pg_sleep(4); COMMIT")
        .stdout(std::process::Stdio::null())
        .spawn();
    let mut late = psql.unwrap();
    std::thread::sleep(Duration::from_millis(500));
    insert(&mut early, 3);
    std::thread::sleep(Duration::from_millis(2500));
    insert(&mut early, 4);
    project.run(&[]);
    assert!(late.wait().unwrap().success());
    project.run(&[]);
    project.assert_same("t");
}

#[test]
fn a_prepared_row_arrives_whenever_it_was_prepared() {
    // Prepared before the run that reads what is above it, and after.
    for before in [true, false] {
        let project = project("prepared", "timestamptz DEFAULT now()");
        let (mut late, mut early) = (client(&project), client(&project));
        insert(&mut early, 1);
        project.run(&[]);
        late.batch_execute("BEGIN").unwrap();
        insert(&mut late, 2);
        std::thread::sleep(Duration::from_secs(3));
        let name = project.source.name().to_owned();
        let prepare = format!("PREPARE TRANSACTION '{name}'");
        if before {
            late.batch_execute(&prepare).unwrap();
        }
        insert(&mut early, 3);
        project.run(&[]);
        if !before {
            late.batch_execute(&prepare).unwrap();
        }
        for id in [4, 5] {
            insert(&mut early, id);
            std::thread::sleep(Duration::from_millis(1200));
            project.run(&[]);
        }
        late.batch_execute(&format!("COMMIT PREPARED '{name}'"))
            .unwrap();
        project.run(&[]);
        project.assert_same("t");
        // Nothing holds it back any longer.
        insert(&mut early, 6);
        project.run(&[]);
        std::thread::sleep(Duration::from_secs(3));
        project.run(&[]);
        assert!(counts(&project.run(&[]), "t").0 <= 2, "before: {before}");
    }
}

#[test]
fn what_was_prepared_before_the_first_run_has_the_next_begin_again() {
    let project = project("prepared_first", "timestamptz DEFAULT now()");
    let (mut late, mut early) = (client(&project), client(&project));
    let name = project.source.name().to_owned();
    late.batch_execute("BEGIN").unwrap();
    insert(&mut late, 1);
    std::thread::sleep(Duration::from_secs(3));
    late.batch_execute(&format!("PREPARE TRANSACTION '{name}'"))
        .unwrap();
    insert(&mut early, 2);
    let told = warnings(&project.run(&[]));
    assert!(
        told.iter()
            .any(|warning| warning.contains("reads from the beginning again")
                && warning.contains("pg_prepared_xacts")),
        "{told:?}"
    );
    late.batch_execute(&format!("COMMIT PREPARED '{name}'"))
        .unwrap();
    assert_eq!(warnings(&project.run(&[])), Vec::<String>::new());
    project.assert_same("t");
}

#[test]
fn a_user_who_does_not_see_other_sessions_loses_no_late_row() {
    let mut project = project("newcomer", "timestamptz DEFAULT now()");
    let role = project.as_newcomer();
    project
        .source
        .batch(&format!("GRANT SELECT ON t TO {role}"))
        .unwrap();
    a_late_row_arrives(&project, "SELECT 1");
    // From the first run on.
    let (mut late, mut early) = (client(&project), client(&project));
    late.batch_execute("BEGIN").unwrap();
    insert(&mut late, 10);
    std::thread::sleep(Duration::from_secs(3));
    insert(&mut early, 11);
    let told = warnings(&project.run(&["--full-refresh"]));
    assert!(
        told.iter()
            .any(|warning| warning.contains("GRANT pg_read_all_stats")),
        "{told:?}"
    );
    insert(&mut early, 12);
    project.run(&[]);
    late.batch_execute("COMMIT").unwrap();
    project.run(&[]);
    project.assert_same("t");
}

#[test]
fn a_cursor_that_is_no_time_is_warned_of_in_each_run() {
    for (name, declared, value) in [
        ("int", "bigint NOT NULL", "7"),
        ("text", "text NOT NULL", "'a'"),
        ("uuid", "uuid NOT NULL", "gen_random_uuid()"),
    ] {
        let project = project(&format!("notime_{name}"), declared);
        project
            .source
            .batch(&format!("INSERT INTO t VALUES (1, {value})"))
            .unwrap();
        for _ in 0..2 {
            let told = warnings(&project.run(&[]));
            assert!(
                matches!(told.as_slice(), [one] if one.contains("`c` is no time") && one.contains("remedy")),
                "{told:?}"
            );
        }
        if name == "int" {
            project.streams(&stream("lag = 5"));
            assert_eq!(warnings(&project.run(&[])), Vec::<String>::new());
        }
    }
}

#[test]
fn what_comes_with_a_refresh_or_from_another_server_is_warned_of() {
    let project = Project::new("elsewhere", &stream(""));
    project
        .source
        .batch(
            "CREATE TABLE base (id int PRIMARY KEY, c timestamptz NOT NULL DEFAULT now());
             CREATE MATERIALIZED VIEW vista AS SELECT * FROM base;
             CREATE VIEW t AS SELECT * FROM vista;
             CREATE FOREIGN DATA WRAPPER ninguno; CREATE SERVER lejos FOREIGN DATA WRAPPER ninguno;
             CREATE FOREIGN TABLE ajena (id int, c timestamptz NOT NULL) SERVER lejos",
        )
        .unwrap();
    let keyed = |more: &str| {
        stream(&format!(
            "primary_key = \"id\"\nnull_cursor = \"exclude\"\n{more}"
        ))
    };
    project.streams(&keyed(""));
    let told = warnings(&project.run(&[]));
    assert!(
        matches!(told.as_slice(), [one] if one.contains("materialized view") && one.contains("`lag`")),
        "{told:?}"
    );
    project.streams(&keyed("lag = \"1d\""));
    assert_eq!(warnings(&project.run(&[])), Vec::<String>::new());
    project.streams(&keyed("").replace("public.t", "public.ajena"));
    let checked = project.acequia(&["check"]);
    assert!(checked.stdout.contains("foreign table"), "{checked:?}");
}

#[test]
fn what_a_subscription_writes_is_warned_of_and_lag_brings_it() {
    let publisher: TestDb = Cluster::shared().unwrap().database("publisher").unwrap();
    publisher
        .batch(
            "CREATE TABLE t (id int PRIMARY KEY, c timestamptz DEFAULT now()); CREATE PUBLICATION todo FOR TABLE t",
        )
        .unwrap();
    let project = project("subscriber", "timestamptz DEFAULT now()");
    let slot = project.source.name().to_owned();
    publisher
        .batch(&format!(
            "SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        ))
        .unwrap();
    let mut early = client(&project);
    // The same server: it would wait for itself if it made the slot.
    early
        .batch_execute(&format!(
            "CREATE SUBSCRIPTION {slot} CONNECTION '{}' PUBLICATION todo WITH (create_slot = false, copy_data = false,
             slot_name = '{slot}')",
            publisher.url()
        ))
        .unwrap();
    insert(&mut early, 1);
    let told = warnings(&project.run(&[]));
    assert!(
        matches!(told.as_slice(), [one] if one.contains("subscription") && one.contains("`lag`")),
        "{told:?}"
    );
    project.streams(&stream("lag = \"2h\""));
    publisher
        .batch("INSERT INTO t VALUES (2, now() - interval '1 hour')")
        .unwrap();
    for _ in 0..100 {
        let rows: i64 = early
            .query_one("SELECT count(*) FROM t", &[])
            .unwrap()
            .get(0);
        if rows == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let report = project.run(&[]);
    assert_eq!(counts(&report, "t").1, 1);
    assert_eq!(warnings(&report), Vec::<String>::new());
    project.assert_same("t");
    early
        .batch_execute(&format!(
            "ALTER SUBSCRIPTION {slot} DISABLE; ALTER SUBSCRIPTION {slot} SET (slot_name = NONE); DROP SUBSCRIPTION {slot}"
        ))
        .unwrap();
}

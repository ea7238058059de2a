//! Clocks that are put back, and clocks that show local time.

use std::time::Duration;

use serde_json::Value;

use super::{client, insert, project, stream, warnings};
use crate::support::{Project, counts};

/// Changes the position of the stream `t` as it stands in the ledger.
pub fn change_position(project: &Project, change: impl FnOnce(&mut Value)) {
    let duckdb = project.duckdb();
    let text: String = duckdb
        .query_row(
            "SELECT CAST(position AS VARCHAR) FROM replica._acequia_state WHERE stream = 't'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    let mut position: Value = serde_json::from_str(&text).unwrap();
    change(&mut position);
    let changed = duckdb
        .execute(
            "UPDATE replica._acequia_state SET position = ? WHERE stream = 't'",
            [position.to_string()],
        )
        .unwrap();
    assert_eq!(changed, 1);
}

/// Takes a time of a position so many seconds on.
fn later(time: &mut Value, seconds: i64) {
    let parsed: chrono::DateTime<chrono::Utc> = time.as_str().unwrap().parse().unwrap();
    *time = (parsed + chrono::TimeDelta::seconds(seconds))
        .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
        .into();
}

#[test]
fn rows_of_a_clock_that_was_set_back_arrive() {
    // By ten minutes, as this machine's clock tells; and where that was set back as well, so that nothing tells how far.
    for own in [0, 600] {
        let project = project("set_back", "timestamptz DEFAULT now()");
        let mut writer = client(&project);
        insert(&mut writer, 1);
        std::thread::sleep(Duration::from_secs(4));
        project.run(&[]);
        // As the run would have left it had the clock been ahead.
        change_position(&project, |position| {
            for key in ["value", "resume"] {
                later(&mut position[key]["value"], 600);
            }
            later(&mut position["seen"]["clock"], 600);
            later(&mut position["seen"]["oldest"], 600);
            later(&mut position["seen"]["own_clock"], own);
        });
        insert(&mut writer, 2);
        let told = warnings(&project.run(&[]));
        assert!(
            matches!(told.as_slice(), [one] if one.contains("clock was set back")),
            "{told:?}"
        );
        project.assert_same("t");
        // And those after it, until the clock is where it was.
        insert(&mut writer, 3);
        assert_eq!(warnings(&project.run(&[])), Vec::<String>::new());
        project.assert_same("t");
        std::thread::sleep(Duration::from_secs(4));
        project.run(&[]);
        assert!(counts(&project.run(&[]), "t").0 <= 2);
    }
}

#[test]
fn a_state_of_before_is_read_and_knows_more_after_an_idle_run() {
    let project = project("upgraded", "timestamptz DEFAULT now()");
    let mut writer = client(&project);
    insert(&mut writer, 1);
    project.run(&[]);
    change_position(&project, |position| {
        position.as_object_mut().unwrap().remove("seen").unwrap();
        // Above every row, so that the run has none to load.
        position["resume"] = position["value"].clone();
        later(&mut position["resume"]["value"], 60);
    });
    assert_eq!(counts(&project.run(&[]), "t").0, 0);
    change_position(&project, |position| {
        assert!(position["seen"]["relation"]["oid"].is_u64(), "{position}");
        assert!(
            position["seen"]["server"]["system"].is_string(),
            "{position}"
        );
    });
}

#[test]
fn rows_of_writers_with_time_zones_of_their_own_arrive() {
    for (name, declared) in [
        ("zones", "timestamp DEFAULT now()"),
        ("zones_date", "date DEFAULT current_date"),
    ] {
        let project = project(name, declared);
        let mut writer = client(&project);
        // The autumn change is the step from two hours to one; the rest is what a role can be set to.
        let zones = ["Etc/GMT-14", "Etc/GMT-2", "Etc/GMT-1", "UTC", "Etc/GMT+12"];
        for (id, zone) in (1..).zip(zones) {
            writer
                .batch_execute(&format!("SET TimeZone = '{zone}'"))
                .unwrap();
            insert(&mut writer, id);
            project.run(&[]);
            project.assert_same("t");
        }
    }
}

#[test]
fn with_lag_the_zones_of_the_settings_count() {
    let project = project("zones_set", "timestamp DEFAULT now()");
    project.streams(&stream("lag = \"1s\""));
    let mut writer = client(&project);
    let name = project.source.name().to_owned();
    writer
        .batch_execute(&format!("ALTER DATABASE {name} SET TimeZone = 'Etc/GMT+3'"))
        .unwrap();
    insert(&mut writer, 1);
    project.run(&[]);
    let mut newer = client(&project);
    insert(&mut newer, 2);
    project.run(&[]);
    project.assert_same("t");
}

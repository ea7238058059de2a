//! What no time of change tells: records that are deleted for good, values that are calculated, records that come back.

use super::*;

const COMPARED: &str = "object = \"companies\"\nmode = \"incremental\"\ncompare = \"0s\"\n";

#[test]
fn a_record_that_is_deleted_for_good_is_marked_and_keeps_its_values() {
    for disposition in ["merge", "scd2"] {
        let crm = Crm::of(250, &format!("{COMPARED}disposition = \"{disposition}\"\n"));
        crm.run();
        let (first, second) = (Portal::generated_id(5), Portal::generated_id(120));
        let current = if disposition == "scd2" {
            "AND _acequia_valid_to IS NULL"
        } else {
            ""
        };
        let name = format!("SELECT name FROM replica.companies WHERE id = '{first}' {current}");
        let named = crm.value(&name);
        crm.server.portal().purge("companies", first);
        crm.server.portal().purge("companies", second);
        crm.run();
        let gone = format!(
            "SELECT id || ' ' || archived FROM replica.companies WHERE deleted_at IS NOT NULL {current} ORDER BY id"
        );
        let expected = [format!("{first} true"), format!("{second} true")];
        assert_eq!(crm.values(&gone), expected, "{disposition}");
        assert_eq!(crm.value(&name), named, "{disposition}");
        // It is told once.
        assert_eq!(counts(&crm.run(), "companies").0, 0);
        assert_eq!(crm.values(&gone), expected, "{disposition}");
    }
}

#[test]
fn ids_are_compared_when_it_is_time_and_a_day_without_changes_counts() {
    let crm = Crm::of(
        150,
        "object = \"companies\"\nmode = \"incremental\"\ncompare = \"1h\"\n",
    );
    let id = Portal::generated_id(5);
    crm.run();
    crm.server.portal().purge("companies", id);
    let gone = "SELECT count(*) FROM replica.companies WHERE deleted_at IS NOT NULL";
    crm.run();
    assert_eq!(crm.value(gone), "0", "it is not time yet");
    crm.server.portal().advance(3_600);
    crm.run();
    assert_eq!(crm.value(gone), "1");
    // Nothing is found, and yet the next run does not compare again.
    crm.server.portal().advance(3_600);
    crm.run();
    crm.server.forget_requests();
    crm.run();
    let lists = crm.server.requests();
    assert!(
        !lists
            .iter()
            .any(|request| request.path.contains("limit=100&archived=false")),
        "{lists:?}"
    );
}

#[test]
fn what_an_earlier_version_lost_is_found() {
    let crm = Crm::of(250, INCREMENTAL);
    crm.run();
    let (unseen, lost) = (Portal::generated_id(7), Portal::generated_id(8));
    // A change that search never told, and a position that knows of no comparison.
    crm.server
        .portal()
        .recalculate("companies", lost, &[("city", Some("Lugo"))]);
    let connection = duckdb::Connection::open(crm.folder.path().join("crm.duckdb")).unwrap();
    connection
        .execute_batch(&format!(
            "UPDATE replica._acequia_state SET position = json_merge_patch(position, '{{\"compared\":null,\"reread\":null}}');
             DELETE FROM replica.companies WHERE id = '{unseen}'"
        ))
        .unwrap();
    drop(connection);
    crm.run();
    crm.assert_complete();
    assert_eq!(
        crm.value(&format!(
            "SELECT city FROM replica.companies WHERE id = '{lost}'"
        )),
        "Lugo"
    );
}

#[test]
fn a_list_that_is_wrong_marks_nothing_as_deleted() {
    let crm = Crm::of(250, COMPARED);
    crm.run();
    crm.server.be_odd(Oddity::ListEnds, 1);
    crm.run();
    assert_eq!(
        crm.value("SELECT count(*) FROM replica.companies WHERE deleted_at IS NOT NULL"),
        "0"
    );
    crm.assert_complete();
}

#[test]
fn calculated_properties_are_told_or_read_again() {
    let crm = Crm::of(150, INCREMENTAL);
    crm.server.portal().set_property(
        "companies",
        Property::new("total_ventas", "number").calculated(),
    );
    let id = Portal::generated_id(9);
    let total = format!("SELECT total_ventas::INTEGER FROM replica.companies WHERE id = '{id}'");
    let set = |value: &str| {
        crm.server
            .portal()
            .recalculate("companies", id, &[("total_ventas", Some(value))]);
    };
    set("1");
    let told = |shown: &str| shown.contains("`total_ventas`") && shown.contains("calculated = ");
    for _ in 0..2 {
        let warned = Crm::warnings(&crm.run(), "companies");
        assert!(told(&warned), "{warned}");
    }
    let check = crm.acequia(&["check"]);
    assert!(told(&check.stdout), "{check:?}");
    set("2");
    crm.run();
    assert_eq!(crm.value(&total), "1", "which the warning says");
    for (calculated, expected) in [("full", "3"), ("1h", "3"), ("ignore", "3")] {
        if calculated == "full" {
            set("3");
        } else {
            set("4");
        }
        crm.streams(&format!(
            "[streams.companies]\nsource = \"crm\"\n{INCREMENTAL}calculated = \"{calculated}\"\n"
        ));
        let report = crm.run();
        assert!(!told(&Crm::warnings(&report, "companies")), "{calculated}");
        assert_eq!(crm.value(&total), expected, "{calculated}");
    }
    crm.streams(&format!(
        "[streams.companies]\nsource = \"crm\"\n{INCREMENTAL}calculated = \"1h\"\n"
    ));
    crm.server.portal().advance(3_600);
    crm.run();
    assert_eq!(crm.value(&total), "4");
    crm.assert_complete();
}

#[test]
fn a_record_that_is_restored_while_all_are_read_is_there() {
    for stream in [FULL, INCREMENTAL] {
        let crm = Crm::of(150, stream);
        let id = Portal::generated_id(5);
        crm.server.portal().archive("companies", id);
        // Once the live ones were read, and before the archive is.
        crm.server
            .before("archived=true&properties=annualrevenue", 0, move |portal| {
                portal.restore("companies", id);
            });
        crm.run();
        crm.assert_complete();
        assert_eq!(
            crm.value(&format!(
                "SELECT archived FROM replica.companies WHERE id = '{id}'"
            )),
            "false"
        );
    }
}

#[test]
fn an_object_may_be_called_by_its_singular() {
    let crm = Crm::of(30, "object = \"contact\"\nmode = \"incremental\"\n");
    crm.run();
    crm.server.portal().update(
        "contacts",
        Portal::generated_id(3),
        &[("firstname", Some("Amaia"))],
    );
    assert_eq!(counts(&crm.run(), "companies").2, 1);
}

#[test]
fn a_replay_knows_what_idle_runs_remembered() {
    let crm = Crm::of(50, COMPARED);
    crm.run();
    // Two runs that find nothing, and a load that follows on them.
    crm.run();
    crm.run();
    crm.server.portal().update(
        "companies",
        Portal::generated_id(3),
        &[("city", Some("Lugo"))],
    );
    crm.server
        .portal()
        .purge("companies", Portal::generated_id(4));
    crm.run();
    let all = "SELECT string_agg(id || coalesce(city, '') || coalesce(name, '') || archived, ',' ORDER BY id) FROM replica.companies";
    let before = crm.value(all);
    std::fs::remove_file(crm.folder.path().join("crm.duckdb")).unwrap();
    let output = crm.acequia(&["replay"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    assert_eq!(crm.value(all), before);
    crm.run();
    assert_eq!(crm.value(all), before);
}

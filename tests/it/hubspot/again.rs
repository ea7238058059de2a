//! What is read again: it is not updated where it is the same, and it comes where it has to.

use super::*;

const ROWS: &str =
    "SELECT id || coalesce(name, '') || _acequia_load_id FROM replica.companies ORDER BY 1";

/// Search may find a change minutes later, so each run reads again what is a few minutes old.
#[test]
fn what_is_read_again_is_not_updated() {
    let crm = Crm::of(3, INCREMENTAL);
    crm.run();
    for name in ["Una", "Otra"] {
        let id = Portal::generated_id(2);
        let change = [("name", Some(name))];
        crm.server.portal().update("companies", id, &change);
        assert_eq!(counts(&crm.run(), "companies"), (1, 0, 1, 0));
        let rows = crm.values(ROWS);
        for _ in 0..2 {
            assert_eq!(counts(&crm.run(), "companies"), (1, 0, 0, 0));
            assert_eq!(crm.values(ROWS), rows);
        }
    }
}

const CITIES: &str = "SELECT city FROM replica.companies ORDER BY id";

fn stream(properties: &str) -> String {
    format!("[streams.companies]\nsource = \"crm\"\n{INCREMENTAL}properties = [{properties}]\n")
}

/// The column of a property that was not read for a while would lack the values of records that do not change.
#[test]
fn all_records_are_read_again_where_other_properties_are_read() {
    let crm = Crm::of(3, INCREMENTAL);
    let set = |name: &str, value: &str, numbers: std::ops::RangeInclusive<u64>| {
        for number in numbers {
            let id = Portal::generated_id(number);
            let mut portal = crm.server.portal();
            portal.update("companies", id, &[(name, Some(value))]);
        }
    };
    set("city", "Soria", 1..=3);
    let again = |report: &Value| Crm::warnings(report, "companies").contains("are read again");
    crm.streams(&stream("\"name\""));
    crm.run();
    assert!(!crm.columns("companies").contains(&"city".to_owned()));
    crm.server.portal().advance(3_600);
    // One more is configured.
    crm.streams(&stream("\"name\", \"city\""));
    let report = crm.run();
    assert!(again(&report), "{report}");
    assert_eq!(crm.values(CITIES), ["Soria"; 3]);
    assert!(!again(&crm.run()));
    // One is not listed for a while, and a record changes meanwhile.
    crm.streams(&stream("\"*\""));
    crm.run();
    crm.server.portal().advance(3_600);
    crm.server.portal().archive_property("companies", "city");
    set("name", "Una", 1..=1);
    crm.run();
    crm.server.portal().advance(3_600);
    crm.run();
    crm.server
        .portal()
        .set_property("companies", Property::new("city", "string"));
    // Before the next run, the column is compared although no load has brought it since.
    let output = crm.acequia(&["verify", "--output", "json"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    let told = &output.json()["streams"][0];
    assert_eq!(told["columns"]["city"], 1, "{told}");
    assert_eq!(told["columns_left_out"], serde_json::json!([]), "{told}");
    let report = crm.run();
    assert!(again(&report), "{report}");
    assert_eq!(crm.values(CITIES), ["Soria"; 3]);
    let output = crm.acequia(&["verify", "--output", "json"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    // One that is made now has no value in records that have not changed since.
    crm.server.portal().advance(3_600);
    let made = crm.server.portal().now();
    let mut new = Property::new("nueva", "string");
    new.created = Some(made);
    crm.server.portal().set_property("companies", new);
    set("nueva", "x", 2..=2);
    let report = crm.run();
    assert!(!again(&report), "{report}");
    assert_eq!(counts(&report, "companies").0, 1);
    assert_eq!(
        crm.values("SELECT nueva FROM replica.companies ORDER BY id"),
        ["-", "x", "-"]
    );
}

/// The history of a record that was merged into another stays, and is no difference.
#[test]
fn the_history_of_merged_records_is_no_difference() {
    let crm = Crm::of(3, &format!("{INCREMENTAL}history = [\"name\"]\n"));
    crm.run();
    let verify = || crm.acequia(&["verify", "--output", "json"]);
    assert_eq!(verify().status, Some(0), "{:?}", verify());
    let (from, into) = (Portal::generated_id(2), Portal::generated_id(1));
    crm.server.portal().merge("companies", from, into);
    crm.run();
    let output = verify();
    assert_eq!(output.status, Some(0), "{output:?}");
    let told = output.stdout;
    assert!(
        told.contains("are the history of records that were merged into others or deleted"),
        "{told}"
    );
}

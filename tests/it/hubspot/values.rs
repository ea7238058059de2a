//! Values: typed exactly, or beside.

use super::*;

/// One company whose property `valor` is of a type, and has a value; what the table has of it: typed, and beside.
fn typed(kind: &str, values: &[Option<&str>]) -> Vec<(String, String)> {
    let crm = Crm::of(0, FULL);
    {
        let mut portal = crm.server.portal();
        portal.set_property("companies", Property::new("valor", kind));
        portal.set_property("companies", Property::new("orden", "number"));
        for (place, value) in values.iter().enumerate() {
            portal.create(
                "companies",
                &[("valor", *value), ("orden", Some(&place.to_string()))],
            );
        }
    }
    let report = crm.run();
    let typed = crm.values("SELECT valor FROM replica.companies ORDER BY orden");
    let has_beside = crm.columns("companies").contains(&"valor__text".to_owned());
    let beside = if has_beside {
        crm.values("SELECT valor__text FROM replica.companies ORDER BY orden")
    } else {
        vec!["-".to_owned(); typed.len()]
    };
    let misfits = beside.iter().filter(|text| *text != "-").count();
    let warnings = stream_report(&report, "companies")["warnings"].to_string();
    assert_eq!(
        misfits > 0,
        warnings.contains(&format!("{misfits} value(s) of `valor`")),
        "{warnings}"
    );
    typed.into_iter().zip(beside).collect()
}

fn pair(typed: &str, beside: &str) -> (String, String) {
    (typed.to_owned(), beside.to_owned())
}

#[test]
fn s14_numbers_are_exact_and_what_is_none_stands_beside() {
    let found = typed(
        "number",
        &[
            Some("67340.0"),
            Some("1e5"),
            Some("1234567890123456789"),
            Some("N/A"),
            Some(""),
            None,
            Some("0"),
            Some("-0.333333333333333315"),
            Some("1e40"),
        ],
    );
    let plain: Vec<(String, String)> = found
        .into_iter()
        .map(|(typed, beside)| match typed.split_once('.') {
            Some((whole, fraction)) if fraction.bytes().all(|digit| digit == b'0') => {
                (whole.to_owned(), beside)
            }
            _ => (typed, beside),
        })
        .collect();
    assert_eq!(
        plain,
        [
            pair("67340", "-"),
            pair("100000", "-"),
            pair("1234567890123456789", "-"),
            pair("-", "N/A"),
            pair("-", "-"),
            pair("-", "-"),
            pair("0", "-"),
            pair("-0.333333333333333315", "-"),
            pair("-", "1e40"),
        ]
    );
}

#[test]
fn s15_bools_in_any_case_and_choices_of_several() {
    let found = typed(
        "bool",
        &[Some("true"), Some("FALSE"), Some(""), None, Some("sí")],
    );
    assert_eq!(
        found,
        [
            pair("true", "-"),
            pair("false", "-"),
            pair("-", "-"),
            pair("-", "-"),
            pair("-", "sí")
        ]
    );
    let found = typed("enumeration", &[Some("excel;sql"), Some(""), None]);
    assert_eq!(
        found,
        [pair("excel;sql", "-"), pair("", "-"), pair("-", "-")]
    );
}

#[test]
fn s16_dates_however_they_are_written() {
    let found = typed(
        "date",
        &[
            Some("2020-02-29"),
            Some("1582934400000"),
            Some("1582934400000.0"),
            Some("1.5829344E12"),
            Some("1969-07-20"),
            Some("-14256000000"),
            Some("1582934400001"),
            Some("29/02/2020"),
            Some(""),
        ],
    );
    assert_eq!(
        found,
        [
            pair("2020-02-29", "-"),
            pair("2020-02-29", "-"),
            pair("2020-02-29", "-"),
            pair("2020-02-29", "-"),
            pair("1969-07-20", "-"),
            pair("1969-07-20", "-"),
            pair("-", "1582934400001"),
            pair("-", "29/02/2020"),
            pair("-", "-"),
        ]
    );
    let found = typed(
        "datetime",
        &[
            Some("2020-02-29T10:00:00Z"),
            Some("2020-02-29T10:00:00.123Z"),
            Some("2020-02-29T11:00:00.123+01:00"),
            Some("1582970400123"),
            Some("1960-01-01T00:00:00Z"),
            Some("pronto"),
        ],
    );
    let same = "2020-02-29 10:00:00.123+00";
    assert_eq!(
        found,
        [
            pair("2020-02-29 10:00:00+00", "-"),
            pair(same, "-"),
            pair(same, "-"),
            pair(same, "-"),
            pair("1960-01-01 00:00:00+00", "-"),
            pair("-", "pronto"),
        ]
    );
}

#[test]
fn a_column_for_misfits_stays_once_it_is_there() {
    let crm = Crm::of(10, FULL);
    let id = Portal::generated_id(2);
    crm.run();
    assert!(
        !crm.columns("companies")
            .contains(&"annualrevenue__text".to_owned())
    );
    crm.server
        .portal()
        .update("companies", id, &[("annualrevenue", Some("mucho"))]);
    crm.run();
    assert_eq!(
        crm.value(&format!(
            "SELECT annualrevenue__text FROM replica.companies WHERE id = '{id}'"
        )),
        "mucho"
    );
    crm.server
        .portal()
        .update("companies", id, &[("annualrevenue", Some("7"))]);
    let report = crm.run();
    assert_eq!(
        crm.value("SELECT count(annualrevenue__text) FROM replica.companies"),
        "0"
    );
    assert_eq!(
        stream_report(&report, "companies")["warnings"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

//! Names of properties, with masks and without, in records and beside.

use super::*;
use crate::support::files_below;

#[test]
fn properties_are_renamed_with_what_does_not_fit_and_masked_with_their_history() {
    let stream = |rest: &str| {
        format!(
            "[streams.companies]\nsource = \"crm\"\nobject = \"companies\"\nmode = \"incremental\"\ncalculated = \"ignore\"\ncompare = \"1h\"\n\
             history = [\"city\", \"name\"]\n[streams.companies.rename]\nannualrevenue = \"ingresos\"\nname = \"nombre\"\n\
             [streams.companies.mask]\ncity = \"sha256\"\n{rest}"
        )
    };
    let crm = Crm::of(20, FULL);
    let id = Portal::generated_id(2);
    crm.server.portal().update(
        "companies",
        id,
        &[
            ("city", Some("Teruel")),
            ("annualrevenue", Some("muchísimo")),
            ("name", Some("Visible")),
        ],
    );
    crm.streams(&stream(""));
    crm.run();
    crm.server.portal().advance(3_600);
    crm.server
        .portal()
        .update("companies", id, &[("city", Some("Soria"))]);
    crm.server.portal().advance(3_600);
    crm.run();
    crm.assert_complete();
    let of_record = |column: &str| {
        crm.value(&format!(
            "SELECT {column} FROM replica.companies WHERE id = '{id}'"
        ))
    };
    assert_eq!(of_record("nombre"), "Visible");
    assert_eq!(
        (of_record("ingresos"), of_record("ingresos__text")),
        ("-".to_owned(), "muchísimo".to_owned())
    );
    let history = |property: &str| {
        crm.values(&format!(
            "SELECT value FROM replica.companies__history WHERE id = '{id}' AND property = '{property}' ORDER BY timestamp DESC, seq DESC"
        ))
    };
    assert_eq!(
        history("city")[0],
        of_record("city"),
        "as among the records"
    );
    assert!(
        history("city")
            .iter()
            .all(|value| value.len() == 64 || value == "-"),
        "{:?}",
        history("city")
    );
    assert!(history("name").contains(&"Visible".to_owned()));
    for file in files_below(&crm.folder.path().join("landing")) {
        if file.extension().is_some_and(|end| end == "parquet") {
            let landed = crm.value(&format!(
                "SELECT coalesce(string_agg(CAST(p AS VARCHAR), ';'), '') FROM '{}' AS p",
                file.display()
            ));
            for secret in ["Teruel", "Soria"] {
                assert!(!landed.contains(secret), "{}: {landed}", file.display());
            }
        }
    }
    // Deleted for good: found by comparing ids, which stay as they are.
    crm.server.portal().purge("companies", id);
    crm.server.portal().advance(7_200);
    crm.run();
    assert_ne!(of_record("deleted_at"), "-");
    assert_eq!(of_record("nombre"), "Visible");

    crm.streams(&stream("").replace("\"nombre\"", "\"razon\""));
    let error = crm.run_failing("companies");
    assert!(
        error.contains("`name` is `nombre` there, and `razon` now"),
        "{error}"
    );
    crm.streams(&stream("").replace("name = \"nombre\"", "id = \"clave\""));
    let error = crm.run_failing("companies");
    assert!(
        error.contains("acequia itself finds records again"),
        "{error}"
    );
}

/// A source that cannot count is read; what is read is masked, and called as in the table.
#[test]
fn renamed_and_masked_records_are_verified_counted_and_compared_from_a_time_on() {
    let crm = Crm::of(
        60,
        "object = \"companies\"\nmode = \"incremental\"\ncalculated = \"ignore\"\nhistory = [\"city\"]\n\
         [streams.companies.rename]\nname = \"nombre\"\ncity = \"localidad\"\n[streams.companies.mask]\ncity = \"redact\"\n",
    );
    crm.run();
    crm.server.portal().advance(3_600);
    let changed = [("city", Some("Soria"))];
    crm.server
        .portal()
        .update("companies", Portal::generated_id(7), &changed);
    crm.run();
    let verify = |arguments: &[&str]| {
        crm.acequia(&[&["verify", "companies", "--output", "json"], arguments].concat())
    };
    for arguments in [
        &[][..],
        &["--counts"],
        &["--keys"],
        &["--since", "2000-01-01T00:00:00Z"],
    ] {
        let output = verify(arguments);
        assert_eq!(output.status, Some(0), "{arguments:?}: {output:?}");
    }
    duckdb::Connection::open(crm.folder.path().join("crm.duckdb"))
        .unwrap()
        .execute_batch("UPDATE replica.companies SET nombre = NULL, localidad = 'otra'")
        .unwrap();
    let output = verify(&["--counts"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    let told = stream_report(&output.json(), "companies");
    let nulls = told["counted"]["nulls"].as_array().unwrap().iter();
    let uneven: Vec<_> = nulls
        .filter(|nulls| nulls["is_equal"] == false)
        .map(|nulls| nulls["column"].as_str().unwrap())
        .collect();
    assert!(uneven.contains(&"nombre"), "{told}");
    let output = verify(&["--since", "2100-01-01T00:00:00Z"]);
    assert_eq!(output.status, Some(0), "{output:?}");
    let output = verify(&["--show", "1"]);
    assert_eq!(output.status, Some(1), "{output:?}");
    assert!(output.stdout.contains("localidad"), "{output:?}");
    assert!(!output.stdout.contains("Soria"), "{output:?}");
}

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

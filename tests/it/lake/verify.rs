//! Tables of the lake are verified.

use super::Shore;
use super::modes::EVERY_TYPE;
use crate::support::{VENTAS, stream_report};
use crate::verify::found;

#[test]
fn tables_of_the_lake_are_equal_to_their_sources_and_what_differs_is_found() {
    assert_found_and_mended(&Shore::operational("lago_verify", 500, VENTAS));
}

/// What differs in such a lake is found and mended.
pub(super) fn assert_found_and_mended(shore: &Shore) {
    shore.run(&[]);
    let told = stream_report(&shore.verify(&[]), "ventas");
    assert_eq!(told["rows_destination"], 500);
    // What the lake lacks is altered in the source, beside the cursor.
    shore
        .source
        .batch(
            "ALTER TABLE ventas DISABLE TRIGGER USER; UPDATE ventas SET estado = 'cancelado', precio_total = 1 WHERE id = 5; \
             DELETE FROM ventas WHERE id = 6",
        )
        .unwrap();
    let told = shore.verify_differing("ventas", &[]);
    assert_eq!(found(&told), [0, 1, 1], "{told}");
    assert_eq!(told["columns"]["precio_total"], 1);
    shore.verify(&["--against", "landing"]);
    let told = stream_report(&shore.verify(&["--repair"]), "ventas");
    assert_eq!(told["result"], "repaired", "{told}");
    shore.assert_same("ventas");
    shore.verify(&["--against", "landing"]);
    let written = shore.value(
        "SELECT string_agg(result || ' ' || against, ', ' ORDER BY verified_at) FROM replica.acequia_verifications",
    );
    assert_eq!(
        written,
        "equal source, different source, equal landing, repaired source, equal landing"
    );
}

#[test]
fn tables_of_the_lake_are_verified_and_mended_under_other_names() {
    assert_mended_under_other_names("lago_verify_nombres", |shore| shore);
}

/// The key has another name and is masked, as a column of another name is.
pub(super) fn assert_mended_under_other_names(name: &str, made: fn(Shore) -> Shore) {
    let mut shore = made(Shore::operational(
        name,
        200,
        &(VENTAS.to_owned()
            + "delete_missing = \"hard\"\ndelete_missing_every = \"0s\"\n\
               [streams.ventas.rename]\nid = \"venta\"\nestado = \"situacion\"\nupdated_at = \"cambio\"\n\
               [streams.ventas.mask]\nestado = \"hmac:${CLAVE}\"\n"),
    ));
    shore.set("CLAVE", "una clave de más de treinta y dos letras");
    shore.run(&[]);
    shore
        .source
        .batch(
            "ALTER TABLE ventas DISABLE TRIGGER USER; ALTER TABLE ventas ALTER estado DROP NOT NULL; \
             UPDATE ventas SET estado = NULL WHERE id = 5; \
             INSERT INTO ventas SELECT (jsonb_populate_record(v, '{\"id\": 9000}')).* FROM ventas v WHERE id = 1",
        )
        .unwrap();
    let told = shore.verify_differing("ventas", &[]);
    assert_eq!(found(&told), [1, 0, 1], "{told}");
    assert_eq!(told["columns"]["situacion"], 1);
    let told = stream_report(&shore.verify(&["--repair"]), "ventas");
    assert_eq!(told["result"], "repaired", "{told}");
    shore
        .source
        .batch("DELETE FROM ventas WHERE id IN (6, 9000)")
        .unwrap();
    shore.run(&[]);
    let told = stream_report(&shore.verify(&[]), "ventas");
    assert_eq!(told["rows_destination"], 199, "{told}");
    shore.verify(&["--against", "landing"]);
    let told = stream_report(&shore.verify(&["--counts"]), "ventas");
    assert_eq!(told["counted"]["bounds"]["column"], "cambio", "{told}");
    shore.verify(&["--since", "2020-01-01T00:00:00Z"]);
    shore
        .source
        .batch("UPDATE ventas SET estado = NULL WHERE id = 12")
        .unwrap();
    let told = shore.verify_differing("ventas", &["--counts"]);
    let nulls = told["counted"]["nulls"].as_array().unwrap().iter();
    let uneven: Vec<_> = nulls
        .filter(|nulls| nulls["is_equal"] == false)
        .map(|nulls| &nulls["column"])
        .collect();
    assert_eq!(uneven, ["situacion"], "{told}");
    let written = shore.value(
        "SELECT string_agg(DISTINCT compared, ' ' ORDER BY compared) FROM replica.acequia_verifications",
    );
    assert_eq!(written, "counts rows");
}

#[test]
fn every_type_of_the_lake_is_verified_beside_writers() {
    let shore = Shore::of_changes("lago_verify_tipos", EVERY_TYPE, &["t"], "");
    super::modes::assert_every_type(&shore);
    shore
        .client()
        .batch_execute("UPDATE t SET f8 = '-0', f4 = '-0' WHERE id = 2")
        .unwrap();
    let told = stream_report(&shore.verify(&[]), "t");
    assert_eq!(told["rows_source"], 3, "zero has no sign in a lake: {told}");
}

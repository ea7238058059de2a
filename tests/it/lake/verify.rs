//! Tables of the lake are verified.

use super::Shore;
use super::modes::EVERY_TYPE;
use crate::support::{VENTAS, stream_report};
use crate::verify::found;

#[test]
fn tables_of_the_lake_are_equal_to_their_sources_and_what_differs_is_found() {
    let shore = Shore::operational("lago_verify", 500, VENTAS);
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
    let written = shore.value(
        "SELECT string_agg(result || ' ' || against, ', ' ORDER BY verified_at) FROM replica.acequia_verifications",
    );
    assert_eq!(written, "equal source, different source, equal landing");
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

//! Ranges of tables of the lake are read once more.

use super::Shore;
use crate::support::{VENTAS, counts};

pub(super) const ALL: [&str; 2] = ["--from", "1990-01-01T00:00:00Z"];

#[test]
fn a_range_of_a_table_of_the_lake_is_replaced_and_replayed() {
    assert_replaced_and_replayed("lago_range", |shore| shore);
}

/// Ranges of tables of such a lake are replaced, and replayed.
pub(super) fn assert_replaced_and_replayed(name: &str, made: fn(Shore) -> Shore) {
    for disposition in ["merge", "append"] {
        let streams = format!("{VENTAS}disposition = \"{disposition}\"\n");
        let mut shore = made(Shore::operational(name, 500, &streams));
        shore.run(&[]);
        shore
            .source
            .batch(
                "ALTER TABLE ventas DISABLE TRIGGER USER; UPDATE ventas SET precio_total = 1 WHERE id <= 5; \
                 DELETE FROM ventas WHERE id IN (6, 7); UPDATE ventas SET updated_at = '1999-01-01' WHERE id = 8",
            )
            .unwrap();
        let run = shore.run(&ALL);
        let expected = match disposition {
            "append" => (498, 498, 0, 500),
            _ => (498, 0, 6, 2),
        };
        assert_eq!(counts(&run, "ventas"), expected, "{run}");
        shore.assert_same("ventas");
        assert_eq!(counts(&shore.run(&[]), "ventas"), (0, 0, 0, 0));
        // A range without a beginning has what was read first.
        shore
            .source
            .batch("UPDATE ventas SET precio_total = 2 WHERE id = 8")
            .unwrap();
        let run = shore.run(&["--to", "2000-01-01T00:00:00Z"]);
        assert_eq!(counts(&run, "ventas").0, 1, "{run}");
        shore.assert_same("ventas");
        let landing = shore.landing.clone();
        shore.anew();
        shore.landing = landing;
        shore.write();
        let replayed = shore.acequia(&["replay"]);
        assert_eq!(replayed.status, Some(0), "{replayed:?}");
        shore.assert_same("ventas");
    }
}

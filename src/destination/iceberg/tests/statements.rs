//! What statements mean to an engine elsewhere, whatever its cluster is set to; and a load that goes from one engine to another.

use super::elsewhere::{Elsewhere, Kind};
use super::sail::Sail;
use super::spark::Spark;
use super::*;

/// Texts that a literal could be left by, or that it could change.
const TEXTS: [&str; 9] = [
    r"a\nb",
    r"it\'s",
    "it's",
    r"\",
    r"ends in \",
    "${spark.master}",
    "`a`",
    "'; DROP TABLE ventas; --",
    "\u{10FFFF}ñ\n",
];

/// The lowest and the highest key of a load, and its position, are literals in statements.
fn a_text_in_a_literal_is_that_text<E: Kind>() {
    for (number, text) in TEXTS.iter().enumerate() {
        let mut fixture = Fixture::<Elsewhere<E>>::new();
        let load = |before: Option<&str>, n: i32| {
            let text = text.to_string();
            let columns = [
                ("clave", "text", texts([text.as_str()])),
                ("n", "int32", ints([n])),
            ];
            let value = |text: &str| CursorValue::Text(text.to_owned());
            Load::full("textos", &columns).by_cursor(
                Disposition::Merge,
                "clave",
                before.map(value),
                Some(value(&text)),
            )
        };
        assert_eq!(fixture.load(&load(None, 1)), (1, 0), "{number}");
        assert_eq!(fixture.load(&load(Some(text), 2)), (0, 1), "{number}");
        assert_eq!(
            fixture.query("SELECT clave, n FROM replica.textos"),
            [format!("{text}|2")]
        );
    }
}

#[test]
fn a_text_in_a_literal_is_that_text_to_sail() {
    a_text_in_a_literal_is_that_text::<Sail>();
}

#[test]
#[ignore = "takes minutes: make engines"]
fn a_text_in_a_literal_is_that_text_to_spark() {
    a_text_in_a_literal_is_that_text::<Spark>();
}

/// By itself Spark makes NULL of what does not fit.
#[test]
fn a_value_that_does_not_fit_is_an_error_whatever_the_cluster_says() {
    let mut fixture = Fixture::<Elsewhere<Spark>>::new();
    let remote = fixture.db.remote.as_mut().unwrap();
    for sql in [
        "SELECT CAST(CAST('veinte' AS INT) AS STRING)",
        "SELECT CAST(CAST(3000000000 AS INT) AS STRING)",
    ] {
        let error = remote.ask(sql).unwrap_err();
        assert!(matches!(error, Error::Data(_)), "{}", error.report());
        assert!(!error.report().contains("veinte"));
    }
    let utc = remote.ask("SELECT CAST(TIMESTAMP '2026-01-01 00:00:00Z' AS STRING)");
    assert_eq!(utc.unwrap().as_deref(), Some("2026-01-01 00:00:00"));
}

#[test]
fn a_token_that_the_engine_does_not_take_is_told_with_its_remedy() {
    let mut place = Elsewhere::<Spark>::new();
    let spark = testkit::Spark::shared().unwrap();
    let engine = place.0.lake.engine.as_mut().unwrap();
    engine.url = Secret::new(spark.url_with("otro-secreto"));
    let report = place.open("replica").unwrap_err().report();
    assert!(
        report.contains("does not take what it is shown") && report.contains("correct `token`"),
        "{report}"
    );
    assert!(!report.contains("secreto"), "{report}");
}

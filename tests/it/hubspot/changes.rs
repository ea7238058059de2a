//! Incremental: what changed, was archived, restored or merged.

use super::*;

#[test]
fn s04_more_changes_than_a_search_shows_all_come() {
    let crm = Crm::new(
        HubSpotServer::options()
            .companies(25_300)
            .limits(unlimited()),
        INCREMENTAL,
    );
    crm.run();
    for number in 1..=25_000 {
        crm.server.portal().update(
            "companies",
            Portal::generated_id(number),
            &[("city", Some("Soria"))],
        );
    }
    let report = crm.run();
    assert_eq!(counts(&report, "companies"), (25_000, 0, 25_000, 0));
    assert_eq!(
        crm.value("SELECT count(*) FROM replica.companies WHERE city = 'Soria'"),
        "25000"
    );
    crm.assert_complete();
    assert_eq!(crm.server.answered(400) + crm.server.answered(429), 0);
}

#[test]
fn s05_twelve_thousand_changes_of_one_moment_end_and_none_is_lost() {
    let crm = Crm::new(
        HubSpotServer::options()
            .companies(12_000)
            .limits(unlimited()),
        INCREMENTAL,
    );
    crm.run();
    let moment = crm.server.portal().now();
    for number in 1..=12_000 {
        crm.server.portal().update_at(
            "companies",
            Portal::generated_id(number),
            &[("city", Some("Soria"))],
            moment,
        );
    }
    let report = crm.run();
    assert_eq!(counts(&report, "companies"), (12_000, 0, 12_000, 0));
    assert_eq!(
        crm.value("SELECT count(DISTINCT id) FROM replica.companies WHERE city = 'Soria'"),
        "12000"
    );
}

#[test]
fn s06_a_record_that_search_knows_minutes_later_is_found_and_not_twice() {
    let crm = Crm::of(20, INCREMENTAL);
    crm.run();
    crm.server.portal().set_index_lag(180);
    let id = crm
        .server
        .portal()
        .create("companies", &[("name", Some("Tardía, S.L."))]);
    assert_eq!(
        counts(&crm.run(), "companies").0,
        0,
        "search does not know it yet"
    );
    crm.server.portal().advance(240);
    assert_eq!(counts(&crm.run(), "companies").1, 1);
    crm.server.portal().advance(60);
    crm.run();
    assert_eq!(
        crm.value(&format!(
            "SELECT count(*) FROM replica.companies WHERE id = '{id}'"
        )),
        "1"
    );
    crm.assert_complete();
}

#[test]
fn s07_a_change_during_the_run_is_in_it_or_in_the_next() {
    let crm = Crm::of(450, INCREMENTAL);
    let (read, unread) = (Portal::generated_id(1), Portal::generated_id(449));
    crm.server.before("after=cursor", 2, move |portal| {
        portal.update("companies", read, &[("city", Some("Lugo"))]);
        portal.update("companies", unread, &[("city", Some("Lugo"))]);
    });
    crm.run();
    crm.run();
    assert_eq!(
        crm.value("SELECT count(*) FROM replica.companies WHERE city = 'Lugo'"),
        "2"
    );
    crm.assert_complete();
}

#[test]
fn s17_archived_restored_and_purged() {
    let crm = Crm::of(150, INCREMENTAL);
    let (restored, purged, stays) = (
        Portal::generated_id(5),
        Portal::generated_id(6),
        Portal::generated_id(7),
    );
    crm.server.portal().archive("companies", stays);
    crm.server.portal().advance(3_600);
    crm.run();
    let state = |id: u64| {
        crm.value(&format!("SELECT archived || ' ' || (archived_at IS NOT NULL) FROM replica.companies WHERE id = '{id}'"))
    };
    assert_eq!(state(stays), "true true");
    crm.server.portal().advance(3_600);
    for id in [restored, purged] {
        crm.server.portal().archive("companies", id);
    }
    assert_eq!(counts(&crm.run(), "companies"), (2, 0, 2, 0));
    assert_eq!(
        (state(restored), state(purged)),
        ("true true".to_owned(), "true true".to_owned())
    );
    crm.server.portal().advance(3_600);
    crm.server.portal().restore("companies", restored);
    crm.server.portal().purge("companies", purged);
    crm.run();
    assert_eq!(state(restored), "false false");
    assert_eq!(
        state(purged),
        "true true",
        "the archive is where it was last seen"
    );
    assert_eq!(
        counts(&crm.run(), "companies").0,
        0,
        "nothing more to say of it"
    );
    assert_eq!(crm.value("SELECT count(*) FROM replica.companies"), "150");
}

#[test]
fn s18_a_merged_record_is_marked_with_the_one_that_it_is_now() {
    for (stream, keeps_id) in [
        (FULL, true),
        (INCREMENTAL, true),
        (FULL, false),
        (INCREMENTAL, false),
    ] {
        let crm = Crm::of(120, stream);
        crm.run();
        let (gone, other) = (Portal::generated_id(30), Portal::generated_id(31));
        let name = format!("SELECT name FROM replica.companies WHERE id = '{gone}'");
        let named = crm.value(&name);
        crm.server.portal().advance(3_600);
        crm.server.portal().merging_keeps_the_id = keeps_id;
        let survivor = crm.server.portal().merge("companies", gone, other).unwrap();
        crm.run();
        let merged = crm.values("SELECT id || ' ' || merged_into || ' ' || archived FROM replica.companies WHERE merged_into IS NOT NULL ORDER BY id");
        let mut expected = vec![format!("{gone} {survivor} true")];
        if !keeps_id {
            expected.push(format!("{other} {survivor} true"));
        }
        assert_eq!(merged, expected, "{stream}");
        // What it was is known from earlier runs alone.
        let kept = if stream == INCREMENTAL {
            named.as_str()
        } else {
            "-"
        };
        assert_eq!(crm.value(&name), kept, "{stream}");
        crm.run();
        crm.assert_complete();
        assert_eq!(crm.value(&name), kept, "{stream}");
    }
}

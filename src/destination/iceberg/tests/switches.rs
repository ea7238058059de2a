//! Another writer in the midst of a load: the one that began it was killed, and the configuration names another engine, or none, when
//! the next run comes. The load is applied once all the same.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use testkit::Proxy;

use super::cases::Case;
use super::elsewhere::{Elsewhere, Kind, engine, sampled};
use super::failures::{a_statement_is_overtaken, proxied, proxied_engine};
use super::sail::Sail;
use super::spark::Spark;
use super::*;
use crate::config::Engine;

/// How long a thread waits for another.
const PATIENCE: Duration = Duration::from_mins(2);

fn by<E: Kind>() -> Option<Engine> {
    Elsewhere::<E>::new().0.lake.engine
}

#[test]
fn a_statement_of_sails_that_is_under_way_is_overtaken_by_duckdb() {
    a_statement_is_overtaken::<Sail>(None);
}

#[test]
#[ignore = "takes minutes: make engines"]
fn a_statement_of_sails_that_is_under_way_is_overtaken_by_spark() {
    a_statement_is_overtaken::<Sail>(by::<Spark>().as_ref());
}

/// Sail's statement ends when another writer has claimed the table, and before that one publishes what it wrote.
fn a_statement_that_ends_amid_the_load_of_another_is_undone(by: Option<&Engine>) {
    let (server, held) = proxied_engine::<Sail>();
    for case in [Case::Append, Case::Changes, Case::Whole] {
        let (is_held, holds) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        let (ended, ends) = mpsc::channel();
        let (mut place, way) = proxied::<Sail>();
        place.0.lake.engine = Some(engine::<Sail>(&Sail::url_of(&server)));
        let mut first = case.begun(place);
        let load = first.stage(&case.next());
        // The commit of the table itself. Of the run that sent the statement nothing is left then: it cannot reach the catalog.
        let number = usize::from(case.is_kept());
        held.before("POST", "/tables/ventas", number, move || {
            drop(way);
            is_held.send(()).unwrap();
            goes.recv_timeout(PATIENCE).unwrap();
        });
        let mut place = Namespace::new();
        let proxy = Proxy::start(&place.lake.catalog).unwrap();
        place.lake.catalog = proxy.url();
        place.lake.engine = by.cloned();
        first.place.0.name.clone_into(&mut place.name);
        let mut staged = load.clone();
        let dying = thread::spawn(move || {
            let loaded = first.db.load(&load);
            ended.send(()).unwrap();
            (first, loaded)
        });
        holds.recv_timeout(PATIENCE).unwrap();
        let path = match (by, case.is_kept()) {
            (Some(_), false) => ("/tables/ventas", 1),
            _ => ("/transactions/commit", 0),
        };
        proxy.before("POST", path.0, path.1, move || {
            go.send(()).unwrap();
            ends.recv_timeout(PATIENCE).unwrap();
        });
        let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
        staged.parts = staged.parts.seen_by(fixture.db.reads());
        let what = format!("{case:?}");
        case.apply(&mut fixture, &staged, &what);
        assert!(proxy.is_spent() && held.is_spent(), "{what}");
        let (_first, loaded) = dying.join().unwrap();
        let report = loaded.unwrap_err().report();
        assert!(report.contains("cannot be reached"), "{report}");
        case.assert_done(fixture, &what);
    }
}

#[test]
fn a_statement_of_sails_that_ends_amid_a_load_of_duckdbs_is_undone() {
    a_statement_that_ends_amid_the_load_of_another_is_undone(None);
}

#[test]
#[ignore = "takes minutes: make engines"]
fn a_statement_of_sails_that_ends_amid_a_load_of_sparks_is_undone() {
    a_statement_that_ends_amid_the_load_of_another_is_undone(by::<Spark>().as_ref());
}

#[cfg(feature = "failpoints")]
mod kills {
    use super::*;
    use crate::destination::iceberg::tests::dying::kill;

    /// Writers by turns: each but the last dies at that step of the load, and the last one applies it.
    fn writers_by_turns(case: Case, dead: &[(Option<&Engine>, &str)], last: Option<&Engine>) {
        let mut place = Namespace::new();
        place.lake.engine = dead[0].0.cloned();
        let fixture = case.begun(place);
        let id = LoadId::new(fixture.db.id());
        let (mut place, folder) = fixture.close();
        let mut what = format!("{case:?}");
        for (engine, point) in dead {
            place.lake.engine = engine.cloned();
            kill(&place, case, &id, point);
            what = format!("{what}, {} {point}", shown(*engine));
        }
        place.lake.engine = last.cloned();
        what = format!("{what}, {}", shown(last));
        case.assert_done_next(place, folder, id, &what);
    }

    fn shown(engine: Option<&Engine>) -> &str {
        engine.map_or("duckdb", |engine| engine.url.reveal())
    }

    /// The steps of a load at which its writer dies.
    fn points(case: Case) -> impl Iterator<Item = &'static str> {
        ["claimed", "changes_staged", "staged", "after_commit"]
            .into_iter()
            .filter(move |point| case.is_kept() || *point != "changes_staged")
    }

    #[test]
    fn what_sail_began_duckdb_does_once() {
        for &case in Sail::cases() {
            for point in points(case) {
                writers_by_turns(case, &[(by::<Sail>().as_ref(), point)], None);
            }
        }
    }

    #[test]
    fn what_sail_began_spark_does_once() {
        for &case in sampled(&Case::ALL, &[Case::Repair]) {
            for point in points(case).filter(|point| *point != "claimed") {
                writers_by_turns(
                    case,
                    &[(by::<Sail>().as_ref(), point)],
                    by::<Spark>().as_ref(),
                );
            }
        }
    }

    #[test]
    #[ignore = "takes minutes: make engines"]
    fn what_spark_began_sail_or_duckdb_does_once() {
        for case in [Case::Append, Case::Whole] {
            for point in ["claimed", "staged"] {
                for last in [by::<Sail>(), None] {
                    writers_by_turns(case, &[(by::<Spark>().as_ref(), point)], last.as_ref());
                }
            }
        }
    }

    #[test]
    #[ignore = "takes minutes: make engines"]
    fn what_duckdb_began_sail_or_spark_does_once() {
        for case in [Case::Append, Case::Whole] {
            for point in ["before_commit", "after_commit"] {
                for last in [by::<Sail>(), by::<Spark>()] {
                    writers_by_turns(case, &[(None, point)], last.as_ref());
                }
            }
        }
    }

    /// A table that somebody has changed since is not put back: the engine that began the load ends it.
    #[test]
    fn what_was_changed_since_is_left_to_the_engine_that_began() {
        for case in [Case::Append, Case::Changes, Case::Whole] {
            let mut place = Namespace::new();
            place.lake.engine = by::<Sail>();
            let fixture = case.begun(place);
            let id = LoadId::new(fixture.db.id());
            let (mut place, folder) = fixture.close();
            kill(&place, case, &id, "staged");
            place.lake.engine = None;
            let mut fixture = Fixture::of(place, folder);
            fixture.sql("UPDATE replica.ventas SET importe = importe WHERE id = 1");
            let mut load = case.next();
            load.id = Some(id.clone());
            let error = fixture.try_load(&load).unwrap_err();
            assert!(!error.refuses_load());
            let report = error.report();
            for word in [
                "never finished",
                "`engine` of the destination",
                "--full-refresh",
            ] {
                assert!(report.contains(word), "{report}");
            }
            let (mut place, folder) = fixture.close();
            place.lake.engine = by::<Sail>();
            case.assert_done_next(place, folder, id, &format!("{case:?}"));
        }
    }

    /// Whoever undoes what another began may die as well.
    #[test]
    #[ignore = "takes minutes: make engines"]
    fn a_writer_that_dies_over_what_another_began_leaves_it_to_a_third() {
        let (sail, spark) = (by::<Sail>(), by::<Spark>());
        let (sail, spark) = (sail.as_ref(), spark.as_ref());
        for case in [Case::Append, Case::Changes, Case::Whole] {
            writers_by_turns(case, &[(sail, "staged"), (None, "taken_over")], sail);
            writers_by_turns(case, &[(sail, "staged"), (None, "after_commit")], sail);
            writers_by_turns(case, &[(sail, "staged"), (spark, "staged")], None);
            writers_by_turns(case, &[(sail, "staged"), (spark, "staged")], sail);
        }
    }
}

//! A load that an engine elsewhere writes, applied once: answers that are lost, engines that end, runs that die or meet.

use tempfile::TempDir;
use testkit::Proxy;
use testkit::proxy::Loss;

use super::cases::Case;
use super::elsewhere::{Elsewhere, Kind, engine};
use super::*;
use crate::config::Engine;
use crate::destination::{Parts, StagedLoad};

/// Makes a test of each function in the list for an engine, with an attribute where one is said.
macro_rules! tests {
    ($module:ident: $kind:ty => $($test:ident),* $(,)?) => {
        tests! { #[cfg(test)] $module: $kind => $($test),* }
    };
    (# $attribute:tt $module:ident: $kind:ty => $($test:ident),* $(,)?) => {
        mod $module {
            $(
                #[test]
                # $attribute
                fn $test() {
                    super::$test::<$kind>();
                }
            )*
        }
    };
}

tests! {
    sail: crate::destination::iceberg::tests::sail::Sail =>
        an_answer_of_the_catalog_that_is_lost_leaves_the_load_once,
        a_table_whose_making_is_not_answered_has_its_first_load_once,
        an_answer_that_the_engine_loses_leaves_the_load_once,
        an_engine_that_is_gone_is_told_and_the_load_is_applied_by_the_next_run,
        an_engine_that_ends_amid_a_load_leaves_it_to_the_next_run,
        a_statement_that_a_dead_run_left_running_changes_nothing,
        of_two_runs_that_apply_one_load_at_once_one_does,
        what_an_engine_elsewhere_does_not_do_is_refused_with_a_remedy,
}

tests! {
    spark: crate::destination::iceberg::tests::spark::Spark =>
        an_answer_that_the_engine_loses_leaves_the_load_once,
        what_an_engine_elsewhere_does_not_do_is_refused_with_a_remedy,
}

tests! {
    #[ignore = "takes minutes: make engines"]
    spark_whole: crate::destination::iceberg::tests::spark::Spark =>
        an_answer_of_the_catalog_that_is_lost_leaves_the_load_once,
        an_engine_that_is_gone_is_told_and_the_load_is_applied_by_the_next_run,
        an_engine_that_ends_amid_a_load_leaves_it_to_the_next_run,
        a_statement_that_a_dead_run_left_running_changes_nothing,
        of_two_runs_that_apply_one_load_at_once_one_does,
}

/// A namespace whose catalog is reached through a proxy.
pub(super) fn proxied<E: Kind>() -> (Elsewhere<E>, Proxy) {
    let mut place = Elsewhere::<E>::new();
    let proxy = Proxy::start(&place.0.lake.catalog).unwrap();
    place.0.lake.catalog = proxy.url();
    (place, proxy)
}

/// An engine of a test's own, which reaches the catalog through a proxy.
pub(super) fn proxied_engine<E: Kind>() -> (E::Server, Proxy) {
    let catalog = testkit::Lake::shared().unwrap().catalog();
    let proxy = Proxy::start(&catalog).unwrap();
    (E::start(&proxy.url()), proxy)
}

/// A namespace whose tables that engine writes.
pub(super) fn written_by<E: Kind>(server: &E::Server) -> Elsewhere<E> {
    let mut place = Elsewhere::<E>::new();
    place.0.lake.engine = Some(engine::<E>(&E::url_of(server)));
    place
}

/// What an engine that ended has left is applied by the next run, on another.
fn assert_applied_next<E: Kind>(
    mut place: Elsewhere<E>,
    folder: TempDir,
    staged: &StagedLoad,
    case: Case,
    what: &str,
) {
    place.0.lake.engine = Elsewhere::<E>::new().0.lake.engine;
    let mut fixture = Fixture::of(place, folder);
    case.apply(&mut fixture, staged, what);
    case.assert_done(fixture, what);
}

/// The requests by which a load is claimed and published, each as it is told from others and how many such come before it.
fn posts(case: Case) -> &'static [(&'static str, &'static str, usize)] {
    if case.is_kept() {
        &[
            ("claim", "/tables/ventas", 0),
            ("claim of the changes", "/tables/ventas", 1),
            ("publish", "/transactions/commit", 0),
        ]
    } else {
        &[
            ("claim", "/tables/ventas", 0),
            ("publish", "/tables/ventas", 1),
        ]
    }
}

/// How many statements write a load.
pub(super) fn statements(case: Case) -> usize {
    if case.is_kept() { 2 } else { 1 }
}

fn an_answer_of_the_catalog_that_is_lost_leaves_the_load_once<E: Kind>() {
    for &case in E::cases() {
        for (step, path, number) in posts(case) {
            for &loss in E::losses() {
                let (place, proxy) = proxied::<E>();
                let mut fixture = case.begun(place);
                let staged = fixture.stage(&case.next());
                proxy.lose("POST", path, *number, loss);
                let what = format!("{case:?} {step} {loss:?}");
                case.apply(&mut fixture, &staged, &what);
                assert!(proxy.is_spent(), "{what}");
                case.assert_done(fixture, &what);
            }
        }
    }
}

fn a_table_whose_making_is_not_answered_has_its_first_load_once<E: Kind>() {
    for number in 0..3 {
        for loss in [Loss::Cut, Loss::Instead(503), Loss::Refused(503)] {
            let (place, proxy) = proxied::<E>();
            let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
            proxy.lose("POST", "/tables", number, loss);
            let load = Load::full("cursos", &[("n", "int32", ints([1, 2]))]);
            assert_eq!(fixture.load(&load), (2, 0), "{number} {loss:?}");
            assert!(proxy.is_spent());
            assert_eq!(
                fixture.query("SELECT n FROM replica.cursos ORDER BY 1"),
                ["1", "2"],
                "{number} {loss:?}"
            );
        }
    }
}

fn an_answer_that_the_engine_loses_leaves_the_load_once<E: Kind>() {
    let (server, proxy) = proxied_engine::<E>();
    for &case in E::cases() {
        for number in 0..statements(case) {
            for &loss in E::losses() {
                let place = written_by::<E>(&server);
                let mut fixture = case.begun(place);
                let staged = fixture.stage(&case.next());
                proxy.lose("POST", "/tables/ventas", number, loss);
                let what = format!("{case:?} {number} {loss:?}");
                case.apply(&mut fixture, &staged, &what);
                assert!(proxy.is_spent(), "{what}");
                case.assert_done(fixture, &what);
            }
        }
    }
}

fn an_engine_that_is_gone_is_told_and_the_load_is_applied_by_the_next_run<E: Kind>() {
    let kit = testkit::Lake::shared().unwrap();
    let server = E::start(&kit.catalog());
    let case = Case::Append;
    let mut fixture = case.begun(written_by::<E>(&server));
    let staged = fixture.stage(&case.next());
    drop(server);
    let error = fixture.db.load(&staged).unwrap_err();
    assert!(!error.refuses_load());
    let report = error.report();
    assert!(report.contains("cannot be reached"), "{report}");
    let (place, folder) = fixture.close();
    let refused = place.open("replica").unwrap_err().report();
    assert!(refused.contains("cannot be reached"), "{refused}");
    assert_applied_next(place, folder, &staged, case, "an engine that is gone");
}

fn an_engine_that_ends_amid_a_load_leaves_it_to_the_next_run<E: Kind>() {
    let (server, proxy) = proxied_engine::<E>();
    let case = Case::Whole;
    let mut fixture = case.begun(written_by::<E>(&server));
    let staged = fixture.stage(&case.next());
    // It ends when it has sent the commit of the changes, which is carried out; the table is not written yet.
    proxy.before("POST", "/tables/ventas", 0, move || drop(server));
    let error = fixture.db.load(&staged).unwrap_err();
    assert!(proxy.is_spent());
    assert!(!error.refuses_load());
    let report = error.report();
    assert!(report.contains("cannot be reached"), "{report}");
    let (place, folder) = fixture.close();
    assert_applied_next(place, folder, &staged, case, "an engine that ends");
}

/// A second run by that writer, which takes the first for dead and applies its load, and one more.
pub(super) fn overtake(
    namespace: &str,
    by: Option<Engine>,
    case: Case,
    staged: StagedLoad,
) -> impl FnOnce() + Send + use<> {
    let mut place = Namespace::new();
    place.lake.engine = by;
    namespace.clone_into(&mut place.name);
    move || {
        let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
        let mut staged = staged;
        staged.parts = staged.parts.seen_by(fixture.db.reads());
        assert!(!fixture.db.load(&staged).unwrap().outcome.already_loaded);
        fixture.try_load(&case.further()).unwrap();
    }
}

fn a_statement_that_a_dead_run_left_running_changes_nothing<E: Kind>() {
    a_statement_is_overtaken::<E>(Elsewhere::<E>::new().0.lake.engine.as_ref());
}

/// A statement is under way when its run is taken for dead: once that writer has applied the load, it changes nothing any more.
pub(super) fn a_statement_is_overtaken<E: Kind>(by: Option<&Engine>) {
    let (server, proxy) = proxied_engine::<E>();
    for &case in E::cases() {
        for number in 0..statements(case) {
            let place = written_by::<E>(&server);
            let mut fixture = case.begun(place);
            let load = fixture.stage(&case.next());
            let overtake = overtake(&fixture.place.0.name, by.cloned(), case, load.clone());
            proxy.before("POST", "/tables/ventas", number, overtake);
            if let Err(error) = fixture.db.load(&load) {
                let report = error.report();
                assert!(report.contains("stand"), "{report}");
            }
            assert!(proxy.is_spent());
            case.assert_further(&fixture, &format!("{case:?} {number}"));
        }
    }
}

fn of_two_runs_that_apply_one_load_at_once_one_does<E: Kind>() {
    for &case in E::cases() {
        // Before each claim, and before what was written is published.
        for (step, path, number) in posts(case) {
            let (place, proxy) = proxied::<E>();
            let mut fixture = case.begun(place);
            let load = fixture.stage(&case.next());
            let by = fixture.place.0.lake.engine.clone();
            let overtake = overtake(&fixture.place.0.name, by, case, load.clone());
            proxy.before("POST", path, *number, overtake);
            // What became of it is told, or that another run was there.
            if let Err(error) = fixture.db.load(&load) {
                let report = error.report();
                assert!(report.contains("stand"), "{report}");
            }
            assert!(proxy.is_spent());
            case.assert_further(&fixture, &format!("{case:?} {step}"));
        }
    }
}

fn what_an_engine_elsewhere_does_not_do_is_refused_with_a_remedy<E: Kind>() {
    let mut fixture = Fixture::<Elsewhere<E>>::new();
    let mut staged = fixture.stage(&Load::full("cursos", &[("n", "int32", ints([1, 2]))]));
    staged.parts = Parts::Remote(vec!["s3://landing/a*/part.parquet".to_owned()]);
    let error = fixture.db.load(&staged).unwrap_err().report();
    assert!(error.contains("choose a `landing`"), "{error}");
    let mut place = Elsewhere::<E>::new();
    place.0.lake.engine = Some(Engine {
        catalog: Some("otro".to_owned()),
        ..place.0.lake.engine.unwrap()
    });
    let error = place.open("replica").unwrap_err().report();
    assert!(error.contains("engine_catalog"), "{error}");
}

#[cfg(feature = "failpoints")]
mod kills {
    use super::*;
    use crate::destination::iceberg::tests::cases::ROWS;
    use crate::destination::iceberg::tests::dying::kill;
    use crate::destination::iceberg::tests::sail::{OnSail, Sail};
    use crate::names::LoadId;

    tests! {
        sail: crate::destination::iceberg::tests::sail::Sail =>
            a_load_that_was_cut_short_anywhere_is_applied_once,
    }

    tests! {
        spark: crate::destination::iceberg::tests::spark::Spark =>
            a_load_that_was_cut_short_anywhere_is_applied_once,
    }

    fn a_load_that_was_cut_short_anywhere_is_applied_once<E: Kind>() {
        for &case in E::cases() {
            for point in E::points() {
                if *point == "changes_staged" && !case.is_kept() {
                    continue;
                }
                let fixture = case.begun(Elsewhere::<E>::new());
                let id = LoadId::new(fixture.db.id());
                let (place, folder) = fixture.close();
                kill(&place.0, case, &id, point);
                case.assert_done_next(place, folder, id, &format!("{case:?} {point}"));
            }
        }
    }

    /// A load is under way when its run ends, and nobody has it any more: once another load has claimed the table, its statement
    /// changes nothing.
    #[test]
    fn a_statement_of_a_load_that_is_lost_changes_nothing_once_another_has_the_table() {
        let (server, proxy) = proxied_engine::<Sail>();
        for case in [Case::Append, Case::Whole] {
            let fixture = case.begun(OnSail::new());
            let id = LoadId::new(fixture.db.id());
            let (place, folder) = fixture.close();
            let of_lost = Proxy::start(&place.0.lake.catalog).unwrap();
            let mut there = written_by::<Sail>(&server);
            place.0.name.clone_into(&mut there.0.name);
            there.0.lake.catalog = of_lost.url();
            let mut lost = Fixture::of(there, tempfile::tempdir().unwrap());
            let staged = lost.stage(&case.rival());
            let mut here = OnSail::new();
            place.0.name.clone_into(&mut here.0.name);
            let of_next = id.clone();
            let claim = move || {
                kill(&here.0, case, &of_next, "staging");
                // The run of the load that is lost does no more.
                drop(of_lost);
            };
            proxy.before("POST", "/tables/ventas", 0, claim);
            let error = lost.db.load(&staged).unwrap_err();
            assert!(proxy.is_spent(), "{case:?}");
            assert!(!error.refuses_load(), "{case:?}");
            case.assert_done_next(place, folder, id, &format!("{case:?}"));
        }
    }

    /// Loads that amend are not ended by later runs, which look anew for what they would do: others come after them.
    #[test]
    fn a_load_that_amends_and_was_never_ended_stands_in_the_way_of_no_other() {
        for case in [Case::Range, Case::Repair] {
            for point in ["staged", "before_commit"] {
                let fixture = case.begun(OnSail::new());
                let id = LoadId::new(fixture.db.id());
                let (place, folder) = fixture.close();
                kill(&place.0, case, &id, point);
                let mut fixture = Fixture::of(place, folder);
                fixture.try_load(&case.further()).unwrap();
                case.assert_further(&fixture, &format!("{case:?} {point}"));
            }
        }
    }

    /// Of two loads of a range the first was written and never ended; the second was applied, and then the first is.
    #[test]
    fn a_range_that_was_written_before_another_is_applied_after_it() {
        let case = Case::Range;
        let fixture = case.begun(OnSail::new());
        let id = LoadId::new(fixture.db.id());
        let (place, folder) = fixture.close();
        kill(&place.0, case, &id, "staged");
        let mut fixture = Fixture::of(place, folder);
        let other = Case::range(&[(2, 22, 2)]);
        let outcome = fixture.try_load(&other).unwrap();
        assert_eq!((outcome.inserted, outcome.deleted), (1, 2));
        assert_eq!(fixture.query(ROWS), ["1|10", "2|22"]);
        let mut load = case.next();
        load.id = Some(id);
        let outcome = fixture.try_load(&load).unwrap();
        assert_eq!((outcome.inserted, outcome.deleted), (2, 1));
        assert_eq!(fixture.query(ROWS), case.rows());
    }
}

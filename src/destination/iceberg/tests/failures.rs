//! A load that an engine elsewhere writes, applied once: answers that are lost, engines that end, runs that die or meet.

use tempfile::TempDir;
use testkit::Proxy;
use testkit::proxy::Loss;

use super::elsewhere::{Elsewhere, Kind, engine};
use super::*;
use crate::config::Engine;
use crate::destination::{Parts, StagedLoad};
use crate::names::LoadId;

/// Makes a test of each function in the list for an engine.
macro_rules! tests {
    ($module:ident: $kind:ty => $($test:ident),* $(,)?) => {
        mod $module {
            $(
                #[test]
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
        an_answer_of_the_catalog_that_is_lost_leaves_the_load_once,
        an_answer_that_the_engine_loses_leaves_the_load_once,
        an_engine_that_is_gone_is_told_and_the_load_is_applied_by_the_next_run,
        an_engine_that_ends_amid_a_load_leaves_it_to_the_next_run,
        a_statement_that_a_dead_run_left_running_changes_nothing,
        of_two_runs_that_apply_one_load_at_once_one_does,
        what_an_engine_elsewhere_does_not_do_is_refused_with_a_remedy,
}

const ROWS: &str = "SELECT id, importe FROM replica.ventas ORDER BY id, importe";

fn begun<E: Kind>(place: Elsewhere<E>, disposition: Disposition) -> Fixture<Elsewhere<E>> {
    let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
    fixture.load(&Load::sales(disposition, None, &[(1, 10, 1), (2, 20, 2)]));
    fixture
}

fn next(disposition: Disposition) -> Load {
    Load::sales(disposition, Some(2), &[(2, 21, 3), (3, 30, 4)])
}

/// What the table holds after [`next`], and what that load did.
fn after(disposition: Disposition) -> (&'static [&'static str], (u64, u64)) {
    match disposition {
        Disposition::Append => (&["1|10", "2|20", "2|21", "3|30"], (2, 0)),
        _ => (&["1|10", "2|21", "3|30"], (1, 1)),
    }
}

/// The table is whole, has the load once, and no mark is left on it.
fn assert_done<E: Kind>(fixture: Fixture<Elsewhere<E>>, disposition: Disposition, what: &str) {
    let (rows, _) = after(disposition);
    assert_eq!(fixture.query(ROWS), rows, "{what}");
    let mut fixture = fixture.reopen();
    let more = Load::sales(disposition, Some(4), &[(4, 40, 5)]);
    assert_eq!(fixture.load(&more), (1, 0), "{what}");
    let seen = fixture.db.writer.catalog.table("ventas").unwrap().unwrap();
    assert_eq!(state::claims(&seen).count(), 0, "{what}");
    assert_eq!(seen.properties.get(state::INTENT), None, "{what}");
    let fixture = fixture.reopen();
    assert_eq!(
        fixture.query("SELECT count(*), count(DISTINCT load_id) FROM replica.acequia_loads"),
        ["3|3"],
        "{what}"
    );
}

/// A namespace whose catalog is reached through a proxy.
fn proxied<E: Kind>() -> (Elsewhere<E>, Proxy) {
    let mut place = Elsewhere::<E>::new();
    let proxy = Proxy::start(&place.0.lake.catalog).unwrap();
    place.0.lake.catalog = proxy.url();
    (place, proxy)
}

/// An engine of a test's own, which reaches the catalog through a proxy.
fn proxied_engine<E: Kind>() -> (E::Server, Proxy) {
    let catalog = testkit::Lake::shared().unwrap().catalog();
    let proxy = Proxy::start(&catalog).unwrap();
    (E::start(&proxy.url()), proxy)
}

/// A namespace whose tables that engine writes.
fn written_by<E: Kind>(server: &E::Server) -> Elsewhere<E> {
    let mut place = Elsewhere::<E>::new();
    place.0.lake.engine = Some(engine::<E>(&E::url_of(server)));
    place
}

/// What an engine that ended has left is applied by the next run, on another.
fn assert_applied_next<E: Kind>(
    mut place: Elsewhere<E>,
    folder: TempDir,
    staged: &StagedLoad,
    what: &str,
) {
    place.0.lake.engine = Elsewhere::<E>::new().0.lake.engine;
    let mut fixture = Fixture::of(place, folder);
    let outcome = fixture.db.load(staged).unwrap().outcome;
    assert_eq!((outcome.inserted, outcome.updated), (2, 0));
    assert_done(fixture, Disposition::Append, what);
}

fn an_answer_of_the_catalog_that_is_lost_leaves_the_load_once<E: Kind>() {
    for disposition in [Disposition::Append, Disposition::Merge] {
        for (number, step) in ["claim", "publish"].into_iter().enumerate() {
            for loss in E::LOSSES.iter().copied() {
                let (place, proxy) = proxied::<E>();
                let mut fixture = begun(place, disposition);
                proxy.lose("POST", "/tables/ventas", number, loss);
                let what = format!("{disposition} {step} {loss:?}");
                let loaded = fixture.load(&next(disposition));
                assert!(proxy.is_spent(), "{what}");
                assert_eq!(loaded, after(disposition).1, "{what}");
                assert_done(fixture, disposition, &what);
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
    for disposition in [Disposition::Append, Disposition::Merge] {
        for loss in E::LOSSES.iter().copied() {
            let place = written_by::<E>(&server);
            let mut fixture = begun(place, disposition);
            proxy.lose("POST", "/tables/ventas", 0, loss);
            let what = format!("{disposition} {loss:?}");
            let loaded = fixture.load(&next(disposition));
            assert!(proxy.is_spent(), "{what}");
            assert_eq!(loaded, after(disposition).1, "{what}");
            assert_done(fixture, disposition, &what);
        }
    }
}

fn an_engine_that_is_gone_is_told_and_the_load_is_applied_by_the_next_run<E: Kind>() {
    let kit = testkit::Lake::shared().unwrap();
    let server = E::start(&kit.catalog());
    let place = written_by::<E>(&server);
    let mut fixture = begun(place, Disposition::Append);
    let staged = fixture.stage(&next(Disposition::Append));
    drop(server);
    let error = fixture.db.load(&staged).unwrap_err();
    assert!(!error.refuses_load());
    let report = error.report();
    assert!(report.contains("cannot be reached"), "{report}");
    let (place, folder) = fixture.close();
    let refused = place.open("replica").unwrap_err().report();
    assert!(refused.contains("cannot be reached"), "{refused}");
    assert_applied_next(place, folder, &staged, "an engine that is gone");
}

fn an_engine_that_ends_amid_a_load_leaves_it_to_the_next_run<E: Kind>() {
    let (server, proxy) = proxied_engine::<E>();
    let place = written_by::<E>(&server);
    let mut fixture = begun(place, Disposition::Append);
    let staged = fixture.stage(&next(Disposition::Append));
    // It ends when it has sent its commit, which is carried out.
    proxy.before("POST", "/tables/ventas", 0, move || drop(server));
    let error = fixture.db.load(&staged).unwrap_err();
    assert!(proxy.is_spent());
    assert!(!error.refuses_load());
    let report = error.report();
    assert!(report.contains("cannot be reached"), "{report}");
    let (place, folder) = fixture.close();
    assert_applied_next(place, folder, &staged, "an engine that ends");
}

/// A second run, which takes the first for dead and applies its load, and one more.
fn overtake<E: Kind>(namespace: &str, staged: StagedLoad) -> impl FnOnce() + Send + use<E> {
    let mut place = Elsewhere::<E>::new();
    namespace.clone_into(&mut place.0.name);
    move || {
        let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
        assert!(!fixture.db.load(&staged).unwrap().outcome.already_loaded);
        let more = Load::sales(
            staged.manifest.disposition,
            Some(4),
            &[(3, 31, 5), (4, 40, 6)],
        );
        fixture.load(&more);
    }
}

fn overtaken(disposition: Disposition) -> &'static [&'static str] {
    match disposition {
        Disposition::Append => &["1|10", "2|20", "2|21", "3|30", "3|31", "4|40"],
        _ => &["1|10", "2|21", "3|31", "4|40"],
    }
}

fn a_statement_that_a_dead_run_left_running_changes_nothing<E: Kind>() {
    let (server, proxy) = proxied_engine::<E>();
    for disposition in [Disposition::Append, Disposition::Merge] {
        let place = written_by::<E>(&server);
        let namespace = place.0.name.clone();
        let mut fixture = begun(place, disposition);
        let load = fixture.stage(&next(disposition));
        let other = load.clone();
        proxy.before(
            "POST",
            "/tables/ventas",
            0,
            overtake::<E>(&namespace, other),
        );
        if let Err(error) = fixture.db.load(&load) {
            let report = error.report();
            assert!(report.contains("stand"), "{report}");
        }
        assert!(proxy.is_spent());
        assert_eq!(fixture.query(ROWS), overtaken(disposition), "{disposition}");
    }
}

fn of_two_runs_that_apply_one_load_at_once_one_does<E: Kind>() {
    for disposition in [Disposition::Append, Disposition::Merge] {
        // Before the claim, and before it is published.
        for number in 0..2 {
            let (place, proxy) = proxied::<E>();
            let namespace = place.0.name.clone();
            let mut fixture = begun(place, disposition);
            let load = fixture.stage(&next(disposition));
            let other = load.clone();
            proxy.before(
                "POST",
                "/tables/ventas",
                number,
                overtake::<E>(&namespace, other),
            );
            // What became of it is told, or that another run was there.
            if let Err(error) = fixture.db.load(&load) {
                let report = error.report();
                assert!(report.contains("stand"), "{report}");
            }
            assert!(proxy.is_spent());
            assert_eq!(
                fixture.query(ROWS),
                overtaken(disposition),
                "{disposition} {number}"
            );
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
    use std::process::Command;

    use super::*;

    const DYING: &str = "ACEQUIA_TEST_DYING";

    tests! {
        sail: crate::destination::iceberg::tests::sail::Sail =>
            a_load_that_was_cut_short_anywhere_is_applied_once,
            dies_for_another_test,
    }

    tests! {
        spark: crate::destination::iceberg::tests::spark::Spark =>
            a_load_that_was_cut_short_anywhere_is_applied_once,
            dies_for_another_test,
    }

    fn a_load_that_was_cut_short_anywhere_is_applied_once<E: Kind>() {
        for disposition in [Disposition::Append, Disposition::Merge] {
            for point in E::POINTS {
                let fixture = begun(Elsewhere::<E>::new(), disposition);
                let id = LoadId::new(fixture.db.id());
                let (place, folder) = fixture.close();
                let tests = module_path!().split_once("::").unwrap().1;
                let tests = format!("{tests}::{}", E::NAME);
                let status = Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", &format!("{tests}::dies_for_another_test")])
                    .env(DYING, format!("{}#{id}#{disposition}", place.address()))
                    .env("FAILPOINTS", format!("iceberg.{point}=return"))
                    .status()
                    .unwrap();
                assert!(!status.success(), "{point}");
                let mut fixture = Fixture::of(place, folder);
                let mut load = next(disposition);
                load.id = Some(id);
                let outcome = fixture.try_load(&load).unwrap();
                let what = format!("{disposition} {point}");
                if *point == "after_commit" {
                    assert!(outcome.already_loaded, "{what}");
                } else {
                    let did = (outcome.inserted, outcome.updated);
                    assert_eq!(did, after(disposition).1, "{what}");
                }
                assert_done(fixture, disposition, &what);
            }
        }
    }

    /// The process that dies.
    fn dies_for_another_test<E: Kind>() {
        let Ok(dying) = std::env::var(DYING) else {
            return;
        };
        let _scenario = fail::FailScenario::setup();
        let parts: Vec<&str> = dying.split('#').collect();
        let [address, id, disposition] = parts.as_slice() else {
            panic!("{} parts", parts.len());
        };
        let disposition = match *disposition {
            "append" => Disposition::Append,
            _ => Disposition::Merge,
        };
        let mut load = next(disposition);
        load.id = Some(id.parse().unwrap());
        let folder = tempfile::tempdir().unwrap();
        Fixture::of(Elsewhere::<E>::at(address), folder).load(&load);
    }
}

//! One commit for each load, sent once: what others do meanwhile, and answers that are lost.

use testkit::Proxy;
use testkit::proxy::{Exchange, Loss};

use super::*;

/// A lake behind a proxy, with rows of a first load.
struct Behind {
    proxy: Proxy,
    fixture: Fixture<Namespace>,
}

fn behind() -> Behind {
    let mut place = Namespace::new();
    let proxy = Proxy::start(&place.lake.catalog).unwrap();
    place.lake.catalog = proxy.url();
    let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
    fixture.load(&Load::sales(
        Disposition::Merge,
        None,
        &[(1, 10, 1), (2, 20, 2)],
    ));
    Behind { proxy, fixture }
}

fn next() -> Load {
    Load::sales(Disposition::Merge, Some(2), &[(2, 21, 3), (3, 30, 4)])
}

const ROWS: &str = "SELECT id, importe FROM replica.ventas ORDER BY id";
const COMMIT: &str = "/transactions/commit";

#[test]
fn an_answer_that_is_lost_leaves_the_table_whole_and_the_load_in_it_once() {
    for loss in [
        Loss::Cut,
        Loss::Instead(500),
        Loss::Instead(503),
        Loss::Instead(409),
        Loss::Instead(404),
    ] {
        let Behind { proxy, mut fixture } = behind();
        proxy.lose("POST", COMMIT, 0, loss);
        assert_eq!(fixture.load(&next()), (1, 1), "{loss:?}");
        assert!(proxy.is_spent());
        // The rows are read, not only the properties: files that a table names may be gone.
        assert_eq!(fixture.query(ROWS), ["1|10", "2|21", "3|30"], "{loss:?}");
        let more = Load::sales(Disposition::Merge, Some(4), &[(4, 40, 5)]);
        assert_eq!(fixture.load(&more), (1, 0), "{loss:?}");
        let fixture = fixture.reopen();
        assert_eq!(
            fixture.query(ROWS),
            ["1|10", "2|21", "3|30", "4|40"],
            "{loss:?}"
        );
        assert_eq!(
            fixture.query("SELECT count(*), count(DISTINCT load_id) FROM replica.acequia_loads"),
            ["3|3"],
            "{loss:?}"
        );
    }
}

#[test]
fn a_commit_that_does_not_arrive_is_made_anew() {
    for loss in [Loss::Unsent, Loss::Refused(503), Loss::Refused(409)] {
        let Behind { proxy, mut fixture } = behind();
        proxy.lose("POST", COMMIT, 0, loss);
        assert_eq!(fixture.load(&next()), (1, 1), "{loss:?}");
        assert!(proxy.is_spent());
        assert_eq!(fixture.query(ROWS), ["1|10", "2|21", "3|30"], "{loss:?}");
    }
    let Behind { proxy, mut fixture } = behind();
    proxy.lose("POST", COMMIT, 0, Loss::Refused(403));
    let error = fixture.try_load(&next()).unwrap_err();
    assert!(
        !error.refuses_load(),
        "a right that is missing says nothing of the load"
    );
    assert_eq!(fixture.query(ROWS), ["1|10", "2|20"]);
    assert_eq!(fixture.load(&next()), (1, 1));
}

#[test]
fn a_question_that_is_not_answered_is_asked_again() {
    for loss in [Loss::Unsent, Loss::Refused(503), Loss::Instead(429)] {
        let Behind { proxy, mut fixture } = behind();
        proxy.lose("GET", "/tables/ventas?snapshots", 0, loss);
        assert_eq!(fixture.load(&next()), (1, 1), "{loss:?}");
        assert!(proxy.is_spent());
    }
}

#[test]
fn a_storage_that_fails_for_a_moment_has_the_load_begin_anew() {
    for (method, path) in [("PUT", ".parquet"), ("GET", ".parquet"), ("PUT", ".avro")] {
        let mut place = Namespace::new();
        let storage = place.lake.storage.as_mut().unwrap();
        let proxy = Proxy::start(storage.endpoint.as_ref().unwrap()).unwrap();
        storage.endpoint = Some(proxy.url());
        let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
        fixture.load(&Load::sales(
            Disposition::Merge,
            None,
            &[(1, 10, 1), (2, 20, 2)],
        ));
        proxy.lose(method, path, 0, Loss::Refused(503));
        assert_eq!(fixture.load(&next()), (1, 1), "{method} {path}");
        assert!(proxy.is_spent());
        assert_eq!(fixture.query(ROWS), ["1|10", "2|21", "3|30"]);
    }
}

#[test]
fn a_first_load_whose_answer_is_lost_is_there_once() {
    for loss in [
        Loss::Cut,
        Loss::Instead(503),
        Loss::Instead(409),
        Loss::Unsent,
    ] {
        let Behind { proxy, mut fixture } = behind();
        let load = Load::full("cursos", &[("n", "int32", ints([1, 2]))]);
        proxy.lose("POST", "/tables/cursos", 0, loss);
        assert_eq!(fixture.load(&load), (2, 0), "{loss:?}");
        assert!(proxy.is_spent());
        assert_eq!(
            fixture.query("SELECT n FROM replica.cursos ORDER BY 1"),
            ["1", "2"]
        );
    }
}

#[test]
fn what_others_commit_meanwhile_has_the_load_begin_anew_and_stays() {
    let Behind { proxy, mut fixture } = behind();
    let other = fixture.place.real(
        "INSERT INTO lake.replica.ventas (id, importe, version, _acequia_load_id) VALUES (9, 90, 0, 'x')",
    );
    let attach = fixture.place.attach.clone();
    proxy.before("POST", COMMIT, 0, move || {
        let user = Connection::open_in_memory().unwrap();
        user.execute_batch(&attach).unwrap();
        user.execute_batch(&other).unwrap();
    });
    assert_eq!(fixture.load(&next()), (1, 1));
    assert!(proxy.is_spent());
    assert_eq!(fixture.query(ROWS), ["1|10", "2|21", "3|30", "9|90"]);
}

#[test]
fn of_two_runs_that_load_the_same_one_is_refused() {
    let Behind {
        proxy: _proxy,
        fixture,
    } = behind();
    let (place, folder) = fixture.close();
    let mut other = place.open("replica").unwrap();
    let mut fixture = Fixture::of(place, folder);
    let theirs = fixture.stage(&Load::sales(Disposition::Append, Some(2), &[(3, 31, 3)]));
    let ours = fixture.stage(&Load::sales(Disposition::Append, Some(2), &[(3, 30, 4)]));
    other.load(&theirs).unwrap();
    let error = fixture.db.load(&ours).unwrap_err().report();
    assert!(
        error.contains("does not stand where the load begins"),
        "{error}"
    );
    assert_eq!(fixture.query(ROWS), ["1|10", "2|20", "3|31"]);
}

#[test]
fn a_load_that_changes_nothing_writes_no_snapshot_and_takes_the_position_on() {
    let Behind { proxy, mut fixture } = behind();
    proxy.reset();
    let mut same = Load::sales(Disposition::Merge, Some(2), &[(2, 20, 2)]);
    same.after = Some(position(7));
    assert_eq!(fixture.load(&same), (0, 0));
    let written: Vec<String> = proxy
        .exchanges()
        .into_iter()
        .filter(|exchange| exchange.method == "POST")
        .map(|exchange| exchange.body)
        .collect();
    let [body] = written.as_slice() else {
        panic!("{written:?}");
    };
    assert!(
        body.contains("assert-ref-snapshot-id") && !body.contains("add-snapshot"),
        "{body}"
    );
    let states = fixture.db.states().unwrap();
    assert_eq!(states.values().next().unwrap().position, Some(position(7)));
    let next = Load::sales(Disposition::Merge, Some(7), &[(3, 30, 8)]);
    assert_eq!(fixture.load(&next), (1, 0));
}

/// A commit that changes columns alone would not say which rows it found.
#[test]
fn a_load_that_adds_a_column_and_no_row_names_the_snapshot_that_it_found() {
    let Behind { proxy, mut fixture } = behind();
    proxy.reset();
    let same = Load::sales(Disposition::InsertOnly, Some(2), &[(2, 20, 2)]).with(
        "nota",
        "text",
        texts(["x"]),
    );
    assert_eq!(fixture.load(&same), (0, 0));
    let exchanges = proxy.exchanges();
    let commit = exchanges
        .iter()
        .find(|exchange| exchange.path.contains(COMMIT))
        .unwrap();
    assert!(
        commit.body.contains("assert-ref-snapshot-id"),
        "{}",
        commit.body
    );
    assert_eq!(fixture.query(ROWS), ["1|10", "2|20"]);
}

#[test]
fn a_position_is_taken_on_once_whatever_becomes_of_the_answer() {
    let stream: StreamName = "ventas".parse().unwrap();
    for loss in [
        None,
        Some(Loss::Cut),
        Some(Loss::Instead(503)),
        Some(Loss::Unsent),
        Some(Loss::Refused(409)),
    ] {
        let Behind { proxy, mut fixture } = behind();
        if let Some(loss) = loss {
            proxy.lose("POST", "/tables/ventas", 0, loss);
        }
        fixture
            .db
            .advance(&stream, &position(2), &position(5))
            .unwrap();
        assert!(proxy.is_spent());
        let error = fixture
            .db
            .advance(&stream, &position(2), &position(6))
            .unwrap_err()
            .report();
        assert!(error.contains("no longer stands"), "{error}");
        let mut fixture = fixture.reopen();
        let states = fixture.db.states().unwrap();
        assert_eq!(states[&stream].position, Some(position(5)), "{loss:?}");
    }
}

#[test]
fn loads_come_to_the_table_of_loads_once() {
    let mut fixture = Fixture::<Namespace>::new();
    let count = "SELECT count(*), count(DISTINCT load_id) FROM replica.acequia_loads";
    for version in 1..=25 {
        let before = (version > 1).then_some(version - 1);
        fixture.load(&Load::sales(
            Disposition::Append,
            before,
            &[(version, 1, version)],
        ));
    }
    assert_eq!(
        fixture.query(count),
        ["20|20"],
        "brought before they are too many"
    );
    let loaded = fixture.db.loaded(&"ventas".parse().unwrap()).unwrap();
    assert_eq!(loaded.len(), 25);
    // Not closed in order: the next run brings the rest.
    let mut fixture = fixture.reopen();
    assert_eq!(fixture.query(count), ["25|25"]);
    fixture.db.finish();
    assert_eq!(fixture.query(count), ["25|25"]);
    assert_eq!(
        fixture.db.loaded(&"ventas".parse().unwrap()).unwrap(),
        loaded
    );
    let last = fixture.db.last_loads().unwrap();
    assert_eq!((last.len(), last[0].rows_extracted), (1, 1));
}

#[test]
fn a_new_load_does_not_have_the_table_of_loads_read_and_an_old_one_is_found_there() {
    let Behind { proxy, mut fixture } = behind();
    let mut first = next();
    first.id = Some(LoadId::new(fixture.db.id()));
    fixture.load(&first);
    fixture.load(&Load::sales(Disposition::Merge, Some(4), &[(4, 40, 5)]));
    fixture.db.finish();
    let mut fixture = fixture.reopen();
    proxy.reset();
    fixture.load(&Load::sales(Disposition::Merge, Some(5), &[(5, 50, 6)]));
    let reads = || {
        let exchanges = proxy.exchanges();
        let of_duckdb = |path: &str| path.ends_with("/tables/acequia_loads");
        exchanges
            .iter()
            .filter(|exchange| of_duckdb(&exchange.path))
            .count()
    };
    assert_eq!(reads(), 0);
    assert!(fixture.try_load(&first).unwrap().already_loaded);
    assert_ne!(reads(), 0);
}

#[test]
fn what_the_landing_area_holds_does_not_have_the_table_of_loads_read_in_each_run() {
    let Behind { proxy, mut fixture } = behind();
    let stream = "ventas".parse().unwrap();
    let reads = || {
        let exchanges = proxy.exchanges();
        let of_table = |exchange: &&Exchange| exchange.path.ends_with("/tables/acequia_loads");
        exchanges.iter().filter(of_table).count()
    };
    let mut landed = vec![LoadId::new(fixture.db.id()), LoadId::new(fixture.db.id())];
    let mut reads_of_runs = Vec::new();
    for position in 2..7 {
        proxy.reset();
        // As a run does: it asks first, and loads.
        let unloaded = fixture.db.unloaded(&stream, &landed).unwrap();
        let mut load = Load::sales(
            Disposition::Merge,
            Some(position),
            &[(position, 1, position + 1)],
        );
        load.id = Some(LoadId::new(fixture.db.id()));
        fixture.load(&load);
        landed.extend(load.id);
        reads_of_runs.push((reads(), unloaded.len()));
        fixture.db.finish();
        fixture = fixture.reopen();
    }
    assert_eq!(reads_of_runs[2..], [(0, 2); 3], "{reads_of_runs:?}");
    // One that was never applied is found to be so, and applied all the same where it fits.
    let stood = fixture.db.unloaded(&stream, &landed).unwrap();
    assert_eq!(stood, landed[..2].iter().cloned().collect());
    let mut late = Load::sales(Disposition::Merge, Some(7), &[(20, 1, 8)]);
    late.id = Some(landed[0].clone());
    fixture.load(&late);
    let stood = fixture.db.unloaded(&stream, &landed).unwrap();
    assert_eq!(stood, landed[1..2].iter().cloned().collect());
    let mut fixture = fixture.reopen();
    let stood = fixture.db.unloaded(&stream, &landed).unwrap();
    assert_eq!(stood, landed[1..2].iter().cloned().collect());
}

#[test]
fn a_table_of_loads_whose_answer_is_lost_has_them_once() {
    for loss in [Loss::Cut, Loss::Instead(409), Loss::Unsent] {
        let Behind { proxy, mut fixture } = behind();
        proxy.lose("POST", COMMIT, 0, loss);
        fixture.db.finish();
        assert!(proxy.is_spent());
        fixture.db.finish();
        assert_eq!(
            fixture.query("SELECT count(*) FROM replica.acequia_loads"),
            ["1"],
            "{loss:?}"
        );
    }
}

#[test]
fn a_table_of_loads_that_was_dropped_is_made_anew_with_another_id_and_streams_go_on() {
    let Behind {
        proxy: _proxy,
        fixture,
    } = behind();
    let id = fixture.db.id().clone();
    fixture.sql("DROP TABLE replica.acequia_loads");
    let mut fixture = fixture.reopen();
    assert_ne!(fixture.db.id(), &id);
    assert_eq!(fixture.load(&next()), (1, 1));
}

#[test]
fn two_that_make_a_ledger_at_once_have_one_id() {
    let place = Namespace::new();
    let opened: Vec<Lake> = std::thread::scope(|scope| {
        let threads = [(); 3].map(|()| {
            let (lake, name) = (place.lake.clone(), place.name.clone());
            scope.spawn(move || Lake::open("lake", &lake, &name).unwrap())
        });
        threads.map(|thread| thread.join().unwrap()).into()
    });
    assert!(opened.iter().all(|lake| lake.id() == opened[0].id()));
}

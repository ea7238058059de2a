//! Answers of the catalog that are lost: the table is whole and has every load once, whatever the client was told.

use std::collections::BTreeSet;

use testkit::proxy::Loss;
use testkit::{Changes, Proxy};

use super::{Shore, load_of};
use crate::support::{CURSOS_AND_VENTAS, Output};

/// The server carries the request out in all of them.
const LOSSES: [Loss; 4] = [
    Loss::Cut,
    Loss::Instead(500),
    Loss::Instead(502),
    Loss::Instead(503),
];

/// Those that the nth answer meets: a connection that is cut, and each status in turn.
fn losses(nth: usize) -> [Loss; 2] {
    [LOSSES[0], LOSSES[1 + nth % 3]]
}

fn behind_a_proxy(name: &str) -> (Shore, Proxy) {
    let shore = Shore::operational(name, 300, CURSOS_AND_VENTAS);
    let proxy = Proxy::start(&shore.lake.catalog()).unwrap();
    (shore.at(&proxy.url()), proxy)
}

/// The POSTs of a run with nothing lost.
fn posts(shore: &Shore, proxy: &Proxy) -> Vec<String> {
    proxy.reset();
    shore.run(&["--jobs", "1"]);
    let exchanges = proxy.exchanges();
    let posts = exchanges
        .iter()
        .filter(|exchange| exchange.method == "POST");
    posts.map(|exchange| exchange.path.clone()).collect()
}

/// Runs while the nth POST is lost. What that run could not do, the next does.
fn run_losing(shore: &Shore, proxy: &Proxy, nth: usize, loss: Loss) {
    proxy.reset();
    proxy.lose("POST", "", nth, loss);
    let first = shore.acequia(&["run", "--jobs", "1", "--output", "json"]);
    assert!(proxy.is_spent(), "POST {nth}, {loss:?}: {first:?}");
    assert_ne!(first.status, None, "{first:?}");
    if first.status != Some(0) {
        proxy.reset();
        shore.run(&[]);
    }
}

/// Every load is in the ledger once.
fn assert_each_load_once(shore: &Shore) {
    let loads = shore.rows("acequia_loads");
    let ids: BTreeSet<_> = loads.iter().map(|load| load["load_id"].as_str()).collect();
    assert_eq!(ids.len(), loads.len(), "{loads:?}");
    assert!(
        ids.contains(&Some(load_of(shore, "ventas").as_str())),
        "{loads:?}"
    );
}

#[test]
fn every_post_of_a_later_load_may_lose_its_answer() {
    let (shore, proxy) = behind_a_proxy("perdidas");
    let mut client = shore.source.client().unwrap();
    shore.run(&[]);
    Changes::day(1).apply(&mut client).unwrap();
    let posts = posts(&shore, &proxy);
    let commits = posts
        .iter()
        .filter(|path| path.contains("commit") || path.contains("/tables/"));
    assert!(commits.count() >= 2, "a commit for each table: {posts:?}");
    for nth in 0..posts.len() {
        for (day, loss) in (10 * (nth as u64 + 1)..).zip(losses(nth)) {
            Changes::day(day).apply(&mut client).unwrap();
            run_losing(&shore, &proxy, nth, loss);
            shore.assert_same("ventas");
            shore.assert_same("cursos");
        }
    }
    shore.run(&[]);
    assert_each_load_once(&shore);
}

#[test]
fn every_post_of_a_first_load_may_lose_its_answer() {
    let (mut shore, proxy) = behind_a_proxy("perdidas_primera");
    let posts = posts(&shore, &proxy);
    for nth in 0..posts.len() {
        for loss in losses(nth) {
            shore.anew();
            run_losing(&shore, &proxy, nth, loss);
            shore.assert_same("ventas");
            shore.assert_same("cursos");
            shore.run(&[]);
            assert_each_load_once(&shore);
        }
    }
}

#[test]
fn a_commit_that_never_arrives_leaves_the_table_as_it_was() {
    let (shore, proxy) = behind_a_proxy("sin_llegar");
    let mut client = shore.source.client().unwrap();
    shore.run(&[]);
    for (day, loss) in (1..).zip([
        Loss::Unsent,
        Loss::Refused(500),
        Loss::Refused(503),
        Loss::Refused(403),
    ]) {
        Changes::day(day).apply(&mut client).unwrap();
        let (before, load) = (shore.rows("ventas"), load_of(&shore, "ventas"));
        proxy.reset();
        for nth in 0..40 {
            proxy.lose("POST", "commit", nth, loss);
        }
        let failed = shore.acequia(&["run", "ventas"]);
        assert_eq!(failed.status, Some(1), "{loss:?}: {failed:?}");
        assert_eq!(shore.rows("ventas"), before, "{loss:?}");
        assert_eq!(load_of(&shore, "ventas"), load, "{loss:?}");
        proxy.reset();
        shore.run(&[]);
        shore.assert_same("ventas");
    }
}

/// The requests that DuckDB would send again by itself.
#[test]
fn a_commit_is_sent_once() {
    let (shore, proxy) = behind_a_proxy("una_vez");
    let mut client = shore.source.client().unwrap();
    shore.run(&[]);
    for (day, loss) in (1..).zip(LOSSES) {
        Changes::day(day).apply(&mut client).unwrap();
        proxy.reset();
        proxy.lose("POST", "commit", 0, loss);
        let output: Output = shore.acequia(&["run", "ventas"]);
        assert_eq!(
            output.status,
            Some(0),
            "the load is in the table: {output:?}"
        );
        let exchanges = proxy.exchanges();
        let load = load_of(&shore, "ventas");
        let sent = exchanges.iter().filter(|exchange| {
            exchange.method == "POST"
                && exchange.body.contains("acequia.load-id")
                && exchange.body.contains(&load)
        });
        assert_eq!(sent.count(), 1, "{loss:?}");
        shore.assert_same("ventas");
    }
}

#[test]
fn a_table_and_its_changes_lose_an_answer_together() {
    let ddl = "CREATE TABLE t (id int8 PRIMARY KEY, n int)";
    let shore = Shore::of_changes("perdidas_cambios", ddl, &["t"], "changelog = true");
    let proxy = Proxy::start(&shore.lake.catalog()).unwrap();
    let shore = shore.at(&proxy.url());
    let fill = "INSERT INTO t SELECT i, 0 FROM generate_series(1, 100) i";
    shore.source.batch(fill).unwrap();
    shore.run(&[]);
    let mut expected = 100;
    for loss in LOSSES {
        let change = "UPDATE t SET n = n + 1 WHERE id <= 10";
        shore.source.batch(change).unwrap();
        proxy.reset();
        proxy.lose("POST", "commit", 0, loss);
        let output = shore.acequia(&["run"]);
        assert_eq!(output.status, Some(0), "{loss:?}: {output:?}");
        assert!(proxy.is_spent());
        shore.assert_same("t");
        expected += 10;
        let log = "SELECT count(*) FROM replica.t__changes";
        assert_eq!(shore.value(log), expected.to_string(), "{loss:?}");
        assert_eq!(shore.rows("t__changes").len(), expected);
    }
}

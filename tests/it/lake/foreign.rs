//! Commits of others amid a load: it is begun anew, and what they did stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;
use testkit::oracle::{checksums, columns_of};
use testkit::proxy::Loss;
use testkit::{Changes, Lake, Proxy};

use super::{Shore, load_of};
use crate::support::{CURSOS_AND_VENTAS, duckdb_checksums};

fn behind_a_proxy(name: &str) -> (Shore, Proxy) {
    let shore = Shore::operational(name, 300, CURSOS_AND_VENTAS);
    let proxy = Proxy::start(&shore.lake.catalog()).unwrap();
    let shore = shore.at(&proxy.url());
    shore.run(&[]);
    Changes::day(1)
        .apply(&mut shore.source.client().unwrap())
        .unwrap();
    proxy.reset();
    (shore, proxy)
}

/// The statuses of the commits that went by with a load.
fn commits(proxy: &Proxy) -> Vec<u16> {
    let exchanges = proxy.exchanges();
    let of_loads = exchanges
        .iter()
        .filter(|exchange| exchange.method == "POST" && exchange.body.contains("acequia.load-id"));
    of_loads
        .filter_map(|exchange| exchange.carried_out)
        // With content or without.
        .map(|status| if status == 204 { 200 } else { status })
        .collect()
}

/// Somebody's row in the table.
fn append(dataset: &str, id: usize) {
    let row = json!({"id": 1_000_000 + id, "estado": "ajena"});
    let lake = Lake::shared().unwrap();
    lake.append(dataset, "ventas", &[row]).unwrap();
}

/// But for so many rows of others, the table is the source's.
fn assert_same_but_for(shore: &Shore, others: usize) {
    let reader = shore.reader();
    let without = format!(
        "CREATE VIEW ventas AS FROM lago.{}.ventas WHERE estado <> 'ajena'",
        shore.dataset
    );
    reader.execute_batch(&without).unwrap();
    let mut client = shore.source.client().unwrap();
    let columns = columns_of(&mut client, "public.ventas").unwrap();
    let expected = checksums(&mut client, "public.ventas", &columns).unwrap();
    assert_eq!(duckdb_checksums(&reader, "ventas", &columns), expected);
    let of_others = "SELECT count(*) FROM replica.ventas WHERE estado = 'ajena'";
    assert_eq!(shore.value(of_others), others.to_string());
}

#[test]
fn rows_of_others_stay_and_the_load_comes_once() {
    let (shore, proxy) = behind_a_proxy("ajena_filas");
    let dataset = shore.dataset.clone();
    proxy.before("POST", "commit", 0, move || append(&dataset, 0));
    shore.run(&["ventas"]);
    assert!(proxy.is_spent());
    assert_eq!(commits(&proxy), [409, 200]);
    assert_same_but_for(&shore, 1);
}

#[test]
fn properties_of_others_do_not_stand_in_the_way_and_stay() {
    let (shore, proxy) = behind_a_proxy("ajena_propiedad");
    let dataset = shore.dataset.clone();
    proxy.before("POST", "commit", 0, move || {
        let properties = BTreeMap::from([("de.otra".to_owned(), "sí".to_owned())]);
        let lake = Lake::shared().unwrap();
        lake.set_properties(&dataset, "ventas", &properties)
            .unwrap();
    });
    shore.run(&["ventas"]);
    assert!(proxy.is_spent());
    shore.assert_same("ventas");
    let properties = shore.lake.properties(&shore.dataset, "ventas").unwrap();
    assert_eq!(properties["de.otra"], "sí");
}

#[test]
fn who_is_met_again_and_again_gives_up_with_the_table_as_it_was() {
    let (shore, proxy) = behind_a_proxy("ajena_siempre");
    let load = load_of(&shore, "ventas");
    for nth in 0..12 {
        let dataset = shore.dataset.clone();
        proxy.before("POST", "commit", nth, move || append(&dataset, nth));
    }
    let failed = shore.acequia(&["run", "ventas"]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("ventas"), "{failed:?}");
    assert_eq!(load_of(&shore, "ventas"), load);
    assert_eq!(commits(&proxy), [409, 409, 409]);
    proxy.reset();
    shore.run(&["ventas"]);
    // One came before the commit by which the run itself is kept.
    assert_same_but_for(&shore, 4);
}

/// A lost answer to a commit, and somebody else's commit before it is looked for: the load is in the table, though not at its
/// head.
#[test]
fn a_load_whose_answer_is_lost_is_found_beneath_anothers_commit() {
    let (shore, proxy) = behind_a_proxy("ajena_encima");
    let dataset = shore.dataset.clone();
    let proxy = Arc::new(proxy);
    let later = Arc::clone(&proxy);
    proxy.lose("POST", "commit", 0, Loss::Cut);
    proxy.before("POST", "commit", 0, move || {
        later.before("GET", "/tables/ventas", 0, move || append(&dataset, 0));
    });
    shore.run(&["ventas"]);
    assert!(proxy.is_spent());
    assert_eq!(commits(&proxy), [200], "the load is not sent again");
    assert_same_but_for(&shore, 1);
}

//! Commits of others amid a load: it is begun anew, and what they did stays.

use std::collections::BTreeMap;

use serde_json::json;
use testkit::proxy::Loss;
use testkit::{Changes, Lake, Proxy};

use super::{Shore, VENTAS_AND_CURSOS, load_of};

fn behind_a_proxy(name: &str) -> (Shore, Proxy) {
    let shore = Shore::operational(name, 300, VENTAS_AND_CURSOS);
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
        .collect()
}

#[test]
fn rows_of_others_stay_and_the_load_comes_once() {
    let (shore, proxy) = behind_a_proxy("ajena_filas");
    let dataset = shore.dataset.clone();
    proxy.before("POST", "commit", 0, move || {
        let row = json!({"id": 1_000_000, "estado": "ajena"});
        Lake::shared()
            .unwrap()
            .append(&dataset, "ventas", &[row])
            .unwrap();
    });
    shore.run(&["ventas"]);
    assert!(proxy.is_spent());
    let seen = commits(&proxy);
    assert!(
        seen.len() == 2 && seen[0] == 409 && seen[1] < 300,
        "{seen:?}"
    );
    assert_eq!(
        shore.value("SELECT count(*) FROM replica.ventas WHERE estado = 'ajena'"),
        "1"
    );
    // But for that row it is the source's table.
    let rows = shore.value("SELECT count(*) FROM replica.ventas WHERE estado <> 'ajena'");
    assert_eq!(
        Some(rows),
        shore
            .source
            .value("SELECT count(*)::text FROM ventas")
            .unwrap()
    );
    let sum = shore.value("SELECT sum(precio_total) FROM replica.ventas");
    assert_eq!(
        Some(sum),
        shore
            .source
            .value("SELECT sum(precio_total)::text FROM ventas")
            .unwrap()
    );
}

#[test]
fn properties_of_others_do_not_stand_in_the_way_and_stay() {
    let (shore, proxy) = behind_a_proxy("ajena_propiedad");
    let dataset = shore.dataset.clone();
    proxy.before("POST", "commit", 0, move || {
        let properties = BTreeMap::from([("de.otra".to_owned(), "sí".to_owned())]);
        Lake::shared()
            .unwrap()
            .set_properties(&dataset, "ventas", &properties)
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
        proxy.before("POST", "commit", nth, move || {
            let row = json!({"id": 1_000_000 + nth, "estado": "ajena"});
            Lake::shared()
                .unwrap()
                .append(&dataset, "ventas", &[row])
                .unwrap();
        });
    }
    let failed = shore.acequia(&["run", "ventas"]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("ventas"), "{failed:?}");
    assert_eq!(load_of(&shore, "ventas"), load);
    assert!(commits(&proxy).iter().all(|status| *status == 409));
    assert_eq!(commits(&proxy).len(), 3);
    proxy.reset();
    shore.run(&["ventas"]);
    let rows = shore.value("SELECT count(*) FROM replica.ventas WHERE estado <> 'ajena'");
    assert_eq!(
        Some(rows),
        shore
            .source
            .value("SELECT count(*)::text FROM ventas")
            .unwrap()
    );
}

/// A lost answer to a commit, and somebody else's commit right after it: the load is in the table, though not at its head.
#[test]
fn a_load_whose_answer_is_lost_is_found_beneath_anothers_commit() {
    let (shore, proxy) = behind_a_proxy("ajena_encima");
    let dataset = shore.dataset.clone();
    proxy.lose("POST", "commit", 0, Loss::Cut);
    proxy.before("GET", "/tables/ventas", 1, move || {
        let row = json!({"id": 1_000_000, "estado": "ajena"});
        Lake::shared()
            .unwrap()
            .append(&dataset, "ventas", &[row])
            .unwrap();
    });
    shore.run(&["ventas"]);
    let sum = shore.value("SELECT sum(precio_total) FROM replica.ventas");
    assert_eq!(
        Some(sum),
        shore
            .source
            .value("SELECT sum(precio_total)::text FROM ventas")
            .unwrap()
    );
    let twice = "SELECT count(*) - count(DISTINCT id) FROM replica.ventas";
    assert_eq!(shore.value(twice), "0");
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use reqwest::{Client, StatusCode};
use testkit::proxy::Loss;
use testkit::{Lake, Proxy};
use tokio::runtime::Runtime;

/// A client of the shared lake's catalog behind a proxy of its own.
struct Catalog {
    proxy: Proxy,
    token: String,
    client: Client,
    runtime: Runtime,
}

impl Catalog {
    fn new() -> Result<Self> {
        let lake = Lake::shared()?;
        Ok(Self {
            proxy: Proxy::start(&lake.catalog())?,
            token: lake.token()?,
            client: Client::new(),
            runtime: tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?,
        })
    }

    /// Asks for a new namespace; gives the status of the answer, or none.
    fn create(&self, namespace: &str) -> Option<StatusCode> {
        let url = format!("{}/v1/lake/namespaces", self.proxy.url());
        let request = self
            .client
            .post(url)
            .bearer_auth(&self.token)
            .header("content-type", "application/json")
            .body(format!("{{\"namespace\":[\"{namespace}\"]}}"));
        let answer = self.runtime.block_on(request.send());
        answer.ok().map(|answer| answer.status())
    }

    fn exists(&self, namespace: &str) -> Result<bool> {
        let url = format!("{}/v1/lake/namespaces/{namespace}", self.proxy.url());
        let request = self.client.get(url).bearer_auth(&self.token);
        Ok(self.runtime.block_on(request.send())?.status() == StatusCode::OK)
    }
}

#[test]
fn what_is_not_to_be_lost_passes_as_it_is() -> Result<()> {
    let catalog = Catalog::new()?;
    let namespace = Lake::shared()?.namespace("paso");
    ensure!(!catalog.exists(&namespace)?);
    ensure!(catalog.create(&namespace) == Some(StatusCode::OK));
    ensure!(catalog.exists(&namespace)?);
    let exchanges = catalog.proxy.exchanges();
    let seen: Vec<_> = exchanges
        .iter()
        .map(|exchange| {
            (
                exchange.method.as_str(),
                exchange.carried_out,
                exchange.answered,
            )
        })
        .collect();
    ensure!(
        seen == [
            ("GET", Some(404), Some(404)),
            ("POST", Some(200), Some(200)),
            ("GET", Some(200), Some(200))
        ],
        "{exchanges:?}"
    );
    ensure!(exchanges[1].body.contains(&namespace) && exchanges[1].path == "/v1/lake/namespaces");
    Ok(())
}

#[test]
fn an_answer_is_lost_after_the_server_has_done_what_was_asked() -> Result<()> {
    let catalog = Catalog::new()?;
    for (loss, told) in [
        (Loss::Cut, None),
        (Loss::Instead(500), Some(StatusCode::INTERNAL_SERVER_ERROR)),
        (Loss::Instead(502), Some(StatusCode::BAD_GATEWAY)),
        (Loss::Instead(503), Some(StatusCode::SERVICE_UNAVAILABLE)),
    ] {
        let namespace = Lake::shared()?.namespace("hecho");
        catalog.proxy.reset();
        catalog.proxy.lose("POST", "/namespaces", 0, loss);
        let answer = catalog.create(&namespace);
        ensure!(answer == told, "{loss:?}: {answer:?}");
        // A client that repeats by itself would be told that it is there already.
        ensure!(catalog.proxy.is_spent() && catalog.proxy.exchanges().len() == 1);
        ensure!(catalog.exists(&namespace)?, "{loss:?}");
    }
    Ok(())
}

#[test]
fn a_request_is_lost_before_the_server_sees_it() -> Result<()> {
    let catalog = Catalog::new()?;
    for (loss, told) in [
        (Loss::Unsent, None),
        (Loss::Refused(403), Some(StatusCode::FORBIDDEN)),
    ] {
        let namespace = Lake::shared()?.namespace("nada");
        catalog.proxy.lose("POST", "/namespaces", 0, loss);
        ensure!(catalog.create(&namespace) == told, "{loss:?}");
        ensure!(!catalog.exists(&namespace)?, "{loss:?}");
    }
    Ok(())
}

#[test]
fn the_nth_request_is_met_and_others_are_not() -> Result<()> {
    let catalog = Catalog::new()?;
    let namespaces: Vec<_> = (0..3)
        .map(|_| Ok(Lake::shared()?.namespace("cuenta")))
        .collect::<Result<_>>()?;
    catalog.proxy.lose("POST", "/namespaces", 1, Loss::Unsent);
    let happened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&happened);
    catalog.proxy.before("POST", "/namespaces", 2, move || {
        counter.fetch_add(1, Ordering::Relaxed);
    });
    let answers: Vec<_> = namespaces
        .iter()
        .map(|namespace| catalog.create(namespace).is_some())
        .collect();
    ensure!(answers == [true, false, true], "{answers:?}");
    ensure!(happened.load(Ordering::Relaxed) == 1 && catalog.proxy.is_spent());
    Ok(())
}

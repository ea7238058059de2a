use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};
use testkit::S3Server;
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Result<Runtime> {
    Ok(Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

fn client(server: &S3Server, secret: &str) -> Result<AmazonS3> {
    Ok(AmazonS3Builder::new()
        .with_endpoint(server.endpoint())
        .with_bucket_name(server.bucket())
        .with_access_key_id(server.access_key())
        .with_secret_access_key(secret)
        .with_region(server.region())
        .with_allow_http(true)
        .build()?)
}

fn create() -> PutOptions {
    PutMode::Create.into()
}

#[test]
fn objects_are_put_read_by_range_listed_and_deleted() -> Result<()> {
    let server = S3Server::start()?;
    let store = client(&server, server.secret_key())?;
    runtime()?.block_on(async {
        let at = Path::from("ventas/carga 1/part-00000.parquet");
        store
            .put(&at, PutPayload::from_static(b"0123456789"))
            .await?;
        store
            .put(
                &Path::from("ventas/carga 2/manifest.json"),
                PutPayload::from_static(b"{}"),
            )
            .await?;
        ensure!(store.head(&at).await?.size == 10);
        ensure!(store.get(&at).await?.bytes().await? == "0123456789");
        ensure!(store.get_range(&at, 2..5).await? == "234");
        let folders = store
            .list_with_delimiter(Some(&Path::from("ventas")))
            .await?;
        ensure!(
            folders.common_prefixes.len() == 2 && folders.objects.is_empty(),
            "{folders:?}"
        );
        let files = store
            .list_with_delimiter(Some(&Path::from("ventas/carga 1")))
            .await?;
        ensure!(
            files
                .objects
                .first()
                .is_some_and(|object| object.location == at && object.size == 10),
            "{files:?}"
        );
        store.delete(&at).await?;
        ensure!(matches!(store.get(&at).await, Err(Error::NotFound { .. })));
        Ok(())
    })
}

#[test]
fn a_put_if_absent_is_refused_where_there_is_an_object() -> Result<()> {
    let server = S3Server::start()?;
    let store = client(&server, server.secret_key())?;
    runtime()?.block_on(async {
        let at = Path::from("manifest.json");
        store
            .put_opts(&at, PutPayload::from_static(b"uno"), create())
            .await?;
        let again = store
            .put_opts(&at, PutPayload::from_static(b"dos"), create())
            .await;
        ensure!(
            matches!(again, Err(Error::AlreadyExists { .. })),
            "{again:?}"
        );
        ensure!(store.get(&at).await?.bytes().await? == "uno");
        Ok(())
    })
}

#[test]
fn of_many_puts_if_absent_at_once_one_wins() -> Result<()> {
    let server = S3Server::start()?;
    let store = Arc::new(client(&server, server.secret_key())?);
    runtime()?.block_on(async {
        for round in 0..20 {
            let puts: Vec<_> = (0..8)
                .map(|number| {
                    let store = Arc::clone(&store);
                    let body = PutPayload::from(format!("{number}").repeat(1000));
                    let at = Path::from(format!("manifest-{round}.json"));
                    tokio::spawn(async move { store.put_opts(&at, body, create()).await.is_ok() })
                })
                .collect();
            let mut won = 0;
            for put in puts {
                won += usize::from(put.await?);
            }
            ensure!(won == 1, "{won} puts won");
        }
        Ok(())
    })
}

#[test]
fn a_multipart_upload_arrives_whole() -> Result<()> {
    let server = S3Server::start()?;
    let store = client(&server, server.secret_key())?;
    runtime()?.block_on(async {
        let at = Path::from("grande");
        let mut upload = store.put_multipart(&at).await?;
        for byte in 0..3_u8 {
            upload.put_part(vec![byte; 5 * 1024 * 1024].into()).await?;
        }
        ensure!(
            store.head(&at).await.is_err(),
            "there before it is complete"
        );
        upload.complete().await?;
        let bytes = store.get(&at).await?.bytes().await?;
        ensure!(
            bytes.len() == 15 * 1024 * 1024
                && bytes.first() == Some(&0)
                && bytes.last() == Some(&2)
        );
        Ok(())
    })
}

#[test]
fn a_wrong_secret_is_refused_and_a_dropped_server_gone() -> Result<()> {
    let server = S3Server::start()?;
    let store = client(&server, "otro")?;
    runtime()?.block_on(async {
        let put = store
            .put(&Path::from("x"), PutPayload::from_static(b"x"))
            .await;
        ensure!(
            matches!(put, Err(Error::PermissionDenied { .. })),
            "{put:?}"
        );
        Ok(())
    })?;
    let port: u16 = server
        .endpoint()
        .rsplit(':')
        .next()
        .context("no port")?
        .parse()?;
    let folder = server.objects();
    ensure!(folder.exists() && testkit::listens(port));
    drop(server);
    ensure!(!folder.exists() && !testkit::listens(port));
    Ok(())
}

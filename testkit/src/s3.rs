//! An S3 service on loopback over a temporary folder: `s3s` speaks the protocol, `s3s-fs` keeps the objects.
//!
//! Requests must be signed. `If-None-Match: *` is honoured, also between requests that come at the same time, which
//! `s3s-fs` alone leaves to chance: it looks whether the object is there, then writes.

use std::convert::Infallible;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use hyper::header::IF_NONE_MATCH;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::{Mutex, oneshot};

const BUCKET: &str = "acequia";
const ACCESS_KEY: &str = "ACEQUIATESTKEY";
const SECRET_KEY: &str = "secreto-de-prueba";
const REGION: &str = "us-east-1";

/// A running S3 service with one empty bucket. It ends, and its objects are removed, when dropped.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    folder: TempDir,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl S3Server {
    /// Starts the service on a free loopback port.
    ///
    /// # Errors
    /// When there is no port, or no temporary folder.
    pub fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("testkit-s3-").tempdir()?;
        fs::create_dir(folder.path().join(BUCKET))?;
        let files = FileSystem::new(folder.path())
            .map_err(|error| anyhow!("cannot open the object folder: {error:?}"))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();

        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let listener = runtime
            .block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .context("no free port on loopback")?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let thread = thread::Builder::new()
            .name("testkit-s3".to_owned())
            .spawn(move || {
                runtime.block_on(serve(listener, service, stopped));
                runtime.shutdown_timeout(Duration::from_secs(2));
            })?;
        Ok(Self {
            address,
            folder,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// URL of the service: `http://127.0.0.1:PORT`. Buckets are in the path.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Name of the bucket.
    #[must_use]
    pub fn bucket(&self) -> &'static str {
        BUCKET
    }

    /// URL of a place in the bucket: `s3://BUCKET/PATH`.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("s3://{BUCKET}/{path}")
    }

    /// The access key id that requests must be signed with.
    #[must_use]
    pub fn access_key(&self) -> &'static str {
        ACCESS_KEY
    }

    /// The secret key that goes with it.
    #[must_use]
    pub fn secret_key(&self) -> &'static str {
        SECRET_KEY
    }

    /// A region, since clients want one.
    #[must_use]
    pub fn region(&self) -> &'static str {
        REGION
    }

    /// The environment by which `object_store` (and most S3 clients) find this service, for a child process.
    #[must_use]
    pub fn env(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AWS_ENDPOINT", self.endpoint()),
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ]
    }

    /// The folder where the bucket's objects are files, to look at and to spoil.
    #[must_use]
    pub fn objects(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

async fn serve(listener: TcpListener, service: S3Service, mut stopped: oneshot::Receiver<()>) {
    let conditional = Arc::new(Mutex::new(()));
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => return,
            accepted = listener.accept() => accepted,
        };
        if let Ok((stream, _)) = accepted {
            tokio::spawn(answer(stream, service.clone(), Arc::clone(&conditional)));
        }
    }
}

/// Answers the requests of one connection. Those that depend on an object's absence take turns.
async fn answer(stream: TcpStream, service: S3Service, conditional: Arc<Mutex<()>>) {
    stream.set_nodelay(true).ok();
    let handler = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let (service, conditional) = (service.clone(), Arc::clone(&conditional));
        async move {
            let _turn = if request.headers().contains_key(IF_NONE_MATCH) {
                Some(conditional.lock().await)
            } else {
                None
            };
            let answer = service.call(request.map(s3s::Body::from)).await;
            let response = answer.unwrap_or_else(|_| {
                let mut response = hyper::Response::new(s3s::Body::empty());
                *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
                response
            });
            Ok::<_, Infallible>(response)
        }
    });
    // A client that goes away in the middle is its own affair.
    http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), handler)
        .await
        .ok();
}

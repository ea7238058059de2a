//! An S3 service on loopback over a temporary folder: `s3s` speaks the protocol, `s3s-fs` keeps the objects.
//!
//! Requests must be signed. `If-None-Match: *` and `If-Match` are honoured, also between requests that come at the same
//! time, which `s3s-fs` alone leaves to chance: it looks at the object, then writes.

use std::convert::Infallible;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use hyper::header::{IF_MATCH, IF_NONE_MATCH};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::sync::Mutex;

use crate::loopback::Loopback;

const BUCKET: &str = "acequia";
const ACCESS_KEY: &str = "ACEQUIATESTKEY";
const SECRET_KEY: &str = "secreto-de-prueba";
const REGION: &str = "us-east-1";

/// A running S3 service with one empty bucket. It ends, and its objects are removed, when dropped.
#[derive(Debug)]
pub struct S3Server {
    server: Loopback,
    folder: TempDir,
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

        let conditional = Arc::new(Mutex::new(()));
        let handler =
            service_fn(move |request| answer(request, service.clone(), Arc::clone(&conditional)));
        let server = Loopback::start("s3", None, http1::Builder::new(), handler)?;
        Ok(Self { server, folder })
    }

    /// URL of the service: `http://127.0.0.1:PORT`. Buckets are in the path.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.server.url()
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

/// Answers a request. Those that depend on an object's absence or version take turns.
async fn answer(
    request: hyper::Request<hyper::body::Incoming>,
    service: S3Service,
    conditional: Arc<Mutex<()>>,
) -> Result<hyper::Response<s3s::Body>, Infallible> {
    let is_conditional = [IF_NONE_MATCH, IF_MATCH]
        .iter()
        .any(|condition| request.headers().contains_key(condition));
    let _turn = if is_conditional {
        Some(conditional.lock().await)
    } else {
        None
    };
    let answer = service.call(request.map(s3s::Body::from)).await;
    Ok(answer.unwrap_or_else(|_| {
        let mut response = hyper::Response::new(s3s::Body::empty());
        *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
        response
    }))
}

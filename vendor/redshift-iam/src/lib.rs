//! Stands in for the crate of this name.
//!
//! connectorx 0.4.6 asks `redshift-iam` to turn a `redshift://` URL into a `postgres://` one, and acequia never passes such a URL.
//! The published crate brings the AWS SDK, a second TLS library with advisories against it, an HTML parser and the GPL; this one
//! brings the function that connectorx links against.

use url::Url;

/// The URL as it is, with the scheme `postgres`. No IAM authentication: acequia reads no Redshift.
///
/// # Panics
/// Where `uri` is not a URL: the published function cannot fail either.
#[allow(clippy::expect_used, clippy::needless_pass_by_value)]
pub fn redshift_to_postgres(uri: impl ToString) -> Url {
    let uri = uri.to_string();
    Url::parse(&uri.replacen("redshift://", "postgres://", 1))
        .expect("connectorx passes a URL that it has parsed")
}

//! TLS as in libpq: `sslmode`, certificates, and channel binding (manual, section 34.19).

use std::sync::OnceLock;

use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::ssl::{Ssl, SslConnector, SslFiletype, SslMethod, SslRef, SslVerifyMode};
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;
use postgres_openssl::MakeTlsConnector;
use tokio_postgres::config::SslMode;

use crate::error::{Error, Result};

/// The value of `sslrootcert` that means the system's certificates.
const SYSTEM: &str = "system";

/// The TLS settings of a server.
#[derive(Clone)]
pub(crate) struct Tls {
    mode: TlsMode,
    connector: SslConnector,
}

/// libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// The TLS parameters of a URI, which `tokio_postgres` does not know.
#[derive(Debug, Default)]
pub(super) struct TlsParameters {
    mode: Option<TlsMode>,
    root_certificate: Option<String>,
    certificate: Option<String>,
    key: Option<String>,
}

impl TlsParameters {
    /// Accepts a parameter of the URI. Returns whether it is a TLS parameter.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Result<bool> {
        match key {
            "sslmode" => self.mode = Some(mode(value)?),
            "sslrootcert" => self.root_certificate = Some(value.to_owned()),
            "sslcert" => self.certificate = Some(value.to_owned()),
            "sslkey" => self.key = Some(value.to_owned()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn names_no_file(&self) -> bool {
        let files = [&self.root_certificate, &self.certificate, &self.key];
        files.iter().all(|file| file.is_none())
    }

    fn uses_system(&self) -> bool {
        self.root_certificate.as_deref() == Some(SYSTEM)
    }
}

fn mode(text: &str) -> Result<TlsMode> {
    Ok(match text {
        "disable" => TlsMode::Disable,
        "allow" | "prefer" => TlsMode::Prefer,
        "require" => TlsMode::Require,
        "verify-ca" => TlsMode::VerifyCa,
        "verify-full" => TlsMode::VerifyFull,
        _ => {
            return Err(Error::config("the connection URI has an unknown sslmode")
                .remedy("use disable, prefer, require, verify-ca or verify-full (recommended)"));
        }
    })
}

impl Tls {
    /// Creates the TLS settings for the parameters. As in libpq, `require` with a root certificate verifies as `verify-ca`,
    /// `sslrootcert=system` means `verify-full`, and a root certificate that is named is the only one that counts. Without
    /// `sslrootcert`, the system's certificates count.
    pub(super) fn new(parameters: &TlsParameters) -> Result<Self> {
        let mode = match parameters.mode {
            None if parameters.uses_system() => TlsMode::VerifyFull,
            mode => mode.unwrap_or(TlsMode::Prefer),
        };
        if parameters.uses_system() && mode != TlsMode::VerifyFull {
            return Err(Error::config("the connection URI has sslrootcert=system with a weaker sslmode")
                .remedy("use sslmode=verify-full with it: any server has a certificate that the system trusts"));
        }
        let connector = if mode <= TlsMode::Require && parameters.names_no_file() {
            unverified()?
        } else {
            connector(mode, parameters)?
        };
        Ok(Self { mode, connector })
    }

    /// The mode for `tokio_postgres`.
    pub(super) fn mode(&self) -> SslMode {
        match self.mode {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
        }
    }

    /// The connector for connections that `tokio_postgres` makes.
    pub(super) fn connector(&self) -> MakeTlsConnector {
        let verifies_host = self.mode == TlsMode::VerifyFull;
        let mut connector = MakeTlsConnector::new(self.connector.clone());
        connector.set_callback(move |settings, _host| {
            settings.set_verify_hostname(verifies_host);
            Ok(())
        });
        connector
    }

    /// The session for acequia's own connection to that host.
    pub(super) fn session(&self, host: &str) -> Result<Ssl, openssl::error::ErrorStack> {
        let mut settings = self.connector.configure()?;
        settings.set_verify_hostname(self.mode == TlsMode::VerifyFull);
        settings.into_ssl(host)
    }
}

/// The `tls-server-end-point` channel binding of a session: the hash of the server's certificate, by its signature's own
/// hash function, or SHA-256 if that is MD5 or SHA-1 (RFC 5929, section 4.1).
pub(super) fn server_end_point(session: &SslRef) -> Option<Vec<u8>> {
    let certificate = session.peer_certificate()?;
    let algorithm = certificate.signature_algorithm().object().nid();
    let digest = match algorithm.signature_algorithms()?.digest {
        Nid::MD5 | Nid::SHA1 => MessageDigest::sha256(),
        digest => MessageDigest::from_nid(digest)?,
    };
    certificate.digest(digest).ok().map(|hash| hash.to_vec())
}

/// The connector that verifies nothing. One serves all connections, since OpenSSL reads the system's certificates for each
/// connector, which takes longer than connecting.
fn unverified() -> Result<SslConnector> {
    static MADE: OnceLock<SslConnector> = OnceLock::new();
    if let Some(made) = MADE.get() {
        return Ok(made.clone());
    }
    let made = connector(TlsMode::Prefer, &TlsParameters::default())?;
    Ok(MADE.get_or_init(|| made).clone())
}

fn connector(mode: TlsMode, parameters: &TlsParameters) -> Result<SslConnector> {
    let failed = |what: &str, file: &str| {
        Error::config(format!("cannot use the {what} {file}"))
            .remedy("give the path of a PEM file that the user running acequia can read")
    };
    let mut builder = SslConnector::builder(SslMethod::tls_client())
        .map_err(|error| Error::internal("OpenSSL cannot be set up").cause(error))?;
    if let Some(file) = parameters
        .root_certificate
        .as_ref()
        .filter(|_| !parameters.uses_system())
    {
        // A store of its own: the builder's store has the system's certificates, and those that SSL_CERT_FILE names.
        let what = "root certificate";
        let pem = std::fs::read(file).map_err(|error| failed(what, file).cause(error))?;
        let certificates =
            X509::stack_from_pem(&pem).map_err(|error| failed(what, file).cause(error))?;
        if certificates.is_empty() {
            return Err(failed(what, file).cause("there is no certificate in it"));
        }
        let store = X509StoreBuilder::new().and_then(|mut store| {
            for certificate in certificates {
                store.add_cert(certificate)?;
            }
            Ok(store.build())
        });
        builder.set_cert_store(store.map_err(|error| failed(what, file).cause(error))?);
    } else if mode >= TlsMode::VerifyCa
        && let Some(file) = openssl_probe::probe().cert_file
    {
        builder.set_ca_file(&file).map_err(|error| {
            failed("system's root certificates", &file.display().to_string()).cause(error)
        })?;
    }
    if let Some(file) = &parameters.certificate {
        builder
            .set_certificate_chain_file(file)
            .map_err(|error| failed("client certificate", file).cause(error))?;
    }
    if let Some(file) = &parameters.key {
        builder
            .set_private_key_file(file, SslFiletype::PEM)
            .map_err(|error| failed("client key", file).cause(error))?;
    }
    let verifies_ca = mode >= TlsMode::VerifyCa
        || (mode == TlsMode::Require && parameters.root_certificate.is_some());
    builder.set_verify(if verifies_ca {
        SslVerifyMode::PEER
    } else {
        SslVerifyMode::NONE
    });
    Ok(builder.build())
}

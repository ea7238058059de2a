//! TLS as libpq means it: what each sslmode lets pass and refuses.

use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::bn::BigNum;
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};
use testkit::Cluster;

use crate::support::{Output, Project, stream_report};

struct Authority {
    certificate: X509,
    key: PKey<Private>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let certificate = certificate(name, &key, None, |builder, _| {
            builder
                .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
                .unwrap();
        });
        Self { certificate, key }
    }

    /// Writes the authority's certificate, and a server's certificate and key for one host name.
    fn write(&self, folder: &Path, host: &str) -> [PathBuf; 3] {
        let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
        let server = certificate("servidor", &key, Some(self), |builder, issuer| {
            let names = SubjectAlternativeName::new()
                .dns(host)
                .build(&builder.x509v3_context(issuer, None))
                .unwrap();
            builder.append_extension(names).unwrap();
        });
        let write = |name: &str, bytes: Vec<u8>| {
            let path = folder.join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        [
            write("ca.pem", self.certificate.to_pem().unwrap()),
            write("server.pem", server.to_pem().unwrap()),
            write("server.key", key.private_key_to_pem_pkcs8().unwrap()),
        ]
    }
}

fn certificate(
    name: &str,
    key: &PKey<Private>,
    issuer: Option<&Authority>,
    extend: impl FnOnce(&mut openssl::x509::X509Builder, Option<&openssl::x509::X509Ref>),
) -> X509 {
    let mut subject = X509Name::builder().unwrap();
    subject.append_entry_by_text("CN", name).unwrap();
    let subject = subject.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = BigNum::from_u32(u32::from(issuer.is_some()) + 1)
        .unwrap()
        .to_asn1_integer()
        .unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder.set_subject_name(&subject).unwrap();
    builder
        .set_issuer_name(issuer.map_or(&subject, |issuer| issuer.certificate.subject_name()))
        .unwrap();
    builder.set_pubkey(key).unwrap();
    builder
        .set_not_before(&Asn1Time::days_from_now(0).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::days_from_now(2).unwrap())
        .unwrap();
    extend(&mut builder, issuer.map(|issuer| &*issuer.certificate));
    builder
        .sign(
            issuer.map_or(key, |issuer| &issuer.key),
            MessageDigest::sha256(),
        )
        .unwrap();
    builder.build()
}

#[test]
fn each_sslmode_verifies_what_libpq_verifies() {
    let folder = tempfile::tempdir().unwrap();
    let ours = Authority::new("nuestra");
    let [ca, certificate, key] = ours.write(folder.path(), "localhost");
    let stranger = folder.path().join("otra.pem");
    std::fs::write(
        &stranger,
        Authority::new("otra").certificate.to_pem().unwrap(),
    )
    .unwrap();

    let cluster = Cluster::options().ssl(&certificate, &key).start().unwrap();
    let source = cluster.database("tls").unwrap();
    let mut project = Project::on(
        source,
        "\n[streams.t]\nsource = \"operativa\"\ntable = \"t\"\nmode = \"full\"\n",
    );
    project
        .source
        .batch("CREATE TABLE t AS SELECT 1 AS x")
        .unwrap();
    let address = |host: &str, rest: &str| {
        let plain = project.source.url().split('?').next().unwrap().to_owned();
        format!("{}?{rest}", plain.replace("127.0.0.1", host))
    };
    let (ca, stranger) = (ca.display().to_string(), stranger.display().to_string());
    let passes = [
        ("127.0.0.1", "sslmode=disable".to_owned(), "without TLS"),
        ("127.0.0.1", "sslmode=prefer".to_owned(), "with TLS"),
        ("127.0.0.1", "sslmode=require".to_owned(), "with TLS"),
        (
            "127.0.0.1",
            format!("sslmode=verify-ca&sslrootcert={ca}"),
            "with TLS",
        ),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={ca}"),
            "with TLS",
        ),
    ];
    let refused = [
        (
            "127.0.0.1",
            format!("sslmode=require&sslrootcert={stranger}"),
        ),
        (
            "127.0.0.1",
            format!("sslmode=verify-ca&sslrootcert={stranger}"),
        ),
        // The system trusts no such authority, and this means verify-full.
        ("localhost", "sslrootcert=system".to_owned()),
        ("127.0.0.1", "sslmode=verify-ca".to_owned()),
        ("127.0.0.1", format!("sslmode=verify-full&sslrootcert={ca}")),
        (
            "localhost",
            format!("sslmode=verify-full&sslrootcert={stranger}"),
        ),
    ];
    let passes = passes.map(|(host, rest, word)| (address(host, &rest), word));
    let refused = refused.map(|(host, rest)| address(host, &rest));
    for (url, word) in passes {
        project.set("OPERATIVA_URL", &url);
        let output = project.acequia(&["check"]);
        assert_eq!(output.status, Some(0), "{url}: {output:?}");
        assert!(output.stdout.contains(word), "{url}: {output:?}");
        project.run(&[]);
    }
    // A root certificate that is named is the only one: what the environment adds to the system's does not count.
    let environments = refused.iter().map(|url| (url, ""));
    let named = refused.iter().filter(|url| url.contains("otra.pem"));
    for (url, system) in environments.chain(named.map(|url| (url, ca.as_str()))) {
        if !system.is_empty() {
            project.set("SSL_CERT_FILE", system);
        }
        project.set("OPERATIVA_URL", url);
        let output: Output = project.acequia(&["check"]);
        assert_eq!(output.status, Some(1), "{url}: {output:?}");
        assert!(output.stdout.contains("sslrootcert"), "{url}: {output:?}");
        assert_eq!(project.acequia(&["run"]).status, Some(1), "{url}");
    }
}

/// Every connection keeps to it: of tables, by either reader, of the log, and of the destination.
#[test]
fn a_password_is_bound_to_the_channel_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let [_, certificate, key] = Authority::new("nuestra").write(folder.path(), "localhost");
    let cluster = Cluster::options().ssl(&certificate, &key).start().unwrap();
    let source = cluster.database("bound").unwrap();
    source
        .batch(
            "CREATE TABLE t AS SELECT 1 AS x; CREATE TABLE c (id int PRIMARY KEY); INSERT INTO c VALUES (1);
             CREATE PUBLICATION acequia FOR TABLE c; GRANT CREATE ON DATABASE bound TO con_clave"
                .replace("bound", source.name())
                .as_str(),
        )
        .unwrap();
    let almacen = cluster.database("bound_almacen").unwrap();
    almacen
        .batch(&format!(
            "GRANT CREATE ON DATABASE \"{}\" TO con_clave",
            almacen.name()
        ))
        .unwrap();
    let streams = |reader: &str| {
        format!(
            "reader = \"{reader}\"\n[sources.operativa.replication]\nslot = \"bound_{reader}\"\npublication = \"acequia\"\n\
             [streams.t]\nsource = \"operativa\"\ntable = \"t\"\nmode = \"full\"\n\
             [streams.c]\nsource = \"operativa\"\ntable = \"c\"\nmode = \"cdc\"\n"
        )
    };
    let mut project = Project::on(source, "");
    let with = |url: &str, rest: &str| format!("{}?{rest}", url.split('?').next().unwrap());
    let (from, into) = (
        project.source.password_url().to_owned(),
        almacen.password_url().to_owned(),
    );
    for reader in ["copy", "connectorx"] {
        project.streams(&streams(reader));
        let arguments = ["run", "--destination", "almacen", "--full-refresh"];
        let bound = "sslmode=require&channel_binding=require";
        project.set("OPERATIVA_URL", &with(&from, bound));
        project.set("ALMACEN_URL", &with(&into, bound));
        let output = project.acequia(&arguments);
        assert_eq!(output.status, Some(0), "{output:?}");

        let unbound = "sslmode=disable&channel_binding=require";
        project.set("OPERATIVA_URL", &with(&from, unbound));
        let output = project.acequia(&["run", "--destination", "almacen", "--output", "json"]);
        assert_eq!(output.status, Some(1), "{output:?}");
        for stream in ["t", "c"] {
            let error = stream_report(&output.json(), stream)["error"].to_string();
            assert!(error.contains("channel"), "{stream}: {error}");
        }
        project.set("OPERATIVA_URL", &with(&from, bound));
        project.set("ALMACEN_URL", &with(&into, unbound));
        let output = project.acequia(&arguments);
        assert_ne!(output.status, Some(0), "{output:?}");
        assert!(output.stderr.contains("channel"), "{output:?}");
    }
}

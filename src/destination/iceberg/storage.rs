//! Where the files of tables are, for DuckDB. Credentials that the catalog vends come before these. No I/O.

use crate::config::{ObjectStorage, Secret};
use crate::destination::sql::Dialect as _;

use super::dialect::LakeSql;

/// The statement that tells DuckDB.
pub(super) fn secret(storage: &ObjectStorage) -> String {
    let mut options = vec![
        ("KEY_ID", storage.key_id.as_str()),
        ("SECRET", storage.secret.reveal()),
        ("REGION", &storage.region),
        ("URL_STYLE", if storage.by_path { "path" } else { "vhost" }),
    ];
    if let Some(token) = &storage.session_token {
        options.push(("SESSION_TOKEN", Secret::reveal(token)));
    }
    let mut without_tls = "";
    if let Some(endpoint) = &storage.endpoint {
        let host = match endpoint.strip_prefix("http://") {
            Some(host) => {
                without_tls = ", USE_SSL false";
                host
            }
            None => endpoint.strip_prefix("https://").unwrap_or(endpoint),
        };
        options.push(("ENDPOINT", host.trim_end_matches('/')));
    }
    let options: Vec<String> = options
        .iter()
        .map(|(option, value)| format!("{option} {}", LakeSql.literal(value)))
        .collect();
    format!(
        "CREATE OR REPLACE SECRET acequia_storage (TYPE s3, {}{without_tls})",
        options.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_asked_in_clear_only_where_its_address_says_so() {
        let mut storage = ObjectStorage {
            key_id: "k'".to_owned(),
            secret: Secret::new("s"),
            session_token: None,
            region: "eu-west-1".to_owned(),
            endpoint: Some("http://127.0.0.1:8333/".to_owned()),
            by_path: true,
        };
        let begin = "CREATE OR REPLACE SECRET acequia_storage (TYPE s3, KEY_ID 'k\'\'', SECRET 's', REGION 'eu-west-1', URL_STYLE";
        assert_eq!(
            secret(&storage),
            format!("{begin} 'path', ENDPOINT '127.0.0.1:8333', USE_SSL false)")
        );
        storage.endpoint = None;
        storage.by_path = false;
        storage.session_token = Some(Secret::new("t"));
        assert_eq!(
            secret(&storage),
            format!("{begin} 'vhost', SESSION_TOKEN 't')")
        );
    }
}

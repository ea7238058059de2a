//! Destinations: whether their keys go together.

use std::time::Duration;

use super::problems::{Checked, Problems};
use super::{Selection, address, storage, table};
use crate::config::document::Document;
use crate::config::model::{DestinationConfig, DestinationKind};
use crate::config::{CatalogAccess, Destination, Engine, Lake, Secret, Target, units};

/// How long others are waited for that have the destination open, where the configuration does not say.
const DEFAULT_WAIT: Duration = Duration::from_mins(1);
/// Below 16 megabytes DuckDB cannot work.
const LEAST_MEMORY_LIMIT: u64 = 16_000_000;
/// The scope of tokens, unless the destination says otherwise: what DuckDB asks for, and what Polaris wants.
const DEFAULT_SCOPE: &str = "PRINCIPAL_ROLE:ALL";

impl Document {
    /// The destination that is asked for.
    pub(super) fn destination(
        &self,
        selection: &Selection,
        problems: &mut Problems,
    ) -> Checked<Destination> {
        let (name, place) = if let Some(name) = &selection.destination {
            (name.clone(), "--destination")
        } else {
            let place = "[pipeline] destination";
            let name = self.expand(&self.config.pipeline.destination, place, problems)?;
            (name, place)
        };
        let destinations = &self.config.destinations;
        let Some(config) = destinations.get(&name) else {
            let known = destinations.keys().map(String::as_str);
            return Err(problems.unknown(place, "destination", &name, known));
        };
        let refused = refuse_keys_of_others(&name, config, problems);
        let target = match config.kind {
            DestinationKind::DuckDb => self.duckdb(&name, config, problems),
            DestinationKind::Postgres => self.warehouse(&name, config, problems),
            DestinationKind::Iceberg => self
                .lake(&name, config, problems)
                .map(|lake| Target::Iceberg(Box::new(lake))),
        };
        let place = format!("{} wait", table("destinations", &name));
        let wait = match config.wait.as_deref() {
            None => DEFAULT_WAIT,
            Some(text) => {
                let wait = units::duration(text).and_then(|wait| wait.to_std().ok());
                wait.ok_or_else(|| {
                    let what = "this is no length of time";
                    let remedy = "write a whole number and a unit, as in \"90s\", \"5m\" or \"1h\"";
                    problems.add(&place, what, remedy)
                })?
            }
        };
        refused?;
        Ok(Destination {
            name,
            target: target?,
            wait,
        })
    }

    fn duckdb(
        &self,
        name: &str,
        config: &DestinationConfig,
        problems: &mut Problems,
    ) -> Checked<Target> {
        let memory_limit = self.memory_limit(name, config, problems);
        let place = format!("{} path", table("destinations", name));
        let remedy = "name the database file, as in path = \"warehouse.duckdb\"";
        let Some(path) = &config.path else {
            return Err(problems.add(&place, "it is missing", remedy));
        };
        let path = self.expand(path, &place, problems)?;
        if path.is_empty() {
            return Err(problems.add(&place, "it is empty", remedy));
        }
        if path.starts_with(":memory:") {
            let what = "a database in memory is gone when the run ends";
            return Err(problems.add(&place, what, remedy));
        }
        Ok(Target::DuckDb {
            path: self.beside(&path),
            memory_limit: memory_limit?,
        })
    }

    fn memory_limit(
        &self,
        name: &str,
        config: &DestinationConfig,
        problems: &mut Problems,
    ) -> Checked<Option<u64>> {
        self.size(
            config.memory_limit.as_deref(),
            &format!("{} memory_limit", table("destinations", name)),
            LEAST_MEMORY_LIMIT,
            problems,
        )
    }

    /// A PostgreSQL database as a destination.
    fn warehouse(
        &self,
        name: &str,
        config: &DestinationConfig,
        problems: &mut Problems,
    ) -> Checked<Target> {
        let of = table("destinations", name);
        let keys = (config.url.as_deref(), config.password_command.as_deref());
        let url = self.postgres_url(keys, &of, problems)?;
        Ok(Target::Postgres { url })
    }

    fn lake(
        &self,
        name: &str,
        config: &DestinationConfig,
        problems: &mut Problems,
    ) -> Checked<Lake> {
        let table = table("destinations", name);
        let insecure = config.insecure_http == Some(true);
        let engine = self.engine(&table, config, problems);
        let memory_limit = self.memory_limit(name, config, problems);
        let catalog = self.needed(
            config.catalog.as_deref(),
            &format!("{table} catalog"),
            "write the REST catalog's address, as in catalog = \"https://catalog.example.com/api/catalog\"",
            problems,
        );
        let catalog = catalog.and_then(|url| {
            let place = format!("{table} catalog");
            web_address(&url, insecure, &place, problems)?;
            let url = url.trim_end_matches('/');
            Ok(url.strip_suffix("/v1").unwrap_or(url).to_owned())
        });
        let warehouse = self.needed(
            config.warehouse.as_deref(),
            &format!("{table} warehouse"),
            "name the warehouse as the catalog calls it, as in warehouse = \"lake\"",
            problems,
        );
        let extensions = match &config.extensions {
            None => Ok(None),
            Some(folder) => self
                .expand(folder, &format!("{table} extensions"), problems)
                .map(|folder| Some(self.beside(&folder))),
        };
        let access = match &catalog {
            Ok(catalog) => self.access(&table, catalog, config, problems),
            Err(reported) => Err(*reported),
        };
        Ok(Lake {
            catalog: catalog?,
            warehouse: warehouse?,
            access: access?,
            storage: storage::from_environment(&|name| self.environment.get(name).ok()),
            engine: engine?,
            extensions: extensions?,
            memory_limit: memory_limit?,
        })
    }

    /// Who writes the rows; none where that is DuckDB.
    fn engine(
        &self,
        table: &str,
        config: &DestinationConfig,
        problems: &mut Problems,
    ) -> Checked<Option<Engine>> {
        let place = format!("{table} engine");
        let engine = match &config.engine {
            None => "duckdb".to_owned(),
            Some(engine) => self.expand(engine, &place, problems)?,
        };
        let remedy = "write engine = \"duckdb\" or leave it out; or the address of an engine that speaks Spark Connect, as in \
                      engine = \"sc://sail.example.com:50051/;use_ssl=true;token=${SAIL_TOKEN}\"";
        match engine.as_str() {
            "duckdb" => {
                for (key, given) in [
                    ("engine_catalog", config.engine_catalog.is_some()),
                    (
                        "engine_token_command",
                        config.engine_token_command.is_some(),
                    ),
                ] {
                    if given {
                        let what = "it has no meaning where DuckDB writes the rows";
                        let place = format!("{table} {key}");
                        return Err(problems.add(
                            &place,
                            what,
                            "leave it out, or name an `engine`",
                        ));
                    }
                }
                Ok(None)
            }
            remote if remote.starts_with("sc://") => {
                if cfg!(not(feature = "spark")) {
                    let what = "this acequia was built without Spark Connect (the feature `spark`)";
                    return Err(problems.add(
                        &place,
                        what,
                        "use a release, or build with `--features spark`",
                    ));
                }
                self.refuse_local_landing(&place, problems)?;
                let catalog = match &config.engine_catalog {
                    None => None,
                    Some(name) => {
                        Some(self.expand(name, &format!("{table} engine_catalog"), problems)?)
                    }
                };
                let place = format!("{table} engine_token_command");
                let line = config.engine_token_command.as_deref();
                let token = self.secret_command(line, &place, problems)?;
                if token.is_some() && remote.contains("token=") {
                    let what = "`engine` has a token already";
                    let remedy = "leave `token=` out of it, or this key out";
                    return Err(problems.add(&place, what, remedy));
                }
                Ok(Some(Engine {
                    url: Secret::new(remote),
                    token,
                    catalog,
                }))
            }
            _ => Err(problems.add(&place, "there is no such engine", remedy)),
        }
    }

    /// An engine elsewhere reads the landing area by itself.
    fn refuse_local_landing(&self, place: &str, problems: &mut Problems) -> Checked<()> {
        // What else is wrong with it is told where it stands.
        let landing = &self.config.pipeline.landing;
        let is_url = landing.contains("://") && !landing.starts_with("file://");
        if is_url || landing.contains("${") {
            return Ok(());
        }
        let what = "the engine does not see the landing area, which is a folder of this machine";
        let remedy = "set `landing` under [pipeline] to object storage that the engine can read, as in \
                      landing = \"s3://bucket/acequia\"";
        Err(problems.add(place, what, remedy))
    }

    /// What the catalog is shown.
    fn access(
        &self,
        table: &str,
        catalog: &str,
        config: &DestinationConfig,
        problems: &mut Problems,
    ) -> Checked<CatalogAccess> {
        let place = format!("{table} credential");
        let for_credentials = [
            ("oauth2_uri", config.oauth2_uri.is_some()),
            ("scope", config.scope.is_some()),
        ];
        if config.credential.is_none() {
            let mut refused = Ok(());
            for (key, _) in for_credentials.iter().filter(|(_, given)| *given) {
                let what = "it has no meaning without `credential`";
                let remedy = "leave it out, or write credential = \"${LAKE_ID}:${LAKE_SECRET}\"";
                refused = Err(problems.add(&format!("{table} {key}"), what, remedy));
            }
            refused?;
        }
        let given = (config.token.as_deref(), config.token_command.as_deref());
        let token = self.token(table, given, problems)?;
        match (&config.credential, token) {
            (None, None) => Ok(CatalogAccess::Open),
            (None, Some(token)) => Ok(CatalogAccess::Token(token)),
            (Some(_), Some(_)) => {
                let key = config.token.as_ref().map_or("token_command", |_| "token");
                let what = format!("there is a `{key}` as well");
                Err(problems.add(&place, what, "leave one of the two out"))
            }
            (Some(credential), None) => {
                let credential = self.expand(credential, &place, problems)?;
                let Some((id, secret)) = credential.split_once(':') else {
                    let what = "there is no `:` in it between the client's id and its secret";
                    let remedy = "write credential = \"${LAKE_ID}:${LAKE_SECRET}\"";
                    return Err(problems.add(&place, what, remedy));
                };
                let oauth2_uri = match &config.oauth2_uri {
                    None => format!("{catalog}/v1/oauth/tokens"),
                    Some(uri) => {
                        let place = format!("{table} oauth2_uri");
                        let uri = self.expand(uri, &place, problems)?;
                        let insecure = config.insecure_http == Some(true);
                        web_address(&uri, insecure, &place, problems)?;
                        uri
                    }
                };
                let scope = config.scope.as_deref().unwrap_or(DEFAULT_SCOPE);
                Ok(CatalogAccess::Credential {
                    id: id.to_owned(),
                    secret: Secret::new(secret),
                    oauth2_uri,
                    scope: self.expand(scope, &format!("{table} scope"), problems)?,
                })
            }
        }
    }

    /// A text that must be there.
    fn needed(
        &self,
        text: Option<&str>,
        place: &str,
        remedy: &str,
        problems: &mut Problems,
    ) -> Checked<String> {
        let Some(text) = text else {
            return Err(problems.add(place, "it is missing", remedy));
        };
        let text = self.expand(text, place, problems)?;
        if text.is_empty() {
            return Err(problems.add(place, "it is empty", remedy));
        }
        Ok(text)
    }
}

fn web_address(text: &str, insecure: bool, place: &str, problems: &mut Problems) -> Checked<()> {
    address::check(text, insecure).map_err(|(what, remedy)| problems.add(place, what, remedy))
}

/// Refuses keys that have no meaning with the destination's kind.
fn refuse_keys_of_others(
    name: &str,
    config: &DestinationConfig,
    problems: &mut Problems,
) -> Checked<()> {
    use DestinationKind::{DuckDb, Iceberg, Postgres};
    let lake = &[Iceberg][..];
    let keys = [
        ("path", &[DuckDb][..], config.path.is_some()),
        ("url", &[Postgres], config.url.is_some()),
        (
            "password_command",
            &[Postgres],
            config.password_command.is_some(),
        ),
        (
            "memory_limit",
            &[DuckDb, Iceberg],
            config.memory_limit.is_some(),
        ),
        ("catalog", lake, config.catalog.is_some()),
        ("warehouse", lake, config.warehouse.is_some()),
        ("credential", lake, config.credential.is_some()),
        ("token", lake, config.token.is_some()),
        ("token_command", lake, config.token_command.is_some()),
        (
            "engine_token_command",
            lake,
            config.engine_token_command.is_some(),
        ),
        ("oauth2_uri", lake, config.oauth2_uri.is_some()),
        ("scope", lake, config.scope.is_some()),
        ("insecure_http", lake, config.insecure_http.is_some()),
        ("engine", lake, config.engine.is_some()),
        ("engine_catalog", lake, config.engine_catalog.is_some()),
        ("extensions", lake, config.extensions.is_some()),
    ];
    let mut refused = Ok(());
    for (key, kinds, given) in keys {
        let Some(kind) = kinds.first() else { continue };
        if given && !kinds.contains(&config.kind) {
            let place = format!("{} {key}", table("destinations", name));
            let what = format!("it has no meaning with kind = \"{}\"", config.kind.name());
            let remedy = format!("leave it out, or use kind = \"{}\"", kind.name());
            refused = Err(problems.add(&place, what, remedy));
        }
    }
    refused
}

impl DestinationKind {
    /// As it is written.
    fn name(self) -> &'static str {
        match self {
            Self::DuckDb => "duckdb",
            Self::Postgres => "postgres",
            Self::Iceberg => "iceberg",
        }
    }
}

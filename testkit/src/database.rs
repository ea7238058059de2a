//! A fresh database for each test, dropped with whatever still uses it.

use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result};
use postgres::Client;
use postgres::types::ToSql;

use crate::cluster::{Cluster, PASSWORD, PASSWORD_ROLE, connect};

/// The operational schema (`schema.sql` at the top of the repository).
pub const SCHEMA: &str = include_str!("../../schema.sql");

/// A database of its own, owned by the superuser. Dropped, with its replication slots and connections, on `Drop`.
#[derive(Debug)]
pub struct TestDb {
    name: String,
    url: String,
    password_url: String,
    admin_url: String,
}

impl Cluster {
    /// Makes an empty database whose name begins with `name_hint` (ASCII letters, digits and `_` of it) and is unique.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn database(&self, name_hint: &str) -> Result<TestDb> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let hint: String = name_hint
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            })
            .take(40)
            .collect();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{hint}_{}_{count}", process::id());
        // template0: nobody can be connected to it, so databases can be made at the same time.
        self.admin()?
            .batch_execute(&format!("CREATE DATABASE \"{name}\" TEMPLATE template0"))
            .with_context(|| format!("cannot make the database {name}"))?;
        Ok(TestDb {
            url: self.url(&name),
            password_url: self.url_as(&name, PASSWORD_ROLE, PASSWORD),
            admin_url: self.url("postgres"),
            name,
        })
    }
}

impl TestDb {
    /// The database's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// URL as the superuser, who needs no password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// URL as [`PASSWORD_ROLE`], with the right password in it.
    #[must_use]
    pub fn password_url(&self) -> &str {
        &self.password_url
    }

    /// A new connection as the superuser.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn client(&self) -> Result<Client> {
        connect(&self.url)
    }

    /// Runs one statement on a connection of its own; gives the number of rows it touched.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub fn execute(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<u64> {
        let rows = self.client()?.execute(sql, parameters);
        rows.with_context(|| format!("in {}: {sql}", self.name))
    }

    /// Runs several statements on a connection of its own.
    ///
    /// # Errors
    /// PostgreSQL's.
    pub fn batch(&self, sql: &str) -> Result<()> {
        let done = self.client()?.batch_execute(sql);
        done.with_context(|| format!("in {}: {sql}", self.name))
    }

    /// The first column of the first row, as text; `None` for NULL. `sql` is one query without parameters.
    ///
    /// # Errors
    /// PostgreSQL's, and when there is no row.
    pub fn value(&self, sql: &str) -> Result<Option<String>> {
        let sql = format!("SELECT to_json(q)->>'v' FROM ({sql}) AS q(v)");
        let row = self.client()?.query_one(&sql, &[]);
        let row = row.with_context(|| format!("in {}: {sql}", self.name))?;
        Ok(row.try_get(0)?)
    }

    /// Makes the five tables of [`SCHEMA`].
    ///
    /// # Errors
    /// PostgreSQL's.
    pub fn apply_schema(&self) -> Result<()> {
        self.client()?
            .batch_execute(SCHEMA)
            .context("cannot apply schema.sql")
    }

    /// Ends whoever uses this database's replication slots, drops the slots, then drops the database.
    fn remove(&self) -> Result<()> {
        let mut admin = connect(&self.admin_url)?;
        // An active slot keeps a database from being dropped, FORCE or not, and its walsender takes a moment to end.
        for pause in [0, 10, 20, 50, 100, 200, 500] {
            sleep(Duration::from_millis(pause));
            admin.execute(
                "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots
                 WHERE database = $1 AND active_pid IS NOT NULL",
                &[&self.name],
            )?;
            let dropped = admin.batch_execute(&format!(
                "DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)",
                self.name
            ));
            if dropped.is_ok() {
                break;
            }
        }
        Ok(())
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        // The server may be down, by the test's own doing: then nothing is left to drop.
        self.remove().ok();
    }
}

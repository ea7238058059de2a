//! A connection with the names that its SQL needs. Here alone SQL is run, interrupted, and its failures translated.

use std::fmt;
use std::io::{BufRead as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use postgres::types::{FromSqlOwned, ToSql};
use postgres::{Client, Row, SimpleQueryMessage};

use crate::destination::sql::{Dialect, Engine, TextRow, Transactional, ledger};
use crate::destination::{Interrupter, Loaded, StagedLoad};
use crate::error::{Error, Result};
use crate::postgres::connection::Server;

use super::dialect::PostgresSql;
use super::dropped::Views;
use super::error;

/// What a loading session is set to, beside what every session is: temporary tables have more than 8 MB before they go to disk.
const SETTINGS: &str = "SET temp_buffers = '64MB'";
/// If the server may lose commits in a crash, the source must not be told that they are durable.
const DURABLE: &str = "SELECT set_config('synchronous_commit', 'on', false) \
     WHERE current_setting('synchronous_commit') = 'off'";
/// How long after a request to cancel the next one follows, while a transaction is still under way.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);

/// A connection to the database, and the dataset in it.
pub(crate) struct Session {
    client: Client,
    server: Server,
    dataset: String,
    interruption: Arc<Interruption>,
    /// The views of models that the load which is applied has dropped.
    pub(super) views: Views,
}

/// The state that the interrupter and the session share.
#[derive(Debug, Default)]
struct Interruption {
    /// A stop is for good.
    stopped: AtomicBool,
    /// Whether a transaction is under way.
    working: AtomicBool,
}

/// A value that a statement is given.
pub(super) type Param<'a> = &'a (dyn ToSql + Sync);

impl Session {
    /// Connects.
    pub(super) fn open(server: &Server, dataset: &str) -> Result<Self> {
        let client = server.connect_blocking()?;
        let mut session = Self {
            client,
            server: server.clone(),
            dataset: dataset.to_owned(),
            interruption: Arc::default(),
            views: Views::default(),
        };
        session.batch(SETTINGS)?;
        session.batch(DURABLE)?;
        Ok(session)
    }

    /// Where the database is, for people.
    pub(super) fn place(&self) -> &str {
        self.server.place()
    }

    pub(super) fn dataset(&self) -> &str {
        &self.dataset
    }

    /// Whether a schema is there.
    pub(super) fn has_schema(&mut self, schema: &str) -> Result<bool> {
        let row = self.row(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)",
            &[&schema],
        )?;
        value(&row, 0)
    }

    fn commit<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.batch("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE")?;
        let done = work(self).and_then(|done| self.check().map(|()| done));
        let done = done.and_then(|done| self.batch("COMMIT").map(|()| done));
        if done.is_err()
            && let Err(error) = self.client.batch_execute("ROLLBACK")
        {
            // The connection is broken, and the server has rolled back the transaction.
            tracing::debug!(%error, "no rollback");
        }
        done
    }

    /// Runs statements without parameters.
    pub(super) fn batch(&mut self, sql: &str) -> Result<()> {
        self.check()?;
        let done = self.client.batch_execute(sql);
        done.map_err(|error| self.told(&error))
    }

    /// Runs statements that may be refused, and returns why they are.
    pub(super) fn attempt(&mut self, sql: &str) -> Result<Result<(), postgres::Error>> {
        self.check()?;
        Ok(self.client.batch_execute(sql))
    }

    /// All rows that a query returns.
    pub(super) fn rows(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>> {
        self.check()?;
        let rows = self.client.query(sql, params);
        rows.map_err(|error| self.told(&error))
    }

    /// The only row that a query returns.
    pub(super) fn row(&mut self, sql: &str, params: &[Param<'_>]) -> Result<Row> {
        self.check()?;
        let row = self.client.query_one(sql, params);
        row.map_err(|error| self.told(&error))
    }

    /// Runs `COPY … FROM STDIN` with the chunks that come; the number of rows that it took.
    ///
    /// # Errors
    /// The first error among the chunks, or the server's.
    pub(super) fn copy_in(
        &mut self,
        sql: &str,
        chunks: impl Iterator<Item = Result<Vec<u8>>>,
    ) -> Result<u64> {
        self.check()?;
        let interruption = Arc::clone(&self.interruption);
        let copied = (|| {
            // Where this ends early, the writer is dropped, and the server undoes the COPY.
            let mut writer = self.client.copy_in(sql).map_err(CopyError::Server)?;
            for chunk in chunks {
                if interruption.stopped.load(Ordering::SeqCst) {
                    return Err(CopyError::Ours(Error::Interrupted));
                }
                // If writing fails, the server's answer has the reason.
                if writer.write_all(&chunk.map_err(CopyError::Ours)?).is_err() {
                    break;
                }
            }
            writer.finish().map_err(CopyError::Server)
        })();
        copied.map_err(|error| match error {
            CopyError::Ours(error) => error,
            CopyError::Server(error) => self.told(&error),
        })
    }

    /// Runs `COPY … TO STDOUT` and hands over each of its messages.
    pub(super) fn copy_out(
        &mut self,
        sql: &str,
        each: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.check()?;
        let interruption = Arc::clone(&self.interruption);
        let copied = (|| {
            let mut reader = self.client.copy_out(sql).map_err(CopyError::Server)?;
            loop {
                if interruption.stopped.load(Ordering::SeqCst) {
                    return Err(CopyError::Ours(Error::Interrupted));
                }
                let message = reader.fill_buf().map_err(|error| {
                    match error.downcast::<postgres::Error>() {
                        Ok(error) => CopyError::Server(error),
                        Err(error) => CopyError::Ours(
                            Error::destination("the server broke off the rows of a table")
                                .cause(error)
                                .for_now(),
                        ),
                    }
                })?;
                if message.is_empty() {
                    return Ok(());
                }
                let length = message.len();
                each(message).map_err(CopyError::Ours)?;
                reader.consume(length);
            }
        })();
        copied.map_err(|error| match error {
            CopyError::Ours(error) => error,
            CopyError::Server(error) => self.told(&error),
        })
    }

    /// A failure of the server's; an interruption where one was asked for.
    pub(super) fn told(&self, error: &postgres::Error) -> Error {
        if error::is_cancelled(error) && self.interruption.stopped.load(Ordering::SeqCst) {
            return Error::Interrupted;
        }
        error::from_postgres(error)
    }

    fn check(&self) -> Result<()> {
        if self.interruption.stopped.load(Ordering::SeqCst) {
            Err(Error::Interrupted)
        } else {
            Ok(())
        }
    }
}

/// A column's value.
pub(super) fn value<T: FromSqlOwned>(row: &Row, index: usize) -> Result<T> {
    row.try_get(index)
        .map_err(|error| Error::internal("PostgreSQL's answer could not be read").cause(error))
}

impl Session {
    /// Runs a statement without parameters: one message there and one back, and all values as text.
    fn simple(&mut self, sql: &str) -> Result<Vec<SimpleQueryMessage>> {
        #[cfg(test)]
        crate::destination::sql::tests::assert_reserved_aliases(sql);
        self.check()?;
        let answered = self.client.simple_query(sql);
        answered.map_err(|error| self.told(&error))
    }
}

impl Transactional for Session {
    fn transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.interruption.working.store(true, Ordering::SeqCst);
        let outcome = self.commit(work);
        self.interruption.working.store(false, Ordering::SeqCst);
        outcome
    }

    fn trial<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.interruption.working.store(true, Ordering::SeqCst);
        let tried = self
            .batch("BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE")
            .and_then(|()| work(self));
        if let Err(error) = self.client.batch_execute("ROLLBACK") {
            // The connection is broken, and the server has rolled back the transaction.
            tracing::debug!(%error, "no rollback");
        }
        self.interruption.working.store(false, Ordering::SeqCst);
        tried
    }

    /// It returns at once: a thread of its own asks the server to cancel, again and again until the transaction has ended,
    /// because a request between two statements has no effect.
    fn interrupter(&self) -> Interrupter {
        let interruption = Arc::clone(&self.interruption);
        let token = self.client.cancel_token();
        let tls = self.server.tls_connector();
        Arc::new(move || {
            interruption.stopped.store(true, Ordering::SeqCst);
            let interruption = Arc::clone(&interruption);
            let (token, tls) = (token.clone(), tls.clone());
            std::thread::spawn(move || {
                while interruption.working.load(Ordering::SeqCst) {
                    let asked = token.cancel_query(tls.clone());
                    tracing::debug!(?asked, "asked the server to cancel");
                    std::thread::sleep(CANCEL_AGAIN);
                }
            });
        })
    }

    /// COPY takes rows as they come, and others see a table that is created only once it is committed.
    fn loads_ahead(&self) -> bool {
        true
    }

    fn load(&mut self, load: &StagedLoad) -> Result<Loaded> {
        self.views = Views::of(load.models.as_deref());
        let loaded = self.transaction(|session| {
            let loaded = ledger::load(session, load)?;
            fail::fail_point!("postgres.before_commit", crate::failpoint::abort);
            Ok(loaded)
        })?;
        fail::fail_point!("postgres.after_commit", crate::failpoint::abort);
        Ok(loaded)
    }
}

impl Engine for Session {
    fn dialect(&self) -> &'static dyn Dialect {
        &PostgresSql
    }

    fn execute(&mut self, sql: &str) -> Result<u64> {
        let messages = self.simple(sql)?;
        let rows = messages.iter().rev().find_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        });
        rows.ok_or_else(|| Error::internal("PostgreSQL's answer could not be read"))
    }

    fn make(&mut self, sql: &str) -> Result<u64> {
        self.execute(sql)
    }

    fn query(&mut self, sql: &str, each: &mut dyn FnMut(TextRow) -> Result<()>) -> Result<()> {
        for message in self.simple(sql)? {
            if let SimpleQueryMessage::Row(row) = message {
                let values = (0..row.len()).map(|column| row.get(column).map(str::to_owned));
                each(values.collect())?;
            }
        }
        Ok(())
    }
}

enum CopyError {
    Ours(Error),
    Server(postgres::Error),
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("server", &self.server)
            .field("dataset", &self.dataset)
            .finish_non_exhaustive()
    }
}

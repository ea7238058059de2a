//! Transactions, and a load in one: again with more memory where DuckDB cannot do with what it may use.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use crate::destination::sql::{Engine as _, Transactional, ledger};
use crate::destination::{Interrupter, Loaded, StagedLoad};
use crate::error::{Error, Kind, Result};

use super::memory::MemoryLimit;
use super::open;
use super::query;
use super::session::Session;

impl Transactional for Session {
    fn transaction<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.batch("BEGIN TRANSACTION")?;
        let done = work(self).and_then(|done| self.batch("COMMIT").map(|()| done));
        if done.is_err()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            // A commit that fails has undone the transaction.
            tracing::debug!(%error, "no rollback");
        }
        query::look_nowhere(self);
        done
    }

    fn trial<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.batch("BEGIN TRANSACTION")?;
        let done = work(self);
        if let Err(error) = self.connection.execute_batch("ROLLBACK") {
            tracing::debug!(%error, "no rollback");
        }
        query::look_nowhere(self);
        done
    }

    fn with_enough<T>(&mut self, work: impl FnMut(&mut Self) -> Result<T>) -> Result<T> {
        let limit = self.memory_limit().for_queries();
        with_enough(self, limit, |session| session, work)
    }

    /// A statement that begins in this very instant is not stopped, but what follows it in its transaction is.
    fn interrupter(&self) -> Interrupter {
        let interrupted = Arc::clone(&self.interrupted);
        let handle = Arc::clone(&self.handle);
        Arc::new(move || {
            interrupted.store(true, Ordering::SeqCst);
            let handle = handle.lock().unwrap_or_else(PoisonError::into_inner);
            handle.interrupt();
        })
    }

    fn load(&mut self, load: &StagedLoad) -> Result<Loaded> {
        let limit = self.memory_limit();
        with_enough(
            self,
            limit,
            |session| session,
            |session| load_once(session, load),
        )
    }
}

/// Does `work`, which is one transaction, with so much memory at first, and does it again with more where it cannot do with that.
/// `session` is the session that it works with, which has afterwards what it has for loads.
pub(in crate::destination) fn with_enough<E, T>(
    engine: &mut E,
    first: MemoryLimit,
    session: impl Fn(&mut E) -> &mut Session,
    mut work: impl FnMut(&mut E) -> Result<T>,
) -> Result<T> {
    let usual = session(engine).memory_limit();
    if first != usual {
        session(engine).allow(first)?;
    }
    let mut limit = first;
    let done = loop {
        let done = work(engine);
        let kind = done.as_ref().err().map(Error::kind);
        if kind == Some(Kind::DiskFull) {
            // What was written is undone, but keeps its room in the file until a checkpoint.
            let given_back = session(engine).execute("CHECKPOINT");
            tracing::debug!(?given_back, "the disk is full");
        }
        if !matches!(kind, Some(Kind::OutOfMemory | Kind::DiskFull)) {
            break done;
        }
        let raised = limit.raised().filter(|_| kind == Some(Kind::OutOfMemory));
        limit = raised.unwrap_or(limit);
        let anew = open::anew(session(engine), limit);
        if raised.is_none() {
            tracing::debug!(?anew, "DuckDB may have no more");
            break done;
        }
        anew?;
        // The transaction was rolled back, so the load is applied again.
        tracing::info!(bytes = limit.now, "DuckDB needs more memory for this load");
        session(engine).allow(limit)?;
    };
    if limit != usual
        && let Err(error) = session(engine).allow(usual)
    {
        tracing::debug!(%error, "DuckDB keeps the memory that it was given");
    }
    done
}

fn load_once(session: &mut Session, load: &StagedLoad) -> Result<Loaded> {
    let loaded = session.transaction(|session| {
        let loaded = ledger::load(session, load)?;
        fail::fail_point!("duckdb.before_commit", crate::failpoint::abort);
        Ok(loaded)
    })?;
    fail::fail_point!("duckdb.after_commit", crate::failpoint::abort);
    Ok(loaded)
}

//! What the server shows of transactions under way: how far back rows can lie that are yet to be committed.
//!
//! `CURRENT_TIMESTAMP` is the time when a transaction began (manual, section 9.9.5), so one that is still running can commit
//! rows whose cursor lies as far back as its beginning. The server does not tell of each when it began: not of one that is
//! prepared, nor of a session that this user may not look at or that does not track its activity. Such a transaction is told
//! by its name alone, and held against what the run before knew ([`Seen::remember`]).

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use tokio_postgres::Client;

use crate::seen::Seen;

/// A transaction that has its time already may not be shown yet.
const NOT_SHOWN: TimeDelta = TimeDelta::seconds(1);
/// From when on a prepared transaction is one that was forgotten, rather than about to end.
const FORGOTTEN: TimeDelta = TimeDelta::hours(1);

/// What the server shows.
#[derive(Debug, Clone)]
pub struct Activity {
    /// Its clock, before anything was looked at.
    pub clock: DateTime<Utc>,
    /// This machine's clock then.
    pub own_clock: DateTime<Utc>,
    /// Whether it is a standby, which shows nothing of those who write.
    pub is_standby: bool,
    /// Whether this user sees when other users' transactions began.
    pub sees_all: bool,
    /// When the oldest transaction began that it tells the beginning of, or the time up to which it shows all.
    pub oldest: DateTime<Utc>,
    /// The others, and the beginning of their sessions.
    pub unseen: BTreeMap<String, Option<DateTime<Utc>>>,
    /// Prepared transactions that nobody seems to end, and since when.
    pub forgotten: Vec<(String, DateTime<Utc>)>,
}

/// Looks at the transactions of this database. To be called outside of a transaction, before the snapshot is taken that rows
/// are read in.
///
/// Every transaction holds a lock on its own virtual id (manual, section 54.12), which everybody sees. The order of the
/// three looks matters: who moves on from one to the next while they are taken is then seen twice rather than never.
pub async fn look(client: &Client) -> Result<Activity, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::int8, pg_is_in_recovery(),
                    array_agg(pid), array_agg(virtualtransaction),
                    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
             FROM (SELECT pid, virtualtransaction FROM pg_locks
                   WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock' AND granted AND pid <> pg_backend_pid()) AS l",
            &[],
        )
        .await?;
    let own_clock = Utc::now().trunc_subsecs(6);
    let clock = time(row.get(0)).unwrap_or(own_clock);
    let mut activity = Activity {
        clock,
        own_clock,
        is_standby: row.get(1),
        sees_all: row.get(4),
        oldest: clock - NOT_SHOWN,
        unseen: BTreeMap::new(),
        forgotten: Vec::new(),
    };
    if activity.is_standby {
        return Ok(activity);
    }
    let pids: Vec<i32> = row.get::<_, Option<_>>(2).unwrap_or_default();
    let names: Vec<String> = row.get::<_, Option<_>>(3).unwrap_or_default();
    // Sessions of other databases cannot write here, and a parallel worker has its leader's time.
    let sessions = client
        .query(
            "SELECT l.name, (extract(epoch FROM a.xact_start) * 1000000)::int8,
                    (extract(epoch FROM a.backend_start) * 1000000)::int8
             FROM pg_stat_activity AS a LEFT JOIN unnest($1::int4[], $2::text[]) AS l (pid, name) ON l.pid = a.pid
             WHERE a.pid <> pg_backend_pid() AND a.datid = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND COALESCE(a.backend_type, '') NOT IN ('autovacuum worker', 'parallel worker')
               AND (a.xact_start IS NOT NULL OR (l.pid IS NOT NULL AND a.state IS DISTINCT FROM 'idle'))",
            &[&pids, &names],
        )
        .await?;
    for session in &sessions {
        let began = session.get::<_, Option<i64>>(1).and_then(time);
        let connected = session.get::<_, Option<i64>>(2).and_then(time);
        match (began, session.get::<_, Option<String>>(0)) {
            (Some(began), _) => activity.oldest = activity.oldest.min(began),
            (None, Some(name)) => {
                activity.unseen.insert(name, connected);
            }
            (None, None) => {}
        }
    }
    let prepared = client
        .query(
            "SELECT transaction::text, gid, (extract(epoch FROM prepared) * 1000000)::int8 FROM pg_prepared_xacts
             WHERE database = current_database()",
            &[],
        )
        .await?;
    for transaction in &prepared {
        activity.unseen.insert(transaction.get(0), None);
        if let Some(since) = time(transaction.get(2)).filter(|since| clock - *since > FORGOTTEN) {
            activity.forgotten.push((transaction.get(1), since));
        }
    }
    Ok(activity)
}

impl Activity {
    /// What is to be known of it in the next run.
    pub fn seen(&self, before: Option<&Seen>) -> Seen {
        let mut seen = Seen {
            server: None,
            relation: None,
            partitions: Vec::new(),
            clock: self.clock,
            own_clock: self.own_clock,
            oldest: Some(self.oldest),
            unseen: self.unseen.clone(),
        };
        seen.remember(before);
        seen
    }
}

fn time(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}

/// The lowest difference to UTC, in seconds, that a session of this database has or will have within a day, as far as the
/// settings of server, database and roles tell: rows of a time without zone lie that far from UTC.
pub async fn lowest_offset(client: &Client) -> Result<i64, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT min(extract(epoch FROM (t AT TIME ZONE zone) - (t AT TIME ZONE 'UTC')))::int8
             FROM generate_series(now() - interval '1 hour', now() + interval '26 hours', interval '30 minutes') AS t,
                  (SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'
                   UNION SELECT 'UTC'
                   UNION SELECT substr(setting, 10) FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS setting
                         WHERE lower(setting) LIKE 'timezone=%'
                           AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
                  ) AS zones (zone)",
            &[],
        )
        .await?;
    Ok(row.get(0))
}

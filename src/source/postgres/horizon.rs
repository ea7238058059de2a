//! The transactions that are in progress on the server: how far below the cursor rows can still be committed.
//!
//! `CURRENT_TIMESTAMP` is the time when a transaction began (manual, section 9.9.5), so a running transaction can commit
//! rows whose cursor is as old as its beginning. The server does not show the beginning of every transaction: not of a
//! prepared one, nor of a session that this user may not see or that does not track its activity. Of such a transaction
//! only the name is known, which is compared with what the previous run knew ([`Seen::remember`]).

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use tokio_postgres::Client;

use crate::seen::Seen;

/// How long a transaction may have its start time before the server shows it.
const NOT_SHOWN: TimeDelta = TimeDelta::seconds(1);
/// The age from which a prepared transaction counts as forgotten.
const FORGOTTEN: TimeDelta = TimeDelta::hours(1);

/// The transactions that the server shows.
#[derive(Debug, Clone)]
pub struct Activity {
    /// The OID of the database.
    pub database: u32,
    /// The server's clock, before anything else was asked.
    pub clock: DateTime<Utc>,
    /// This machine's clock at the same moment.
    pub own_clock: DateTime<Utc>,
    /// Whether the server is a standby, which does not show the primary's transactions.
    pub is_standby: bool,
    /// Whether this user sees when other users' transactions began.
    pub sees_all: bool,
    /// When the oldest transaction with a known beginning began, or the time up to which all transactions are shown.
    pub oldest: DateTime<Utc>,
    /// The other transactions, and when their sessions began.
    pub unseen: BTreeMap<String, Option<DateTime<Utc>>>,
    /// Prepared transactions that were probably forgotten, and when they were prepared.
    pub forgotten: Vec<(String, DateTime<Utc>)>,
}

/// Reads the transactions of this database. It must be called outside of a transaction, before the snapshot of the rows is
/// taken.
///
/// Every transaction holds a lock on its own virtual id (manual, section 54.12), which every user sees. The order of the
/// three queries matters: a transaction that passes from one state to the next meanwhile is then seen twice rather than
/// never.
pub async fn look(client: &Client) -> Result<Activity, tokio_postgres::Error> {
    let row = client
        .query_one(
            "SELECT (extract(epoch FROM statement_timestamp()) * 1000000)::int8, pg_is_in_recovery(),
                    array_agg(pid), array_agg(virtualtransaction),
                    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
                    (SELECT oid FROM pg_database WHERE datname = current_database())
             FROM (SELECT pid, virtualtransaction FROM pg_locks
                   WHERE locktype = 'virtualxid' AND mode = 'ExclusiveLock' AND granted AND pid <> pg_backend_pid()) AS l",
            &[],
        )
        .await?;
    let own_clock = Utc::now().trunc_subsecs(6);
    let clock = time(row.get(0)).unwrap_or(own_clock);
    let mut activity = Activity {
        database: row.get(5),
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
             WHERE a.pid <> pg_backend_pid() AND a.datid = $3
               AND COALESCE(a.backend_type, '') NOT IN ('autovacuum worker', 'parallel worker')
               AND (a.xact_start IS NOT NULL OR (l.pid IS NOT NULL AND a.state IS DISTINCT FROM 'idle'))",
            &[&pids, &names, &activity.database],
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
    /// What the next run needs to know of the server.
    pub fn seen(&self, before: Option<&Seen>) -> Seen {
        let mut seen = Seen {
            server: None,
            database: Some(self.database),
            relation: None,
            numbers: BTreeMap::new(),
            selection: None,
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

/// The lowest UTC offset, in seconds, that a session of this database has now or within a day, according to the settings of
/// server, database and roles. Times without a zone may be that far from UTC.
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

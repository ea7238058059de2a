//! What a source was when a stream was last read by its cursor, by which the next run determines whether the position is
//! still valid. No I/O.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::identity::{RelationIdentity, ServerIdentity};

/// The largest difference between two clocks' differences that counts as imprecision. It is less than what every run reads
/// again.
const IMPRECISION: TimeDelta = TimeDelta::milliseconds(500);

/// The identity and clocks of a source when a stream was last read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The server's identity, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerIdentity>,
    /// The OID of the database. `None` in states of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<u32>,
    /// The table's identity, with the cursor column only. `None` for views and queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relation: Option<RelationIdentity>,
    /// The numbers of the table's columns that were read, by their names. Empty for views and queries.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub numbers: BTreeMap<String, i16>,
    /// A digest of what says which rows are read: query, condition, initial value. `None` in states of earlier versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection: Option<String>,
    /// The tables below it: partitions and inheriting tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<u32>,
    /// The server's clock.
    pub clock: DateTime<Utc>,
    /// This machine's clock at the same moment.
    pub own_clock: DateTime<Utc>,
    /// When the oldest transaction in progress began, of those whose beginning the server showed. `None` if the server did
    /// not show all other transactions, or was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<DateTime<Utc>>,
    /// The names of transactions in progress whose beginning the server did not show, each with the time before which it
    /// cannot have begun, if that is known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unseen: BTreeMap<String, Option<DateTime<Utc>>>,
}

/// By how much a server's clock was set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetBack {
    /// It was not set back.
    No,
    /// By this much, according to this machine's clock.
    By(TimeDelta),
    /// By at least this much: this machine's clock does not show how much.
    AtLeast(TimeDelta),
}

/// The time after which the clocks are stored again although nothing was read: clocks drift apart.
const CLOCKS_KEPT: TimeDelta = TimeDelta::days(1);

impl Seen {
    /// Whether a later state is of the same source, apart from the time that passed and from the transactions in progress.
    pub fn stands_as(&self, later: &Self) -> bool {
        let gone = [later.clock - self.clock, later.own_clock - self.own_clock];
        let [server, own] = gone;
        self.server == later.server
            && self.database == later.database
            && self.relation == later.relation
            && self.partitions == later.partitions
            && self.numbers == later.numbers
            && self.selection == later.selection
            && (server - own).abs() <= IMPRECISION
            && gone.iter().all(|gone| gone.abs() < CLOCKS_KEPT)
    }

    /// The reason why the stream's source is not the one that was read: the position is not valid for it.
    pub fn differs(&self, now: &Self, what: &str) -> Option<String> {
        if let (Some(before), Some(server)) = (&self.server, &now.server) {
            if before.system != server.system {
                return Some(format!(
                    "the source is another server (system identifier {}, so far {})",
                    server.system, before.system
                ));
            }
            if before.timeline != server.timeline {
                return Some(format!(
                    "the source was restored from a backup, or failed over to a standby (timeline {}, so far {})",
                    server.timeline, before.timeline
                ));
            }
        }
        if self.database.is_some() && now.database.is_some() && self.database != now.database {
            return Some("the source is another database of the server".to_owned());
        }
        if let (Some(before), Some(relation)) = (&self.relation, &now.relation) {
            if before.oid != relation.oid {
                return Some(format!(
                    "{what} is not the table that was read so far: it was dropped and made anew, or `table` names another"
                ));
            }
            let pairs = before.columns.iter().zip(&relation.columns);
            for (before, column) in pairs {
                if before.name == column.name && before.number != column.number {
                    return Some(format!(
                        "the cursor `{}` of {what} is not the column that it was: it was dropped and made anew, or another \
                         took its name",
                        column.name
                    ));
                }
            }
        }
        let of_another = |(name, number): &(&String, &i16)| {
            self.numbers
                .get(*name)
                .is_some_and(|before| before != *number)
        };
        if let Some((name, _)) = now.numbers.iter().find(of_another) {
            return Some(format!(
                "the column `{name}` of {what} is not the column that it was: it was dropped and made anew, or another took its name"
            ));
        }
        match (&self.selection, &now.selection) {
            (Some(before), Some(selection)) if before != selection => Some(
                "which rows are read is configured otherwise (`query`, `where` or `initial_value`)"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// Whether the server's clock was set back, so that transactions which began since have times below the position.
    pub fn set_back(&self, now: &Self) -> SetBack {
        let back = self.clock - now.clock;
        // By how much less than this machine's clock the server's clock has advanced.
        let less = (self.clock - self.own_clock) - (now.clock - now.own_clock);
        if less > IMPRECISION && less >= back {
            SetBack::By(less)
        } else if back > TimeDelta::zero() {
            SetBack::AtLeast(back)
        } else {
            SetBack::No
        }
    }

    /// The time before which no transaction in progress began. `None` if it is not known for each.
    pub fn horizon(&self) -> Option<DateTime<Utc>> {
        self.unseen
            .values()
            .try_fold(self.oldest?, |horizon, began| Some(horizon.min((*began)?)))
    }

    /// Carries over what is known of transactions whose beginning the server does not show. One that was among them before
    /// keeps what was known of it. Any other was either shown with its beginning at that time, or began later.
    pub fn remember(&mut self, before: Option<&Self>) {
        for (name, began) in &mut self.unseen {
            let known = before.and_then(|before| match before.unseen.get(name) {
                Some(known) => *known,
                None if is_prepared(name) => before.oldest_of_sessions(),
                None => before.oldest,
            });
            *began = (*began).max(known);
        }
    }

    /// The time before which no transaction in progress, except prepared ones, began: a transaction that is prepared now
    /// had another name.
    fn oldest_of_sessions(&self) -> Option<DateTime<Utc>> {
        let sessions = self.unseen.iter().filter(|(name, _)| !is_prepared(name));
        sessions
            .map(|(_, began)| *began)
            .try_fold(self.oldest?, |oldest, began| Some(oldest.min(began?)))
    }
}

/// Whether a name is that of a prepared transaction, a transaction id; those of sessions have two numbers: `4/711`.
pub fn is_prepared(name: &str) -> bool {
    !name.contains('/')
}

#[cfg(test)]
mod tests {
    use crate::identity::ColumnIdentity;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn seen(clock: i64, own_clock: i64) -> Seen {
        Seen {
            server: None,
            database: None,
            relation: None,
            numbers: BTreeMap::new(),
            selection: None,
            partitions: Vec::new(),
            clock: at(clock),
            own_clock: at(own_clock),
            oldest: Some(at(clock - 1)),
            unseen: BTreeMap::new(),
        }
    }

    #[test]
    fn a_clock_that_was_set_back_is_told_by_the_other() {
        let before = seen(0, 0);
        assert_eq!(before.set_back(&seen(60, 60)), SetBack::No);
        // Ahead, or this machine's own back: no harm.
        assert_eq!(before.set_back(&seen(90, 60)), SetBack::No);
        // By ten seconds, noticed a minute later.
        assert_eq!(
            before.set_back(&seen(50, 60)),
            SetBack::By(TimeDelta::seconds(10))
        );
        // Both machines' clocks, or one machine for both.
        assert_eq!(
            before.set_back(&seen(-10, -10)),
            SetBack::AtLeast(TimeDelta::seconds(10))
        );
        assert_eq!(
            before.set_back(&seen(-10, 5)),
            SetBack::By(TimeDelta::seconds(15))
        );
    }

    #[test]
    fn an_unseen_transaction_holds_the_horizon_where_it_was_before_it() {
        let mut first = seen(0, 0);
        first.remember(None);
        assert_eq!(first.horizon(), Some(at(-1)));
        let mut second = seen(60, 60);
        second.unseen.insert("4/7".to_owned(), None);
        second.remember(Some(&first));
        assert_eq!(second.horizon(), Some(at(-1)));
        // It is prepared, under another name; and a session tells since when it is connected.
        let mut third = seen(120, 120);
        third.unseen.insert("731".to_owned(), None);
        third.unseen.insert("5/1".to_owned(), Some(at(100)));
        third.remember(Some(&second));
        assert_eq!(third.unseen["731"], Some(at(-1)));
        assert_eq!(third.unseen["5/1"], Some(at(100)));
        assert_eq!(third.horizon(), Some(at(-1)));
        let mut fourth = seen(180, 180);
        fourth.unseen.insert("5/1".to_owned(), None);
        fourth.unseen.insert("5/2".to_owned(), None);
        fourth.remember(Some(&third));
        assert_eq!(fourth.unseen["5/2"], Some(at(119)));
        assert_eq!(fourth.horizon(), Some(at(100)));
    }

    #[test]
    fn nothing_is_known_of_what_was_unseen_from_the_first() {
        let mut first = seen(0, 0);
        first.unseen.insert("731".to_owned(), None);
        first.remember(None);
        assert_eq!(first.horizon(), None);
        let mut second = seen(60, 60);
        second.unseen.insert("731".to_owned(), None);
        second.unseen.insert("732".to_owned(), None);
        second.unseen.insert("4/1".to_owned(), None);
        second.remember(Some(&first));
        assert_eq!(second.horizon(), None);
        assert_eq!(second.unseen["732"], Some(at(-1)));
        assert_eq!(second.unseen["4/1"], Some(at(-1)));
        // What a session has that is not known may be what is prepared later.
        second.unseen.insert("4/2".to_owned(), None);
        let mut third = seen(120, 120);
        third.unseen.insert("733".to_owned(), None);
        third.remember(Some(&second));
        assert_eq!(third.horizon(), None);
        let mut fourth = seen(180, 180);
        fourth.remember(Some(&third));
        assert_eq!(fourth.horizon(), Some(at(179)));
    }

    #[test]
    fn another_table_of_the_name_is_told_and_a_new_column_beside_the_cursor_is_not() {
        let relation = |oid, number| {
            Some(RelationIdentity {
                oid,
                columns: vec![ColumnIdentity {
                    name: "c".to_owned(),
                    number,
                    type_oid: 1184,
                    modifier: -1,
                }],
            })
        };
        let mut before = seen(0, 0);
        let mut now = seen(60, 60);
        assert_eq!(before.differs(&now, "t"), None);
        before.relation = relation(1, 2);
        assert_eq!(before.differs(&now, "t"), None);
        now.relation = relation(1, 2);
        assert_eq!(before.differs(&now, "t"), None);
        now.relation = relation(1, 3);
        assert!(
            before
                .differs(&now, "t")
                .unwrap()
                .contains("the cursor `c`")
        );
        now.relation = relation(2, 2);
        assert!(before.differs(&now, "t").unwrap().contains("made anew"));
        now.relation = relation(1, 2);
        let server = |system: &str, timeline| {
            Some(ServerIdentity {
                system: system.to_owned(),
                timeline,
            })
        };
        before.server = server("7", 1);
        now.server = server("7", 2);
        assert!(before.differs(&now, "t").unwrap().contains("timeline 2"));
        now.server = server("8", 1);
        assert!(
            before
                .differs(&now, "t")
                .unwrap()
                .contains("another server")
        );
        now.server = None;
        assert_eq!(before.differs(&now, "t"), None);
    }
}

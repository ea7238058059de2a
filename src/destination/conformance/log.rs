//! Logs of changes, and loads made of them.

use std::sync::Arc;

use arrow::array::{
    Int32Array, Int64Array, ListBuilder, StringArray, StringBuilder, TimestampMicrosecondArray,
};

use super::*;
use crate::change::{self, Op};
use crate::mode::{Changes, Deletes, Mode};
use crate::position::{Lsn, LsnPosition};

/// A change of a table of (id, n, a, b), of which `id` is the key.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) op: Op,
    pub(crate) lsn: i64,
    pub(crate) seq: i64,
    pub(crate) id: Option<i64>,
    pub(crate) n: Option<i32>,
    pub(crate) a: Option<String>,
    pub(crate) b: Option<String>,
    pub(crate) unchanged: Vec<&'static str>,
}

/// Of what a stream of changes is made, in the order of commits.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) stream: String,
    pub(crate) changes: Changes,
    pub(crate) at: Option<i64>,
    pub(crate) has_key: bool,
}

pub(crate) const HARD: Changes = Changes {
    deletes: Deletes::Hard,
    changelog: false,
};
pub(crate) const SOFT: Changes = Changes {
    deletes: Deletes::Soft,
    changelog: false,
};

/// The same, and a table of changes.
pub(crate) const fn kept(changes: Changes) -> Changes {
    Changes {
        changelog: true,
        ..changes
    }
}

impl Change {
    pub(crate) fn new(op: Op, lsn: i64, seq: i64) -> Self {
        Self {
            op,
            lsn,
            seq,
            id: None,
            n: None,
            a: None,
            b: None,
            unchanged: Vec::new(),
        }
    }

    fn values(mut self, n: i32, a: &str, b: &str) -> Self {
        self.n = Some(n);
        for (value, place, name) in [(a, &mut self.a, "a"), (b, &mut self.b, "b")] {
            match value {
                "=" => self.unchanged.push(name),
                "NULL" => {}
                value => *place = Some(value.to_owned()),
            }
        }
        self
    }
}

/// Changes as `op id n a b`, one a line, one after the other from that position on. `=` is a value that was not sent. A
/// line that begins with `+` is of the same transaction as the one before.
pub(crate) fn log(from: i64, text: &str) -> Vec<Change> {
    let (mut lsn, mut seq) = (from, 0);
    let mut changes = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.trim_start_matches("+ ").split(' ').collect();
        if line.starts_with('+') {
            seq += 1;
        } else {
            lsn += 10;
            seq = 1;
        }
        let op = match words[0] {
            "r" => Op::Snapshot,
            "c" => Op::Insert,
            "u" => Op::Update,
            "d" => Op::Delete,
            "t" => Op::Truncate,
            other => panic!("{other}"),
        };
        let seq = if op == Op::Snapshot { 0 } else { seq };
        let mut change = Change::new(op, if op == Op::Snapshot { from } else { lsn }, seq);
        change.id = words.get(1).map(|id| id.parse().unwrap());
        if let [_, _, n, a, b] = words.as_slice() {
            change = change.values(n.parse().unwrap(), a, b);
        }
        changes.push(change);
    }
    changes
}

pub(crate) fn at(lsn: i64) -> Position {
    Position::Lsn(LsnPosition {
        lsn: Lsn(lsn.unsigned_abs()),
        slot: "acequia".to_owned(),
        system: "1".to_owned(),
        relation: 1,
        membership: Some(1),
        partitions: Vec::new(),
        timeline: None,
        started: None,
        last: None,
        shape: None,
    })
}

/// The columns that every change has, from their operation, place and the columns that it lacks.
pub(crate) fn columns_of_changes(
    load: Load,
    ops: Vec<Op>,
    places: &[(i64, i64)],
    unchanged: &[&[&str]],
) -> Load {
    let mut lists = ListBuilder::new(StringBuilder::new());
    for unchanged in unchanged {
        for column in *unchanged {
            lists.values().append_value(column);
        }
        lists.append(!unchanged.is_empty());
    }
    let times = places.iter().map(|place| place.0 % 1_000_000 * 1_000_000);
    load.with(change::OP, "text", texts(ops.into_iter().map(Op::code)))
        .with(
            change::LSN,
            "int64",
            longs(places.iter().map(|place| place.0)),
        )
        .with(
            change::SEQ,
            "int64",
            longs(places.iter().map(|place| place.1)),
        )
        .with(
            change::COMMIT_TS,
            "timestamptz",
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC")),
        )
        .with(change::UNCHANGED, "list<text>", Arc::new(lists.finish()))
}

impl Log {
    pub(crate) fn new(stream: &str, changes: Changes) -> Self {
        Self {
            stream: stream.to_owned(),
            changes,
            at: None,
            has_key: true,
        }
    }

    /// The next load. Its rows are not in the order of commits.
    pub(crate) fn load(&mut self, changes: &[Change]) -> Load {
        let mut changes = changes.to_vec();
        let after = changes
            .iter()
            .map(|change| change.lsn + 1)
            .max()
            .or(self.at)
            .unwrap_or(1);
        changes.reverse();
        let each = || changes.iter();
        let load = Load::full(
            &self.stream,
            &[
                (
                    "id",
                    "int64",
                    Arc::new(each().map(|change| change.id).collect::<Int64Array>()),
                ),
                (
                    "n",
                    "int32",
                    Arc::new(each().map(|change| change.n).collect::<Int32Array>()),
                ),
                (
                    "a",
                    "text",
                    Arc::new(
                        each()
                            .map(|change| change.a.as_deref())
                            .collect::<StringArray>(),
                    ),
                ),
                (
                    "b",
                    "text",
                    Arc::new(
                        each()
                            .map(|change| change.b.as_deref())
                            .collect::<StringArray>(),
                    ),
                ),
            ],
        );
        let places: Vec<(i64, i64)> = each().map(|change| (change.lsn, change.seq)).collect();
        let unchanged: Vec<&[&str]> = each().map(|change| change.unchanged.as_slice()).collect();
        let load = columns_of_changes(
            load,
            each().map(|change| change.op).collect(),
            &places,
            &unchanged,
        );
        self.position(load, after)
    }

    pub(crate) fn position(&mut self, mut load: Load, after: i64) -> Load {
        load.mode = Mode::Cdc;
        load.disposition = Disposition::Merge;
        load.changes = Some(self.changes);
        if self.has_key {
            load.key = vec!["id".to_owned()];
        }
        load.before = self.at.map(at);
        load.after = Some(at(after));
        self.at = Some(after);
        load
    }
}

/// Inserted, updated and deleted.
pub(crate) fn apply<S: Subject>(fixture: &mut Fixture<S>, load: &Load) -> (u64, u64, u64) {
    let outcome = fixture
        .try_load(load)
        .unwrap_or_else(|error| panic!("{}", error.report()));
    (outcome.inserted, outcome.updated, outcome.deleted)
}

/// The rows of a table, and when they were deleted where that is marked.
pub(crate) fn rows<S: Subject>(fixture: &Fixture<S>, stream: &str) -> Vec<String> {
    fixture.query(&format!(
        "SELECT id, n, a, b FROM replica.\"{stream}\" ORDER BY id"
    ))
}

/// A point in time in whole seconds.
pub(crate) fn seconds<S: Subject>(column: &str) -> String {
    either::<S, _>(
        format!("epoch_us({column}) // 1000000"),
        format!("CAST(extract(epoch FROM {column}) AS BIGINT)"),
    )
}

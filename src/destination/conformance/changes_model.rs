//! Changes against a model: whatever happens to a table, and however its log is cut into loads, the destination's table is
//! what the source's was, and its changelog is the log.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::log::{Change, HARD, Log, SOFT, kept, seconds};
use super::*;
use crate::change::{self, Op};
use crate::mode::Deletes;

/// What is done in the source. Keys and values are drawn from few; what makes no sense for a table is not done.
#[derive(Debug, Clone)]
enum Act {
    Insert(i64, Values),
    /// Values that stay as they are, are not sent.
    Update(i64, Values, Sent),
    /// The row goes to another key.
    Move(i64, i64, Values, Sent),
    /// The rows of two keys change places by way of a third.
    Swap(i64, i64),
    Delete(i64),
    Truncate,
    /// The transaction ends.
    Commit,
    /// The load ends, and with it the transaction.
    Load,
}

type Values = (i32, Option<u8>, Option<u8>);

/// Whether `a` and `b` are given values and sent.
type Sent = (bool, bool);

/// A row of the destination.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    n: i32,
    a: Option<String>,
    b: Option<String>,
    place: (i64, i64),
    deleted_at: Option<i64>,
}

/// The source, its log, and what the destination should have.
#[derive(Debug, Default)]
struct Model {
    rows: BTreeMap<i64, Row>,
    soft: bool,
    lsn: i64,
    seq: i64,
    /// Changes since the last load, as they are sent.
    sent: Vec<Change>,
    /// Every change there was, with all values.
    log: Vec<String>,
    touched: BTreeSet<i64>,
}

const KEYS: i64 = 4;
const THIRD: i64 = 9;

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let key = || 1..=KEYS;
    let value = || proptest::option::weighted(0.8, 0_u8..6);
    let values = || (0..100_i32, value(), value());
    let sent = || (any::<bool>(), any::<bool>());
    let act = prop_oneof![
        4 => (key(), values()).prop_map(|(key, values)| Act::Insert(key, values)),
        6 => (key(), values(), sent()).prop_map(|(key, values, sent)| Act::Update(key, values, sent)),
        4 => (key(), key(), values(), sent())
            .prop_map(|(from, to, values, sent)| Act::Move(from, to, values, sent)),
        1 => (key(), key()).prop_map(|(one, other)| Act::Swap(one, other)),
        2 => key().prop_map(Act::Delete),
        1 => Just(Act::Truncate),
        4 => Just(Act::Commit),
        2 => Just(Act::Load),
    ];
    proptest::collection::vec(act, 1..60)
}

impl Model {
    fn new(soft: bool) -> Self {
        Self {
            soft,
            lsn: 1_000,
            ..Self::default()
        }
    }

    fn lives(&self, key: i64) -> bool {
        self.living().contains(&key)
    }

    fn living(&self) -> BTreeSet<i64> {
        let living = self.rows.iter().filter(|(_, row)| row.deleted_at.is_none());
        living.map(|(key, _)| *key).collect()
    }

    /// Does something. False where the load ends.
    fn act(&mut self, act: &Act) -> bool {
        match *act {
            Act::Insert(key, values) if !self.lives(key) => self.insert(key, values),
            Act::Update(key, values, sent) if self.lives(key) => self.update(key, values, sent),
            Act::Move(from, to, values, sent) if self.lives(from) && !self.lives(to) => {
                self.go(from, to, values, sent);
            }
            Act::Swap(one, other) if one != other && self.lives(one) && self.lives(other) => {
                for (from, to) in [(one, THIRD), (other, one), (THIRD, other)] {
                    let n = self.rows[&from].n;
                    self.go(from, to, (n, None, None), (false, false));
                }
            }
            Act::Delete(key) if self.lives(key) => self.delete(key),
            Act::Truncate => self.truncate(),
            Act::Commit => self.commit(),
            Act::Load => {
                self.commit();
                return false;
            }
            _ => {}
        }
        true
    }

    fn commit(&mut self) {
        if self.seq > 0 {
            self.lsn += 10;
            self.seq = 0;
        }
    }

    fn change(&mut self, op: Op, key: Option<i64>) -> Change {
        self.seq += 1;
        let mut change = Change::new(op, self.lsn, self.seq);
        change.id = key;
        self.touched.extend(key);
        change
    }

    /// Writes down a change whose row is now that; values that are not sent are left out.
    fn say(&mut self, mut change: Change, row: Option<&Row>, sent: Sent) {
        if let Some(row) = row {
            change.n = Some(row.n);
            change.a.clone_from(&row.a);
            change.b.clone_from(&row.b);
        }
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
        self.log.push(format!(
            "{:020}|{:020}|{}|{}|{}|{}|{}",
            change.lsn,
            change.seq,
            change.op.code(),
            change.id.map_or("NULL".to_owned(), |id| id.to_string()),
            change.n.map_or("NULL".to_owned(), |n| n.to_string()),
            show(&change.a),
            show(&change.b),
        ));
        if !sent.0 {
            change.a = None;
            change.unchanged.push("a");
        }
        if !sent.1 {
            change.b = None;
            change.unchanged.push("b");
        }
        self.sent.push(change);
    }

    fn insert(&mut self, key: i64, values: Values) {
        let change = self.change(Op::Insert, Some(key));
        let row = Row::new(values, &change);
        self.say(change, Some(&row), (true, true));
        self.rows.insert(key, row);
    }

    fn update(&mut self, key: i64, values: Values, sent: Sent) {
        let change = self.change(Op::Update, Some(key));
        let row = self.rows[&key].with(values, sent, &change);
        self.say(change, Some(&row), sent);
        self.rows.insert(key, row);
    }

    fn go(&mut self, from: i64, to: i64, values: Values, sent: Sent) {
        let before = self.rows[&from].clone();
        self.delete(from);
        let change = self.change(Op::Insert, Some(to));
        let row = before.with(values, sent, &change);
        self.say(change, Some(&row), sent);
        self.rows.insert(to, row);
    }

    fn delete(&mut self, key: i64) {
        let change = self.change(Op::Delete, Some(key));
        self.end(key, &change);
        self.say(change, None, (true, true));
    }

    fn truncate(&mut self) {
        let change = self.change(Op::Truncate, None);
        for key in self.living() {
            self.end(key, &change);
        }
        self.say(change, None, (true, true));
    }

    fn end(&mut self, key: i64, change: &Change) {
        if self.soft {
            let row = self.rows.get_mut(&key).unwrap();
            row.place = (change.lsn, change.seq);
            row.deleted_at = Some(change.lsn);
        } else {
            self.rows.remove(&key);
        }
    }

    /// The table, as a query of it shows it.
    fn table(&self) -> Vec<String> {
        let show = |value: &Option<String>| value.clone().unwrap_or_else(|| "NULL".to_owned());
        let rows = self.rows.iter().map(|(key, row)| {
            let deleted = row
                .deleted_at
                .map_or("NULL".to_owned(), |at| at.to_string());
            let (lsn, seq) = row.place;
            let (a, b) = (show(&row.a), show(&row.b));
            let mut shown = format!("{key}|{}|{a}|{b}|{lsn}|{seq}|{lsn}", row.n);
            if self.soft {
                shown = format!("{shown}|{deleted}");
            }
            shown
        });
        rows.collect()
    }
}

impl Row {
    fn new((n, a, b): Values, change: &Change) -> Self {
        let text = |value: Option<u8>| value.map(|value| format!("v{value}"));
        Self {
            n,
            a: text(a),
            b: text(b),
            place: (change.lsn, change.seq),
            deleted_at: None,
        }
    }

    fn with(&self, values: Values, sent: Sent, change: &Change) -> Self {
        let new = Self::new(values, change);
        Self {
            a: if sent.0 {
                new.a.clone()
            } else {
                self.a.clone()
            },
            b: if sent.1 {
                new.b.clone()
            } else {
                self.b.clone()
            },
            ..new
        }
    }
}

/// Loads what the model has seen since the last load, and compares.
fn compare<S: Subject>(
    fixture: &mut Fixture<S>,
    stream: &mut Log,
    model: &mut Model,
    before: &BTreeSet<i64>,
) -> std::result::Result<(), TestCaseError> {
    let load = stream.load(&std::mem::take(&mut model.sent));
    let outcome = fixture
        .try_load(&load)
        .map_err(|error| TestCaseError::fail(error.report()))?;
    let after = model.living();
    let touched = std::mem::take(&mut model.touched);
    let stayed = before
        .intersection(&after)
        .filter(|key| touched.contains(key));
    prop_assert_eq!(
        (outcome.inserted, outcome.updated, outcome.deleted),
        (
            after.difference(before).count() as u64,
            stayed.count() as u64,
            before.difference(&after).count() as u64
        )
    );
    let deleted_at = if model.soft {
        format!(", {}", seconds::<S>(change::DELETED_AT))
    } else {
        String::new()
    };
    let table = fixture.query(&format!(
        "SELECT id, n, a, b, _acequia_lsn, _acequia_seq, {}{deleted_at} FROM replica.\"{}\" ORDER BY id",
        seconds::<S>(change::COMMIT_TS),
        stream.stream
    ));
    prop_assert_eq!(table, model.table());
    Ok(())
}

fn changelog<S: Subject>(fixture: &Fixture<S>, stream: &str) -> Vec<String> {
    let mut rows = fixture.query(&format!(
        "SELECT lpad(CAST(_acequia_lsn AS VARCHAR), 20, '0'), lpad(CAST(_acequia_seq AS VARCHAR), 20, '0'), _acequia_op, \
         id, n, a, b FROM replica.\"{stream}__changes\""
    ));
    rows.sort();
    rows
}

pub(crate) fn a_table_is_what_its_source_was_however_the_log_is_cut<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let mut runner = runner::<S>();
    let fixture = std::cell::RefCell::new(&mut fixture);
    let number = std::cell::Cell::new(0);
    let property = |acts: Vec<Act>| {
        let mut fixture = fixture.borrow_mut();
        for changes in [HARD, SOFT, kept(HARD)] {
            number.set(number.get() + 1);
            let mut model = Model::new(changes.deletes == Deletes::Soft);
            let mut stream = Log::new(&format!("s{}", number.get()), changes);
            fixture
                .try_load(&stream.load(&[]))
                .map_err(|error| TestCaseError::fail(error.report()))?;
            let mut before = BTreeSet::new();
            for act in acts.iter().chain([&Act::Load]) {
                if !model.act(act) && !model.sent.is_empty() {
                    compare(&mut fixture, &mut stream, &mut model, &before)?;
                    before = model.living();
                }
            }
            if changes.changelog {
                prop_assert_eq!(changelog(&fixture, &stream.stream), model.log);
            }
        }
        Ok(())
    };
    runner.run(&acts(), property).unwrap();
}

//! Loads of `ventas` of each kind that an engine elsewhere writes: what they do, and what the tables hold after them.

#[cfg(feature = "failpoints")]
use tempfile::TempDir;

use super::*;
use crate::change::Op;
use crate::destination::conformance::log::{HARD, Log, columns_of_changes, kept};
use crate::mode::Amends;
#[cfg(feature = "failpoints")]
use crate::names::LoadId;
use crate::position::ValueRange;

/// What a table's loads do to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    Append,
    Merge,
    /// Changes by key, which are kept as well.
    Changes,
    /// Changes of whole rows, which are kept as well.
    Whole,
    /// A range takes the place of what the table has there, without a key.
    Range,
    /// Rows that say themselves what becomes of those with their keys.
    Repair,
}

pub(super) const ROWS: &str = "SELECT id, importe FROM replica.ventas ORDER BY id, importe";
const LOG: &str = "SELECT count(*), count(DISTINCT (_acequia_lsn, _acequia_seq, id, importe)) FROM replica.ventas__changes";

impl Case {
    pub(super) const ALL: [Self; 6] = [
        Self::Append,
        Self::Merge,
        Self::Changes,
        Self::Whole,
        Self::Range,
        Self::Repair,
    ];

    pub(super) fn named(name: &str) -> Self {
        let found = Self::ALL
            .into_iter()
            .find(|case| format!("{case:?}") == name);
        found.unwrap()
    }

    /// Whether its changes are kept one by one.
    pub(super) fn is_kept(self) -> bool {
        matches!(self, Self::Changes | Self::Whole)
    }

    /// Whether the position stays.
    pub(super) fn amends(self) -> bool {
        matches!(self, Self::Range | Self::Repair)
    }

    /// The first load.
    pub(super) fn first(self) -> Load {
        use Op::Snapshot;
        let sales = |disposition| Load::sales(disposition, None, &[(1, 10, 1), (2, 20, 2)]);
        match self {
            Self::Append | Self::Range => sales(Disposition::Append),
            Self::Merge => sales(Disposition::Merge),
            Self::Repair => Load::sales(
                Disposition::Merge,
                None,
                &[(1, 10, 1), (2, 20, 2), (8, 80, 1)],
            ),
            Self::Changes => self.changes(None, &[(Snapshot, 1, 10), (Snapshot, 2, 20)]),
            Self::Whole => {
                let twice = [(Snapshot, 1, 10), (Snapshot, 2, 20), (Snapshot, 2, 20)];
                self.changes(None, &twice)
            }
        }
    }

    /// The load after it, which is the one that tests are about.
    pub(super) fn next(self) -> Load {
        use Op::{Delete, Insert, Update};
        let sales = |disposition| Load::sales(disposition, Some(2), &[(2, 21, 3), (3, 30, 4)]);
        match self {
            Self::Range => Self::range(&[(2, 21, 2), (3, 30, 2)]),
            Self::Repair => {
                let rows = [(2, 21, 2), (3, 30, 2), (8, 0, 0), (9, 0, 0)];
                Load {
                    amends: Some(Amends::Repair),
                    ops: Some(texts(["u", "u", "d", "d"])),
                    after: None,
                    ..Load::sales(Disposition::Merge, Some(2), &rows)
                }
            }
            Self::Append => sales(Disposition::Append),
            Self::Merge => sales(Disposition::Merge),
            Self::Changes => {
                let changes = [
                    (Update, 2, 21),
                    (Insert, 3, 30),
                    (Insert, 9, 9),
                    (Delete, 9, 9),
                ];
                self.changes(Some(200), &changes)
            }
            Self::Whole => {
                let changes = [(Delete, 2, 20), (Insert, 2, 21), (Insert, 3, 30)];
                self.changes(Some(200), &changes)
            }
        }
    }

    /// Another load of new rows that would come in its place.
    pub(super) fn rival(self) -> Load {
        match self {
            Self::Append | Self::Range => Load::sales(Disposition::Append, Some(2), &[(7, 70, 3)]),
            Self::Merge | Self::Repair => Load::sales(Disposition::Merge, Some(2), &[(7, 70, 3)]),
            Self::Changes | Self::Whole => self.changes(Some(200), &[(Op::Insert, 7, 70)]),
        }
    }

    /// One more, which [`more`](Self::more) does not come after.
    pub(super) fn further(self) -> Load {
        use Op::{Delete, Insert, Update};
        let at = if self.amends() { 2 } else { 4 };
        let sales = |disposition| Load::sales(disposition, Some(at), &[(3, 31, 5), (4, 40, 6)]);
        match self {
            Self::Append | Self::Range => sales(Disposition::Append),
            Self::Merge | Self::Repair => sales(Disposition::Merge),
            Self::Changes => self.changes(Some(300), &[(Update, 3, 31), (Insert, 4, 40)]),
            Self::Whole => {
                let changes = [(Delete, 3, 30), (Insert, 3, 31), (Insert, 4, 40)];
                self.changes(Some(300), &changes)
            }
        }
    }

    /// A load of one new row.
    fn more(self) -> Load {
        let at = if self.amends() { 2 } else { 4 };
        let sales = |disposition| Load::sales(disposition, Some(at), &[(4, 40, 5)]);
        match self {
            Self::Append | Self::Range => sales(Disposition::Append),
            Self::Merge | Self::Repair => sales(Disposition::Merge),
            Self::Changes | Self::Whole => self.changes(Some(300), &[(Op::Insert, 4, 40)]),
        }
    }

    /// The rows from version 2 on, of a stream that stands there.
    pub(super) fn range(rows: &[(i64, i32, i64)]) -> Load {
        let range = ValueRange {
            column: "version".to_owned(),
            from: Some(CursorValue::Integer(2)),
            to: Some(CursorValue::Integer(9)),
        };
        Load {
            amends: Some(Amends::Range(range)),
            after: None,
            ..Load::sales(Disposition::Append, Some(2), rows)
        }
    }

    fn changes(self, before: Option<i64>, changes: &[(Op, i64, i32)]) -> Load {
        let mut stream = Log {
            at: before,
            has_key: self == Self::Changes,
            ..Log::new("ventas", kept(HARD))
        };
        let from = before.unwrap_or(100);
        let places = (1..).zip(changes).map(|(number, (op, _, _))| match op {
            Op::Snapshot => (from, 0),
            _ => (from + number, 1),
        });
        let places: Vec<(i64, i64)> = places.collect();
        let load = Load::full(
            "ventas",
            &[
                ("id", "int64", longs(changes.iter().map(|change| change.1))),
                (
                    "importe",
                    "int32",
                    ints(changes.iter().map(|change| change.2)),
                ),
            ],
        );
        let ops = changes.iter().map(|change| change.0).collect();
        let unchanged = vec![[].as_slice(); changes.len()];
        let load = columns_of_changes(load, ops, &places, &unchanged);
        stream.position(load, from + 100)
    }

    /// What [`next`](Self::next) does: rows that are inserted, updated and deleted.
    pub(super) fn did(self) -> (u64, u64, u64) {
        match self {
            Self::Append => (2, 0, 0),
            Self::Merge | Self::Changes => (1, 1, 0),
            Self::Whole | Self::Range => (2, 0, 1),
            Self::Repair => (1, 1, 1),
        }
    }

    /// The rows after it.
    pub(super) fn rows(self) -> &'static [&'static str] {
        match self {
            Self::Append | Self::Whole => &["1|10", "2|20", "2|21", "3|30"],
            Self::Merge | Self::Changes | Self::Range | Self::Repair => &["1|10", "2|21", "3|30"],
        }
    }

    /// The rows after [`further`](Self::further).
    fn further_rows(self) -> &'static [&'static str] {
        match self {
            Self::Append => &["1|10", "2|20", "2|21", "3|30", "3|31", "4|40"],
            Self::Merge | Self::Changes | Self::Repair => &["1|10", "2|21", "3|31", "4|40"],
            Self::Range => &["1|10", "2|21", "3|30", "3|31", "4|40"],
            Self::Whole => &["1|10", "2|20", "2|21", "3|31", "4|40"],
        }
    }

    /// A fixture with the first load.
    pub(super) fn begun<S: Subject<Destination = Lake>>(self, place: S) -> Fixture<S> {
        let mut fixture = Fixture::of(place, tempfile::tempdir().unwrap());
        fixture.try_load(&self.first()).unwrap();
        fixture
    }

    /// Applies [`next`](Self::next), or finds that it is applied, and then that it is there once.
    pub(super) fn apply<S: Subject<Destination = Lake>>(
        self,
        fixture: &mut Fixture<S>,
        staged: &crate::destination::StagedLoad,
        what: &str,
    ) {
        let loaded = fixture.db.load(staged);
        let outcome = loaded.unwrap_or_else(|error| panic!("{what}: {}", error.report()));
        let outcome = outcome.outcome;
        if !outcome.already_loaded {
            let did = (outcome.inserted, outcome.updated, outcome.deleted);
            assert_eq!(did, self.did(), "{what}");
        }
    }

    /// The next run, after one that died with [`next`](Self::next) landed by that id: it is applied, and there once.
    #[cfg(feature = "failpoints")]
    pub(super) fn assert_done_next<S: Subject<Destination = Lake>>(
        self,
        place: S,
        folder: TempDir,
        id: LoadId,
        what: &str,
    ) {
        let mut fixture = Fixture::of(place, folder);
        let mut load = self.next();
        load.id = Some(id);
        let staged = fixture.stage(&load);
        self.apply(&mut fixture, &staged, what);
        self.assert_done(fixture, what);
    }

    /// The tables are whole, have [`next`](Self::next) once, and no mark is left on them when one more load was applied.
    pub(super) fn assert_done<S: Subject<Destination = Lake>>(
        self,
        fixture: Fixture<S>,
        what: &str,
    ) {
        assert_eq!(fixture.query(ROWS), self.rows(), "{what}");
        self.assert_log(&fixture, 6, what);
        let mut fixture = fixture.reopen();
        assert_eq!(fixture.load(&self.more()), (1, 0), "{what}");
        self.assert_log(&fixture, 7, what);
        self.assert_unmarked(&mut fixture, what);
        let fixture = fixture.reopen();
        assert_eq!(
            fixture.query("SELECT count(*), count(DISTINCT load_id) FROM replica.acequia_loads"),
            ["3|3"],
            "{what}"
        );
    }

    /// The tables have [`next`](Self::next) and [`further`](Self::further) once.
    pub(super) fn assert_further<S: Subject<Destination = Lake>>(
        self,
        fixture: &Fixture<S>,
        what: &str,
    ) {
        assert_eq!(fixture.query(ROWS), self.further_rows(), "{what}");
        let log = if self == Self::Whole { 9 } else { 8 };
        self.assert_log(fixture, log, what);
    }

    fn assert_log<S: Subject<Destination = Lake>>(
        self,
        fixture: &Fixture<S>,
        changes: u32,
        what: &str,
    ) {
        if self.is_kept() {
            // Two rows of the snapshot are equal in all.
            let distinct = if self == Self::Whole {
                changes - 1
            } else {
                changes
            };
            assert_eq!(
                fixture.query(LOG),
                [format!("{changes}|{distinct}")],
                "{what}"
            );
        }
    }

    fn assert_unmarked<S: Subject<Destination = Lake>>(self, fixture: &mut Fixture<S>, what: &str) {
        for table in ["ventas", "ventas__changes"] {
            let seen = fixture.db.writer.catalog.table(table).unwrap();
            assert_eq!(seen.is_some(), table == "ventas" || self.is_kept());
            let Some(seen) = seen else { continue };
            assert_eq!(claims::of(&seen).count(), 0, "{what} {table}");
            assert_eq!(seen.properties.get(claims::INTENT), None, "{what} {table}");
        }
    }
}

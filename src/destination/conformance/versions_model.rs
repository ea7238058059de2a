//! Tables of versions against a model, for any sequence of loads.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::versions::versions_of;
use super::*;
use crate::mode::Mode;

/// A version of a row: its value, and the loads that brought and closed it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Version {
    id: i64,
    importe: i32,
    from: i64,
    to: Option<i64>,
}

/// What a table of versions holds.
#[derive(Debug, Default)]
struct Model(Vec<Version>);

impl Model {
    /// Takes the rows of a load, and tells how many are new, have changed, and have gone.
    fn load(&mut self, mode: Mode, rows: &BTreeMap<i64, i32>, at: i64) -> (u64, u64, u64) {
        let (mut inserted, mut updated, mut deleted) = (0, 0, 0);
        let mut living = BTreeMap::new();
        for version in self.0.iter_mut().filter(|version| version.to.is_none()) {
            match rows.get(&version.id) {
                Some(importe) if *importe != version.importe => {
                    version.to = Some(at);
                    updated += 1;
                }
                None if mode == Mode::Full => {
                    version.to = Some(at);
                    deleted += 1;
                }
                _ => {
                    living.insert(version.id, version.importe);
                }
            }
        }
        for (&id, &importe) in rows {
            if living.contains_key(&id) {
                continue;
            }
            inserted += 1;
            self.0.push(Version {
                id,
                importe,
                from: at,
                to: None,
            });
        }
        (inserted - updated, updated, deleted)
    }

    fn shown(&self) -> Vec<String> {
        let mut versions: Vec<&Version> = self.0.iter().collect();
        versions.sort_by_key(|version| (version.id, version.from));
        let show = |version: &Version| {
            let to = version
                .to
                .map_or_else(|| "NULL".to_owned(), |to| to.to_string());
            format!("{}|{}|{}|{to}", version.id, version.importe, version.from)
        };
        versions.into_iter().map(show).collect()
    }
}

/// The load of those rows, the `number`th of its stream.
fn load_of(stream: &str, mode: Mode, rows: &BTreeMap<i64, i32>, number: i64) -> Load {
    // The cursor is a column that is there: one that grows with each load would make another row of every row.
    let columns = [
        ("id", "int64", longs(rows.keys().copied())),
        ("importe", "int32", ints(rows.values().copied())),
    ];
    let load = Load::full(stream, &columns);
    if mode == Mode::Full {
        return Load {
            disposition: Disposition::Scd2,
            key: vec!["id".to_owned()],
            ..load
        };
    }
    load.by_cursor(
        Disposition::Scd2,
        "importe",
        (number > 1).then(|| CursorValue::Integer(number - 1)),
        Some(CursorValue::Integer(number)),
    )
}

pub(crate) fn scd2_keeps_the_history_of_any_loads<S: Subject>() {
    let mut runner = runner::<S>();
    let fixture = RefCell::new(Fixture::<S>::new());
    let streams = Cell::new(0);
    let property = |loads: Vec<BTreeMap<i64, i32>>| {
        let mut fixture = fixture.borrow_mut();
        for mode in [Mode::Full, Mode::Incremental] {
            streams.set(streams.get() + 1);
            let stream = format!("v{}", streams.get());
            let mut model = Model::default();
            for (number, rows) in (1_i64..).zip(&loads) {
                let mut staged = fixture.stage(&load_of(&stream, mode, rows, number));
                let at = number * 100;
                staged.manifest.extracted_at = chrono::DateTime::from_timestamp(at, 0).unwrap();
                let outcome = fixture
                    .db
                    .load(&staged)
                    .map_err(|error| TestCaseError::fail(error.report()))?
                    .outcome;
                prop_assert_eq!(
                    (outcome.inserted, outcome.updated, outcome.deleted),
                    model.load(mode, rows, at)
                );
                prop_assert_eq!(versions_of(&fixture, &stream), model.shown());
            }
        }
        Ok(())
    };
    let rows = proptest::collection::btree_map(0_i64..6, 0_i32..3, 0..6);
    runner
        .run(&proptest::collection::vec(rows, 1..8), property)
        .unwrap();
}

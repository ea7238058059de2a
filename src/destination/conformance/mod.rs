//! What every destination must do, tested once and run by each.
//!
//! A destination's tests name a [`Subject`] and say `conformance!(Name)`: each test below then runs on it, on a real
//! database with real Parquet parts. What belongs to one destination alone (how it is opened, what it calls its types)
//! is tested beside it. A test that is not in the list at the end of this file is an unused function, which the compiler
//! tells.

use arrow::array::ArrayRef;
use proptest::test_runner::{Config, TestRunner};
use tempfile::TempDir;

use crate::destination::{Destination, LoadOutcome, Parts, StagedLoad};
use crate::error::{Error, Result};
use crate::evolution::SchemaContract;
use crate::landing::manifest::Manifest;
use crate::mode::Disposition;
use crate::names::{LoadId, StreamName};
use crate::position::{CursorPosition, CursorValue, Position};
use crate::schema::ColumnType;

pub(crate) mod additions;
pub(crate) mod changelog;
pub(crate) mod changes;
pub(crate) mod changes_model;
pub(crate) mod changes_whole;
#[cfg(feature = "failpoints")]
pub(crate) mod crashes;
pub(crate) mod evolution;
mod load;
pub(crate) mod log;
pub(crate) mod queries;
pub(crate) mod ranges;
pub(crate) mod relations;
pub(crate) mod replacements;
pub(crate) mod runs;
pub(crate) mod speed;
pub(crate) mod values;
pub(crate) mod versions;
pub(crate) mod versions_model;

pub(crate) use load::{Load, ints, longs, stage, texts, write};

/// What runs a property of which each case is many loads.
fn runner<S: Subject>() -> TestRunner {
    TestRunner::new(Config {
        cases: Config::default().cases.div_ceil(S::cases_for_one()),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..Config::default()
    })
}

/// The dataset that tests load into.
pub(crate) const DATASET: &str = "replica";

/// Whose SQL a destination speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    DuckDb,
    Postgres,
}

/// A kind of destination under test: a place of its own, which is gone when dropped.
pub(crate) trait Subject: Sized {
    /// What is tested.
    type Destination: Destination;
    /// Whose SQL it speaks.
    const DIALECT: Dialect;
    /// What its failpoints' names begin with.
    const NAME: &'static str;
    /// Where `conformance!` is said, as `module_path!` gives it.
    const TESTS: &'static str;
    /// A query of table, column and type of every column in the dataset, in order.
    const COLUMNS: &'static str;

    /// Its table of runs.
    const RUNS: &'static str = "_acequia_runs";
    /// Whether it tells -0.0 from 0.0; else it keeps 0.0.
    const KEEPS_SIGN_OF_ZERO: bool = true;
    /// The tests, as `module::test`, that it does not pass by its nature, each with why; what it does instead is tested beside
    /// it.
    const EXCEPTIONS: &'static [(&'static str, &'static str)] = &[];

    /// Whether a test is left out this time, as it takes long.
    fn is_left_out(_test: &str) -> bool {
        false
    }

    /// How many of `PROPTEST_CASES` count for one where each is many loads.
    fn cases_for_one() -> u32 {
        8
    }

    /// A place where nothing is yet.
    fn new() -> Self;

    /// A place that another process has, found by its [`address`](Self::address).
    #[cfg(feature = "failpoints")]
    fn at(address: &str) -> Self;

    /// Where it is.
    #[cfg(feature = "failpoints")]
    fn address(&self) -> String;

    /// Opens it to be loaded into.
    fn open(&self, dataset: &str) -> Result<Self::Destination>;

    /// Opens it to read its ledger.
    fn open_read_only(&self, dataset: &str) -> Result<Option<Self::Destination>>;

    /// Runs statements of a user's.
    fn execute(&self, db: &Self::Destination, sql: &str);

    /// The rows of a query, each as `a|b|c`, with NULL as `NULL`.
    fn query(&self, db: &Self::Destination, sql: &str) -> Vec<String>;

    /// What the catalog calls the type of a column.
    fn type_name(column_type: &ColumnType) -> String;

    /// As odd a name as a table may have.
    fn odd_name(word: &str) -> String {
        format!("El \"{word}\" 'x'")
    }
}

/// A destination, and a landing area for it.
pub(crate) struct Fixture<S: Subject> {
    pub(crate) folder: TempDir,
    pub(crate) db: S::Destination,
    pub(crate) place: S,
}

impl<S: Subject> Fixture<S> {
    pub(crate) fn new() -> Self {
        Self::of(S::new(), tempfile::tempdir().unwrap())
    }

    pub(crate) fn of(place: S, folder: TempDir) -> Self {
        let db = place.open(DATASET).unwrap();
        Self { folder, db, place }
    }

    /// Closes the destination.
    pub(crate) fn close(self) -> (S, TempDir) {
        drop(self.db);
        (self.place, self.folder)
    }

    /// Closes the destination and opens it again.
    pub(crate) fn reopen(self) -> Self {
        let (place, folder) = self.close();
        Self::of(place, folder)
    }

    pub(crate) fn stage(&mut self, load: &Load) -> StagedLoad {
        let known = self
            .db
            .states()
            .unwrap()
            .remove(&load.stream.parse().unwrap())
            .map(|state| state.schema);
        let load_id = load.id.clone().unwrap_or_else(|| LoadId::new(self.db.id()));
        let mut staged = stage(
            load,
            known.as_ref(),
            load_id,
            &self.folder.path().join("landing"),
        );
        staged.parts = staged.parts.seen_by(self.db.reads());
        staged
    }

    pub(crate) fn try_load(&mut self, load: &Load) -> Result<LoadOutcome> {
        let staged = self.stage(load);
        Ok(self.db.load(&staged)?.outcome)
    }

    /// Rows inserted and updated by a load that deletes none.
    pub(crate) fn load(&mut self, load: &Load) -> (u64, u64) {
        let outcome = self.try_load(load).unwrap();
        assert!(!outcome.already_loaded && outcome.deleted == 0);
        (outcome.inserted, outcome.updated)
    }

    pub(crate) fn sql(&self, sql: &str) {
        self.place.execute(&self.db, sql);
    }

    /// Rows of a query, each as `a|b|c`.
    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        self.place.query(&self.db, sql)
    }

    /// The columns of a table of the dataset, each as `name|type`, in the order of their names.
    pub(crate) fn columns(&self, table: &str) -> Vec<String> {
        let all = self.query(S::COLUMNS);
        let mut columns: Vec<String> = all
            .iter()
            .filter_map(|row| row.strip_prefix(&format!("{table}|")))
            .map(str::to_owned)
            .collect();
        columns.sort();
        columns
    }

    /// Everything in the dataset, to see that nothing changed.
    pub(crate) fn everything(&self) -> Vec<String> {
        let mut all = self.query(S::COLUMNS);
        let mut tables: Vec<String> = all
            .iter()
            .filter_map(|row| row.split('|').next())
            .map(str::to_owned)
            .collect();
        tables.dedup();
        for table in tables {
            let mut rows = self.query(&format!(
                "SELECT * FROM {DATASET}.\"{}\"",
                table.replace('"', "\"\"")
            ));
            rows.sort();
            all.extend(rows);
        }
        all
    }
}

/// What a test says differently to each.
pub(crate) fn either<S: Subject, T>(duckdb: T, postgres: T) -> T {
    match S::DIALECT {
        Dialect::DuckDb => duckdb,
        Dialect::Postgres => postgres,
    }
}

/// Columns as [`Fixture::columns`] gives them.
pub(crate) fn columns<S: Subject>(columns: &[(&str, &str)]) -> Vec<String> {
    let mut columns: Vec<String> = columns
        .iter()
        .map(|(name, column_type)| {
            let column_type: ColumnType = column_type.parse().unwrap();
            format!("{name}|{}", S::type_name(&column_type))
        })
        .collect();
    columns.sort();
    columns
}

/// Whether a test is one of the subject's exceptions, or left out.
pub(crate) fn is_excepted<S: Subject>(test: &str) -> bool {
    S::EXCEPTIONS.iter().any(|(name, _)| *name == test) || S::is_left_out(test)
}

/// Makes a test of each function in the list that follows the subject.
macro_rules! instantiate {
    ($subject:ident $($(#[$meta:meta])* $module:ident: $($test:ident),* $(,)?;)*) => {
        #[test]
        fn every_exception_is_one_of_a_test() {
            let tests = [$($(concat!(stringify!($module), "::", stringify!($test)),)*)*];
            for (name, _) in <$subject as $crate::destination::conformance::Subject>::EXCEPTIONS {
                assert!(tests.contains(name), "there is no test {name}");
            }
        }
        $(
            $(#[$meta])*
            mod $module {
                $(
                    #[test]
                    fn $test() {
                        let name = concat!(stringify!($module), "::", stringify!($test));
                        if $crate::destination::conformance::is_excepted::<super::$subject>(name) {
                            return;
                        }
                        $crate::destination::conformance::$module::$test::<super::$subject>();
                    }
                )*
            }
        )*
    };
}
pub(crate) use instantiate;

/// Runs the whole suite on a [`Subject`], in the module where this is said.
macro_rules! conformance {
    ($subject:ident) => {
        $crate::destination::conformance::instantiate! {
            $subject
            replacements:
                a_full_load_replaces_the_table,
                an_empty_load_makes_an_empty_table_with_its_types,
                a_load_that_the_ledger_has_is_left_alone,
                the_ledger_says_what_was_loaded,
                the_ledger_and_the_id_are_found_again,
                a_table_or_view_of_the_user_is_not_overwritten,
                a_table_of_another_stream_is_not_overwritten,
                any_name_is_only_a_name,
                parts_lie_wherever_they_lie,
                a_load_that_fails_leaves_everything_as_it_was,
                an_interrupt_stops_a_load_and_undoes_it;
            additions:
                a_merge_inserts_new_rows_and_updates_changed_ones,
                a_row_of_the_overlap_that_changed_is_updated,
                an_idle_run_writes_nothing,
                a_load_without_rows_does_not_take_the_position_back,
                a_load_out_of_turn_is_refused,
                of_rows_with_the_same_key_the_newest_is_taken,
                a_key_may_have_several_columns,
                a_key_that_settles_nothing_is_refused,
                an_append_adds_what_is_not_there_and_keeps_true_duplicates,
                rows_whose_cursor_is_null_or_infinite_come_each_time_and_are_met_again,
                minus_zero_and_nan_are_values,
                every_type_of_cursor_bounds_the_overlap,
                rows_of_an_amending_load_replace_and_delete_by_their_keys;
            ranges:
                rows_of_a_range_take_the_place_of_those_with_their_keys,
                rows_that_a_range_lacks_are_marked_where_deletes_are_soft,
                rows_without_a_key_take_the_place_of_all_in_their_range,
                versions_of_a_range_are_closed_and_first_rows_stay,
                every_type_has_ranges;
            relations:
                a_column_of_records_is_not_taken_for_a_relation,
                a_column_of_records_is_not_taken_for_changes,
                columns_may_be_named_as_relations_and_their_fields_are;
            evolution:
                columns_are_added_widened_dropped_and_taken_up_again,
                a_row_met_again_with_a_new_column_is_not_appended_twice,
                a_full_load_keeps_dropped_columns_and_wide_types,
                what_the_table_cannot_take_is_refused_until_a_full_refresh,
                a_frozen_stream_refuses_a_change_and_takes_the_rest,
                a_table_that_is_not_as_the_ledger_says_is_told,
                a_unique_index_of_the_users_stands_in_the_way_and_is_named;
            queries:
                rows_of_a_query_come_as_json,
                names_are_looked_up_in_the_models_schema_first,
                a_query_is_one_select_that_cannot_write;
            runs:
                a_run_is_read_as_it_was_kept,
                a_run_that_is_kept_again_takes_its_own_place,
                the_newest_runs_are_kept_and_the_others_go;
            values:
                numbers,
                decimals,
                texts_and_bytes,
                uuids,
                dates_and_times,
                lists_of_everything,
                lists_of_uuids;
            changes:
                changes_fold_by_key,
                a_value_that_nothing_has_is_refused,
                a_snapshot_makes_the_table_with_the_columns_of_its_changes,
                a_row_tells_which_change_made_it_what_it_is,
                deletes_become_soft_from_one_load_to_the_next,
                a_load_of_changes_is_applied_once_and_in_turn,
                a_table_of_changes_follows_its_source,
                parts_of_one_load_may_differ_in_their_columns,
                a_key_of_changes_is_never_null,
                positions_may_lie_far_apart,
                a_key_of_changes_may_have_several_columns_of_any_name;
            changelog:
                the_changelog_keeps_every_change,
                the_changelog_follows_the_source,
                the_changelog_begins_when_it_is_asked_for;
            changes_model:
                a_table_is_what_its_source_was_however_the_log_is_cut;
            changes_whole:
                rows_without_a_key_come_and_go_as_a_whole,
                a_table_without_a_key_is_what_its_source_was;
            versions:
                insert_only_adds_new_keys_and_leaves_the_others,
                insert_only_follows_its_source,
                scd2_keeps_every_version,
                scd2_by_cursor_closes_nothing_that_is_not_there,
                scd2_compares_what_the_load_has,
                a_table_of_versions_is_no_other_table,
                marks_leave_the_rest_as_it_was;
            versions_model:
                scd2_keeps_the_history_of_any_loads;
            #[cfg(feature = "failpoints")]
            crashes:
                a_crash_before_the_commit_leaves_no_trace,
                a_crash_after_the_commit_loses_nothing,
                dies_for_another_test;
        }
    };
}
pub(crate) use conformance;

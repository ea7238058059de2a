//! The table of runs.

use chrono::{SubsecRound as _, TimeDelta, Utc};

use crate::destination::Destination as _;
use crate::names::RunId;
use crate::runs::{KEPT, RunFailure, RunRecord, RunStatus};

use super::{DATASET, Fixture, Subject};

/// A run of that number, some seconds after the one before.
fn run(number: usize) -> RunRecord {
    let began =
        Utc::now() - TimeDelta::days(1) + TimeDelta::seconds(i64::try_from(number).unwrap());
    let id: RunId = format!("{}-{number:08x}", began.format("%Y%m%dT%H%M%S%3f"))
        .parse()
        .unwrap();
    let mut run = RunRecord::begun(id, "run", began);
    run.status = RunStatus::Ok;
    run
}

pub(crate) fn a_run_is_read_as_it_was_kept<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    assert!(fixture.db.runs(None, 10).unwrap().is_empty());
    let mut failed = RunRecord {
        command: "run --follow".to_owned(),
        status: RunStatus::Failed,
        streams_failed: 2,
        streams_skipped: 1,
        rows_extracted: u64::from(u32::MAX) * 2,
        streams: [("ventas".parse().unwrap(), Utc::now().trunc_subsecs(0))].into(),
        ..run(0)
    };
    failed.fail([RunFailure {
        streams: vec!["a".to_owned(), "b".to_owned()],
        error: "it's \"odd\"\n  because: ñ\\ \u{0}'; DROP TABLE x --".to_owned(),
    }]);
    fixture.db.keep_runs(std::slice::from_ref(&failed)).unwrap();
    let mut fixture = fixture.reopen();
    let found = fixture.db.runs(None, 10).unwrap();
    failed.failures[0].error = failed.failures[0].error.replace('\u{0}', "\u{fffd}");
    assert_eq!(found, [failed]);
}

pub(crate) fn a_run_that_is_kept_again_takes_its_own_place<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let (first, second) = (run(0), run(1));
    fixture.db.keep_runs(std::slice::from_ref(&first)).unwrap();
    let again = RunRecord {
        status: RunStatus::Lost,
        inserted: 7,
        ..first
    };
    fixture
        .db
        .keep_runs(&[second.clone(), again.clone()])
        .unwrap();
    fixture.db.keep_runs(&[]).unwrap();
    assert_eq!(
        fixture.db.runs(None, 10).unwrap(),
        [second.clone(), again.clone()]
    );
    assert_eq!(fixture.db.runs(Some(&second.run_id), 10).unwrap(), [again]);
    assert_eq!(fixture.db.runs(None, 1).unwrap(), [second]);
}

pub(crate) fn the_newest_runs_are_kept_and_the_others_go<S: Subject>() {
    let mut fixture = Fixture::<S>::new();
    let many: Vec<RunRecord> = (0..KEPT + 600).map(run).collect();
    fixture.db.keep_runs(&many).unwrap();
    let table = S::RUNS;
    let count = fixture.query(&format!("SELECT count(*) FROM {DATASET}.{table}"));
    assert_eq!(count, [KEPT.to_string()]);
    let newest = fixture.db.runs(None, 1).unwrap();
    assert_eq!(newest, [many.last().unwrap().clone()]);
}

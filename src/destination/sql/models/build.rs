//! Models are built and tested in one transaction: all that are due, or none. A test that fails undoes it, and the old tables
//! stay as they were.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{SubsecRound, Utc};

use crate::destination::sql::Engine;
use crate::destination::sql::database::Transactional;
use crate::destination::sql::given::Given;
use crate::error::{Error, Result};
use crate::models::report::{ModelStatus, ModelsReport, TestStatus};
use crate::models::{BuiltModel, Materialized, Model, ModelWork, ModelsView};

use super::ledger::{self, Key, Row};
use super::outcome::{Done, report, status};
use super::plan::{ModelStep, Plan, TestStep, definition, kind_of, plan};
use super::reads::{Faults, Resolved};
use super::resolve::resolve;
use super::{Build, Kind, ModelEngine, of_a_model};

/// Builds and tests what is due.
///
/// # Errors
/// [`Error::Config`] for what is wrong in the models; the destination's failure to be read. Where something cannot be built, or
/// a test fails, the report says so, and nothing was changed.
pub(crate) fn run<S: Transactional>(session: &mut S, work: &ModelWork) -> Result<ModelsReport> {
    let began = Instant::now();
    let (resolved, plan) = prepared(session, work)?;
    let mut report = report(work, &plan);
    if plan.is_empty() {
        report.seconds = began.elapsed().as_secs_f64();
        return Ok(report);
    }
    let mut done = Done::default();
    let built = session.with_enough(|session| {
        done = Done::default();
        session.transaction(|session| {
            build_all(session, work, &resolved, &plan, &mut done)?;
            if !done.failed.is_empty() {
                // Told by the tests.
                return Err(Error::Interrupted);
            }
            fail::fail_point!("models.before_commit", crate::failpoint::abort);
            Ok(())
        })
    });
    let failed = !done.failed.is_empty();
    match built {
        Ok(()) => done.tell(&mut report, work, &plan, ModelStatus::Built),
        Err(_) if failed => {
            done.tell(&mut report, work, &plan, ModelStatus::Kept);
            session.transaction(|session| note_failures(session, &plan, &done))?;
        }
        Err(Error::Interrupted) => return Err(Error::Interrupted),
        Err(error) => {
            done.tell(&mut report, work, &plan, ModelStatus::Kept);
            let failed = done
                .current
                .and_then(|current| report.models.get_mut(current));
            if let Some(failed) = failed {
                failed.status = ModelStatus::Failed;
            }
            report.error = Some(error.report());
        }
    }
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Runs every test on what the destination has now. Nothing is written.
///
/// # Errors
/// As [`run`], and where a test cannot be run.
pub(crate) fn test<S: Transactional>(session: &mut S, work: &ModelWork) -> Result<ModelsReport> {
    let began = Instant::now();
    let (_, plan) = prepared(session, work)?;
    let mut report = report(work, &plan);
    session.with_enough(|session| {
        session.trial(|session| {
            look_in_both(session, work)?;
            for (step, told) in plan.tests.iter().zip(&mut report.tests) {
                let is_named = |name: &String| work.only.contains(name);
                if !(work.only.is_empty() || told.model.as_ref().is_some_and(is_named)) {
                    continue;
                }
                if step.is_of_what_is_there {
                    told.rows = count(session, step)?;
                    told.status = status(told.rows);
                } else {
                    told.status = TestStatus::Skipped;
                }
            }
            Ok(())
        })
    })?;
    for model in &mut report.models {
        // Nothing was to be built.
        model.status = ModelStatus::Unchanged;
    }
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// What the models are, and what the destination has of them. Nothing is written.
///
/// # Errors
/// As [`run`].
pub(crate) fn look<S: Transactional>(session: &mut S, work: &ModelWork) -> Result<ModelsView> {
    let (resolved, plan) = prepared(session, work)?;
    let built = plan.models.iter().filter_map(|step| {
        let model = work.project.models.get(step.place)?;
        let known = step.known.as_ref();
        let tests = || {
            plan.tests
                .iter()
                .filter(|test| test.key.model == model.name)
        };
        let found = |test: &TestStep| test.known.as_ref().and_then(|row| row.rows);
        Some(BuiltModel {
            model: model.name.clone(),
            is_due: step.is_due,
            built_at: known.map(|row| row.built_at),
            rows: known.and_then(|row| row.rows),
            seconds: known.map(|row| Duration::from_millis(row.milliseconds).as_secs_f64()),
            passed: tests().filter(|test| found(test) == Some(0)).count(),
            failed: tests()
                .filter(|test| found(test).is_some_and(|rows| rows > 0))
                .map(|test| test.test.clone())
                .collect(),
        })
    });
    Ok(ModelsView {
        dataset: work.project.dataset.clone(),
        built: built.collect(),
        graph: resolved.graph(work),
        left_behind: plan.left_behind.clone(),
    })
}

fn prepared<S: Transactional>(session: &mut S, work: &ModelWork) -> Result<(Resolved, Plan)> {
    let resolved = session
        .trial(|session| resolve(session, work))?
        .map_err(Faults::into_error)?;
    let plan = plan(session, work, &resolved)?;
    Ok((resolved, plan))
}

fn look_in_both(engine: &mut dyn ModelEngine, work: &ModelWork) -> Result<()> {
    let dataset = engine.dataset().to_owned();
    engine.look_in(&[&work.project.dataset, &dataset])
}

fn build_all(
    engine: &mut dyn ModelEngine,
    work: &ModelWork,
    resolved: &Resolved,
    plan: &Plan,
    done: &mut Done,
) -> Result<()> {
    ledger::prepare(engine)?;
    engine.make_schema(&work.project.dataset)?;
    look_in_both(engine, work)?;
    let mut dropped = make_room(engine, work, resolved, plan)?;
    for (index, step) in plan.models.iter().enumerate() {
        if !step.is_due {
            continue;
        }
        let Some(model) = work.project.models.get(step.place) else {
            continue;
        };
        done.current = Some(index);
        let began = Instant::now();
        let rows = build(engine, work, resolved, plan, step, &mut dropped).map_err(|error| {
            of_a_model(error).context(format!("model {} ({})", model.name, model.file))
        })?;
        let milliseconds = milliseconds(began.elapsed());
        let row = Row {
            kind: model.header.materialized.to_string(),
            definition: definition(model),
            inputs: step.inputs.clone(),
            build_id: step.build_id.clone(),
            built_at: Utc::now().trunc_subsecs(6),
            rows,
            milliseconds,
        };
        ledger::write(engine, &Key::model(&model.name), &row)?;
        done.models.push((index, rows, milliseconds));
        done.current = None;
    }
    for (index, step) in plan.tests.iter().enumerate() {
        if !step.is_due {
            continue;
        }
        let began = Instant::now();
        let rows = count(engine, step)?;
        done.tests.push((index, rows));
        if rows > 0 {
            done.failed.insert(index);
            continue;
        }
        let row = test_row(step, &step.inputs, rows, milliseconds(began.elapsed()));
        ledger::write(engine, &step.key, &row)?;
    }
    for key in &plan.forgotten {
        ledger::forget(engine, key)?;
    }
    Ok(())
}

fn milliseconds(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
}

/// How many rows a test finds.
fn count(engine: &mut dyn ModelEngine, step: &TestStep) -> Result<u64> {
    let on: &mut dyn Engine = engine;
    let counted = on.counts(&step.count).map(|[rows]| rows);
    counted
        .map_err(|error| of_a_model(error).context(format!("test {} ({})", step.test, step.file)))
}

fn test_row(step: &TestStep, inputs: &str, rows: u64, milliseconds: u64) -> Row {
    Row {
        kind: "test".to_owned(),
        definition: step.definition.clone(),
        inputs: inputs.to_owned(),
        build_id: String::new(),
        built_at: Utc::now().trunc_subsecs(6),
        rows: Some(rows),
        milliseconds,
    }
}

/// Writes down which tests failed. Without inputs they are run again by the next run.
fn note_failures(engine: &mut dyn ModelEngine, plan: &Plan, done: &Done) -> Result<()> {
    ledger::prepare(engine)?;
    for (index, rows) in &done.tests {
        if let Some(step) = plan
            .tests
            .get(*index)
            .filter(|_| done.failed.contains(index))
        {
            ledger::write(engine, &step.key, &test_row(step, "", *rows, 0))?;
        }
    }
    Ok(())
}

/// Builds a model; the number of its rows, for a table.
fn build(
    engine: &mut dyn ModelEngine,
    work: &ModelWork,
    resolved: &Resolved,
    plan: &Plan,
    step: &ModelStep,
    dropped: &mut BTreeMap<String, Given>,
) -> Result<Option<u64>> {
    let (Some(model), Some(described)) = (
        work.project.models.get(step.place),
        resolved.models.get(&step.place),
    ) else {
        return Ok(None);
    };
    let existing = plan.existing.get(&model.name).copied();
    if existing.is_some() && step.known.is_none() || existing == Some(Kind::Other) {
        return Err(not_ours(work, model));
    }
    let dropped = dropped.remove(&model.name);
    let existing = existing.filter(|_| dropped.is_none());
    let schema = &work.project.dataset;
    let given = match (dropped, existing) {
        (None, Some(_)) => Some(engine.given(schema, &model.name)?),
        (dropped, _) => dropped,
    };
    let models = work.project.models.iter().map(|model| model.name.clone());
    let in_models: BTreeSet<String> = models.chain(resolved.strangers.iter().cloned()).collect();
    let build = Build {
        schema,
        name: &model.name,
        sql: &model.sql,
        columns: &described.columns,
        existing,
        in_models: &in_models,
    };
    let rows = match model.header.materialized {
        Materialized::Table => Some(engine.fill(&build)?),
        Materialized::View => {
            engine.make_view(&build)?;
            None
        }
    };
    if let Some(given) = given {
        engine.give_again(schema, &model.name, &given)?;
    }
    Ok(rows)
}

fn not_ours(work: &ModelWork, model: &Model) -> Error {
    let schema = &work.project.dataset;
    Error::destination(format!(
        "`{}` is in the schema `{schema}` already, and acequia did not make it",
        model.name
    ))
    .remedy("give the model's file another name, or move or drop what is there: acequia does not overwrite it")
}

/// Drops views of models that are built anew, where what they read is to have other columns, or to be of another kind: a database may not let go of
/// a column that a view has. What each was given, by its name.
fn make_room(
    engine: &mut dyn ModelEngine,
    work: &ModelWork,
    resolved: &Resolved,
    plan: &Plan,
) -> Result<BTreeMap<String, Given>> {
    let schema = &work.project.dataset;
    let mut changed: BTreeSet<String> = BTreeSet::new();
    let mut dropped = Vec::new();
    for step in plan.models.iter().filter(|step| step.is_due) {
        let (Some(model), Some(described)) = (
            work.project.models.get(step.place),
            resolved.models.get(&step.place),
        ) else {
            continue;
        };
        if step.known.is_none() {
            continue;
        }
        let existing = plan.existing.get(&model.name);
        let reads_changed = !described.reads.models.is_disjoint(&changed);
        if reads_changed && existing == Some(&Kind::View) {
            dropped.push(model.name.clone());
            changed.insert(model.name.clone());
        } else if existing.is_some()
            && (existing != Some(&kind_of(model))
                || engine.columns_in(schema, &model.name)? != described.columns)
        {
            changed.insert(model.name.clone());
        }
    }
    let mut given = BTreeMap::new();
    // The last reads those before it.
    for name in dropped.into_iter().rev() {
        let view = engine.qualified(schema, &name);
        let of_view = engine.given(schema, &name)?;
        engine.execute(&format!("DROP VIEW {view}"))?;
        given.insert(name, of_view);
    }
    Ok(given)
}

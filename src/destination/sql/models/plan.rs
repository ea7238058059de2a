//! Which models and tests are due: those that are new or changed, and those that read what has changed since.
//!
//! What a model is made of is told by ids: of the last load that changed each stream's table, and of each model's last build. What has none, such as a
//! table that others fill, may have changed at any time.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::destination::sql::ledger as loads;
use crate::error::Result;
use crate::models::header::ColumnTest;
use crate::models::{Materialized, Model, ModelWork, lexer};
use crate::names::hex;

use super::ledger::{self, Key, Row};
use super::reads::{Reads, Resolved};
use super::{Kind, ModelEngine, checks};

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    /// Each model, after those that it reads.
    pub(super) models: Vec<ModelStep>,
    pub(super) tests: Vec<TestStep>,
    /// What is in the models' schema.
    pub(super) existing: BTreeMap<String, Kind>,
    /// Models that were built once and have no file any more.
    pub(super) left_behind: Vec<String>,
    /// Tests that the ledger has and that are no more.
    pub(super) forgotten: Vec<Key>,
}

/// A model of a plan.
#[derive(Debug)]
pub(super) struct ModelStep {
    /// Its index in the project.
    pub(super) place: usize,
    pub(super) is_due: bool,
    pub(super) inputs: String,
    /// The id that its build has, or would have.
    pub(super) build_id: String,
    pub(super) known: Option<Row>,
}

/// A test of a plan.
#[derive(Debug)]
pub(super) struct TestStep {
    pub(super) key: Key,
    /// The models that it reads.
    pub(super) models: BTreeSet<String>,
    /// What it is, for people.
    pub(super) test: String,
    /// Its file, and the line in a header.
    pub(super) file: String,
    pub(super) is_due: bool,
    /// Whether the models that it reads were built as their files are now.
    pub(super) is_of_what_is_there: bool,
    pub(super) definition: String,
    pub(super) inputs: String,
    /// The query that counts what should not be.
    pub(super) count: String,
    pub(super) known: Option<Row>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        !self.models.iter().any(|step| step.is_due) && !self.tests.iter().any(|step| step.is_due)
    }
}

/// The ids of what can be read.
struct Ids {
    loads: BTreeMap<String, String>,
    all_loads: String,
    builds: BTreeMap<String, String>,
}

impl Ids {
    /// A hash of the ids of what is read. `None` if there is something without one.
    fn of(&self, reads: &Reads) -> Option<String> {
        if !reads.others.is_empty() {
            return None;
        }
        let mut told = String::new();
        for model in &reads.models {
            let build = self.builds.get(model)?;
            told.extend(["model ", model, " ", build, "\n"]);
        }
        for table in &reads.tables {
            let load = self.loads.get(table)?;
            told.extend(["table ", table, " ", load, "\n"]);
        }
        if reads.loads {
            told += &self.all_loads;
        }
        Some(hash(&told))
    }
}

fn hash(text: &str) -> String {
    let mut digest = hex(&Sha256::digest(text));
    digest.truncate(32);
    digest
}

/// Compares models and tests with the ledger.
///
/// # Errors
/// The ledger cannot be read.
pub(super) fn plan(
    engine: &mut dyn ModelEngine,
    work: &ModelWork,
    resolved: &Resolved,
) -> Result<Plan> {
    let known = ledger::read(engine)?;
    let existing = engine.relations(&work.project.dataset)?;
    let wanted = wanted(work, resolved);
    let mut ids = ids(engine, work)?;
    let mut models = Vec::new();
    for place in &resolved.order {
        let (Some(model), Some(described)) =
            (work.project.models.get(*place), resolved.models.get(place))
        else {
            continue;
        };
        let row = known.get(&Key::model(&model.name)).cloned();
        let inputs = ids.of(&described.reads);
        let is_current = row.as_ref().is_some_and(|row| {
            row.definition == definition(model) && Some(&row.inputs) == inputs.as_ref()
        }) && existing.get(&model.name) == Some(&kind_of(model))
            && !model.is_built_always();
        let is_wanted = wanted
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&model.name));
        let is_due = is_wanted && (!is_current || work.only.contains(&model.name));
        let build_id = match &row {
            Some(row) if !is_due => row.build_id.clone(),
            _ => Uuid::new_v4().simple().to_string(),
        };
        if is_due || row.is_some() {
            ids.builds.insert(model.name.clone(), build_id.clone());
        }
        models.push(ModelStep {
            place: *place,
            is_due,
            inputs: inputs.unwrap_or_default(),
            build_id,
            known: row,
        });
    }
    let mut tests = tests(engine, work, resolved, &known, &ids, wanted.as_ref());
    let is_there = |name: &String| {
        let model = work.project.model(name);
        let row = known.get(&Key::model(name));
        let as_written = row
            .zip(model)
            .is_some_and(|(row, model)| row.definition == definition(model));
        as_written && existing.contains_key(name)
    };
    for step in &mut tests {
        step.is_of_what_is_there = step.models.iter().all(is_there);
    }
    let forgotten = known
        .keys()
        .filter(|key| !key.test.is_empty() && !tests.iter().any(|step| step.key == **key))
        .cloned()
        .collect();
    let left_behind = known
        .keys()
        .filter(|key| key.test.is_empty() && work.project.model(&key.model).is_none())
        .filter(|key| existing.contains_key(&key.model))
        .map(|key| key.model.clone())
        .collect();
    Ok(Plan {
        models,
        tests,
        existing,
        left_behind,
        forgotten,
    })
}

/// What a model says, with how it is made: a change of either builds it anew.
pub(super) fn definition(model: &Model) -> String {
    format!("{} {}", model.header.materialized, model.definition())
}

/// What a model is to be in the destination.
pub(super) fn kind_of(model: &Model) -> Kind {
    match model.header.materialized {
        Materialized::Table => Kind::Table,
        Materialized::View => Kind::View,
    }
}

/// The models that were asked for, and those that they read. `None` for all.
fn wanted(work: &ModelWork, resolved: &Resolved) -> Option<BTreeSet<String>> {
    if work.only.is_empty() {
        return None;
    }
    let mut wanted = BTreeSet::new();
    let mut open: Vec<String> = work.only.clone();
    while let Some(name) = open.pop() {
        let place = work
            .project
            .models
            .iter()
            .position(|model| model.name == name);
        let described = place.and_then(|place| resolved.models.get(&place));
        if wanted.insert(name) {
            open.extend(
                described
                    .into_iter()
                    .flat_map(|described| described.reads.models.iter().cloned()),
            );
        }
    }
    Some(wanted)
}

fn ids(engine: &mut dyn ModelEngine, work: &ModelWork) -> Result<Ids> {
    let states = loads::states(engine)?;
    let mut all_loads = String::new();
    for (stream, state) in &states {
        all_loads.extend([
            "stream ",
            stream.as_str(),
            " ",
            state.load_id.as_str(),
            "\n",
        ]);
    }
    let contents = loads::contents(engine)?;
    let loads = work
        .tables
        .iter()
        .filter_map(|(table, stream)| Some((table.clone(), contents.get(stream)?.clone())));
    Ok(Ids {
        loads: loads.collect(),
        all_loads,
        builds: BTreeMap::new(),
    })
}

fn tests(
    engine: &mut dyn ModelEngine,
    work: &ModelWork,
    resolved: &Resolved,
    known: &BTreeMap<Key, Row>,
    ids: &Ids,
    wanted: Option<&BTreeSet<String>>,
) -> Vec<TestStep> {
    let mut steps = Vec::new();
    let schema = &work.project.dataset;
    let dataset = engine.dataset().to_owned();
    let mut add =
        |key: Key, test, file, definition: String, reads: &Reads, count, is_always: bool| {
            let inputs = ids.of(reads);
            let row = known.get(&key).cloned();
            let is_current = row.as_ref().is_some_and(|row| {
                row.definition == definition && Some(&row.inputs) == inputs.as_ref()
            });
            let is_wanted = wanted.is_none_or(|wanted| {
                reads.models.iter().any(|model| wanted.contains(model))
                // What was not built yet cannot be tested.
                && reads.models.iter().all(|model| ids.builds.contains_key(model))
            });
            steps.push(TestStep {
                key,
                models: reads.models.clone(),
                is_of_what_is_there: false,
                test,
                file,
                is_due: is_wanted && (is_always || !is_current),
                definition,
                inputs: inputs.unwrap_or_default(),
                count,
                known: row,
            });
        };
    let d = engine.dialect();
    for place in &resolved.order {
        let Some(model) = work.project.models.get(*place) else {
            continue;
        };
        let table = engine.qualified(schema, &model.name);
        for (line, test) in &model.header.tests {
            let mut reads = Reads::default();
            reads.models.insert(model.name.clone());
            let mut other = String::new();
            if let ColumnTest::Relationship { parent, .. } = test {
                if work.project.model(parent).is_some() {
                    reads.models.insert(parent.clone());
                    other = engine.qualified(schema, parent);
                } else {
                    let tables = work.tables.keys();
                    match tables.clone().find(|table| d.is_same_name(table, parent)) {
                        Some(table) => reads.tables.insert(table.clone()),
                        None => reads.others.insert(parent.clone()),
                    };
                    other = engine.qualified(&dataset, parent);
                }
            }
            let key = Key {
                model: model.name.clone(),
                test: test.to_string(),
            };
            let count = checks::of_header(d, test, &table, &other);
            let file = format!("{}:{line}", model.file);
            add(
                key,
                test.to_string(),
                file,
                test.to_string(),
                &reads,
                count,
                false,
            );
        }
    }
    for (test, reads) in work.project.tests.iter().zip(&resolved.tests) {
        let key = Key {
            model: String::new(),
            test: test.name.clone(),
        };
        let count = checks::of_file(&test.sql);
        let is_always = lexer::may_change(&test.sql);
        add(
            key,
            test.name.clone(),
            test.file.clone(),
            test.definition(),
            reads,
            count,
            is_always,
        );
    }
    steps
}

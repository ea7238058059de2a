//! What each model reads, in the words of the database's own parser, and an order in which each comes after what it reads.
//!
//! Every model is defined as a temporary view, in a transaction that is undone: so it is parsed and bound against what it will
//! read, and nothing is written. Where the database finds a name that is not there yet and is a model's, that one is
//! defined first.

use std::collections::BTreeMap;

use crate::config::suggest;
use crate::error::{Error, Result};
use crate::models::header::ColumnTest;
use crate::models::{Model, ModelWork, TestFile, lexer, mistake};

use super::reads::{Described, Faults, Reads, Resolved};
use super::{Kind, ModelEngine, Refused, Relation};

/// Understands the models and tests.
///
/// # Errors
/// The database fails; within, what is wrong in the models.
pub(super) fn resolve(
    engine: &mut dyn ModelEngine,
    work: &ModelWork,
) -> Result<Result<Resolved, Faults>> {
    let dataset = engine.dataset().to_owned();
    engine.look_in(&[&dataset])?;
    let mut resolver = Resolver {
        engine,
        work,
        dataset,
        stack: Vec::new(),
        sound: BTreeMap::new(),
        found: Resolved::default(),
        faults: Faults {
            errors: Vec::new(),
            only_unloaded: true,
        },
    };
    resolver.define_strangers()?;
    for place in 0..work.project.models.len() {
        resolver.visit(place)?;
    }
    for test in &work.project.tests {
        resolver.visit_test(test)?;
    }
    for place in resolver.found.order.clone() {
        resolver.check_header(place)?;
    }
    Ok(if resolver.faults.errors.is_empty() {
        Ok(resolver.found)
    } else {
        Err(resolver.faults)
    })
}

struct Resolver<'a> {
    engine: &'a mut dyn ModelEngine,
    work: &'a ModelWork,
    dataset: String,
    /// The models that are being defined.
    stack: Vec<usize>,
    /// The models that were visited, and whether they are in order.
    sound: BTreeMap<usize, bool>,
    found: Resolved,
    faults: Faults,
}

impl<'a> Resolver<'a> {
    fn fault(&mut self, error: Error) {
        self.faults.only_unloaded = false;
        self.faults.errors.push(error);
    }

    /// What people have in the models' schema comes before the dataset's tables, as it will when the models are built.
    fn define_strangers(&mut self) -> Result<()> {
        let schema = &self.work.project.dataset;
        for (name, kind) in self.engine.relations(schema)? {
            if self.place_of(&name).is_some() || kind == Kind::Other {
                continue;
            }
            let sql = format!("SELECT * FROM {}", self.engine.qualified(schema, &name));
            // A view that is broken by now is none that a model can read.
            if self.engine.define(&name, &sql)?.is_ok() {
                self.found.strangers.insert(name);
            }
        }
        Ok(())
    }

    fn place_of(&self, name: &str) -> Option<usize> {
        let models = &self.work.project.models;
        models
            .iter()
            .position(|model| model.name.eq_ignore_ascii_case(name))
    }

    fn model(&self, place: usize) -> Option<&'a Model> {
        let work: &'a ModelWork = self.work;
        work.project.models.get(place)
    }

    /// Defines a model, after those that it reads. Whether it is in order.
    fn visit(&mut self, place: usize) -> Result<bool> {
        if let Some(sound) = self.sound.get(&place) {
            return Ok(*sound);
        }
        let Some(model) = self.model(place) else {
            return Ok(false);
        };
        self.stack.push(place);
        let relations = if self.visit_named(model)? {
            self.define(&model.name, &model.sql, &model.file)?
        } else {
            None
        };
        self.stack.pop();
        self.sound.insert(place, relations.is_some());
        let Some(relations) = relations else {
            return Ok(false);
        };
        let mut reads = match self.sort(relations) {
            Ok(reads) => reads,
            Err(what) => {
                self.sound.insert(place, false);
                self.fault(model.mistake(1, &what, "write the model's name without a schema"));
                return Ok(false);
            }
        };
        let named = model.header.depends_on.iter();
        reads.models.extend(named.map(|(_, name)| name.clone()));
        let columns = self.engine.defined_columns(&model.name)?;
        self.found
            .models
            .insert(place, Described { reads, columns });
        self.found.order.push(place);
        Ok(true)
    }

    /// Defines the models that a header names.
    fn visit_named(&mut self, model: &Model) -> Result<bool> {
        let mut sound = true;
        for (line, name) in &model.header.depends_on {
            let Some(other) = self.place_of(name) else {
                let (what, remedy) = self.unknown_model(name);
                self.fault(model.mistake(*line, &what, &remedy));
                sound = false;
                continue;
            };
            sound &= self.visit_other(other, &model.file, *line)?;
        }
        Ok(sound)
    }

    fn unknown_model(&self, name: &str) -> (String, String) {
        let known = self
            .work
            .project
            .models
            .iter()
            .map(|model| model.name.as_str());
        let what = match suggest::nearest(name, known) {
            Some(meant) => format!("there is no model `{name}`; did you mean `{meant}`?"),
            None => format!("there is no model `{name}`"),
        };
        (
            what,
            "name a model that has a file, or leave the line out".to_owned(),
        )
    }

    /// Defines a model that another one reads in that line.
    fn visit_other(&mut self, other: usize, file: &str, line: usize) -> Result<bool> {
        if let Some(from) = self.stack.iter().position(|place| *place == other) {
            let round: Vec<&str> = self
                .stack
                .iter()
                .skip(from)
                .chain([&other])
                .filter_map(|place| self.work.project.models.get(*place))
                .map(|model| model.name.as_str())
                .collect();
            let what = format!(
                "the models read each other in a circle: {}",
                round.join(" -> ")
            );
            let remedy = "take what both need into a model of its own, or name the dataset before a stream's table that is meant";
            self.fault(mistake(file, line, &what, remedy));
            return Ok(false);
        }
        self.visit(other)
    }

    fn visit_test(&mut self, test: &TestFile) -> Result<()> {
        let name = format!("_acequia_test_{}", self.found.tests.len());
        let mut reads = Reads::default();
        if let Some(relations) = self.define(&name, &test.sql, &test.file)? {
            match self.sort(relations) {
                Ok(sorted) => reads = sorted,
                Err(what) => {
                    let remedy = "write the model's name without a schema";
                    self.fault(mistake(&test.file, 1, &what, remedy));
                }
            }
        }
        self.found.tests.push(reads);
        Ok(())
    }

    /// Defines a view, after the models that the database misses for it. What it reads; `None` if it could not be defined.
    fn define(&mut self, name: &str, sql: &str, file: &str) -> Result<Option<Vec<Relation>>> {
        let parsed = self.engine.parse(sql)?;
        for read in parsed.iter().flatten().filter(|read| read.schema.is_none()) {
            if let (Some(other), Some(at)) = (self.place_of(&read.name), read.at)
                && !self.visit_other(other, file, lexer::line_of(sql, at))?
            {
                return Ok(None);
            }
        }
        if !self.define_after(name, sql, file)? {
            return Ok(None);
        }
        match parsed {
            Some(relations) => Ok(Some(relations)),
            None => self.engine.reads(name).map(Some),
        }
    }

    /// As [`define`](Self::define): defines first what the database misses. Whether the view could be defined.
    fn define_after(&mut self, name: &str, sql: &str, file: &str) -> Result<bool> {
        // Each round defines one model more.
        for _ in 0..=self.work.project.models.len() {
            let (at, missing) = match self.engine.define(name, sql)? {
                Ok(()) => return Ok(true),
                Err(Refused::Missing { at }) => (at, lexer::name_at(sql, at)),
                Err(Refused::Wrong { message, at }) => {
                    let line = lexer::line_of(sql, at.unwrap_or(0));
                    let remedy = "correct the statement: it is one SELECT in the destination's SQL";
                    self.fault(mistake(file, line, &message, remedy));
                    return Ok(false);
                }
            };
            let line = lexer::line_of(sql, at);
            let other = missing.last().and_then(|name| self.place_of(name));
            let of_models = match missing.as_slice() {
                [_] => true,
                [.., schema, _] => schema.eq_ignore_ascii_case(&self.work.project.dataset),
                [] => false,
            };
            match other.filter(|_| of_models) {
                Some(_) if missing.len() > 1 => {
                    let what = format!("`{}` is a model", missing.join("."));
                    let remedy = "write the model's name without a schema";
                    self.fault(mistake(file, line, &what, remedy));
                    return Ok(false);
                }
                // It was defined, and is gone with a transaction that a mistake told already has ended.
                Some(other)
                    if self.sound.get(&other) == Some(&true) && !self.faults.errors.is_empty() =>
                {
                    return Ok(false);
                }
                Some(other) => {
                    if !self.visit_other(other, file, line)? {
                        return Ok(false);
                    }
                }
                None => {
                    self.not_there(&missing, file, line);
                    return Ok(false);
                }
            }
        }
        self.fault(mistake(
            file,
            1,
            "the models that it reads could not be found out",
            "name them in the header, as in `-- depends_on: model`",
        ));
        Ok(false)
    }

    /// A name that neither a model nor a table has.
    fn not_there(&mut self, missing: &[String], file: &str, line: usize) {
        let name = missing.join(".");
        let own = missing.last().map_or("", String::as_str);
        let work = self.work;
        let stream = work.tables.iter().find(|(table, _)| {
            let known = self.engine.dialect().is_same_name(table, own);
            known && (missing.len() == 1 || missing.contains(&self.dataset))
        });
        if let Some((table, stream)) = stream {
            self.faults.errors.push(mistake(
                file,
                line,
                &format!(
                    "the table `{table}` of the stream {stream} is not there: it was never loaded"
                ),
                &format!("load it first: `acequia run {stream}`"),
            ));
            return;
        }
        let models = work.project.models.iter().map(|model| model.name.as_str());
        let known = models.chain(work.tables.keys().map(String::as_str));
        let what = match suggest::nearest(own, known) {
            Some(meant) => format!("`{name}` is not there; did you mean `{meant}`?"),
            None => format!("`{name}` is not there"),
        };
        let remedy = "read a model, or the table of a stream that was loaded";
        self.fault(mistake(file, line, &what, remedy));
    }

    /// Tells models, streams' tables and others apart.
    fn sort(&self, relations: Vec<Relation>) -> Result<Reads, String> {
        let models = &self.work.project.dataset;
        let d = self.engine.dialect();
        let mut reads = Reads::default();
        for Relation {
            schema,
            name,
            is_table,
            ..
        } in relations
        {
            let full = match &schema {
                Some(schema) => format!("{schema}.{name}"),
                None => name.clone(),
            };
            let place = self.place_of(&name);
            let of_models = schema
                .as_ref()
                .is_some_and(|schema| d.is_same_name(schema, models));
            let of_dataset = schema
                .as_ref()
                .is_none_or(|schema| d.is_same_name(schema, &self.dataset));
            let stream = self
                .work
                .tables
                .keys()
                .find(|table| d.is_same_name(table, &name));
            match (place, stream) {
                _ if !is_table => {
                    reads.others.insert(full);
                }
                (Some(_), _) if of_models => return Err(format!("`{full}` is a model")),
                (Some(place), _) if schema.is_none() => {
                    reads
                        .models
                        .extend(self.model(place).map(|model| model.name.clone()));
                }
                _ if schema.is_none()
                    && self
                        .found
                        .strangers
                        .iter()
                        .any(|known| d.is_same_name(known, &name)) =>
                {
                    reads.others.insert(format!("{models}.{name}"));
                }
                (_, Some(table)) if of_dataset => {
                    reads.tables.insert(table.clone());
                }
                _ if of_dataset && d.is_same_name(&name, "_acequia_loads") => reads.loads = true,
                _ => {
                    reads.others.insert(full);
                }
            }
        }
        Ok(reads)
    }

    /// Whether the columns that a header names are there.
    fn check_header(&mut self, place: usize) -> Result<()> {
        let (Some(model), Some(described)) = (self.model(place), self.found.models.get(&place))
        else {
            return Ok(());
        };
        let d = self.engine.dialect();
        let unknown = |column: &str, columns: &[(String, String)]| {
            let names = || columns.iter().map(|(name, _)| name.as_str());
            if names().any(|name| d.is_same_name(name, column)) {
                return None;
            }
            Some(match suggest::nearest(column, names()) {
                Some(meant) => format!("there is no column `{column}`; did you mean `{meant}`?"),
                None => format!("there is no column `{column}`"),
            })
        };
        let mut errors = Vec::new();
        for (line, test) in &model.header.tests {
            for column in test.columns() {
                if let Some(what) = unknown(column, &described.columns) {
                    errors.push(model.mistake(*line, &what, "name a column of the model"));
                }
            }
            let ColumnTest::Relationship {
                parent,
                parent_column,
                ..
            } = test
            else {
                continue;
            };
            let columns = match self.place_of(parent) {
                Some(other) => match self.found.models.get(&other) {
                    Some(described) => described.columns.clone(),
                    // What is wrong with it is told already.
                    None => continue,
                },
                None => self.engine.columns_in(&self.dataset, parent)?,
            };
            if columns.is_empty() {
                let what = format!("`{parent}` is not there");
                let remedy = "name a model, or the table of a stream that was loaded";
                errors.push(model.mistake(*line, &what, remedy));
            } else if let Some(what) = unknown(parent_column, &columns) {
                let remedy = format!("name a column of `{parent}`");
                errors.push(model.mistake(*line, &what, &remedy));
            }
        }
        for error in errors {
            self.fault(error);
        }
        Ok(())
    }
}

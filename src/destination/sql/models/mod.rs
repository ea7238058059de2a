//! Models in a database: what each [`reads`] ([`resolve`]), which have changed ([`plan`], by the [`ledger`]), and how they are built
//! and tested in one transaction ([`build`], [`checks`], [`outcome`]).
//!
//! What a database has of its own is in [`ModelEngine`]: its parser and its catalog, and how a table is filled anew.

use std::collections::{BTreeMap, BTreeSet};

use crate::destination::sql::given::Given;
use crate::error::{Error, Result};

use super::query::QueryEngine;

mod build;
mod checks;
mod ledger;
mod outcome;
mod plan;
mod reads;
mod resolve;

pub(crate) use build::{look, run, test};
pub(crate) use ledger::known_views;

/// A database that models are built in.
pub(crate) trait ModelEngine: QueryEngine {
    /// Defines a temporary view, which hides what else has its name, in a transaction that is undone.
    fn define(&mut self, name: &str, sql: &str) -> Result<Result<(), Refused>>;

    /// The relations that a statement reads, by the database's own parser, if that tells them before what they name is there.
    /// `None` if it does not, or takes the text for no statement.
    fn parse(&mut self, _sql: &str) -> Result<Option<Vec<Relation>>> {
        Ok(None)
    }

    /// The relations that a temporary view reads, where [`parse`](Self::parse) does not tell those of its statement.
    fn reads(&mut self, name: &str) -> Result<Vec<Relation>>;

    /// Names and types of the columns of a temporary view.
    fn defined_columns(&mut self, name: &str) -> Result<Vec<(String, String)>>;

    /// Names and types of the columns of a table or view.
    fn columns_in(&mut self, schema: &str, name: &str) -> Result<Vec<(String, String)>>;

    /// The tables and views of a schema.
    fn relations(&mut self, schema: &str) -> Result<BTreeMap<String, Kind>>;

    /// Makes a schema, where it is missing.
    fn make_schema(&mut self, schema: &str) -> Result<()>;

    /// The full name of a relation, in SQL.
    fn qualified(&self, schema: &str, name: &str) -> String;

    /// Fills a table of the model's anew, and makes it where it is missing; the number of its rows. Readers see the old rows
    /// until the transaction ends.
    fn fill(&mut self, build: &Build<'_>) -> Result<u64>;

    /// Makes a view, or makes it anew.
    fn make_view(&mut self, build: &Build<'_>) -> Result<()>;

    /// What people gave a table or view.
    fn given(&mut self, schema: &str, name: &str) -> Result<Given>;

    /// Gives it to what has taken its place.
    fn give_again(&mut self, schema: &str, name: &str, given: &Given) -> Result<()>;
}

/// A table or view that is built.
#[derive(Debug)]
pub(crate) struct Build<'a> {
    /// Its schema.
    pub(crate) schema: &'a str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Its query.
    pub(crate) sql: &'a str,
    /// The columns that the query has.
    pub(crate) columns: &'a [(String, String)],
    /// What is there by its name, made by an earlier build.
    pub(crate) existing: Option<Kind>,
    /// The names in the query that are of the models' schema; others without a schema are the dataset's.
    pub(crate) in_models: &'a BTreeSet<String>,
}

/// What a relation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A table.
    Table,
    /// A view.
    View,
    /// Something else.
    Other,
}

/// A relation that a statement reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Relation {
    /// Its schema; none for one that was looked up, or that a temporary view stands for.
    pub(crate) schema: Option<String>,
    /// Its name.
    pub(crate) name: String,
    /// Whether it is what the name says: a function or a file is not.
    pub(crate) is_table: bool,
    /// The offset of its name in the statement, if the parser tells it.
    pub(crate) at: Option<usize>,
}

/// Why a statement is not taken, and the offset in it at which that shows.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It reads what is not there: the name stands at the offset.
    Missing { at: usize },
    /// It is wrong otherwise.
    Wrong { message: String, at: Option<usize> },
}

/// What a load is told of a value does not help whoever wrote a model.
fn of_a_model(error: Error) -> Error {
    match error {
        Error::Data(_) => error.remedy(
            "correct the model, so that it casts, divides and compares only what it can, or leaves such rows out",
        ),
        error => error,
    }
}

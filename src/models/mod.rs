//! Models: tables and views of a destination that are made of its streams' tables, each one SELECT in a file of its own.
//!
//! This module knows what is written down: the [`folder`] of files, the [`header`] of each, the [`lexer`] that finds the
//! statement. What a model reads, the destination's own parser says; [`graph`] shows it. What was done is a [`report`], and
//! [`work`] is what a destination is asked.
//! No I/O, but that the folder is read.

mod folder;
pub mod graph;
pub(crate) mod header;
pub(crate) mod lexer;
pub mod report;
mod work;

use std::collections::BTreeMap;

pub(crate) use folder::{Model, Project, TestFile, faults, mistake};
pub use header::Materialized;
pub use work::{BuiltModel, ModelWork, ModelsView};

use crate::names::StreamName;

/// The tables of a dataset that streams are loaded into, each with its stream.
pub(crate) type StreamTables = BTreeMap<String, StreamName>;

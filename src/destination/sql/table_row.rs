//! A row of one of the tables that acequia keeps for itself in a dataset.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use super::TextRow;
use crate::error::{Error, Result};

/// A row of one of the ledger's tables.
pub(super) struct Row {
    values: TextRow,
    table: &'static str,
}

impl Row {
    pub(super) fn new(values: TextRow, table: &'static str) -> Self {
        Self { values, table }
    }

    pub(super) fn text(&self, column: usize) -> Option<&str> {
        self.values.get(column)?.as_deref()
    }

    pub(super) fn some(&self, column: usize) -> Result<&str> {
        self.text(column).ok_or_else(|| damaged(self.table))
    }

    pub(super) fn parse<T: FromStr>(&self, column: usize) -> Result<T> {
        parse(self.some(column)?, self.table)
    }

    /// What a column's JSON says. No message quotes it: a position is a cell value.
    pub(super) fn json<T: DeserializeOwned>(&self, column: usize) -> Result<T> {
        serde_json::from_str(self.some(column)?).map_err(|_| damaged(self.table))
    }

    /// As [`json`](Self::json), where it may be NULL.
    pub(super) fn optional_json<T: DeserializeOwned>(&self, column: usize) -> Result<Option<T>> {
        self.text(column).map(|_| self.json(column)).transpose()
    }

    pub(super) fn count(&self, column: usize) -> Result<u64> {
        Ok(u64::try_from(self.parse::<i64>(column)?).unwrap_or(0))
    }

    /// A point in time, stored as microseconds since 1970.
    pub(super) fn time(&self, column: usize) -> Result<DateTime<Utc>> {
        DateTime::from_timestamp_micros(self.parse(column)?).ok_or_else(|| damaged(self.table))
    }
}

pub(super) fn parse<T: FromStr>(text: &str, table: &str) -> Result<T> {
    text.parse().map_err(|_| damaged(table))
}

pub(super) fn damaged(table: &str) -> Error {
    Error::destination(format!(
        "the ledger table {table} holds what this acequia did not write"
    ))
    .remedy("use the acequia that wrote it, or a newer one; or drop the ledger's tables, and the next run starts afresh")
}

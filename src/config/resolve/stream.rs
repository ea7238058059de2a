//! Resolves streams of PostgreSQL: checks that their keys agree, and makes the stream.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::TimeDelta;

use super::check_name;
use super::problems::{Checked, Problems, Reported};
use super::source::Sources;
use crate::config::document::Document;
use crate::config::model::{Scalar, StreamConfig};
use crate::config::postgres::{
    ColumnSelection, ColumnSettings, Cursor, DeleteMissing, Relation, TableName,
};
use crate::config::{
    NullCursor, PostgresChanges, PostgresRows, PostgresSource, RowsRead, Stream, StreamSource,
    table_name, units,
};
use crate::error::Result;
use crate::mask::Masks;
use crate::mode::{Changes, Disposition, FullLoad, IncrementalLoad, KeyedLoad, Mode};
use crate::names::StreamName;
use crate::position::Lag;

/// How often keys are compared, unless the stream says otherwise.
const DELETE_MISSING_EVERY: TimeDelta = TimeDelta::days(1);
const TABLE_OR_QUERY: &str = "write either table = \"schema.name\" or query = \"SELECT …\"";

/// A stream that is being resolved.
pub(super) struct Resolver<'a> {
    pub(super) document: &'a Document,
    pub(super) name: &'a StreamName,
    pub(super) config: &'a StreamConfig,
    pub(super) problems: &'a mut Problems,
}

impl Document {
    /// The streams of a configured stream: one, or for HubSpot one for each table.
    pub(super) fn streams_of(
        &self,
        name: &StreamName,
        config: &StreamConfig,
        sources: &Sources<'_>,
        problems: &mut Problems,
    ) -> Checked<Vec<Stream>> {
        let mut resolver = Resolver {
            document: self,
            name,
            config,
            problems,
        };
        if config.has_patterns() {
            return Err(resolver.problem(
                "tables",
                "its tables have not been looked up",
                "look them up first, by `acequia::look_up_tables`",
            ));
        }
        if let Some(source) = sources.hubspot.get(config.source.as_str()) {
            return resolver.resolve_crm(source);
        }
        let refused = self.expansion.members.get(name);
        let source = match refused.and_then(|member| member.refused.clone()) {
            Some(error) => Some(Err(error)),
            None => sources.postgres.get(config.source.as_str()).cloned(),
        };
        resolver.resolve(source).map(|stream| vec![stream])
    }
}

impl Resolver<'_> {
    /// `source` is `None` if the configuration has no source of the stream's name for it.
    fn resolve(mut self, source: Option<Result<Arc<PostgresSource>>>) -> Checked<Stream> {
        // Everything is resolved before the first `?`, so that all problems are reported.
        let others = self.refuse_crm_keys();
        let source = source.ok_or_else(|| self.unknown_source());
        let from = match self.config.mode {
            Mode::Full => self.full(source).map(StreamSource::Rows),
            Mode::Incremental => self.incremental(source).map(StreamSource::Rows),
            Mode::Cdc => self.changes(source).map(StreamSource::Changes),
        };
        let table = self.table();
        let layout = self.layout();
        let renames = self.renames();
        let hooks = self.hooks();
        others?;
        Ok(Stream {
            name: self.name.clone(),
            source: self.config.source.clone(),
            from: from?,
            table: table?,
            contract: self.config.schema_contract,
            layout: layout?,
            renames: renames?,
            hooks: hooks?,
        })
    }

    fn unknown_source(&mut self) -> Reported {
        let known = self.document.config.sources.keys().map(String::as_str);
        self.problems
            .unknown(&self.place("source"), "source", &self.config.source, known)
    }

    fn full(&mut self, source: Checked<Result<Arc<PostgresSource>>>) -> Checked<PostgresRows> {
        let relation = self.relation();
        let load = self.full_load();
        let no_cursor = self.refuse_cursor_keys();
        let is_keyed = load.is_ok_and(|load| Disposition::from(load).has_key());
        let read = load.and_then(|load| no_cursor.map(|()| RowsRead::Full(load)));
        self.rows(source, relation, read, is_keyed, Ok(None))
    }

    fn incremental(
        &mut self,
        source: Checked<Result<Arc<PostgresSource>>>,
    ) -> Checked<PostgresRows> {
        let relation = self.relation();
        let load = self.incremental_load();
        let cursor = self.cursor();
        let is_keyed = matches!(load, Ok(IncrementalLoad::Keyed(_)));
        let is_merged = matches!(load, Ok(IncrementalLoad::Keyed(KeyedLoad::Merge)));
        let missing = self.delete_missing(is_merged || load.is_err());
        let read = cursor.and_then(|cursor| Ok(RowsRead::Incremental(cursor, load?)));
        self.rows(source, relation, read, is_keyed, missing)
    }

    fn rows(
        &mut self,
        source: Checked<Result<Arc<PostgresSource>>>,
        relation: Checked<Relation>,
        read: Checked<RowsRead>,
        is_keyed: bool,
        delete_missing: Checked<Option<DeleteMissing>>,
    ) -> Checked<PostgresRows> {
        let no_changes = self.refuse_change_keys();
        let primary_key = self.primary_key(is_keyed);
        let selected = self.selected();
        let filter = self.filter();
        let masks = self.masks();
        no_changes?;
        let rows = PostgresRows {
            source: source?,
            relation: relation?,
            filter: filter?,
            row_security: self.config.row_security.unwrap_or(false),
            columns: self.columns(selected?, primary_key?, masks?),
            parallel: self.config.parallel,
            read: read?,
            delete_missing: delete_missing?,
        };
        let cursor = rows.cursor().map(|cursor| &cursor.column);
        self.check_columns(&rows.columns, cursor)?;
        if let Some(cursor) = cursor {
            self.refuse_masks_of(&rows.columns.masks, &[cursor])?;
        }
        Ok(rows)
    }

    fn changes(
        &mut self,
        source: Checked<Result<Arc<PostgresSource>>>,
    ) -> Checked<PostgresChanges> {
        let table = self.table_of_changes();
        let no_disposition = self.refuse_disposition_of_changes();
        let no_cursor = self.refuse_cursor_keys();
        let no_filter = self.refuse_filter_of_changes();
        let primary_key = self.primary_key(false);
        let selected = self.selected();
        let masks = self.masks();
        no_disposition?;
        no_cursor?;
        no_filter?;
        let columns = self.columns(selected?, primary_key?, masks?);
        self.check_columns(&columns, None)?;
        Ok(PostgresChanges {
            source: source?,
            table: table?,
            columns,
            parallel: self.config.parallel,
            changes: Changes {
                deletes: self.config.deletes.unwrap_or_default(),
                changelog: self.config.changelog.unwrap_or(false),
            },
        })
    }

    fn columns(
        &self,
        selected: ColumnSelection,
        primary_key: Option<Vec<String>>,
        masks: Masks,
    ) -> ColumnSettings {
        ColumnSettings {
            selected,
            types: self.types(masks.text_columns()),
            primary_key,
            masks,
            may_lack: self
                .document
                .expansion
                .members
                .get(self.name)
                .map_or_else(BTreeSet::new, |member| member.absent.clone()),
        }
    }

    fn relation(&mut self) -> Checked<Relation> {
        match (&self.config.table, &self.config.query) {
            (Some(table), None) => self.table_name(table).map(Relation::Table),
            (None, Some(query)) => {
                let query = self.text(query, "query")?;
                // The query becomes a subquery, which a semicolon would end.
                let query = query.trim_end_matches(|c: char| c.is_whitespace() || c == ';');
                if query.trim().is_empty() {
                    return Err(self.problem("query", "it is empty", TABLE_OR_QUERY));
                }
                Ok(Relation::Query(query.to_owned()))
            }
            (Some(_), Some(_)) => {
                Err(self.problem("table", "the stream has a query as well", TABLE_OR_QUERY))
            }
            (None, None) => Err(self.no_relation()),
        }
    }

    fn no_relation(&mut self) -> Reported {
        let what = "the stream has neither a table nor a query";
        self.problem("table", what, TABLE_OR_QUERY)
    }

    fn table_name(&mut self, table: &str) -> Checked<TableName> {
        let table = self.text(table, "table")?;
        match table_name::parse(&table) {
            Ok((schema, name)) => Ok(TableName { schema, name }),
            Err(error) => Err(self.problem(
                "table",
                &error.to_string(),
                "write \"schema.name\" or \"name\"; put double quotes around a part with a dot in it: \
                 'schema.\"my.table\"'",
            )),
        }
    }

    fn table_of_changes(&mut self) -> Checked<TableName> {
        match (&self.config.table, &self.config.query) {
            (_, Some(_)) => {
                let what = "the log of changes is one of tables";
                Err(self.problem("query", what, "name the `table`"))
            }
            (Some(table), None) => self.table_name(table),
            (None, None) => Err(self.no_relation()),
        }
    }

    pub(super) fn full_load(&mut self) -> Checked<FullLoad> {
        let (what, remedy) = match self.config.disposition {
            None | Some(Disposition::Replace) => return Ok(FullLoad::Replace),
            Some(Disposition::InsertOnly) => return Ok(FullLoad::InsertOnly),
            Some(Disposition::Scd2) => return Ok(FullLoad::Scd2),
            Some(Disposition::Append) => (
                "full reads every row each time, so append would add all of them again and again",
                "leave disposition out, or read only what is new: mode = \"incremental\" with a cursor",
            ),
            Some(Disposition::Merge) => (
                "full reads every row, so its table is replaced; merge would keep rows that the source has deleted",
                "leave disposition out",
            ),
        };
        Err(self.problem("disposition", what, remedy))
    }

    pub(super) fn incremental_load(&mut self) -> Checked<IncrementalLoad> {
        let keyed = match self.config.disposition {
            None | Some(Disposition::Merge) => KeyedLoad::Merge,
            Some(Disposition::InsertOnly) => KeyedLoad::InsertOnly,
            Some(Disposition::Scd2) => KeyedLoad::Scd2,
            Some(Disposition::Append) => return Ok(IncrementalLoad::Append),
            Some(Disposition::Replace) => {
                return Err(self.problem(
                    "disposition",
                    "incremental reads only what has changed, so replace would drop all other rows",
                    "leave disposition out, or use mode = \"full\"",
                ));
            }
        };
        Ok(IncrementalLoad::Keyed(keyed))
    }

    fn refuse_disposition_of_changes(&mut self) -> Checked<()> {
        match self.config.disposition {
            None | Some(Disposition::Merge) => Ok(()),
            Some(_) => Err(self.problem(
                "disposition",
                "a cdc stream's table holds the rows as they are in the source",
                "leave disposition out; `changelog = true` also keeps every change, `deletes = \"soft\"` the rows that \
                 were deleted",
            )),
        }
    }

    fn refuse_filter_of_changes(&mut self) -> Checked<()> {
        if self.config.filter.is_none() {
            return Ok(());
        }
        Err(self.problem(
            "where",
            "what is published decides which rows come",
            "leave it out; or make the publication yourself with a row filter, which acequia follows",
        ))
    }

    /// Only an incremental stream has such keys.
    fn refuse_cursor_keys(&mut self) -> Checked<()> {
        let config = self.config;
        self.refuse_of_mode(
            &[
                ("cursor", config.cursor.is_some()),
                ("initial_value", config.initial_value.is_some()),
                ("lag", config.lag.is_some()),
                ("null_cursor", config.null_cursor.is_some()),
                ("delete_missing", config.delete_missing.is_some()),
                (
                    "delete_missing_every",
                    config.delete_missing_every.is_some(),
                ),
            ],
            "leave it out, or use mode = \"incremental\"",
        )
    }

    /// Only a stream of changes has such keys.
    fn refuse_change_keys(&mut self) -> Checked<()> {
        let config = self.config;
        self.refuse_of_mode(
            &[
                ("deletes", config.deletes.is_some()),
                ("changelog", config.changelog.is_some()),
            ],
            "leave it out, or use mode = \"cdc\"",
        )
    }

    /// What is done with rows that the source has no more. Only where rows are merged is there one of each key.
    fn delete_missing(&mut self, is_merged: bool) -> Checked<Option<DeleteMissing>> {
        let config = self.config;
        let every = match &config.delete_missing_every {
            None => Ok(DELETE_MISSING_EVERY),
            Some(text) => {
                let text = self.text(text, "delete_missing_every")?;
                units::duration(&text).ok_or_else(|| {
                    self.problem(
                        "delete_missing_every",
                        "this is no interval",
                        "write a duration such as \"1d\" or \"12h\", or \"0s\" for each run",
                    )
                })
            }
        };
        let Some(deletes) = config.delete_missing else {
            return match &config.delete_missing_every {
                None => Ok(None),
                Some(_) => Err(self.problem(
                    "delete_missing_every",
                    "it says how often `delete_missing` is done, which is not given",
                    "add delete_missing = \"hard\" or \"soft\", or leave it out",
                )),
            };
        };
        if !is_merged {
            return Err(self.problem(
                "delete_missing",
                "rows are found by their key only where they are merged by it",
                "leave it out, or use disposition = \"merge\"",
            ));
        }
        Ok(Some(DeleteMissing {
            deletes,
            every: every?,
        }))
    }

    /// Refuses those keys that are given, as the stream's mode has none of them.
    fn refuse_of_mode(&mut self, keys: &[(&str, bool)], remedy: &str) -> Checked<()> {
        let what = format!("it has no meaning with mode = \"{}\"", self.config.mode);
        self.refuse(keys, &what, remedy)
    }

    /// Refuses those keys that are given.
    pub(super) fn refuse(
        &mut self,
        keys: &[(&str, bool)],
        what: &str,
        remedy: &str,
    ) -> Checked<()> {
        let mut outcome = Ok(());
        for (key, _) in keys.iter().filter(|(_, given)| *given) {
            outcome = Err(self.problem(key, what, remedy));
        }
        outcome
    }

    fn cursor(&mut self) -> Checked<Cursor> {
        let config = self.config;
        let column = self.cursor_column();
        let initial_value = match &config.initial_value {
            None => Ok(None),
            Some(Scalar::Integer(value)) => Ok(Some(value.to_string())),
            Some(Scalar::Text(text)) => self.text(text, "initial_value").map(Some),
        };
        let lag = self.lag();
        Ok(Cursor {
            column: column?,
            initial_value: initial_value?,
            lag: lag?,
            nulls: config.null_cursor.unwrap_or(NullCursor::Error),
        })
    }

    fn cursor_column(&mut self) -> Checked<String> {
        let remedy = "name the column that grows with each change, as in cursor = \"updated_at\"";
        let Some(column) = &self.config.cursor else {
            return Err(self.problem("cursor", "mode = \"incremental\" needs one", remedy));
        };
        let column = self.text(column, "cursor")?;
        if column.is_empty() {
            return Err(self.problem("cursor", "it is empty", remedy));
        }
        Ok(column)
    }

    pub(super) fn lag(&mut self) -> Checked<Option<Lag>> {
        let remedy = "write a duration such as \"90s\", \"10m\", \"2h\" or \"1d\" for dates and times, a whole number \
                      from 0 up for numbers";
        match &self.config.lag {
            None => Ok(None),
            Some(Scalar::Integer(units)) if *units >= 0 => Ok(Some(Lag::Units(*units))),
            Some(Scalar::Integer(_)) => Err(self.problem("lag", "it is negative", remedy)),
            Some(Scalar::Text(text)) => {
                let text = self.text(text, "lag")?;
                match units::duration(&text) {
                    Some(time) => Ok(Some(Lag::Time(time))),
                    None => Err(self.problem("lag", "this is no duration", remedy)),
                }
            }
        }
    }

    fn primary_key(&mut self, is_keyed: bool) -> Checked<Option<Vec<String>>> {
        let key = match &self.config.primary_key {
            None if is_keyed && self.config.query.is_some() => {
                return Err(self.problem(
                    "primary_key",
                    "this disposition needs a key, and a query has none of its own",
                    "name the columns that tell one row from another",
                ));
            }
            None => return Ok(None),
            Some(columns) => columns.names(),
        };
        if key.is_empty() {
            return Err(self.problem(
                "primary_key",
                "it names no column",
                "name the key columns, or leave it out to use the table's own key",
            ));
        }
        self.texts(key, "primary_key").map(Some)
    }

    fn selected(&mut self) -> Checked<ColumnSelection> {
        let exclude = &self.config.exclude;
        let Some(columns) = &self.config.columns else {
            let exclude = self.texts(exclude, "exclude")?;
            return Ok(if exclude.is_empty() {
                ColumnSelection::All
            } else {
                ColumnSelection::Except(exclude)
            });
        };
        if columns.is_empty() {
            return Err(self.problem(
                "columns",
                "it names no column",
                "name columns, or leave it out to take all",
            ));
        }
        if !exclude.is_empty() {
            return Err(self.problem(
                "exclude",
                "columns says already which columns to take",
                "keep one of columns and exclude",
            ));
        }
        self.texts(columns, "columns").map(ColumnSelection::Only)
    }

    /// Checks that key, cursor and typed columns are among the columns that are read.
    fn check_columns(&mut self, columns: &ColumnSettings, cursor: Option<&String>) -> Checked<()> {
        let key = columns.primary_key.iter().flatten();
        let key = key.map(|column| ("primary_key", column));
        let cursor = cursor.map(|column| ("cursor", column));
        let masks = self.config.mask.keys().map(|column| ("mask", column));
        let types = self.config.types.keys().map(|column| ("types", column));
        let is_member = self.document.expansion.members.contains_key(self.name);
        let renames = self.config.rename.keys().filter(|_| !is_member);
        let renames = renames.map(|column| ("rename", column));
        let mut outcome = Ok(());
        let named = key.chain(cursor).chain(types).chain(masks).chain(renames);
        for (key, column) in named {
            if columns.selected.takes(column) {
                continue;
            }
            let (what, remedy) = if matches!(columns.selected, ColumnSelection::Except(_)) {
                (
                    format!("exclude leaves the column `{column}` out"),
                    format!("take `{column}` out of exclude"),
                )
            } else {
                (
                    format!("the column `{column}` is not among columns"),
                    format!("add `{column}` to columns"),
                )
            };
            outcome = Err(self.problem(key, &what, &remedy));
        }
        outcome
    }

    fn filter(&mut self) -> Checked<Option<String>> {
        let Some(filter) = &self.config.filter else {
            return Ok(None);
        };
        let filter = self.text(filter, "where")?;
        if filter.trim().is_empty() {
            return Err(self.problem("where", "it is empty", "write a condition, or leave it out"));
        }
        Ok(Some(filter))
    }

    pub(super) fn table(&mut self) -> Checked<String> {
        let Some(table) = &self.config.destination_table else {
            return Ok(self.name.as_str().to_owned());
        };
        let table = self.text(table, "destination_table")?;
        check_name(&table, &self.place("destination_table"), self.problems)?;
        Ok(table)
    }

    /// Expands the variables in names of columns. No name may be empty or occur twice.
    pub(super) fn texts(&mut self, names: &[String], key: &str) -> Checked<Vec<String>> {
        let mut texts: Vec<String> = Vec::with_capacity(names.len());
        for name in names {
            let text = self.text(name, key)?;
            if text.is_empty() {
                return Err(self.problem(key, "one of its names is empty", "name columns"));
            }
            if texts.contains(&text) {
                let what = format!("it names the column `{text}` twice");
                return Err(self.problem(key, &what, "name it once"));
            }
            texts.push(text);
        }
        Ok(texts)
    }

    pub(super) fn text(&mut self, text: &str, key: &str) -> Checked<String> {
        self.document.expand(text, &self.place(key), self.problems)
    }

    pub(super) fn problem(&mut self, key: &str, what: &str, remedy: &str) -> Reported {
        self.problems.add(&self.place(key), what, remedy)
    }

    fn place(&self, key: &str) -> String {
        format!("[streams.{}] {key}", self.name)
    }
}

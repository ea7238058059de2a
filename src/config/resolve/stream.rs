//! One stream: whether its keys go together, and what they come to.

use super::check_name;
use super::problems::{Checked, Problems, Reported};
use crate::config::document::Document;
use crate::config::model::{Scalar, SourceKind, StreamConfig};
use crate::config::{Cursor, NullCursor, Relation, Stream, table_name, units};
use crate::mode::{Changes, Disposition, Mode};
use crate::names::StreamName;
use crate::position::Lag;

/// A stream that is being looked at.
pub(super) struct Resolver<'a> {
    pub(super) document: &'a Document,
    pub(super) name: &'a StreamName,
    pub(super) config: &'a StreamConfig,
    pub(super) problems: &'a mut Problems,
}

impl Document {
    /// What a configured stream comes to: one stream, or of HubSpot one for each table.
    pub(super) fn streams_of(
        &self,
        name: &StreamName,
        config: &StreamConfig,
        problems: &mut Problems,
    ) -> Checked<Vec<Stream>> {
        let resolver = Resolver {
            document: self,
            name,
            config,
            problems,
        };
        let source = self.config.sources.get(&config.source);
        if source.is_some_and(|source| source.kind == SourceKind::HubSpot) {
            return resolver.resolve_crm();
        }
        resolver.resolve().map(|stream| vec![stream])
    }
}

impl Resolver<'_> {
    fn resolve(mut self) -> Checked<Stream> {
        // Everything is looked at before the first `?`, so that all problems are told.
        let others = self.refuse_crm_keys();
        let source = self.source();
        let relation = self.relation();
        let disposition = self.disposition();
        let cursor = self.cursor();
        let changes = self.changes();
        let primary_key = self.primary_key(disposition);
        let columns = self.columns();
        let exclude = self.texts(&self.config.exclude, "exclude");
        let filter = self.filter();
        let table = self.table();
        let stream = Stream {
            name: self.name.clone(),
            source: source?,
            relation: relation?,
            mode: self.config.mode,
            disposition: disposition?,
            cursor: cursor?,
            changes: changes?,
            primary_key: primary_key?,
            columns: columns?,
            exclude: exclude?,
            filter: filter?,
            table: table?,
            parallel: self.config.parallel,
            row_security: self.config.row_security.unwrap_or(false),
            contract: self.config.schema_contract,
            types: self.config.types.clone(),
        };
        others?;
        self.check_columns(&stream)?;
        Ok(stream)
    }

    pub(super) fn source(&mut self) -> Checked<String> {
        let source = &self.config.source;
        let sources = &self.document.config.sources;
        if sources.contains_key(source) {
            return Ok(source.clone());
        }
        let known = sources.keys().map(String::as_str);
        Err(self
            .problems
            .unknown(&self.place("source"), "source", source, known))
    }

    fn relation(&mut self) -> Checked<Relation> {
        let remedy = "write either table = \"schema.name\" or query = \"SELECT …\"";
        match (&self.config.table, &self.config.query) {
            (Some(table), None) => {
                let table = self.text(table, "table")?;
                match table_name::parse(&table) {
                    Ok((schema, name)) => Ok(Relation::Table { schema, name }),
                    Err(error) => Err(self.problem(
                        "table",
                        &error.to_string(),
                        "write \"schema.name\" or \"name\"; put double quotes around a part with a dot in it: \
                         'schema.\"my.table\"'",
                    )),
                }
            }
            (None, Some(query)) => {
                let query = self.text(query, "query")?;
                // The query becomes a subquery, which a semicolon would end.
                let query = query.trim_end_matches(|c: char| c.is_whitespace() || c == ';');
                if query.trim().is_empty() {
                    return Err(self.problem("query", "it is empty", remedy));
                }
                Ok(Relation::Query(query.to_owned()))
            }
            (Some(_), Some(_)) => {
                Err(self.problem("table", "the stream has a query as well", remedy))
            }
            (None, None) => Err(self.problem(
                "table",
                "the stream has neither a table nor a query",
                remedy,
            )),
        }
    }

    pub(super) fn disposition(&mut self) -> Checked<Disposition> {
        let (what, remedy) = match (self.config.mode, self.config.disposition) {
            (Mode::Full, None | Some(Disposition::Replace)) => return Ok(Disposition::Replace),
            (Mode::Incremental | Mode::Cdc, None | Some(Disposition::Merge)) => {
                return Ok(Disposition::Merge);
            }
            (Mode::Incremental, Some(Disposition::Append)) => return Ok(Disposition::Append),
            (
                Mode::Full | Mode::Incremental,
                Some(disposition @ (Disposition::InsertOnly | Disposition::Scd2)),
            ) => return Ok(disposition),
            (Mode::Full, Some(Disposition::Append)) => (
                "full reads every row each time, so append would add all of them again and again",
                "leave disposition out, or read only what is new: mode = \"incremental\" with a cursor",
            ),
            (Mode::Full, Some(Disposition::Merge)) => (
                "full reads every row, so its table is replaced; merge would keep rows that the source has deleted",
                "leave disposition out",
            ),
            (Mode::Incremental, Some(Disposition::Replace)) => (
                "incremental reads only what has changed, so replace would drop all other rows",
                "leave disposition out, or use mode = \"full\"",
            ),
            (Mode::Cdc, Some(_)) => (
                "a cdc stream's table holds the rows as they are in the source",
                "leave disposition out; `changelog = true` also keeps every change, `deletes = \"soft\"` the rows that \
                 were deleted",
            ),
        };
        Err(self.problem("disposition", what, remedy))
    }

    fn cursor(&mut self) -> Checked<Option<Cursor>> {
        match self.config.mode {
            Mode::Full | Mode::Cdc => self.no_cursor().map(|()| None),
            Mode::Incremental => self.cursor_of_incremental().map(Some),
        }
    }

    fn no_cursor(&mut self) -> Checked<()> {
        let config = self.config;
        let keys = [
            ("cursor", config.cursor.is_some()),
            ("initial_value", config.initial_value.is_some()),
            ("lag", config.lag.is_some()),
            ("null_cursor", config.null_cursor.is_some()),
        ];
        let mut outcome = Ok(());
        for (key, _) in keys.iter().filter(|(_, given)| *given) {
            outcome = Err(self.problem(
                key,
                &format!("it has no meaning with mode = \"{}\"", config.mode),
                "leave it out, or use mode = \"incremental\"",
            ));
        }
        outcome
    }

    /// What a cdc stream does with changes; no other stream has such keys.
    fn changes(&mut self) -> Checked<Option<Changes>> {
        let config = self.config;
        if config.mode == Mode::Cdc {
            let refused = [
                (
                    "query",
                    config.query.is_some(),
                    "the log of changes is one of tables",
                    "name the `table`",
                ),
                (
                    "where",
                    config.filter.is_some(),
                    "what is published decides which rows come",
                    "leave it out; or make the publication yourself with a row filter, which acequia follows",
                ),
            ];
            let mut outcome = Ok(());
            for (key, _, what, remedy) in refused.iter().filter(|(_, given, ..)| *given) {
                outcome = Err(self.problem(key, what, remedy));
            }
            outcome?;
            return Ok(Some(Changes {
                deletes: config.deletes.unwrap_or_default(),
                changelog: config.changelog.unwrap_or(false),
            }));
        }
        let keys = [
            ("deletes", config.deletes.is_some()),
            ("changelog", config.changelog.is_some()),
        ];
        let mut outcome = Ok(None);
        for (key, _) in keys.iter().filter(|(_, given)| *given) {
            outcome = Err(self.problem(
                key,
                &format!("it has no meaning with mode = \"{}\"", config.mode),
                "leave it out, or use mode = \"cdc\"",
            ));
        }
        outcome
    }

    fn cursor_of_incremental(&mut self) -> Checked<Cursor> {
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

    fn primary_key(&mut self, disposition: Checked<Disposition>) -> Checked<Option<Vec<String>>> {
        let merges = disposition.is_ok_and(Disposition::has_key);
        let key = match &self.config.primary_key {
            None if merges && self.config.query.is_some() => {
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

    fn columns(&mut self) -> Checked<Option<Vec<String>>> {
        let Some(columns) = &self.config.columns else {
            return Ok(None);
        };
        if columns.is_empty() {
            return Err(self.problem(
                "columns",
                "it names no column",
                "name columns, or leave it out to take all",
            ));
        }
        if !self.config.exclude.is_empty() {
            return Err(self.problem(
                "exclude",
                "columns says already which columns to take",
                "keep one of columns and exclude",
            ));
        }
        self.texts(columns, "columns").map(Some)
    }

    /// Key, cursor and typed columns have to be among those that are taken.
    fn check_columns(&mut self, stream: &Stream) -> Checked<()> {
        let key = stream.primary_key.iter().flatten();
        let key = key.map(|column| ("primary_key", column));
        let cursor = stream
            .cursor
            .iter()
            .map(|cursor| ("cursor", &cursor.column));
        let types = stream.types.keys().map(|column| ("types", column));
        let mut outcome = Ok(());
        for (key, column) in key.chain(cursor).chain(types) {
            if stream.exclude.contains(column) {
                outcome = Err(self.problem(
                    key,
                    &format!("exclude leaves the column `{column}` out"),
                    &format!("take `{column}` out of exclude"),
                ));
            } else if stream
                .columns
                .as_ref()
                .is_some_and(|columns| !columns.contains(column))
            {
                outcome = Err(self.problem(
                    key,
                    &format!("the column `{column}` is not among columns"),
                    &format!("add `{column}` to columns"),
                ));
            }
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

    /// The names of columns, with their variables filled in; none may be empty or come twice.
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

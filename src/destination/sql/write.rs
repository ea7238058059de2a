//! Builds statements, writes them in a dialect, and executes them.

use std::iter;

use crate::destination::{LOAD_ID_COLUMN, LoadOutcome};
use crate::error::Result;
use crate::landing::manifest::Manifest;

use super::Engine;
use super::dialect::{Dialect, KEY, NEW, OLD};
use super::statement::{
    Action, Clause, Exchange, Exchanged, Gone, Insert, Matched, Merge, Missing, Part, Unmatched,
    Written,
};
use super::system_columns::SystemColumn;

impl Insert {
    /// Rows of a relation, a table reference without alias; its alias is [`NEW`].
    pub(crate) fn rows(relation: &str) -> Self {
        Self::from(format!("{relation} AS {NEW}"))
    }

    /// Rows of the relation that follows `FROM`.
    pub(crate) fn from(from: String) -> Self {
        Self {
            columns: Vec::new(),
            from,
            condition: None,
            is_only_new: false,
        }
    }

    /// Takes a column's value from an expression.
    pub(crate) fn value(mut self, column: &str, value: String) -> Self {
        self.columns.push((column.to_owned(), value));
        self
    }

    /// Takes columns from those of the same names of a relation.
    pub(crate) fn columns<'a>(
        mut self,
        d: &dyn Dialect,
        alias: &str,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        for name in names {
            self.columns.push((name.to_owned(), d.of(alias, name)));
        }
        self
    }

    /// Gives acequia's own columns the values that new rows have in them.
    pub(crate) fn own(mut self, d: &dyn Dialect, own: &[SystemColumn]) -> Self {
        self.columns
            .extend(own.iter().map(|own| (own.name.to_owned(), own.value(d))));
        self
    }

    /// Sets the column that holds the id of the load that brought a row.
    pub(crate) fn load_id(self, d: &dyn Dialect, manifest: &Manifest) -> Self {
        self.value(LOAD_ID_COLUMN, d.literal(manifest.load_id.as_str()))
    }

    /// Takes only rows that meet a condition.
    pub(crate) fn only(mut self, condition: impl Into<String>) -> Self {
        self.condition = Some(condition.into());
        self
    }

    /// Within a [`Merge`]: takes only rows whose key the table does not have.
    pub(crate) fn only_new(mut self) -> Self {
        self.is_only_new = true;
        self
    }

    /// The statement.
    pub(crate) fn sql(&self, d: &dyn Dialect, table: &str) -> String {
        self.among(d, table, None)
    }

    fn among(&self, d: &dyn Dialect, table: &str, unlike: Option<&str>) -> String {
        let conditions: Vec<&str> = [self.condition.as_deref(), unlike]
            .into_iter()
            .flatten()
            .collect();
        let values: Vec<&str> = self
            .columns
            .iter()
            .map(|(_, value)| value.as_str())
            .collect();
        format!(
            "INSERT INTO {table} ({}) SELECT {} FROM {}{}",
            d.list(self.columns.iter().map(|(name, _)| name.as_str())),
            values.join(", "),
            self.from,
            filter(&conditions)
        )
    }
}

impl Written {
    /// Counts the rows of a clause.
    pub(crate) fn count(&mut self, clause: Clause, rows: u64) {
        match clause {
            Clause::Empties => {}
            Clause::Unmatched => self.unmatched = rows,
            Clause::Matched(place) => {
                if let Some(matched) = self.matched.get_mut(place) {
                    *matched = rows;
                }
            }
            Clause::Insert => self.inserted = rows,
        }
    }
}

impl Missing<'_> {
    /// The statement that adds the rows of the load, [`NEW`] of the relation that follows `FROM`.
    pub(crate) fn insert(&self, d: &dyn Dialect, from: String) -> Insert {
        Insert::from(from)
            .columns(d, NEW, self.rows.names())
            .load_id(d, self.manifest)
    }
}

impl Gone {
    /// The condition that the table's row [`OLD`] goes by the relation's row [`KEY`].
    pub(crate) fn condition(&self, d: &dyn Dialect) -> String {
        format!("{} AND {}", self.same(d), self.only)
    }

    /// The condition that the two are equal.
    pub(crate) fn same(&self, d: &dyn Dialect) -> String {
        let (of_table, of_rows): (Vec<String>, Vec<String>) = self
            .compared
            .iter()
            .map(|of| (of.of_table.clone(), format!("{KEY}.{}", of.name)))
            .unzip();
        d.same(&of_table, &of_rows)
    }
}

impl Exchange<'_> {
    /// As a statement for each of its parts.
    pub(crate) fn statements(&self, d: &dyn Dialect) -> Vec<(Part, String)> {
        let table = self.table;
        let mut statements = Vec::new();
        if self.empties {
            statements.push((Part::Emptied, format!("DELETE FROM {table}")));
        }
        if let Some(within) = &self.within {
            let delete = format!("DELETE FROM {table} AS {OLD} WHERE {within}");
            statements.push((Part::Emptied, delete));
        }
        if let Some(gone) = &self.gone {
            let delete = format!(
                "DELETE FROM {table} AS {OLD} USING {} AS {KEY} WHERE {}",
                gone.rows,
                gone.condition(d)
            );
            statements.push((Part::Gone, delete));
        }
        if let Some(back) = &self.back {
            statements.push((Part::Back, back.sql(d, table)));
        }
        if let Some(insert) = &self.insert {
            statements.push((Part::Inserted, insert.sql(d, table)));
        }
        statements
    }
}

impl Exchanged {
    /// Counts the rows of a part.
    pub(crate) fn count(&mut self, part: Part, rows: u64) {
        match part {
            Part::Emptied => self.emptied = rows,
            Part::Gone => self.gone = rows,
            Part::Back => {}
            Part::Inserted => self.inserted = rows,
        }
    }
}

impl Merge<'_> {
    /// Carries it out.
    pub(crate) fn run(&self, engine: &mut dyn Engine) -> Result<Written> {
        engine.write(self)
    }

    /// What it has written before it began.
    pub(crate) fn nothing(&self) -> Written {
        Written {
            matched: vec![0; self.matched.len()],
            ..Written::default()
        }
    }

    /// Carries it out, and counts.
    pub(crate) fn count(&self, engine: &mut dyn Engine) -> Result<LoadOutcome> {
        let written = self.run(engine)?;
        Ok(self.outcome(&written))
    }

    /// What it comes to: a row that is replaced or changed is updated, one that takes another's place is not new, and one that
    /// is changed as its key does not come was deleted.
    pub(crate) fn outcome(&self, written: &Written) -> LoadOutcome {
        let mut outcome = LoadOutcome {
            inserted: written.inserted,
            deleted: written.unmatched,
            ..LoadOutcome::default()
        };
        for (matched, rows) in self.matched.iter().zip(&written.matched) {
            match matched.action {
                Action::Delete => outcome.deleted += rows,
                Action::Update(_) => outcome.updated += rows,
                Action::Replace => {
                    let updated = outcome.inserted.min(*rows);
                    outcome.updated += updated;
                    outcome.inserted -= updated;
                }
            }
        }
        outcome
    }

    /// As a statement for each part, with `DELETE … USING` and `UPDATE … FROM`.
    pub(crate) fn statements(&self, d: &dyn Dialect) -> Vec<(Clause, String)> {
        let mut statements = Vec::new();
        if self.empties {
            statements.push((Clause::Empties, format!("DELETE FROM {}", self.table)));
        }
        if let Some(unmatched) = &self.unmatched {
            statements.push((Clause::Unmatched, self.unmatched(d, unmatched)));
        }
        for (place, matched) in self.matched.iter().enumerate() {
            statements.push((Clause::Matched(place), self.matched(d, matched)));
        }
        if let Some(insert) = &self.insert {
            let unlike = insert
                .is_only_new
                .then(|| self.not_among(d, self.table, OLD, NEW));
            statements.push((
                Clause::Insert,
                insert.among(d, self.table, unlike.as_deref()),
            ));
        }
        statements
    }

    fn unmatched(&self, d: &dyn Dialect, unmatched: &Unmatched) -> String {
        let keys = unmatched.keys.as_ref();
        let missing = keys.map(|keys| self.not_among(d, keys, KEY, OLD));
        let conditions = filter([&unmatched.condition, &missing].into_iter().flatten());
        self.change(d, &unmatched.action, unmatched.from.as_deref(), &conditions)
    }

    fn matched(&self, d: &dyn Dialect, matched: &Matched) -> String {
        let on = d.equal(self.key, OLD, NEW);
        let conditions = filter(iter::once(&on).chain(&matched.condition));
        self.change(d, &matched.action, Some(&matched.keys), &conditions)
    }

    /// The statement of a change of the rows of the table, and of a relation, that a filter leaves.
    fn change(
        &self,
        d: &dyn Dialect,
        action: &Action,
        relation: Option<&str>,
        filter: &str,
    ) -> String {
        let table = self.table;
        let with =
            |word: &str| relation.map_or_else(String::new, |of| format!(" {word} {of} AS {NEW}"));
        match action {
            Action::Delete | Action::Replace => {
                format!("DELETE FROM {table} AS {OLD}{}{filter}", with("USING"))
            }
            Action::Update(set) => {
                let set: Vec<String> = set
                    .iter()
                    .map(|(name, value)| format!("{} = {value}", d.identifier(name)))
                    .collect();
                format!(
                    "UPDATE {table} AS {OLD} SET {}{}{filter}",
                    set.join(", "),
                    with("FROM")
                )
            }
        }
    }

    /// The condition that no row of a relation has the key of `alias`.
    pub(crate) fn not_among(
        &self,
        d: &dyn Dialect,
        relation: &str,
        within: &str,
        alias: &str,
    ) -> String {
        format!(
            "NOT EXISTS (SELECT 1 FROM {relation} AS {within} WHERE {})",
            d.equal(self.key, alias, within)
        )
    }
}

/// What follows a relation of which only the rows are wanted that meet all of these conditions; nothing where there are none.
pub(crate) fn filter<S: AsRef<str>>(conditions: impl IntoIterator<Item = S>) -> String {
    let conditions: Vec<S> = conditions.into_iter().collect();
    let conditions: Vec<&str> = conditions.iter().map(AsRef::as_ref).collect();
    match conditions.as_slice() {
        [] => String::new(),
        conditions => format!(" WHERE {}", conditions.join(" AND ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::destination::duckdb::dialect::DuckDbSql;

    #[test]
    fn a_merge_is_a_statement_for_each_of_its_parts() {
        let key = ["it's".to_owned(), "n".to_owned()];
        let insert = Insert::rows("rows").columns(&DuckDbSql, NEW, ["it's", "n"]);
        let merge = Merge {
            empties: false,
            unmatched: Some(Unmatched {
                keys: Some("rows".to_owned()),
                condition: Some("live".to_owned()),
                action: Action::Update(vec![("a\"b".to_owned(), "1".to_owned())]),
                from: None,
            }),
            matched: vec![
                Matched {
                    keys: "gone".to_owned(),
                    condition: None,
                    action: Action::Delete,
                },
                Matched {
                    keys: "rows".to_owned(),
                    condition: Some("differs".to_owned()),
                    action: Action::Update(vec![("n".to_owned(), "2".to_owned())]),
                },
            ],
            insert: Some(insert.value("x", "NULL".to_owned()).only("y").only_new()),
            ..Merge::new("t", &key)
        };
        let on =
            r#"_acequia_old."it's" = _acequia_new."it's" AND _acequia_old."n" = _acequia_new."n""#;
        assert_eq!(
            merge.statements(&DuckDbSql),
            [
                (
                    Clause::Unmatched,
                    concat!(
                        r#"UPDATE t AS _acequia_old SET "a""b" = 1 WHERE live AND NOT EXISTS (SELECT 1 FROM rows AS "#,
                        r#"_acequia_key WHERE _acequia_old."it's" = _acequia_key."it's" AND _acequia_old."n" = "#,
                        r#"_acequia_key."n")"#
                    )
                    .to_owned()
                ),
                (
                    Clause::Matched(0),
                    format!("DELETE FROM t AS _acequia_old USING gone AS _acequia_new WHERE {on}")
                ),
                (
                    Clause::Matched(1),
                    format!(
                        "UPDATE t AS _acequia_old SET \"n\" = 2 FROM rows AS _acequia_new WHERE {on} AND differs"
                    )
                ),
                (
                    Clause::Insert,
                    concat!(
                        r#"INSERT INTO t ("it's", "n", "x") SELECT _acequia_new."it's", _acequia_new."n", NULL FROM rows "#,
                        r#"AS _acequia_new WHERE y AND NOT EXISTS (SELECT 1 FROM t AS _acequia_old WHERE "#,
                        r#"_acequia_new."it's" = _acequia_old."it's" AND _acequia_new."n" = _acequia_old."n")"#
                    )
                    .to_owned()
                ),
            ]
        );
        let emptied = Merge {
            unmatched: Some(Unmatched {
                keys: None,
                condition: None,
                action: Action::Delete,
                from: None,
            }),
            ..Merge::new("t", &key)
        };
        let sql = "DELETE FROM t AS _acequia_old".to_owned();
        assert_eq!(
            emptied.statements(&DuckDbSql),
            [(Clause::Unmatched, sql)],
            "of no keys every key is another"
        );
    }
}

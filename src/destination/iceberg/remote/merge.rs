//! A load's change of a table as one statement, which may be repeated. No I/O.
//!
//! The rows of the source say each what becomes of one row of the table, which is found by the key, and where a key has
//! several versions by when one began. What the source needs of the table it reads from the snapshot that the load began on; so
//! the statement does the same however often it is run, whatever it has done before.

use std::collections::BTreeSet;

use crate::destination::sql::dialect::{KEY, NEW, OLD};
use crate::destination::sql::statement::{Action, Clause, Insert, Merge};
use crate::destination::sql::system_columns::VALID_FROM;
use crate::destination::sql::{Dialect, filter};
use crate::error::{Error, Result};
use crate::schema::ColumnType;

use super::dialect::SparkSql;

/// What becomes of a row.
const WHAT: &str = "_acequia_what";
/// Rows that are written whole.
const WHOLE: usize = 0;
/// Rows whose key does not come.
const UNMATCHED: usize = 1;
/// Rows whose key is in the first of the merge's relations, and so on.
const MATCHED: usize = 2;

/// The table of a load.
#[derive(Debug)]
pub(super) struct Target {
    /// What is written to, in SQL.
    pub(super) writes: String,
    /// What is read, in SQL: no rows where the table is made anew.
    pub(super) reads: String,
    /// Its columns: names, and types in SQL.
    pub(super) columns: Vec<(String, String)>,
    /// Whether it is made anew: what it has goes.
    pub(super) anew: bool,
}

/// The statement that a merge is.
#[derive(Debug)]
pub(super) struct Written<'a> {
    target: &'a Target,
    merge: &'a Merge<'a>,
    identity: Vec<String>,
    /// The columns of the source's rows.
    used: Vec<&'a (String, String)>,
    /// The queries of the source's rows, each with the clause that it stands for and what becomes of its rows.
    sources: Vec<(Clause, usize, String)>,
}

/// How many rows the source has of a kind, and between which keys they lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) what: usize,
    pub(super) rows: u64,
    pub(super) span: Option<(String, String)>,
}

impl<'a> Written<'a> {
    /// What a merge comes to.
    ///
    /// # Errors
    /// [`Error::Internal`] where it writes a column that the table does not have.
    pub(super) fn of(target: &'a Target, merge: &'a Merge<'a>) -> Result<Self> {
        let mut identity = merge.key.to_vec();
        if merge.keeps_versions {
            identity.push(VALID_FROM.to_owned());
        }
        let mut names: BTreeSet<&str> = identity.iter().map(String::as_str).collect();
        if let Some(insert) = &merge.insert {
            names.extend(insert.columns.iter().map(|(name, _)| name.as_str()));
        }
        if let Some(unmatched) = &merge.unmatched {
            names.extend(set_by(&unmatched.action).map(|(name, _)| name));
        }
        for matched in &merge.matched {
            names.extend(set_by(&matched.action).map(|(name, _)| name));
        }
        let used: Vec<&(String, String)> = target
            .columns
            .iter()
            .filter(|(name, _)| names.contains(name.as_str()))
            .collect();
        if used.len() != names.len() {
            return Err(Error::internal(
                "a merge writes a column that its table lacks",
            ));
        }
        let mut written = Self {
            target,
            merge,
            identity,
            used,
            sources: Vec::new(),
        };
        written.sources = written.sources();
        Ok(written)
    }

    fn sources(&self) -> Vec<(Clause, usize, String)> {
        let d: &dyn Dialect = &SparkSql;
        let mut sources = Vec::new();
        let (merge, reads) = (self.merge, &self.target.reads);
        if !self.target.anew {
            if let Some(unmatched) = &merge.unmatched {
                let set: Vec<_> = set_by(&unmatched.action).collect();
                let of = unmatched.from.as_ref();
                let of = of.map_or_else(String::new, |from| format!(" CROSS JOIN {from} AS {NEW}"));
                let missing = unmatched.keys.as_ref();
                let missing = missing.map(|keys| merge.not_among(d, keys, KEY, OLD));
                let select = format!(
                    "{} FROM {reads} AS {OLD}{of}{}",
                    self.row(OLD, &set),
                    filter([&unmatched.condition, &missing].into_iter().flatten())
                );
                sources.push((Clause::Unmatched, UNMATCHED, select));
            }
            for (place, matched) in merge.matched.iter().enumerate() {
                let select = match &matched.action {
                    // Whatever has the key goes, be it of the load itself, as the rows that come are added.
                    Action::Replace if merge.mends => {
                        format!("{} FROM {} AS {NEW}", self.row(NEW, &[]), matched.keys)
                    }
                    // The rows that come say so themselves.
                    Action::Replace => continue,
                    action => {
                        let set: Vec<_> = set_by(action).collect();
                        format!(
                            "{} FROM {} AS {NEW} JOIN {reads} AS {OLD} ON {}{}",
                            self.row(OLD, &set),
                            matched.keys,
                            d.equal(merge.key, NEW, OLD),
                            filter(&matched.condition)
                        )
                    }
                };
                sources.push((Clause::Matched(place), MATCHED + place, select));
            }
        }
        if let Some(insert) = &merge.insert {
            let values: Vec<_> = insert
                .columns
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let is_new = insert.is_only_new && !self.target.anew;
            let is_new = is_new.then(|| merge.not_among(d, reads, KEY, NEW));
            let select = format!(
                "{} FROM {}{}",
                self.row(NEW, &values),
                insert.from,
                filter([&insert.condition, &is_new].into_iter().flatten())
            );
            sources.push((Clause::Insert, WHOLE, select));
        }
        sources
    }

    /// The columns of a source's row: the values that are given, the identity of the row of that alias, NULL for the rest.
    fn row(&self, alias: &str, values: &[(&str, &str)]) -> String {
        let d: &dyn Dialect = &SparkSql;
        let columns: Vec<String> = self
            .used
            .iter()
            .map(|(name, data_type)| {
                let given = values.iter().find(|(of, _)| of == name);
                let value = match given {
                    Some((_, value)) => (*value).to_owned(),
                    None if self.identity.contains(name) => d.of(alias, name),
                    None => "NULL".to_owned(),
                };
                format!("CAST({value} AS {data_type}) AS {}", d.identifier(name))
            })
            .collect();
        format!("SELECT {}", columns.join(", "))
    }

    /// The source's rows, each with what becomes of it; where they are counted, as many as rows of the table are changed.
    fn source(&self, counts: bool) -> String {
        let d: &dyn Dialect = &SparkSql;
        let names = d.list(self.used.iter().map(|(name, _)| name.as_str()));
        let sources: Vec<String> = self
            .sources
            .iter()
            .map(|(_, what, select)| {
                // A row of the table is changed once, however many have its key.
                let once = if self.merge.mends && *what != WHOLE && !counts {
                    "DISTINCT "
                } else {
                    ""
                };
                format!("SELECT {once}{what} AS {WHAT}, {names} FROM ({select}) AS {NEW}")
            })
            .collect();
        let typed = typed(self.target, &self.used, Some(WHAT));
        format!("({typed}{})", sources.join(" UNION ALL "))
    }

    /// The query that counts the source's rows of each kind, and tells between which keys they lie; none where there are none.
    pub(super) fn count(&self) -> Option<String> {
        let d: &dyn Dialect = &SparkSql;
        if self.sources.is_empty() {
            return None;
        }
        let span = self.spanned().map_or_else(
            || "NULL, NULL".to_owned(),
            |(name, _)| {
                let key = d.of(NEW, name);
                format!("CAST(min({key}) AS STRING), CAST(max({key}) AS STRING)")
            },
        );
        Some(format!(
            "SELECT CAST({NEW}.{WHAT} AS STRING), CAST(count(*) AS STRING), {span} FROM {} AS {NEW} GROUP BY {NEW}.{WHAT}",
            self.source(true)
        ))
    }

    /// The query that counts the rows that come whose key the table has, where rows are replaced.
    pub(super) fn count_replaced(&self) -> Option<String> {
        let d: &dyn Dialect = &SparkSql;
        let replaces = |matched: &crate::destination::sql::statement::Matched| {
            matches!(matched.action, Action::Replace)
        };
        if self.target.anew || !self.merge.matched.iter().any(replaces) {
            return None;
        }
        let (_, _, whole) = self.sources.iter().find(|(_, what, _)| *what == WHOLE)?;
        Some(format!(
            "SELECT count(*) FROM ({whole}) AS {NEW} JOIN {} AS {OLD} ON {}",
            self.target.reads,
            d.equal(&self.identity, NEW, OLD)
        ))
    }

    /// What is done to rows of the table, of each kind of the source's rows.
    fn changes(&self) -> impl Iterator<Item = (usize, &Action)> {
        let unmatched = self.merge.unmatched.iter();
        let unmatched = unmatched.map(|unmatched| (UNMATCHED, &unmatched.action));
        let matched = self.merge.matched.iter().enumerate();
        unmatched.chain(matched.map(|(place, matched)| (MATCHED + place, &matched.action)))
    }

    /// The clauses that rows of a kind stand for.
    pub(super) fn clauses(&self, what: usize) -> impl Iterator<Item = Clause> {
        self.sources
            .iter()
            .filter(move |(_, of, _)| *of == what)
            .map(|(clause, _, _)| *clause)
    }

    /// The places of the parts by which rows are replaced.
    pub(super) fn replacing(&self) -> impl Iterator<Item = Clause> {
        let matched = self.merge.matched.iter().enumerate();
        matched
            .filter(|(_, matched)| matches!(matched.action, Action::Replace))
            .map(|(place, _)| Clause::Matched(place))
    }

    /// The key's first column, where its values are ordered as their literals are read.
    fn spanned(&self) -> Option<&'a (String, String)> {
        let name = self.merge.key.first()?;
        let column = self.target.columns.iter().find(|(of, _)| of == name)?;
        matches!(
            SparkSql.parse_type(&column.1)?,
            ColumnType::Int32
                | ColumnType::Int64
                | ColumnType::Date
                | ColumnType::Timestamp
                | ColumnType::TimestampTz
                | ColumnType::Decimal { .. }
                | ColumnType::Text
        )
        .then_some(column)
    }

    /// The statement; none where nothing is to be done. Between which keys the source's rows lie stands in it as literals, so
    /// that files without such keys are not read.
    pub(super) fn sql(&self, counted: &[Counted]) -> Option<String> {
        let d: &dyn Dialect = &SparkSql;
        let empties = self.merge.empties || self.target.anew;
        let has = |what: usize| counted.iter().any(|of| of.what == what && of.rows > 0);
        if !empties && counted.iter().all(|of| of.rows == 0) {
            return None;
        }
        let mut on = d.equal(&self.identity, OLD, NEW);
        if self.merge.mends {
            on = format!("{on} AND {NEW}.{WHAT} <> {WHOLE}");
        }
        let spans: Option<Vec<_>> = counted.iter().map(|of| of.span.as_ref()).collect();
        if let (Some((name, data_type)), Some(spans)) = (self.spanned(), spans) {
            let key = d.of(OLD, name);
            let bound = |text: &str| format!("CAST({} AS {data_type})", d.literal(text));
            let [lowest, highest] = [
                spans
                    .iter()
                    .map(|(lowest, _)| bound(lowest))
                    .collect::<Vec<_>>(),
                spans.iter().map(|(_, highest)| bound(highest)).collect(),
            ];
            if let ([lowest], [highest]) = (lowest.as_slice(), highest.as_slice()) {
                on = format!("{on} AND {key} >= {lowest} AND {key} <= {highest}");
            } else if !lowest.is_empty() {
                on = format!(
                    "{on} AND {key} >= least({}) AND {key} <= greatest({})",
                    lowest.join(", "),
                    highest.join(", ")
                );
            }
        }
        let mut clauses = Vec::new();
        for (what, action) in self.changes().filter(|(what, _)| has(*what)) {
            let done = match action {
                Action::Delete | Action::Replace => "DELETE".to_owned(),
                Action::Update(set) => {
                    let names: Vec<&str> = set.iter().map(|(name, _)| name.as_str()).collect();
                    format!("UPDATE SET {}", assigned(&names))
                }
            };
            clauses.push(format!(
                " WHEN MATCHED AND {NEW}.{WHAT} = {what} THEN {done}"
            ));
        }
        if let Some(insert) = self.merge.insert.as_ref().filter(|_| has(WHOLE)) {
            clauses.push(self.whole(insert));
        }
        if empties {
            clauses.push(" WHEN NOT MATCHED BY SOURCE THEN DELETE".to_owned());
        }
        Some(format!(
            "MERGE INTO {} AS {OLD} USING {} AS {NEW} ON {on}{}",
            self.target.writes,
            self.source(false),
            clauses.concat()
        ))
    }

    /// What becomes of rows that are written whole: what the load does not have of them is NULL.
    fn whole(&self, insert: &Insert) -> String {
        let d: &dyn Dialect = &SparkSql;
        let given: Vec<&str> = insert
            .columns
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        let others = self.target.columns.iter();
        let others: Vec<String> = others
            .filter(|(name, _)| !given.contains(&name.as_str()))
            .map(|(name, data_type)| {
                format!(", {} = CAST(NULL AS {data_type})", d.identifier(name))
            })
            .collect();
        let changed: Vec<&str> = given
            .iter()
            .copied()
            .filter(|name| !self.identity.iter().any(|of| of == name))
            .collect();
        let insert = format!(
            " WHEN NOT MATCHED AND {NEW}.{WHAT} = {WHOLE} THEN INSERT ({}) VALUES ({})",
            d.list(given.iter().copied()),
            d.list_of(NEW, given.iter().copied()),
        );
        if self.merge.mends {
            return insert;
        }
        format!(
            " WHEN MATCHED AND {NEW}.{WHAT} = {WHOLE} THEN UPDATE SET {}{}{insert}",
            assigned(&changed),
            others.concat(),
        )
    }
}

/// The columns that an action changes, with the expressions of their values.
fn set_by(action: &Action) -> impl Iterator<Item = (&str, &str)> {
    let set = match action {
        Action::Update(set) => set.as_slice(),
        Action::Delete | Action::Replace => &[],
    };
    set.iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
}

/// Columns that take the values of a source's row.
fn assigned(names: &[&str]) -> String {
    let d: &dyn Dialect = &SparkSql;
    let assigned: Vec<String> = names
        .iter()
        .map(|name| format!("{} = {}", d.identifier(name), d.of(NEW, name)))
        .collect();
    assigned.join(", ")
}

/// No row of the table, with which a source begins: Sail has two types of bytes, and a union has those of its first part.
pub(super) fn typed(target: &Target, columns: &[&(String, String)], what: Option<&str>) -> String {
    let d: &dyn Dialect = &SparkSql;
    if !columns
        .iter()
        .any(|(_, data_type)| data_type.contains("BINARY"))
    {
        return String::new();
    }
    let what = what.map_or_else(String::new, |what| format!("{WHOLE} AS {what}, "));
    format!(
        "SELECT {what}{} FROM {} AS {OLD} WHERE 1 = 0 UNION ALL ",
        d.list_of(OLD, columns.iter().map(|(name, _)| name.as_str())),
        target.reads
    )
}

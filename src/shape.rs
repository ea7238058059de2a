//! What a server's catalog knows of a table but its log of changes does not contain, and which changes need a new snapshot.
//! No I/O.
//!
//! The log contains the rows that were written, with the names that their columns had then. It does not contain the values
//! that a default, a rewrite or a rename gave to existing rows. Therefore a stream of changes remembers its table's shape
//! in the catalog, and compares: if a column's number, its row in the catalog, or the table's file says that values may
//! have changed without being logged, only a new snapshot is correct. One snapshot too many does no harm.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::identity::ColumnIdentity;

/// The shape of a table in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableShape {
    /// Its columns, in the order of their numbers.
    pub columns: Vec<ShapeColumn>,
    /// The highest number that any of its columns ever had.
    pub last_number: i16,
    /// The files of its rows, by the OIDs of the tables that have them: the table itself, or its partitions. A rewrite
    /// changes the file.
    pub files: Vec<(u32, u32)>,
    /// The labels of the enumerated types among its columns' types, by their OIDs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<(u32, String)>,
    /// The fields of the composite types among its columns' types: type, number, and the field's description.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<(u32, i16, String)>,
    /// Its partitions at all levels, with the transaction that attached each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<(u32, u32)>,
    /// A transaction that was not older than any that still ran. `None` for shapes of older versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub horizon: Option<u32>,
    /// The numbers of the columns that identify its rows.
    pub key: Vec<i16>,
    /// The transaction that wrote the publication's row in the catalog.
    pub publication: Option<u32>,
    /// The OID of the table's membership in the publication.
    pub membership: Option<u32>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShapeColumn {
    /// The column's identity.
    #[serde(flatten)]
    pub identity: ColumnIdentity,
    /// The name of the column's type.
    pub type_name: String,
    /// The transaction that last wrote the column's row in the catalog.
    pub written: u32,
}

/// A table in the catalog now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The shape to remember.
    pub shape: TableShape,
    /// The numbers of the columns that have, or had when they were added, a default or an identity: existing rows got a
    /// value.
    pub filled: Vec<i16>,
    /// The numbers of generated columns.
    pub generated: Vec<i16>,
    /// The transactions that altered the labels of an enumerated type or the fields of a composite one, among its columns' types,
    /// after the type was made.
    pub altered: Vec<u32>,
}

/// The alterations of a table since its last shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Since {
    /// The log contains all of them. These columns are new.
    Logged(Vec<ShapeColumn>),
    /// The reason why the log does not contain all of them, although no column has a new name or type.
    Unlogged(String),
    /// The change of the schema for which the log is not sufficient.
    Altered(String),
}

impl TableShape {
    /// The column of that name.
    pub fn column(&self, name: &str) -> Option<&ShapeColumn> {
        self.columns
            .iter()
            .find(|column| column.identity.name == name)
    }

    /// The identities of its columns.
    pub fn identities(&self) -> Vec<ColumnIdentity> {
        let columns = self.columns.iter();
        columns.map(|column| column.identity.clone()).collect()
    }

    fn numbered(&self, number: i16) -> Option<&ShapeColumn> {
        self.columns
            .iter()
            .find(|column| column.identity.number == number)
    }

    /// Compares a table's last shape with its current one. `takes` says whether the stream reads a column of that name,
    /// `held` whether its table has such a column already, dropped ones included.
    pub fn since(
        &self,
        seen: &Seen,
        takes: impl Fn(&str) -> bool,
        held: impl Fn(&str) -> bool,
    ) -> Since {
        let now = &seen.shape;
        self.of_table(now)
            .map(Since::Unlogged)
            .or_else(|| self.of_columns(now, &takes))
            .or_else(|| self.of_new(seen, &takes, &held).map(Since::Altered))
            .unwrap_or_else(|| {
                let new = self.new_columns(now);
                let new = new.filter(|column| takes(&column.identity.name));
                Since::Logged(new.cloned().collect())
            })
    }

    /// Compares what concerns the whole table.
    fn of_table(&self, now: &Self) -> Option<String> {
        if self.membership.is_some() && self.membership != now.membership {
            return Some(
                "it was not published for a while, or its row filter or column list in the publication was altered".to_owned(),
            );
        }
        if self.publication.is_some() && self.publication != now.publication {
            return Some(
                "its publication was altered: what was not published meanwhile is not in the log"
                    .to_owned(),
            );
        }
        if self.key != now.key {
            return Some("its key changed".to_owned());
        }
        let again = |(oid, by): &(u32, u32)| {
            let mut attached = now.attached.iter();
            attached.any(|(other, other_by)| other == oid && other_by != by)
        };
        if self.attached.iter().any(again) {
            return Some(
                "a partition was detached for a while: what happened to its rows meanwhile is not in the log"
                    .to_owned(),
            );
        }
        let fields = |shape: &Self| {
            let mut types: BTreeMap<u32, Vec<(i16, String)>> = BTreeMap::new();
            for (of, number, says) in &shape.fields {
                types.entry(*of).or_default().push((*number, says.clone()));
            }
            types
        };
        let types = fields(now);
        let composite = fields(self)
            .into_iter()
            .any(|(of, known)| types.get(&of).is_some_and(|fields| *fields != known));
        if composite {
            return Some("a composite type of one of its columns was altered".to_owned());
        }
        let renamed = self.labels.iter().any(|(oid, label)| {
            let mut labels = now.labels.iter();
            labels.any(|(other, other_label)| other == oid && other_label != label)
        });
        renamed
            .then(|| "a label of an enumerated type of one of its columns was renamed".to_owned())
    }

    /// Compares the columns that the table had.
    fn of_columns(&self, now: &Self, takes: impl Fn(&str) -> bool) -> Option<Since> {
        let rewritten = self.was_rewritten(now);
        for known in &self.columns {
            let Some(column) = now.numbered(known.identity.number) else {
                continue;
            };
            let (was, is) = (&known.identity, &column.identity);
            if !takes(&was.name) {
                if was.name != is.name && takes(&is.name) {
                    return Some(Since::Altered(format!(
                        "its column `{}`, which was left out, was renamed to `{}`",
                        was.name, is.name
                    )));
                }
                continue;
            }
            if was.name != is.name {
                return Some(Since::Altered(format!(
                    "its column `{}` was renamed to `{}`",
                    was.name, is.name
                )));
            }
            if (was.type_oid, was.modifier) != (is.type_oid, is.modifier) {
                return Some(Since::Altered(format!(
                    "its column `{}` changed from {} to {}",
                    was.name, known.type_name, column.type_name
                )));
            }
            if rewritten && known.written != column.written {
                return Some(Since::Unlogged(format!(
                    "its column `{}` was altered and the table rewritten",
                    was.name
                )));
            }
        }
        None
    }

    /// Compares the columns that are new.
    fn of_new(
        &self,
        seen: &Seen,
        takes: impl Fn(&str) -> bool,
        held: impl Fn(&str) -> bool,
    ) -> Option<String> {
        let now = &seen.shape;
        let made = i32::from(now.last_number) - i32::from(self.last_number);
        let left = self.new_columns(now).count();
        let passing = usize::try_from(made).is_ok_and(|made| made > left);
        for column in self.new_columns(now) {
            let ColumnIdentity { name, number, .. } = &column.identity;
            if !takes(name) {
                continue;
            }
            if self.column(name).is_some() || held(name) {
                return Some(format!(
                    "its column `{name}` was dropped and another was added, or took its name"
                ));
            }
            if seen.filled.contains(number) {
                return Some(format!(
                    "its new column `{name}` has a default, which gave values to rows that were there"
                ));
            }
            if self.was_rewritten(now) {
                return Some(format!(
                    "the table was rewritten, which can have given values of its new column `{name}` to rows that were there"
                ));
            }
            if seen.altered.iter().any(|by| self.is_followed_by(*by)) {
                return Some(format!(
                    "the type of its new column `{name}`, or of another one, was altered meanwhile"
                ));
            }
            if passing {
                return Some(format!(
                    "columns came and went, and its new column `{name}` may not be the first of the name"
                ));
            }
        }
        None
    }

    fn new_columns<'a>(&'a self, now: &'a Self) -> impl Iterator<Item = &'a ShapeColumn> {
        now.columns
            .iter()
            .filter(|column| self.numbered(column.identity.number).is_none())
    }

    /// Whether a transaction may have written since this shape was looked at. Numbers of transactions come round again.
    fn is_followed_by(&self, transaction: u32) -> bool {
        self.horizon
            .is_some_and(|horizon| transaction.wrapping_sub(horizon) < 1 << 31)
    }

    /// Whether a file changed. `TRUNCATE`, `VACUUM FULL` and `CLUSTER` change it as well, although they change no value.
    fn was_rewritten(&self, now: &Self) -> bool {
        self.files.iter().any(|(oid, file)| {
            let mut files = now.files.iter();
            files.any(|(other, other_file)| other == oid && other_file != file)
        })
    }

    /// Whether the names occur in the order in which this table has those that it knows. The log describes columns in the
    /// order of their numbers, so a different order means that names were swapped.
    pub fn has_in_order<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> bool {
        let mut numbers = names
            .into_iter()
            .filter_map(|name| Some(self.column(name)?.identity.number));
        let mut last = 0;
        numbers.all(|number| std::mem::replace(&mut last, number) < number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(name: &str, number: i16) -> ShapeColumn {
        ShapeColumn {
            identity: ColumnIdentity {
                name: name.to_owned(),
                number,
                type_oid: 23,
                modifier: -1,
            },
            type_name: "integer".to_owned(),
            written: 700,
        }
    }

    fn seen(columns: &[(&str, i16)], last_number: i16) -> Seen {
        Seen {
            shape: TableShape {
                columns: columns
                    .iter()
                    .map(|(name, number)| column(name, *number))
                    .collect(),
                last_number,
                files: vec![(1, 1)],
                labels: vec![(90, "rojo".to_owned())],
                fields: vec![(80, 1, "x 23 -1".to_owned())],
                attached: vec![(70, 640)],
                horizon: Some(700),
                key: vec![1],
                publication: Some(650),
                membership: Some(60),
            },
            filled: Vec::new(),
            generated: Vec::new(),
            altered: vec![699],
        }
    }

    fn since(seen: &Seen) -> Since {
        let known = self::seen(&[("id", 1), ("a", 2), ("b", 3)], 3).shape;
        known.since(
            seen,
            |name| name != "fuera",
            |name| ["id", "a", "b", "vieja"].contains(&name),
        )
    }

    #[test]
    fn what_the_log_tells_is_followed() {
        let same = seen(&[("id", 1), ("a", 2), ("b", 3)], 3);
        assert_eq!(since(&same), Since::Logged(Vec::new()));
        let mut truncated = same.clone();
        truncated.shape.files = vec![(1, 2)];
        assert_eq!(since(&truncated), Since::Logged(Vec::new()));
        let mut default_set = same.clone();
        default_set.shape.columns[1].written = 701;
        assert_eq!(since(&default_set), Since::Logged(Vec::new()));
        let mut altered = same.clone();
        altered.altered.push(701);
        assert_eq!(since(&altered), Since::Logged(Vec::new()));
        let mut attached = same.clone();
        attached.shape.attached.push((71, 701));
        assert_eq!(since(&attached), Since::Logged(Vec::new()));
        let mut new_label = same;
        new_label.shape.labels.push((91, "verde".to_owned()));
        assert_eq!(since(&new_label), Since::Logged(Vec::new()));
        let dropped = seen(&[("id", 1), ("a", 2)], 3);
        assert_eq!(since(&dropped), Since::Logged(Vec::new()));
        let added = seen(&[("id", 1), ("a", 2), ("b", 3), ("c", 4)], 4);
        assert_eq!(since(&added), Since::Logged(vec![column("c", 4)]));
        let left_out = seen(&[("id", 1), ("a", 2), ("b", 3), ("fuera", 5)], 5);
        assert_eq!(since(&left_out), Since::Logged(Vec::new()));
    }

    #[test]
    fn what_it_does_not_tell_is_named() {
        let is = |seen: Seen, word: &str| match since(&seen) {
            Since::Unlogged(reason) | Since::Altered(reason) => {
                assert!(reason.contains(word), "{reason}");
            }
            Since::Logged(_) => panic!("{word}: {seen:?}"),
        };
        let same = || seen(&[("id", 1), ("a", 2), ("b", 3)], 3);
        is(
            seen(&[("id", 1), ("a_old", 2), ("b", 3), ("a", 4)], 4),
            "renamed",
        );
        is(seen(&[("id", 1), ("b", 2), ("a", 3)], 3), "renamed");
        is(
            seen(&[("id", 1), ("a", 2), ("b", 4)], 4),
            "dropped and another",
        );
        is(
            seen(&[("id", 1), ("b", 3), ("a", 4)], 4),
            "dropped and another",
        );
        is(
            seen(&[("id", 1), ("a", 2), ("b", 3), ("vieja", 4)], 4),
            "dropped and another",
        );
        is(
            seen(&[("id", 1), ("a", 2), ("b", 3), ("c", 5)], 5),
            "came and went",
        );
        let mut filled = seen(&[("id", 1), ("a", 2), ("b", 3), ("c", 4)], 4);
        filled.filled.push(4);
        is(filled, "has a default");
        let mut rewritten = seen(&[("id", 1), ("a", 2), ("b", 3), ("c", 4)], 4);
        rewritten.shape.files = vec![(1, 2)];
        is(rewritten, "rewritten");
        let mut retyped = same();
        retyped.shape.columns[2].identity.type_oid = 25;
        is(retyped, "changed from integer");
        let mut altered = same();
        altered.shape.columns[2].written = 702;
        altered.shape.files = vec![(1, 2)];
        is(altered, "altered and the table rewritten");
        let mut label = same();
        label.shape.labels = vec![(90, "verde".to_owned())];
        is(label, "label");
        let mut composite = same();
        composite.shape.fields.push((80, 2, "y 23 -1".to_owned()));
        is(composite, "composite");
        let mut detached = same();
        detached.shape.attached = vec![(70, 641)];
        is(detached, "partition");
        for by in [700, 701, 2_000_000_000] {
            let mut altered = seen(&[("id", 1), ("a", 2), ("b", 3), ("c", 4)], 4);
            altered.altered.push(by);
            is(altered, "type of its new column `c`");
        }
        let mut key = same();
        key.shape.key = vec![2];
        is(key, "key");
        let mut publication = same();
        publication.shape.publication = Some(651);
        is(publication, "publication");
        let mut member = same();
        member.shape.membership = None;
        is(member, "not published");
    }

    #[test]
    fn swapped_names_are_out_of_order() {
        let known = seen(&[("id", 1), ("a", 2), ("b", 3)], 3).shape;
        assert!(known.has_in_order(["id", "a", "b"]));
        assert!(known.has_in_order(["id", "nueva", "b"]));
        assert!(!known.has_in_order(["id", "b", "a"]));
    }
}

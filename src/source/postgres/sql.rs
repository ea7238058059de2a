//! The SELECT statements that extracts run. No I/O.

use crate::position::{CursorValue, ValueRange};
pub use crate::postgres::{literal, quote};
use crate::source::postgres::types::ColumnPlan;

/// The comparison operators, with their schema, so that no operator of that name on the role's search path is used instead.
const AT_LEAST: &str = "OPERATOR(pg_catalog.>=)";
const BELOW: &str = "OPERATOR(pg_catalog.<)";
const AT_MOST: &str = "OPERATOR(pg_catalog.<=)";

/// The relation and the conditions that an extract reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The relation, quoted and with its schema, or a query in parentheses with an alias.
    pub from: String,
    /// The conditions that every row meets, joined by AND.
    pub conditions: Vec<String>,
}

/// One part of a relation, read by one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Range {
    /// The whole relation.
    All,
    /// Heap pages from `from` on, below `below` if it is set. The last range has no end: it includes pages that were added
    /// since the relation was measured.
    Pages {
        /// The first page.
        from: u32,
        /// The first page after the range.
        below: Option<u32>,
    },
    /// Values of an integer column from `from` on, below `below`, if they are set.
    Keys {
        /// The column.
        column: String,
        /// The lowest value.
        from: Option<i64>,
        /// The lowest value after the range.
        below: Option<i64>,
    },
}

impl Selection {
    /// The statement for one range.
    pub fn select(&self, columns: &[ColumnPlan], range: &Range) -> String {
        let list = columns.iter().map(|column| column.expression.clone());
        self.select_list(&list.collect::<Vec<_>>(), range)
    }

    /// The statement for one range that selects these expressions.
    pub(super) fn select_list(&self, list: &[String], range: &Range) -> String {
        let mut conditions = self.conditions.clone();
        conditions.extend(range.condition());
        let mut statement = format!("SELECT {} FROM {}", list.join(", "), self.from);
        if !conditions.is_empty() {
            statement.push_str(" WHERE ");
            statement.push_str(&conditions.join(" AND "));
        }
        statement
    }
}

impl Range {
    fn condition(&self) -> Option<String> {
        let (column, from, below) = match self {
            Self::All => return None,
            Self::Pages { from, below } => {
                let page = |page: &u32| format!("'({page},0)'::tid");
                let from = (*from > 0).then(|| page(from));
                ("ctid".to_owned(), from, below.as_ref().map(page))
            }
            Self::Keys {
                column,
                from,
                below,
            } => {
                let key = |key: &i64| format!("'{key}'::int8");
                (
                    quote(column),
                    from.as_ref().map(key),
                    below.as_ref().map(key),
                )
            }
        };
        let bounds: Vec<String> = [
            from.map(|from| format!("{column} {AT_LEAST} {from}")),
            below.map(|below| format!("{column} {BELOW} {below}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!bounds.is_empty()).then(|| bounds.join(" AND "))
    }
}

/// Divides a relation of `pages` heap pages among `connections`.
pub fn page_ranges(pages: u32, connections: u32) -> Vec<Range> {
    let connections = connections.clamp(1, pages.max(1));
    if connections == 1 {
        return vec![Range::All];
    }
    let bound = |index: u32| {
        let bound = u64::from(pages) * u64::from(index) / u64::from(connections);
        u32::try_from(bound).unwrap_or(u32::MAX)
    };
    (0..connections)
        .map(|index| Range::Pages {
            from: bound(index),
            below: (index + 1 < connections).then(|| bound(index + 1)),
        })
        .collect()
}

/// Divides the values of an integer column, from `lowest` to `highest`, among `connections`. The first and the last
/// range are open, so that no row can fall outside.
pub fn key_ranges(column: &str, lowest: i64, highest: i64, connections: u32) -> Vec<Range> {
    let span = i128::from(highest) - i128::from(lowest) + 1;
    let connections = i128::from(connections).clamp(1, span.max(1));
    if connections == 1 {
        return vec![Range::All];
    }
    let bound = |index: i128| {
        let bound = i128::from(lowest) + span * index / connections;
        i64::try_from(bound).unwrap_or(i64::MAX)
    };
    (0..connections)
        .map(|index| Range::Keys {
            column: column.to_owned(),
            from: (index > 0).then(|| bound(index)),
            below: (index + 1 < connections).then(|| bound(index + 1)),
        })
        .collect()
}

/// The condition that a row must meet: the closed lower bound of the cursor, or NULL if the stream reads NULLs.
pub fn cursor_condition(
    column: &str,
    lower: Option<&CursorValue>,
    with_nulls: bool,
    may_be_null: bool,
) -> Option<String> {
    let quoted = quote(column);
    match lower {
        Some(lower) => {
            let compared = cursor_comparison(column, AT_LEAST, lower);
            Some(if with_nulls {
                format!("({compared} OR {quoted} IS NULL)")
            } else {
                compared
            })
        }
        None if may_be_null && !with_nulls => Some(format!("{quoted} IS NOT NULL")),
        None => None,
    }
}

/// The conditions that the values of a column lie in a range.
pub fn within(range: &ValueRange) -> Vec<String> {
    let ends = [(AT_LEAST, &range.from), (BELOW, &range.to)];
    let ends = ends.iter().filter_map(|(operator, end)| {
        let compared = |end| cursor_comparison(&range.column, operator, end);
        end.as_ref().map(compared)
    });
    ends.collect()
}

/// The condition that a row was there to be read by a stream that stands at a position: its cursor lies there or below, or is one
/// that is never a position, so that every run reads it.
pub fn read_so_far(column: &str, position: &CursorValue) -> String {
    let compared = cursor_comparison(column, AT_MOST, position);
    let beyond = match position {
        CursorValue::Date(_) => Some("'10000-01-01'::date"),
        CursorValue::Timestamp(_) => Some("'10000-01-01'::timestamp"),
        CursorValue::TimestampTz(_) => Some("'10000-01-01 00:00:00+00'::timestamptz"),
        _ => None,
    };
    let quoted = quote(column);
    let beyond = beyond.map_or_else(String::new, |beyond| {
        format!(" OR {quoted} {AT_LEAST} {beyond}")
    });
    format!("({compared}{beyond} OR {quoted} IS NULL)")
}

/// The condition that a cursor column is below a value.
pub(super) fn below(column: &str, value: &CursorValue) -> String {
    cursor_comparison(column, BELOW, value)
}

/// The comparison of a cursor column with a value of its type, in the order of cursors.
pub fn cursor_comparison(column: &str, operator: &str, value: &CursorValue) -> String {
    let collation = match value {
        CursorValue::Text(_) => " COLLATE \"C\"",
        _ => "",
    };
    format!("{}{collation} {operator} {}", quote(column), value.sql())
}

/// For a session that reads a table which another session of acequia has locked. If it has to wait for a lock all the same, a
/// third session waits before it to alter the table, and that one waits for the session with the lock: each would wait for the
/// other for ever, and no server notices, because the sessions of acequia wait for each other outside of it. So the read is given
/// up, the third session gets its lock, and the read begins anew.
pub(super) const GIVE_WAY: &str = "SET lock_timeout = '2s'";

/// The statement that makes the server refuse reads that row-level security would filter, unless the stream allows that
/// (manual, section 5.9).
pub(super) fn row_security_setting(row_security: bool) -> &'static str {
    if row_security {
        "SET row_security = on"
    } else {
        "SET row_security = off"
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn page_ranges_leave_no_page_out_and_take_none_twice(pages in 0_u32.., connections in 1_u32..9) {
            let mut next = 0;
            let ranges = page_ranges(pages, connections);
            let last = ranges.len() - 1;
            for (index, range) in ranges.iter().enumerate() {
                match range {
                    Range::All => prop_assert_eq!(last, 0),
                    Range::Pages { from, below } => {
                        prop_assert_eq!(*from, next);
                        prop_assert_eq!(below.is_none(), index == last);
                        next = below.unwrap_or(pages);
                    }
                    Range::Keys { .. } => prop_assert!(false),
                }
            }
        }

        #[test]
        fn key_ranges_leave_no_key_out_and_take_none_twice(a: i64, b: i64, connections in 1_u32..9) {
            let ranges = key_ranges("id", a.min(b), a.max(b), connections);
            let mut next = None;
            let last = ranges.len() - 1;
            for (index, range) in ranges.iter().enumerate() {
                match range {
                    Range::All => prop_assert_eq!(last, 0),
                    Range::Keys { from, below, .. } => {
                        prop_assert_eq!(*from, next);
                        prop_assert_eq!(below.is_none(), index == last);
                        next = *below;
                    }
                    Range::Pages { .. } => prop_assert!(false),
                }
            }
        }
    }

    #[test]
    fn a_name_with_a_quote_stays_a_name() {
        assert_eq!(quote("a\"; DROP TABLE b"), "\"a\"\"; DROP TABLE b\"");
        assert_eq!(literal("o'x"), "'o''x'");
    }

    #[test]
    fn a_range_is_half_open_and_ends_where_the_stream_was_read_to() {
        let mut range = ValueRange {
            column: "c".to_owned(),
            from: Some(CursorValue::Text("a".to_owned())),
            to: Some(CursorValue::Text("o'x".to_owned())),
        };
        assert_eq!(
            within(&range),
            [
                "\"c\" COLLATE \"C\" OPERATOR(pg_catalog.>=) 'a'::text COLLATE \"C\"",
                "\"c\" COLLATE \"C\" OPERATOR(pg_catalog.<) 'o''x'::text COLLATE \"C\""
            ]
        );
        range.to = None;
        assert_eq!(within(&range).len(), 1);
        assert_eq!(
            read_so_far("n", &CursorValue::Integer(7)),
            "(\"n\" OPERATOR(pg_catalog.<=) '7'::int8 OR \"n\" IS NULL)"
        );
        assert_eq!(
            read_so_far("d", &CursorValue::Date(0)),
            "(\"d\" OPERATOR(pg_catalog.<=) '1970-01-01'::date OR \"d\" OPERATOR(pg_catalog.>=) '10000-01-01'::date OR \"d\" \
             IS NULL)"
        );
    }

    #[test]
    fn the_lower_bound_is_closed() {
        let lower = CursorValue::Integer(7);
        assert_eq!(
            cursor_condition("n", Some(&lower), false, true).unwrap(),
            "\"n\" OPERATOR(pg_catalog.>=) '7'::int8"
        );
        assert_eq!(
            cursor_condition("n", Some(&lower), true, true).unwrap(),
            "(\"n\" OPERATOR(pg_catalog.>=) '7'::int8 OR \"n\" IS NULL)"
        );
        assert_eq!(
            cursor_condition("n", None, false, true).unwrap(),
            "\"n\" IS NOT NULL"
        );
        assert_eq!(cursor_condition("n", None, false, false), None);
    }
}

//! The rows of both sides, joined by the hashes of their keys. No I/O.

use super::codec::Entry;

/// What differs, as hashes of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Rows that the table lacks.
    pub(crate) missing: Vec<u128>,
    /// Rows that the table has and the source does not, or more often than the source.
    pub(crate) extra: Vec<u128>,
    /// Rows that have other values in the table.
    pub(crate) differ: Vec<u128>,
    /// Rows that changed in the source after the stream was read: the next run reads them.
    pub(crate) changed: u64,
}

impl Found {
    /// How much differs, but for what the next run reads.
    pub(crate) fn number(&self) -> usize {
        self.missing.len() + self.extra.len() + self.differ.len()
    }

    /// Whether nothing differs but what the next run reads.
    pub(crate) fn is_nothing(&self) -> bool {
        self.number() == 0
    }

    /// Adds what differs elsewhere.
    pub(crate) fn add(&mut self, other: Self) {
        self.missing.extend(other.missing);
        self.extra.extend(other.extra);
        self.differ.extend(other.differ);
        self.changed += other.changed;
    }
}

/// Joins the rows of the source and of the table. Of equal rows of one key, as many match as both sides have.
pub(crate) fn compare(mut source: Vec<Entry>, mut table: Vec<Entry>) -> Found {
    source.sort_unstable();
    table.sort_unstable();
    let mut found = Found::default();
    let (mut source, mut table) = (source.as_slice(), table.as_slice());
    loop {
        let key = match (source.first(), table.first()) {
            (Some(one), Some(other)) => one.key.min(other.key),
            (Some(one), None) | (None, Some(one)) => one.key,
            (None, None) => return found,
        };
        let (of_source, rest) = source.split_at(source.partition_point(|row| row.key <= key));
        let (of_table, others) = table.split_at(table.partition_point(|row| row.key <= key));
        (source, table) = (rest, others);
        compare_key(key, of_source, of_table, &mut found);
    }
}

/// Compares the rows of one key, which are sorted.
fn compare_key(key: u128, source: &[Entry], table: &[Entry], found: &mut Found) {
    if let ([one], [other]) = (source, table)
        && one.row == other.row
    {
        return;
    }
    let mut alone = Vec::new();
    let mut unmatched: Vec<&Entry> = table.iter().collect();
    for row in source {
        match unmatched.iter().position(|other| other.row == row.row) {
            Some(place) => {
                unmatched.swap_remove(place);
            }
            None => alone.push(row),
        }
    }
    for row in alone {
        let other = unmatched.pop();
        let is_newer = other.is_none_or(|other| other.cursor != row.cursor);
        if row.comes_again && is_newer {
            found.changed += 1;
        } else if other.is_some() {
            found.differ.push(key);
        } else {
            found.missing.push(key);
        }
    }
    found.extra.extend(unmatched.iter().map(|_| key));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: u128, row: u128) -> Entry {
        Entry {
            key,
            row,
            cursor: 0,
            comes_again: false,
        }
    }

    #[test]
    fn the_same_rows_in_any_order_are_equal() {
        let one = vec![row(1, 10), row(2, 20), row(2, 21), row(3, 30), row(3, 30)];
        let other = vec![row(3, 30), row(2, 21), row(1, 10), row(2, 20), row(3, 30)];
        assert_eq!(compare(one, other), Found::default());
        assert!(compare(Vec::new(), Vec::new()).is_nothing());
    }

    #[test]
    fn missing_extra_doubled_and_altered_rows_are_told_apart() {
        let source = vec![row(1, 10), row(2, 20), row(3, 30), row(5, 50), row(6, 60)];
        let table = vec![
            row(1, 10),
            row(3, 31),
            row(4, 40),
            row(5, 60),
            row(6, 50),
            row(1, 10),
        ];
        let found = compare(source, table);
        let expected = Found {
            missing: vec![2],
            extra: vec![1, 4],
            differ: vec![3, 5, 6],
            changed: 0,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_the_next_run_reads_is_no_difference_unless_it_was_read_before() {
        let newer = |key, values, cursor| Entry {
            cursor,
            comes_again: true,
            ..row(key, values)
        };
        // One that is new, one that changed since, and one that is there with the same cursor and another value.
        let source = vec![newer(1, 10, 7), newer(2, 21, 8), newer(3, 31, 9)];
        let table = vec![newer(2, 20, 5), newer(3, 30, 9)];
        let found = compare(source, table);
        let expected = Found {
            differ: vec![3],
            changed: 2,
            ..Found::default()
        };
        assert_eq!(found, expected);
    }
}

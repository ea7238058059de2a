//! `NN-name.sql`: a query whose rows are shown as a table. Its header's comments say what it is. No I/O.

use super::problems::Problems;
use super::query::bare;

/// How many rows are shown at first, where the header does not say.
const LIMIT: usize = 25;

const REMEDY: &str = "begin the file with comments: `-- title: …`, `-- description: …`, and `-- limit: 10` where not 25 rows are to be \
                      shown at first";

/// A table of a query's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Table {
    /// What it is.
    pub(crate) title: String,
    /// What it shows.
    pub(crate) description: String,
    /// How many rows are shown at first.
    pub(crate) limit: usize,
    /// Its query.
    pub(crate) sql: String,
}

/// The table that a file's text describes. What is missing has been added to the problems.
pub(crate) fn parse(file: &str, text: &str, problems: &mut Problems) -> Option<Table> {
    let (mut title, mut description, mut limit) = (None, None, LIMIT);
    let header = text
        .lines()
        .enumerate()
        .take_while(|(_, line)| line.trim().is_empty() || line.trim_start().starts_with("--"));
    let mut well = true;
    for (at, line) in header {
        let comment = line.trim_start().trim_start_matches('-').trim();
        let Some((key, value)) = comment.split_once(':') else {
            continue;
        };
        let value = value.trim();
        match key.trim() {
            "title" if !value.is_empty() => title = Some(value.to_owned()),
            "description" if !value.is_empty() => description = Some(value.to_owned()),
            "limit" => match value.parse() {
                Ok(number) if number > 0 => limit = number,
                _ => {
                    let what = "the limit is no whole number above 0";
                    problems.add(file, Some(at + 1), what, REMEDY);
                    well = false;
                }
            },
            _ => {}
        }
    }
    for (key, value) in [("title", &title), ("description", &description)] {
        if value.is_none() {
            problems.add(file, Some(1), format!("it has no {key}"), REMEDY);
        }
    }
    let sql = bare(text);
    let is_empty = sql
        .lines()
        .all(|line| line.trim().is_empty() || line.trim_start().starts_with("--"));
    if is_empty {
        let remedy = "write a SELECT below the comments";
        problems.add(file, Some(1), "it has no query", remedy);
        well = false;
    }
    well.then_some(Table {
        title: title?,
        description: description?,
        limit,
        sql: sql.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_its_header_and_its_query() {
        let mut problems = Problems::default();
        let text = "-- title: Ventas: por curso\n--description: Las que no\n-- limit: 5\n\nSELECT 1 -- title: no\n;\n";
        let table = parse("10-t.sql", text, &mut problems).unwrap();
        assert!(problems.is_empty());
        assert_eq!(table.title, "Ventas: por curso");
        assert_eq!(table.description, "Las que no");
        assert_eq!(table.limit, 5);
        assert!(table.sql.ends_with("SELECT 1 -- title: no"));
    }

    #[test]
    fn what_is_missing_is_told() {
        let mut problems = Problems::default();
        assert_eq!(
            parse("10-t.sql", "-- title: T\n-- limit: many\n", &mut problems),
            None
        );
        insta::assert_snapshot!(problems.finish(()).unwrap_err().report(), @r"
        3 things are wrong with the report
        - 10-t.sql:2: the limit is no whole number above 0
          remedy: begin the file with comments: `-- title: …`, `-- description: …`, and `-- limit: 10` where not 25 rows are to be shown at first
        - 10-t.sql:1: it has no description
          remedy: begin the file with comments: `-- title: …`, `-- description: …`, and `-- limit: 10` where not 25 rows are to be shown at first
        - 10-t.sql:1: it has no query
          remedy: write a SELECT below the comments
        ");
    }
}

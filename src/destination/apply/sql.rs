//! Pieces of SQL that are the same everywhere. No I/O.

/// An identifier, quoted.
pub(crate) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A column of a relation that has an alias.
pub(crate) fn of(alias: &str, column: &str) -> String {
    format!("{alias}.{}", identifier(column))
}

/// Columns of a relation that has an alias, listed.
pub(crate) fn list_of<'a>(alias: &str, columns: impl IntoIterator<Item = &'a str>) -> String {
    let columns: Vec<String> = columns.into_iter().map(|name| of(alias, name)).collect();
    columns.join(", ")
}

/// Column names, listed.
pub(crate) fn list<'a>(columns: impl IntoIterator<Item = &'a str>) -> String {
    let columns: Vec<String> = columns.into_iter().map(identifier).collect();
    columns.join(", ")
}

/// `a = b AND …` over columns of two relations that are never NULL.
pub(crate) fn equal(columns: &[String], left: &str, right: &str) -> String {
    let pairs: Vec<String> = columns
        .iter()
        .map(|column| format!("{} = {}", of(left, column), of(right, column)))
        .collect();
    pairs.join(" AND ")
}

/// `a IS NOT DISTINCT FROM b AND …`.
pub(crate) fn same(left: &[String], right: &[String]) -> String {
    let pairs: Vec<String> = left
        .iter()
        .zip(right)
        .map(|(left, right)| format!("{left} IS NOT DISTINCT FROM {right}"))
        .collect();
    pairs.join(" AND ")
}

//! What holds of every statement that the plan of a load or the ledger makes. The sessions of the destinations ask it of each
//! that they run in tests.

/// What may stand before the dot beside aliases that are acequia's own: schemas of temporary tables, and the row that an
/// insert met.
const OTHERS: [&str; 3] = ["temp", "pg_temp", "excluded"];

/// Refuses a statement with a name before a dot that is neither quoted nor acequia's own: a column could have it.
pub(crate) fn assert_reserved_aliases(sql: &str) {
    for alias in aliases(sql) {
        assert!(
            alias.starts_with("_acequia_") || OTHERS.contains(&alias.as_str()),
            "`{alias}` may be a column: {sql}"
        );
    }
}

/// The names before a dot that are not quoted.
fn aliases(sql: &str) -> Vec<String> {
    let (mut aliases, mut word, mut quote) = (Vec::new(), String::new(), None);
    for letter in sql.chars() {
        match quote {
            Some(open) => quote = (letter != open).then_some(open),
            None if letter == '\'' || letter == '"' => {
                quote = Some(letter);
                word.clear();
            }
            None if letter.is_alphanumeric() || letter == '_' => word.push(letter),
            None => {
                if letter == '.' && word.starts_with(|first: char| !first.is_numeric()) {
                    aliases.push(std::mem::take(&mut word));
                }
                word.clear();
            }
        }
    }
    aliases
}

#[test]
fn aliases_are_told_from_quoted_names_and_numbers() {
    assert_eq!(
        aliases(r#"SELECT n."a.b", x.y, 1.5, 'o.p' FROM "c"."d.e" AS n, pg_temp."f" AS x"#),
        ["n", "x", "pg_temp"]
    );
    assert!(std::panic::catch_unwind(|| assert_reserved_aliases(r#"SELECT n."id""#)).is_err());
}

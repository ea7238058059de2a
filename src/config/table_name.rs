//! `table = "schema.name"`, with double quotes around a part that has a dot in it. No I/O.
//!
//! Unlike in SQL, a part without quotes is taken literally: letters keep their case.

/// Why a text is not a table's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadTableName {
    /// A part before, between or after the dots is empty.
    #[error("a part of the name is empty")]
    Empty,
    /// The name has more parts than a schema and a name.
    #[error("it has more than two parts; acequia reads the database that the source's URL names")]
    TooMany,
    /// A quote is not closed, or does not begin and end its part.
    #[error("its double quotes do not enclose a whole part")]
    Quotes,
}

/// Parses a table's name: its schema, if it has one, and its own name.
pub(crate) fn parse(text: &str) -> Result<(Option<String>, String), BadTableName> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let (part, after) = part(rest)?;
        if part.is_empty() {
            return Err(BadTableName::Empty);
        }
        parts.push(part);
        match after {
            Some(after) => rest = after,
            None => break,
        }
    }
    let mut parts = parts.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(name), None, None) => Ok((None, name)),
        (Some(schema), Some(name), None) => Ok((Some(schema), name)),
        (None, ..) => Err(BadTableName::Empty),
        _ => Err(BadTableName::TooMany),
    }
}

/// The first part, and the text after the dot that follows it.
fn part(text: &str) -> Result<(String, Option<&str>), BadTableName> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (part, after) = match text.split_once('.') {
            Some((part, after)) => (part, Some(after)),
            None => (text, None),
        };
        return if part.contains('"') {
            Err(BadTableName::Quotes)
        } else {
            Ok((part.to_owned(), after))
        };
    };
    let mut part = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"').ok_or(BadTableName::Quotes)?;
        part.push_str(before);
        if let Some(after) = after.strip_prefix('"') {
            part.push('"');
            rest = after;
        } else if after.is_empty() {
            return Ok((part, None));
        } else if let Some(after) = after.strip_prefix('.') {
            return Ok((part, Some(after)));
        } else {
            return Err(BadTableName::Quotes);
        }
    }
}

/// A table's name as [`parse`] reads it.
pub fn written(schema: &str, name: &str) -> String {
    let needs_quotes = |letter: char| letter.is_whitespace() || letter == '.' || letter == '"';
    let part = |part: &str| {
        if part.is_empty() || part.contains(needs_quotes) {
            format!("\"{}\"", part.replace('"', "\"\""))
        } else {
            part.to_owned()
        }
    };
    format!("{}.{}", part(schema), part(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_part_or_two_and_quotes_protect_dots() {
        let two = |schema: &str, name: &str| Ok((Some(schema.to_owned()), name.to_owned()));
        for (text, parsed) in [
            ("ventas", Ok((None, "ventas".to_owned()))),
            ("public.ventas", two("public", "ventas")),
            ("public.Ventas", two("public", "Ventas")),
            ("\"Mi Esquema\".ventas", two("Mi Esquema", "ventas")),
            ("a.\"b.c\"", two("a", "b.c")),
            ("\"a\"\"b\".c", two("a\"b", "c")),
            ("\"ventas\"", Ok((None, "ventas".to_owned()))),
            ("db.public.ventas", Err(BadTableName::TooMany)),
            ("", Err(BadTableName::Empty)),
            (".ventas", Err(BadTableName::Empty)),
            ("public.", Err(BadTableName::Empty)),
            ("public.\"\"", Err(BadTableName::Empty)),
            ("\"ventas", Err(BadTableName::Quotes)),
            ("ven\"tas", Err(BadTableName::Quotes)),
            ("\"a\"b.c", Err(BadTableName::Quotes)),
        ] {
            assert_eq!(parse(text), parsed, "{text}");
            if let Ok((Some(schema), name)) = &parsed {
                assert_eq!(parse(&written(schema, name)), parsed, "{text}");
            }
        }
    }
}

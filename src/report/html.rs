//! Text in HTML, and JSON in a script. No I/O.

use std::fmt::Write as _;

use serde::Serialize;

use crate::error::{Error, Result};

/// A text as HTML shows it, within an element or a quoted attribute.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A value as JSON that no HTML parser takes for the end of its script, or for a comment.
pub(crate) fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value)
        .map_err(|error| Error::internal("the page's data cannot be written").cause(error))?;
    Ok(text
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026"))
}

/// A name for an element, from a text: `Qué se vende` becomes `qué-se-vende`.
pub(crate) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for letter in text.chars().flat_map(char::to_lowercase) {
        if letter.is_alphanumeric() {
            slug.push(letter);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() {
        "s".to_owned()
    } else {
        slug.to_owned()
    }
}

/// The slug, with a number where it was given before.
pub(crate) fn unique(slug: &str, given: &mut Vec<String>) -> String {
    let mut name = slug.to_owned();
    let mut number = 1;
    while given.contains(&name) {
        number += 1;
        slug.clone_into(&mut name);
        // Writing to a String does not fail.
        let _ = write!(name, "-{number}");
    }
    given.push(name.clone());
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_its_place() {
        assert_eq!(
            escape("<b a=\"x\" c='y'>&"),
            "&lt;b a=&quot;x&quot; c=&#39;y&#39;&gt;&amp;"
        );
        let text = json(&"</script><!-- &").unwrap();
        assert!(!text.contains('<') && !text.contains('&'), "{text}");
        let back: String = serde_json::from_str(&text).unwrap();
        assert_eq!(back, "</script><!-- &");
    }

    #[test]
    fn a_slug_is_given_once() {
        let mut given = Vec::new();
        assert_eq!(unique(&slug("¿Qué se vende?"), &mut given), "qué-se-vende");
        assert_eq!(unique(&slug("Qué se vende"), &mut given), "qué-se-vende-2");
        assert_eq!(unique(&slug("…"), &mut given), "s");
    }
}

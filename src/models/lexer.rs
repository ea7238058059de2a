//! The tokens of SQL as DuckDB and PostgreSQL write it: enough to find where a statement ends, which line a place is on, and
//! which words stand outside of texts and comments. What a statement means, the engine's own parser says. No I/O.

/// A piece of a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A name without quotes, a keyword or a number.
    Word(&'a str),
    /// A name in double quotes, with them.
    Quoted(&'a str),
    /// A text in quotes of any kind, with them.
    Text(&'a str),
    /// Any other character.
    Sign(char),
}

/// The tokens of a text, each with its offset in bytes; comments and white space are left out.
#[derive(Debug, Clone)]
pub(crate) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    /// The tokens from an offset on.
    pub(crate) fn from(text: &'a str, at: usize) -> Self {
        Self { text, at }
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Takes so many bytes.
    fn take(&mut self, length: usize) -> &'a str {
        let rest = self.rest();
        let taken = rest.get(..length).unwrap_or(rest);
        self.at += taken.len();
        taken
    }

    fn skip_comments(&mut self) {
        loop {
            let rest = self.rest();
            let spaces = rest.len() - rest.trim_start().len();
            self.take(spaces);
            let rest = self.rest();
            if rest.starts_with("--") {
                self.take(rest.find('\n').unwrap_or(rest.len()));
            } else if rest.starts_with("/*") {
                self.take(block_comment(rest));
            } else if spaces == 0 {
                return;
            }
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = (usize, Token<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.skip_comments();
        let at = self.at;
        let rest = self.rest();
        let first = rest.chars().next()?;
        let token = match first {
            '\'' => Token::Text(self.take(enclosed(rest, '\'', false))),
            '"' => Token::Quoted(self.take(enclosed(rest, '"', false))),
            '$' => match dollar_text(rest) {
                Some(length) => Token::Text(self.take(length)),
                None => Token::Sign(self.take(1).chars().next()?),
            },
            first if is_of_a_word(first) => {
                let escapes = matches!(first, 'e' | 'E') && rest.get(1..2) == Some("'");
                if escapes {
                    let text = rest.get(1..).unwrap_or_default();
                    Token::Text(self.take(1 + enclosed(text, '\'', true)))
                } else {
                    let end = rest.find(|letter| !is_of_a_word(letter) && letter != '$');
                    Token::Word(self.take(end.unwrap_or(rest.len())))
                }
            }
            other => {
                self.take(other.len_utf8());
                Token::Sign(other)
            }
        };
        Some((at, token))
    }
}

fn is_of_a_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// The length of a text or name in quotes; a quote within is doubled, or follows a backslash.
fn enclosed(text: &str, quote: char, escapes: bool) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if escapes && letter == '\\' {
            letters.next();
        } else if letter == quote && letters.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// The length of a text between `$tag$` and `$tag$`, if one begins here.
fn dollar_text(text: &str) -> Option<usize> {
    let tag = text.get(1..)?.find('$').map(|end| end + 2)?;
    let delimiter = text.get(..tag)?;
    let name = delimiter.trim_matches('$');
    let is_tag = name.chars().all(is_of_a_word) && !name.starts_with(|c: char| c.is_numeric());
    let inner = text.get(tag..).filter(|_| is_tag)?;
    let end = inner
        .find(delimiter)
        .map_or(text.len(), |end| tag + end + delimiter.len());
    Some(end)
}

/// The length of a comment between `/*` and `*/`, within which others may stand.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth = depth.saturating_sub(1);
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// Why a text is not one statement, and the offset at which that shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotOne {
    /// It has none.
    None,
    /// Another follows.
    Several(usize),
    /// A template's marks stand in it.
    Template(usize),
}

/// The text of the only statement, without the semicolon that may end it. Comments before it stay, so that offsets do.
pub(crate) fn only_statement(text: &str) -> Result<&str, NotOne> {
    let mut tokens = Tokens::from(text, 0);
    let mut end = text.len();
    let mut is_empty = true;
    let mut before = ' ';
    for (at, token) in tokens.by_ref() {
        match token {
            Token::Sign(';') => {
                end = at;
                break;
            }
            Token::Sign(sign @ ('{' | '%')) if before == '{' => {
                return Err(NotOne::Template(at - sign.len_utf8()));
            }
            _ => {}
        }
        before = match token {
            Token::Sign(sign) => sign,
            _ => ' ',
        };
        is_empty = false;
    }
    if is_empty {
        return Err(NotOne::None);
    }
    match tokens.find(|(_, token)| *token != Token::Sign(';')) {
        Some((at, _)) => Err(NotOne::Several(at)),
        None => Ok(text.get(..end).unwrap_or(text)),
    }
}

/// Words by which a statement gives something else each time that it is run.
const CHANGING: [&str; 22] = [
    "now",
    "current_date",
    "current_time",
    "current_timestamp",
    "localtime",
    "localtimestamp",
    "today",
    "get_current_time",
    "get_current_timestamp",
    "clock_timestamp",
    "statement_timestamp",
    "transaction_timestamp",
    "timeofday",
    "random",
    "setseed",
    "uuid",
    "uuidv4",
    "uuidv7",
    "gen_random_uuid",
    "nextval",
    "tablesample",
    "age",
];

/// Texts that PostgreSQL reads as the time that it is, where a date or time is wanted (manual, section 8.5.1.4).
const TIMES: [&str; 4] = ["now", "today", "tomorrow", "yesterday"];

/// Whether a statement may give something else each time that it is run on the same tables: it names a clock or chance. A
/// column of such a name, and such a text, count as well, at the price of a build that was not needed.
pub(crate) fn may_change(sql: &str) -> bool {
    Tokens::from(sql, 0).any(|(_, token)| match token {
        Token::Word(word) => CHANGING
            .iter()
            .any(|known| word.eq_ignore_ascii_case(known)),
        Token::Text(text) => text
            .split(|letter: char| letter.is_whitespace() || "'$".contains(letter))
            .any(|word| TIMES.iter().any(|known| word.eq_ignore_ascii_case(known))),
        Token::Quoted(_) | Token::Sign(_) => false,
    })
}

/// The line, from 1, of an offset.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    text.get(..offset).unwrap_or(text).matches('\n').count() + 1
}

/// The parts of the name that begins at an offset: `schema.name` has two. A part without quotes is in lower case.
pub(crate) fn name_at(text: &str, offset: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut wants_part = true;
    for (_, token) in Tokens::from(text, offset) {
        match token {
            Token::Word(word) if wants_part => parts.push(word.to_lowercase()),
            Token::Quoted(quoted) if wants_part => parts.push(unquoted(quoted)),
            Token::Sign('.') if !wants_part => {}
            _ => break,
        }
        wants_part = !wants_part;
    }
    parts
}

/// A quoted name without its quotes.
fn unquoted(quoted: &str) -> String {
    let inner = quoted.strip_prefix('"').unwrap_or(quoted);
    let inner = inner.strip_suffix('"').unwrap_or(inner);
    inner.replace("\"\"", "\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_ends_where_its_semicolon_is_and_nowhere_else() {
        for (text, expected) in [
            ("SELECT 1", Ok("SELECT 1")),
            ("SELECT 1; -- the end\n", Ok("SELECT 1")),
            ("SELECT 1;;", Ok("SELECT 1")),
            (
                "SELECT ';', \"a;b\", $$;$$, $x$ ; $$ $x$ -- ;",
                Ok("SELECT ';', \"a;b\", $$;$$, $x$ ; $$ $x$ -- ;"),
            ),
            (
                "SELECT 'it''s;', E'\\';' /* ; /* ; */ ; */",
                Ok("SELECT 'it''s;', E'\\';' /* ; /* ; */ ; */"),
            ),
            ("SELECT 1; SELECT 2", Err(NotOne::Several(10))),
            ("-- nothing\n /* at all */ ;", Err(NotOne::None)),
            ("-- nothing\n", Err(NotOne::None)),
            ("SELECT * FROM {{ ref('x') }}", Err(NotOne::Template(14))),
            ("{% if x %}", Err(NotOne::Template(0))),
            ("SELECT {'a': {'b': 1}}", Ok("SELECT {'a': {'b': 1}}")),
        ] {
            assert_eq!(only_statement(text), expected, "{text}");
        }
    }

    #[test]
    fn clocks_and_chance_are_found_outside_of_texts_and_comments() {
        for (sql, expected) in [
            ("SELECT now()", true),
            ("SELECT * FROM t WHERE dia = CURRENT_DATE - 1", true),
            ("SELECT 'random()', \"random\" -- today\n /* uuid */", false),
            ("SELECT CAST(' NOW ' AS timestamptz)", true),
            ("SELECT DATE $$today$$ - dia FROM t", true),
            ("SELECT E'yesterday 04:05'::timestamp", true),
            ("SELECT 'nowhere', 'now()'", false),
            ("SELECT nowhere FROM ages", false),
        ] {
            assert_eq!(may_change(sql), expected, "{sql}");
        }
    }

    #[test]
    fn a_name_is_read_where_it_stands() {
        let sql = "SELECT 'ñ'\nFROM Replica.\"Mis \"\"Ventas\"\"\" AS v";
        let at = sql.find("Replica").unwrap();
        assert_eq!(name_at(sql, at), ["replica", "Mis \"Ventas\""]);
        assert_eq!(line_of(sql, at), 2);
        assert_eq!(name_at("FROM ventas v", 5), ["ventas"]);
        assert_eq!(name_at("FROM", 4), Vec::<String>::new());
    }

    #[test]
    fn what_is_not_closed_ends_with_the_text() {
        for text in [
            "SELECT 'a",
            "SELECT \"a",
            "SELECT $$a",
            "SELECT /* a",
            "SELECT $a",
            "E'\\",
            "{",
        ] {
            assert!(Tokens::from(text, 0).count() <= 3, "{text}");
        }
    }
}

//! On which line of a JSON text each value stands. No I/O.

use std::collections::BTreeMap;

/// The lines of the values of a JSON text, by the path that leads to them: `/layer/0/mark`.
#[derive(Debug, Default)]
pub(crate) struct JsonLines(BTreeMap<String, usize>);

impl JsonLines {
    /// Reads a text which is known to be JSON.
    pub(crate) fn of(text: &str) -> Self {
        let mut scan = Scan {
            letters: text.chars().peekable(),
            line: 1,
            found: BTreeMap::new(),
        };
        scan.value("");
        Self(scan.found)
    }

    /// The line of a value, or of the nearest one around it that is there.
    pub(crate) fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = path.rsplit_once('/')?.0;
        }
    }
}

struct Scan<'a> {
    letters: std::iter::Peekable<std::str::Chars<'a>>,
    line: usize,
    found: BTreeMap<String, usize>,
}

impl Scan<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.letters.next()?;
        if letter == '\n' {
            self.line += 1;
        }
        Some(letter)
    }

    /// The next letter that is no space, which stays.
    fn ahead(&mut self) -> Option<char> {
        while self.letters.peek().is_some_and(|c| c.is_whitespace()) {
            self.next();
        }
        self.letters.peek().copied()
    }

    fn value(&mut self, path: &str) {
        let first = self.ahead();
        // A member's line is that of its key.
        self.found.entry(path.to_owned()).or_insert(self.line);
        match first {
            Some('{') => self.members(path),
            Some('[') => self.elements(path),
            Some('"') => {
                self.text();
            }
            _ => {
                while self
                    .letters
                    .peek()
                    .is_some_and(|c| !",]} \t\r\n".contains(*c))
                {
                    self.next();
                }
            }
        }
    }

    fn members(&mut self, path: &str) {
        self.next();
        loop {
            match self.ahead() {
                Some('"') => {
                    let line = self.line;
                    let path = format!("{path}/{}", self.text());
                    self.found.entry(path.clone()).or_insert(line);
                    self.ahead();
                    // The colon.
                    self.next();
                    self.value(&path);
                }
                Some(',') => {
                    self.next();
                }
                _ => break,
            }
        }
        self.next();
    }

    fn elements(&mut self, path: &str) {
        self.next();
        let mut index = 0;
        loop {
            match self.ahead() {
                Some(']') | None => break,
                Some(',') => {
                    self.next();
                }
                Some(_) => {
                    self.value(&format!("{path}/{index}"));
                    index += 1;
                }
            }
        }
        self.next();
    }

    fn text(&mut self) -> String {
        let mut text = String::new();
        self.next();
        while let Some(letter) = self.next() {
            match letter {
                '"' => break,
                '\\' => text.extend(self.next()),
                letter => text.push(letter),
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_on_the_line_of_its_key() {
        let lines = JsonLines::of(
            "{\n  \"a\": 1, \"b\":\n  [ {\"c\": \"}\\\"\"},\n {\"d\":\n null} ],\n \"e\": {}\n}",
        );
        for (path, line) in [
            ("", Some(1)),
            ("/a", Some(2)),
            ("/b", Some(2)),
            ("/b/0/c", Some(3)),
            ("/b/1", Some(4)),
            ("/b/1/d", Some(4)),
            ("/e", Some(6)),
            // What is missing is missing in what is there.
            ("/b/1/x/y", Some(4)),
        ] {
            assert_eq!(lines.line(path), line, "{path}");
        }
    }

    #[test]
    fn a_text_that_ends_too_early_ends_the_reading() {
        for text in ["", "{", "[", "{\"a", "{\"a\":", "[1,", "\""] {
            JsonLines::of(text);
        }
    }
}

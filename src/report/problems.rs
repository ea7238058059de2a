//! What is wrong with a report's parts: each problem with its file, its line and its remedy. They become one error.

use std::fmt::Write as _;

use crate::error::{Error, Result};

/// The problems that were found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems(Vec<Problem>);

#[derive(Debug)]
struct Problem {
    what: String,
    remedy: String,
}

impl Problems {
    /// Adds a problem of a file, at a line where that is known.
    pub(crate) fn add(
        &mut self,
        file: &str,
        line: Option<usize>,
        what: impl AsRef<str>,
        remedy: impl Into<String>,
    ) {
        let place = match line {
            Some(line) => format!("{file}:{line}"),
            None => file.to_owned(),
        };
        self.0.push(Problem {
            what: format!("{place}: {}", what.as_ref()),
            remedy: remedy.into(),
        });
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value, if there is no problem; otherwise an error with all of them.
    pub(crate) fn finish<T>(self, value: T) -> Result<T> {
        match self.0.as_slice() {
            [] => Ok(value),
            [only] => {
                Err(Error::config(format!("the report's {}", only.what)).remedy(&only.remedy))
            }
            several => {
                let mut text = format!("{} things are wrong with the report", several.len());
                for Problem { what, remedy } in several {
                    // Writing to a String does not fail.
                    let _ = write!(text, "\n- {what}\n  remedy: {remedy}");
                }
                Err(Error::config(text))
            }
        }
    }
}

//! All that is wrong with a configuration, made into one error.

use std::fmt::Write as _;
use std::path::Path;

use crate::config::suggest;
use crate::error::{Error, Result};

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

/// Stands where a value is missing because of a problem that has been added.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reported;

/// A value, or a problem that has been added.
pub(super) type Checked<T> = Result<T, Reported>;

#[derive(Debug)]
struct Problem {
    what: String,
    remedy: String,
}

impl Problems {
    /// Adds what is wrong at a place such as `[streams.ventas] cursor`, and how to fix it.
    pub(super) fn add(
        &mut self,
        place: &str,
        what: impl AsRef<str>,
        remedy: impl Into<String>,
    ) -> Reported {
        let what = what.as_ref();
        self.0.push(Problem {
            what: if place.is_empty() {
                what.to_owned()
            } else {
                format!("{place}: {what}")
            },
            remedy: remedy.into(),
        });
        Reported
    }

    /// Adds that there is nothing of that name.
    pub(super) fn unknown<'a>(
        &mut self,
        place: &str,
        kind: &str,
        name: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Reported {
        let what = match suggest::nearest(name, known.clone()) {
            Some(meant) => format!("there is no {kind} `{name}`; did you mean `{meant}`?"),
            None => format!("there is no {kind} `{name}`"),
        };
        let known = suggest::list(known);
        let remedy = if known.is_empty() {
            format!("the configuration has no {kind}s yet: add [{kind}s.{name}]")
        } else {
            format!("the {kind}s are {known}")
        };
        self.add(place, what, remedy)
    }

    /// Adds what was found elsewhere.
    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// The value, if nothing was wrong.
    pub(super) fn finish<T>(&self, file: &Path, value: Checked<T>) -> Result<T> {
        let file = file
            .file_name()
            .unwrap_or(file.as_os_str())
            .to_string_lossy();
        match (self.0.as_slice(), value) {
            ([], Ok(value)) => Ok(value),
            ([], Err(Reported)) => Err(Error::internal(
                "the configuration was refused without a reason",
            )),
            ([only], _) => {
                Err(Error::config(format!("{file}: {}", only.what)).remedy(&only.remedy))
            }
            (several, _) => {
                let mut text = format!("{file}: {} things are wrong", several.len());
                for Problem { what, remedy } in several {
                    // Writing to a String does not fail.
                    let _ = write!(text, "\n- {what}\n  remedy: {remedy}");
                }
                Err(Error::config(text))
            }
        }
    }
}

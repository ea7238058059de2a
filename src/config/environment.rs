//! `${NAME}` in the configuration: its value comes from the process environment, or else from a `.env` beside the file.

use std::collections::BTreeMap;
use std::env::VarError;
use std::io::{self, Cursor};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The variables that the configuration may use. The process environment is read, never changed.
#[derive(Clone)]
pub struct Environment {
    /// The path of the `.env`, whether it exists or not.
    file: PathBuf,
    variables: BTreeMap<String, String>,
}

/// Why a text cannot be expanded. No message shows the text or a variable's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadVariable {
    /// The variable is set neither in the process environment nor in the `.env`.
    #[error("the variable {0} is not set")]
    Unset(String),
    /// The variable's value is not UTF-8.
    #[error("the variable {0} is not UTF-8")]
    NotText(String),
    /// `${` is not followed by a name and `}`.
    #[error("`${{` is not followed by a variable's name and `}}`")]
    Syntax,
}

impl Environment {
    /// Reads the `.env` in the configuration's folder, if it exists.
    ///
    /// # Errors
    /// [`Error::Config`] if the file cannot be read or has a line that is not `NAME=value`. The error has the line's
    /// number, not its contents.
    pub fn beside(config: &Path) -> Result<Self> {
        let file = config.with_file_name(".env");
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(Error::config(format!("cannot read {}", file.display())).cause(error));
            }
        };
        if !text.is_empty() {
            warn_of_readers(&file);
        }
        let variables = parse(&text).map_err(|line| {
            Error::config(format!("{}:{line}: this is no NAME=value", file.display())).remedy(
                "put a value with blanks, quotes, `#` or `$` in it between single quotes, and a comment after `#`",
            )
        })?;
        Ok(Self { file, variables })
    }

    /// The process environment alone.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn without_file(config: &Path) -> Self {
        Self {
            file: config.with_file_name(".env"),
            variables: BTreeMap::new(),
        }
    }

    /// Replaces each `${NAME}` by the variable's value, and `$${` by `${`.
    pub fn expand(&self, text: &str) -> Result<String, BadVariable> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                expanded.push_str(before);
                expanded.push_str("${");
                rest = after;
                continue;
            }
            let (name, after) = after.split_once('}').ok_or(BadVariable::Syntax)?;
            if !is_name(name) {
                return Err(BadVariable::Syntax);
            }
            expanded.push_str(before);
            expanded.push_str(&self.get(name)?);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    /// The remedy for an error of [`expand`](Self::expand).
    pub fn remedy(&self, error: &BadVariable) -> String {
        match error {
            BadVariable::Unset(name) => format!(
                "export {name}, or write a line {name}='…' into {}",
                self.file.display()
            ),
            BadVariable::NotText(name) => format!("set {name} to a text in UTF-8"),
            BadVariable::Syntax => {
                "write ${NAME} with letters, digits and `_`; where a plain `${` is meant, write `$${`".to_owned()
            }
        }
    }

    /// The value of a variable: the process's own, else that of the file.
    pub(super) fn get(&self, name: &str) -> Result<String, BadVariable> {
        match std::env::var(name) {
            Ok(value) => Ok(value),
            Err(VarError::NotUnicode(_)) => Err(BadVariable::NotText(name.to_owned())),
            Err(VarError::NotPresent) => self
                .variables
                .get(name)
                .cloned()
                .ok_or_else(|| BadVariable::Unset(name.to_owned())),
        }
    }
}

/// Warns if other users of this machine can read a file of secrets.
fn warn_of_readers(file: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(file).map_or(0, |metadata| metadata.permissions().mode());
        if mode & 0o044 != 0 {
            let file = file.display();
            tracing::warn!("{file} can be read by others on this machine: chmod 600 {file}");
        }
    }
    #[cfg(not(unix))]
    let _ = file;
}

fn is_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Parses a `.env`; of two lines for one variable, the first counts. The error is the number of a wrong line.
fn parse(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let text = text.trim_start_matches('\u{feff}');
    let mut variables = BTreeMap::new();
    for item in dotenvy::Iter::new(Cursor::new(text)) {
        let (name, value) = item.map_err(|error| line_of(&error, text))?;
        variables.entry(name).or_insert(value);
    }
    Ok(variables)
}

/// The number of the line that an error of dotenvy concerns. The error has only the line's text, whose first occurrence is
/// the wrong line.
fn line_of(error: &dotenvy::Error, text: &str) -> usize {
    let dotenvy::Error::LineParse(wrong, _) = error else {
        return 1;
    };
    let start = text.find(wrong.trim_end()).unwrap_or(0);
    text.bytes()
        .take(start)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(text: &str) -> Environment {
        Environment {
            file: PathBuf::from("/etc/acequia/.env"),
            variables: parse(text).unwrap(),
        }
    }

    #[test]
    fn variables_are_put_in_their_place_and_nothing_else_is_touched() {
        let environment = environment("ACEQUIA_T_A=one\nACEQUIA_T_B='t$w#o'\nACEQUIA_T_A=two\n");
        for (text, expanded) in [
            ("plain", "plain"),
            ("", ""),
            ("${ACEQUIA_T_A}", "one"),
            ("<${ACEQUIA_T_A}${ACEQUIA_T_B}>", "<onet$w#o>"),
            ("$${ACEQUIA_T_A}", "${ACEQUIA_T_A}"),
            ("$ACEQUIA_T_A $1 $$x$$ 100$", "$ACEQUIA_T_A $1 $$x$$ 100$"),
            ("ñ${ACEQUIA_T_A}ñ", "ñoneñ"),
        ] {
            assert_eq!(environment.expand(text).unwrap(), expanded, "{text}");
        }
    }

    #[test]
    fn the_process_environment_comes_before_the_file() {
        let environment = environment("PATH=from-the-file\n");
        assert_eq!(
            environment.expand("${PATH}").unwrap(),
            std::env::var("PATH").unwrap()
        );
    }

    #[test]
    fn what_cannot_be_expanded_is_named_without_the_text_around_it() {
        let environment = environment("");
        for (text, error) in [
            (
                "secret${ACEQUIA_T_NONE}",
                BadVariable::Unset("ACEQUIA_T_NONE".to_owned()),
            ),
            ("secret${", BadVariable::Syntax),
            ("secret${}", BadVariable::Syntax),
            ("secret${A B}", BadVariable::Syntax),
            ("secret${1A}", BadVariable::Syntax),
        ] {
            assert_eq!(environment.expand(text).unwrap_err(), error, "{text}");
        }
        let unset = BadVariable::Unset("X".to_owned());
        assert_eq!(
            environment.remedy(&unset),
            "export X, or write a line X='…' into /etc/acequia/.env"
        );
    }

    #[test]
    fn a_broken_line_is_told_by_its_number_and_not_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("acequia.toml");
        for (text, line) in [
            ("A=1\nsecret value\n", 2),
            ("# c\n\nA=1\nB='secret\nmore\n", 4),
            ("A=secret value\n", 1),
            ("\u{feff}A=1\nsecret\n", 2),
        ] {
            std::fs::write(config.with_file_name(".env"), text).unwrap();
            let report = Environment::beside(&config).map(drop).unwrap_err().report();
            assert!(
                report.contains(&format!(".env:{line}: ")),
                "{text}: {report}"
            );
            assert!(!report.contains("secret"), "{report}");
        }
    }

    #[test]
    fn no_file_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Environment::beside(&folder.path().join("acequia.toml")).is_ok());
    }
}

//! `filters.json`: the controls of the whole page. No I/O.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json_lines::JsonLines;
use super::problems::Problems;

/// The file's name.
pub(crate) const FILE: &str = "filters.json";

const REMEDY: &str = "write a list of controls, as in [{\"field\": \"curso\", \"label\": \"Curso\", \"type\": \"select\"}]";

/// A control: whatever has this field in its data is filtered by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Filter {
    /// The column.
    pub(crate) field: String,
    /// How people call it.
    pub(crate) label: String,
    /// What kind of control it is.
    #[serde(rename = "type")]
    pub(crate) control: Control,
}

/// The kind of a control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Control {
    /// One of the column's values.
    Select,
    /// From a month to a month.
    Period,
}

/// The controls of the file's text.
pub(crate) fn parse(text: &str, problems: &mut Problems) -> Vec<Filter> {
    let controls: Vec<Value> = match serde_json::from_str(text) {
        Ok(controls) => controls,
        Err(error) => {
            problems.add(FILE, Some(error.line()), unspoken(&error), REMEDY);
            return Vec::new();
        }
    };
    let lines = JsonLines::of(text);
    let mut filters: Vec<Filter> = Vec::new();
    for (at, control) in controls.into_iter().enumerate() {
        let line = lines.line(&format!("/{at}"));
        match serde_json::from_value::<Filter>(control) {
            Ok(filter) if filters.iter().any(|known| known.field == filter.field) => {
                let what = format!("there are two controls for the field `{}`", filter.field);
                problems.add(FILE, line, what, "remove one of them");
            }
            Ok(filter) => filters.push(filter),
            Err(error) => problems.add(
                FILE,
                line,
                error.to_string(),
                "each control has `field`, `label` and `type`, which is \"select\" or \"period\"",
            ),
        }
    }
    filters
}

/// What JSON's reader has to say, without the place, which is told apart.
pub(crate) fn unspoken(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    text.strip_suffix(&place).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        let mut problems = Problems::default();
        parse(text, &mut problems);
        problems.finish(()).unwrap_err().report()
    }

    #[test]
    fn controls_are_read() {
        let mut problems = Problems::default();
        let filters = parse(
            r#"[{"field": "curso", "label": "Curso", "type": "select"},
                {"field": "mes", "label": "Periodo", "type": "period"}]"#,
            &mut problems,
        );
        assert!(problems.is_empty());
        assert_eq!(filters.len(), 2);
        assert_eq!(filters[1].control, Control::Period);
    }

    #[test]
    fn a_wrong_control_is_told_with_its_line() {
        insta::assert_snapshot!(error("[\n {\"field\": \"a\", \"label\": \"A\", \"type\": \"choice\"}]"), @r#"
        the report's filters.json:2: unknown variant `choice`, expected `select` or `period`
          remedy: each control has `field`, `label` and `type`, which is "select" or "period"
        "#);
        insta::assert_snapshot!(error("{}"), @r#"
        the report's filters.json:1: invalid type: map, expected a sequence
          remedy: write a list of controls, as in [{"field": "curso", "label": "Curso", "type": "select"}]
        "#);
    }
}

//! What each model reads, to be shown. No I/O.

use serde::Serialize;

use super::Materialized;

/// The models of a pipeline, in the order in which they are built, and what each of them reads.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Graph {
    /// The models.
    pub models: Vec<GraphModel>,
}

/// A model, and what it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphModel {
    /// The model.
    pub model: String,
    /// What it is in the destination.
    pub materialized: Materialized,
    /// What its header says it is.
    pub description: Option<String>,
    /// The question that it answers.
    pub question: Option<String>,
    /// The file that it is written in.
    pub file: String,
    /// The models that it reads.
    pub models: Vec<String>,
    /// The streams' tables that it reads.
    pub tables: Vec<String>,
    /// Other tables that it reads, and does not know the changes of.
    pub others: Vec<String>,
}

impl Graph {
    /// As a flowchart of Mermaid.
    pub fn mermaid(&self) -> String {
        let mut lines = vec!["flowchart LR".to_owned()];
        let mut tables: Vec<&str> = self
            .models
            .iter()
            .flat_map(|model| model.tables.iter().chain(&model.others))
            .map(String::as_str)
            .collect();
        tables.sort_unstable();
        tables.dedup();
        let number = |table: &str| tables.iter().position(|known| *known == table);
        for (place, table) in tables.iter().enumerate() {
            lines.push(format!("  t{place}[({})]", label(table)));
        }
        for model in &self.models {
            let (open, close) = match model.materialized {
                Materialized::Table => ("[", "]"),
                Materialized::View => ("(", ")"),
            };
            lines.push(format!(
                "  m_{}{open}{}{close}",
                model.model,
                label(&model.model)
            ));
        }
        for model in &self.models {
            for read in &model.models {
                lines.push(format!("  m_{read} --> m_{}", model.model));
            }
            for place in model
                .tables
                .iter()
                .chain(&model.others)
                .filter_map(|t| number(t))
            {
                lines.push(format!("  t{place} --> m_{}", model.model));
            }
        }
        lines.join("\n")
    }

    /// As lines of text, one for each model.
    pub fn text(&self) -> String {
        let lines: Vec<String> = self
            .models
            .iter()
            .map(|model| {
                let reads: Vec<&str> = model
                    .models
                    .iter()
                    .chain(&model.tables)
                    .chain(&model.others)
                    .map(String::as_str)
                    .collect();
                if reads.is_empty() {
                    model.model.clone()
                } else {
                    format!("{} <- {}", model.model, reads.join(", "))
                }
            })
            .collect();
        lines.join("\n")
    }
}

/// A label of Mermaid, in quotes.
fn label(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "#quot;"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_is_shown_as_text_and_as_a_flowchart() {
        let model = |name: &str, materialized, models: &[&str], tables: &[&str]| GraphModel {
            model: name.to_owned(),
            materialized,
            description: None,
            question: None,
            file: format!("{name}.sql"),
            models: models.iter().map(|name| (*name).to_owned()).collect(),
            tables: tables.iter().map(|name| (*name).to_owned()).collect(),
            others: Vec::new(),
        };
        let graph = Graph {
            models: vec![
                model("a", Materialized::View, &[], &["Mis \"Ventas\""]),
                model("b", Materialized::Table, &["a"], &["cursos"]),
            ],
        };
        assert_eq!(graph.text(), "a <- Mis \"Ventas\"\nb <- a, cursos");
        assert_eq!(
            graph.mermaid(),
            "flowchart LR\n  t0[(\"Mis #quot;Ventas#quot;\")]\n  t1[(\"cursos\")]\n  m_a(\"a\")\n  m_b[\"b\"]\n  \
             t0 --> m_a\n  m_a --> m_b\n  t1 --> m_b"
        );
    }
}

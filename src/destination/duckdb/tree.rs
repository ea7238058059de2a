//! The relations that a statement names, as DuckDB's own parser sees it.
//!
//! DuckDB gives the tree of a statement as JSON, and a table of the nodes of that: so no depth of a statement is too much for us.

use std::collections::{BTreeSet, HashMap};

use crate::destination::sql::Dialect as _;
use crate::destination::sql::models::Relation;
use crate::error::Result;

use super::dialect::DuckDbSql;
use super::session::Session;

/// Functions that give rows of nothing but their arguments.
const OF_ARGUMENTS: [&str; 8] = [
    "range",
    "generate_series",
    "unnest",
    "json_each",
    "json_tree",
    "repeat",
    "repeat_row",
    "generate_subscripts",
];

/// The relations that a statement reads; names that a WITH gives are none. `None` if it cannot be parsed.
pub(super) fn relations_of(session: &Session, sql: &str) -> Result<Option<Vec<Relation>>> {
    let rows = session.rows(
        &format!(
            "SELECT n.id, n.parent, n.key, CAST(n.atom AS VARCHAR) FROM json_tree(json_serialize_sql(CAST({} AS VARCHAR))) AS n",
            DuckDbSql.literal(sql)
        ),
        [],
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
    )?;
    let tree = Tree::of(rows);
    let is_parsed = tree.root_says("error") == Some("false");
    Ok(is_parsed.then(|| tree.relations(session.catalog())))
}

/// A node: its id, its parent, its key there, and its value if it has no nodes below it.
type Row = (u64, Option<u64>, Option<String>, Option<String>);

/// The tree of a statement.
#[derive(Default)]
struct Tree {
    root: Option<u64>,
    /// Each node's parent, and its key there.
    above: HashMap<u64, (u64, String)>,
    /// The nodes below each, by key.
    below: HashMap<u64, HashMap<String, u64>>,
    atoms: HashMap<u64, String>,
}

impl Tree {
    fn of(rows: Vec<Row>) -> Self {
        let mut tree = Self::default();
        for (id, parent, key, atom) in rows {
            if let Some(atom) = atom {
                // Texts are in quotes; other atoms are as they are.
                let text = serde_json::from_str::<String>(&atom).unwrap_or(atom);
                tree.atoms.insert(id, text);
            }
            if let (Some(parent), Some(key)) = (parent, key) {
                tree.below
                    .entry(parent)
                    .or_default()
                    .insert(key.clone(), id);
                tree.above.insert(id, (parent, key));
            } else {
                tree.root = Some(id);
            }
        }
        tree
    }

    fn child(&self, node: u64, key: &str) -> Option<u64> {
        self.below.get(&node)?.get(key).copied()
    }

    fn text(&self, node: u64, key: &str) -> &str {
        let child = self.child(node, key);
        let atom = child.and_then(|child| self.atoms.get(&child));
        atom.map_or("", String::as_str)
    }

    fn root_says(&self, key: &str) -> Option<&str> {
        self.root.map(|root| self.text(root, key))
    }

    fn relations(&self, catalog: &str) -> Vec<Relation> {
        let mut found = BTreeSet::new();
        for node in self.below.keys() {
            match self.text(*node, "type") {
                "BASE_TABLE" => found.extend(self.table(*node, catalog)),
                "TABLE_FUNCTION" => found.extend(self.function(*node)),
                _ => {}
            }
        }
        found.into_iter().collect()
    }

    fn table(&self, node: u64, catalog: &str) -> Option<Relation> {
        let text = |key: &str| self.text(node, key);
        let (database, schema, name) = (
            text("catalog_name"),
            text("schema_name"),
            text("table_name"),
        );
        let is_plain = database.is_empty() && schema.is_empty();
        if is_plain && self.is_of_a_with(node, name) {
            return None;
        }
        let is_here = database.is_empty() || database.eq_ignore_ascii_case(catalog);
        let at: Option<usize> = text("query_location").parse().ok();
        Some(Relation {
            schema: match schema {
                "" => None,
                schema if is_here => Some(schema.to_owned()),
                schema => Some(format!("{database}.{schema}")),
            },
            name: name.to_owned(),
            is_table: at.is_some(),
            at,
        })
    }

    fn function(&self, node: u64) -> Option<Relation> {
        let function = self.child(node, "function")?;
        let name = self.text(function, "function_name");
        let is_pure = OF_ARGUMENTS
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        (!is_pure).then(|| Relation {
            schema: None,
            name: format!("{name}()"),
            is_table: false,
            at: None,
        })
    }

    /// Whether a WITH around a table gives that name: of the queries within the WITH, each sees those before it, and itself if it
    /// is recursive.
    fn is_of_a_with(&self, table: u64, name: &str) -> bool {
        let is_name = |given: &str| given.eq_ignore_ascii_case(name);
        let (mut node, mut path) = (table, Vec::new());
        while let Some((parent, key)) = self.above.get(&node) {
            path.push(key.as_str());
            node = *parent;
            if self.text(node, "type") == "RECURSIVE_CTE_NODE"
                && is_name(self.text(node, "cte_name"))
            {
                return true;
            }
            let queries = self
                .child(node, "cte_map")
                .and_then(|map| self.child(map, "map"));
            let queries = queries.and_then(|queries| self.below.get(&queries));
            // The table is in the query of that number, if it is in the WITH.
            let within = match path.as_slice() {
                [.., number, "map", "cte_map"] => number.parse::<usize>().ok(),
                _ => None,
            };
            let mut visible = queries.into_iter().flatten().filter(|(number, _)| {
                let number: Option<usize> = number.parse().ok();
                within.is_none_or(|within| number.is_some_and(|number| number < within))
            });
            if visible.any(|(_, query)| is_name(self.text(*query, "key"))) {
                return true;
            }
        }
        false
    }
}

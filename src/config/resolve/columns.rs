//! Resolves what columns are called in the destination, and what is run there with each load.

use std::collections::BTreeMap;

use super::check_name;
use super::problems::Checked;
use super::stream::Resolver;
use crate::config::Hooks;
use crate::config::model::Columns;
use crate::models::lexer::{Token, Tokens, only_statement};
use crate::renames::Renames;

/// The words by which a statement begins or ends a transaction.
const TRANSACTION: [&str; 10] = [
    "begin",
    "start",
    "commit",
    "end",
    "rollback",
    "abort",
    "savepoint",
    "release",
    "prepare",
    "checkpoint",
];

impl Resolver<'_> {
    pub(super) fn renames(&mut self) -> Checked<Renames> {
        let mut renames: BTreeMap<String, String> = BTreeMap::new();
        for (column, name) in &self.config.rename {
            let key = format!("rename.{column}");
            let name = self.text(name, &key)?;
            let place = format!("[streams.{}.rename] {column}", self.name);
            check_name(&name, &place, self.problems)?;
            if renames
                .values()
                .any(|other| other.eq_ignore_ascii_case(&name))
            {
                let what = format!("another column is called `{name}` already");
                return Err(self.problems.add(&place, what, "choose another name"));
            }
            renames.insert(column.clone(), name);
        }
        Ok(Renames {
            names: renames,
            lenient: self.document.expansion.members.contains_key(self.name),
        })
    }

    pub(super) fn hooks(&mut self) -> Checked<Hooks> {
        let pre_sql = self.statements(self.config.pre_sql.as_ref(), "pre_sql");
        let post_sql = self.statements(self.config.post_sql.as_ref(), "post_sql");
        Ok(Hooks {
            pre_sql: pre_sql?,
            post_sql: post_sql?,
        })
    }

    fn statements(&mut self, given: Option<&Columns>, key: &str) -> Checked<Vec<String>> {
        let mut statements = Vec::new();
        for text in given.map(Columns::names).unwrap_or_default() {
            let text = self.text(text, key)?;
            let Ok(statement) = only_statement(&text) else {
                let remedy = "write one statement in each text, and a list of several";
                return Err(self.problem(key, "this is not one statement", remedy));
            };
            let first = Tokens::from(statement, 0).find_map(|(_, token)| match token {
                Token::Word(word) => Some(word.to_lowercase()),
                _ => None,
            });
            if first.is_some_and(|word| TRANSACTION.contains(&word.as_str())) {
                let what = "it would end the transaction of the load";
                return Err(self.problem(
                    key,
                    what,
                    "leave it out: a load is committed with all of it",
                ));
            }
            statements.push(statement.to_owned());
        }
        Ok(statements)
    }
}

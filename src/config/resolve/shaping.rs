//! Resolves what columns are called and how they are masked in the destination, and what is run there with each load.

use std::collections::BTreeMap;

use super::check_name;
use super::problems::Checked;
use super::stream::Resolver;
use crate::config::Hooks;
use crate::config::model::Columns;
use crate::models::lexer::{Token, Tokens, only_statement};
use crate::shaping::{BadMask, Mask, Shaping};

/// Says that a column looks personal and is meant to stay as it is.
const KEEP: &str = "keep";
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
    pub(super) fn shaping(&mut self) -> Checked<Shaping> {
        let renames = self.renames();
        let (masks, kept) = self.masks()?;
        let members = &self.document.expansion.members;
        Ok(Shaping {
            renames: renames?,
            masks,
            kept: kept.into_iter().collect(),
            history: BTreeMap::new(),
            lenient: members.contains_key(self.name),
        })
    }

    fn renames(&mut self) -> Checked<BTreeMap<String, String>> {
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
        Ok(renames)
    }

    fn masks(&mut self) -> Checked<(BTreeMap<String, Mask>, Vec<String>)> {
        let (mut masks, mut kept) = (BTreeMap::new(), Vec::new());
        let mut outcome = Ok(());
        for (column, mask) in &self.config.mask {
            let place = format!("[streams.{}.mask] {column}", self.name);
            let mask = self.text(mask, &format!("mask.{column}"))?;
            if mask == KEEP {
                kept.push(column.clone());
                continue;
            }
            let mask = match Mask::parse(&mask) {
                Ok(mask) => mask,
                Err(error) => {
                    let remedy = match error {
                        BadMask::Unknown => {
                            "write \"hmac:${KEY}\", \"sha256\", \"redact\", \"null\", \"keep-last:4\", \"email\" or \"keep\""
                        }
                        BadMask::ShortKey => {
                            "set the variable to a longer one, such as `openssl rand -hex 32` prints"
                        }
                    };
                    outcome = Err(self.problems.add(&place, error.to_string(), remedy));
                    continue;
                }
            };
            if self.config.cursor.as_ref() == Some(column) {
                let what = "it is the cursor, and the position has its values as they are";
                outcome = Err(self.problems.add(
                    &place,
                    what,
                    "leave it as it is, or choose another cursor",
                ));
            }
            let key = self.config.primary_key.as_ref().map(Columns::names);
            if key.is_some_and(|key| key.contains(column)) && !mask.keeps_apart() {
                let what = "it is of the key, and its rows could not be told apart any more";
                outcome = Err(self.problems.add(&place, what, "use \"hmac:${KEY}\""));
            }
            masks.insert(column.clone(), mask);
        }
        outcome.map(|()| (masks, kept))
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

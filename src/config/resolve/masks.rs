//! Resolves the masks of a stream.

use std::collections::BTreeMap;

use super::problems::Checked;
use super::stream::Resolver;
use crate::mask::{Mask, Masks, NoMask};
use crate::schema::ColumnType;

const REMEDY: &str = "write \"hmac:${A_KEY}\", \"sha256\", \"redact\", \"null\", \"keep-last:4\" or \"email\"; \"none\" for \
                      values that are copied as they are";

impl Resolver<'_> {
    /// The stream's masks. A column that is masked as text can have no other type.
    pub(super) fn masks(&mut self) -> Checked<Masks> {
        let mut masks: BTreeMap<String, Mask> = BTreeMap::new();
        let mut outcome = Ok(());
        for (column, text) in &self.config.mask {
            let key = format!("mask {column}");
            let text = match self.text(text, &key) {
                Ok(text) => text,
                Err(reported) => {
                    outcome = Err(reported);
                    continue;
                }
            };
            match text.parse() {
                Ok(mask) => {
                    masks.insert(column.clone(), mask);
                }
                Err(error) => {
                    let remedy = match error {
                        NoMask::ShortKey => {
                            "set a variable of the environment to a longer one, such as that of `openssl rand -hex 32`"
                        }
                        NoMask::Unknown | NoMask::Kept => REMEDY,
                    };
                    outcome = Err(self.problem(&key, &error.to_string(), remedy));
                }
            }
        }
        outcome?;
        let masks: Masks = masks.into_iter().collect();
        for column in masks.text_columns() {
            let given = self.config.types.get(column);
            if let Some(given) = given.filter(|given| **given != ColumnType::Text) {
                let what = format!("types has `{column}` as {given}, and its mask is one of text");
                return Err(self.problem(
                    &format!("mask {column}"),
                    &what,
                    "take the column out of types",
                ));
            }
        }
        Ok(masks)
    }

    /// The types to use instead of the source's: those of the configuration, and text for these columns.
    pub(super) fn types<'m>(
        &self,
        text: impl Iterator<Item = &'m str>,
    ) -> BTreeMap<String, ColumnType> {
        let mut types = self.config.types.clone();
        types.extend(text.map(|column| (column.to_owned(), ColumnType::Text)));
        types
    }

    /// Refuses masks of columns whose values acequia itself needs.
    pub(super) fn refuse_masks_of(&mut self, masks: &Masks, needed: &[&str]) -> Checked<()> {
        let mut outcome = Ok(());
        for column in needed.iter().filter(|column| masks.hides(column)) {
            outcome = Err(self.problem(
                &format!("mask {column}"),
                "what is new is found by this column, and its values are kept as they are",
                "take the mask out",
            ));
        }
        outcome
    }
}

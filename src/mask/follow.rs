//! Masks of a stream compared with its columns, and with those that its table was loaded with.

use std::collections::BTreeSet;

use super::{Mask, Masks};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::schema::{ColumnSpec, ColumnType, Schema};

impl Masks {
    /// Fits the columns that a source describes to their masks.
    ///
    /// # Errors
    /// [`Error::Config`] if a mask names no column, one that is no text, or a key column that rows could then not be told apart
    /// by. Those of `may_lack` need not be there.
    pub fn describe(
        &self,
        columns: &mut [ColumnSpec],
        key: &[String],
        may_lack: &BTreeSet<String>,
    ) -> Result<()> {
        for (name, mask) in &self.0 {
            let Some(column) = columns.iter_mut().find(|column| column.name == *name) else {
                if may_lack.contains(name) {
                    continue;
                }
                return Err(Error::config(format!(
                    "[streams.STREAM.mask] names `{name}`, which is no column of the stream"
                ))
                .remedy("correct the name, or take it out"));
            };
            if mask.masks_text() && column.column_type != ColumnType::Text {
                return Err(Error::config(format!(
                    "column `{name}` is {}, and the mask {mask} is one of text",
                    column.column_type
                ))
                .remedy(format!("write {name} = \"null\", or leave the column out")));
            }
            if key.contains(name) && !mask.tells_apart() {
                return Err(Error::config(format!(
                    "column `{name}` is of the key, and rows could not be told apart by it under the mask {mask}"
                ))
                .remedy(format!("write {name} = \"hmac:${{A_KEY}}\"")));
            }
            if matches!(mask, Mask::Null) {
                column.nullable = true;
            }
        }
        Ok(())
    }

    /// Notes with a schema how its columns are masked.
    pub fn note(&self, schema: &mut Schema) {
        for column in &mut schema.columns {
            column.mask = self.label(column.source_name());
        }
    }

    /// Refuses masks that are not those of the table: masked and unmasked values, or values that are masked otherwise, would stand
    /// beside one another.
    ///
    /// # Errors
    /// [`Error::Config`] with all columns.
    pub fn refuse_others(&self, table: &TableSchema) -> Result<()> {
        let columns = table.columns.iter().filter(|known| !known.retired);
        let others: Vec<String> = columns
            .filter_map(|known| {
                let (before, now) = (&known.column.mask, self.label(known.column.source_name()));
                let say = |mask: Option<&String>| mask.map_or("none", String::as_str).to_owned();
                (*before != now).then(|| {
                    format!(
                        "`{}` ({}, now {})",
                        known.column.name,
                        say(before.as_ref()),
                        say(now.as_ref())
                    )
                })
            })
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(Error::config(format!(
            "the table was loaded with other masks than the stream has now: {}",
            others.join(", ")
        ))
        .remedy(
            "load the table anew, `acequia run STREAM --full-refresh`, or set the masks back. What was landed before keeps its \
             values: `acequia landing list` shows it",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evolution::{assign_field_ids, rebuild};

    fn column(name: &str, column_type: ColumnType) -> ColumnSpec {
        ColumnSpec {
            name: name.to_owned(),
            column_type,
            nullable: false,
            source_type: String::new(),
        }
    }

    fn masks(mask: &str) -> Masks {
        let mask = mask.parse().unwrap();
        [("dni".to_owned(), mask)].into_iter().collect()
    }

    #[test]
    fn what_a_mask_cannot_do_is_refused() {
        let text = || vec![column("dni", ColumnType::Text)];
        let number = || vec![column("dni", ColumnType::Int64)];
        let key = ["dni".to_owned()];
        let none = BTreeSet::new();
        for (mask, mut columns, key, expected) in [
            ("redact", vec![], &[][..], "is no column"),
            ("redact", number(), &[], "is int64"),
            ("redact", text(), &key, "is of the key"),
            ("keep-last:2", text(), &key, "is of the key"),
            ("null", text(), &key, "is of the key"),
        ] {
            let error = masks(mask).describe(&mut columns, key, &none).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        masks("sha256").describe(&mut text(), &key, &none).unwrap();
        let mut number = number();
        masks("null").describe(&mut number, &[], &none).unwrap();
        let lacks = BTreeSet::from(["dni".to_owned()]);
        masks("redact").describe(&mut [], &[], &lacks).unwrap();
        assert!(number.iter().all(|column| column.nullable));
    }

    #[test]
    fn a_table_is_not_gone_on_with_under_other_masks() {
        let mut schema = assign_field_ids(None, vec![column("dni", ColumnType::Text)]);
        let plain = rebuild(None, &schema);
        let first = masks("hmac:the first of two keys");
        first.note(&mut schema);
        let table = rebuild(None, &schema);
        first.refuse_others(&table).unwrap();
        Masks::default().refuse_others(&plain).unwrap();
        masks("none").refuse_others(&plain).unwrap();
        for (others, table) in [
            (masks("hmac:the second of two keys"), &table),
            (masks("sha256"), &table),
            (Masks::default(), &table),
            (first, &plain),
        ] {
            let error = others.refuse_others(table).unwrap_err();
            assert!(error.to_string().contains("`dni` ("), "{error}");
        }
    }
}

//! How a stream's table is laid out.

use std::str::FromStr;

use crate::layout::{Layout, Unreadable};

use super::problems::Checked;
use super::stream::Resolver;

impl Resolver<'_> {
    pub(super) fn layout(&mut self) -> Checked<Layout> {
        let config = self.config;
        let partition_by = self.laid_out_by(&config.partition_by, "partition_by");
        let sort_by = self.laid_out_by(&config.sort_by, "sort_by");
        Ok(Layout {
            partition_by: partition_by?,
            sort_by: sort_by?,
        })
    }

    fn laid_out_by<T: FromStr<Err = Unreadable>>(
        &mut self,
        texts: &[String],
        key: &str,
    ) -> Checked<Vec<T>> {
        let texts = self.texts(texts, key)?;
        let mut read = Vec::with_capacity(texts.len());
        for text in texts {
            match text.parse() {
                Ok(of) => read.push(of),
                Err(Unreadable(remedy)) => {
                    let what = format!("`{text}` is nothing that a table can be laid out by");
                    return Err(self.problem(key, &what, remedy));
                }
            }
        }
        Ok(read)
    }
}

//! What a stream's columns are called in the destination. No I/O.
//!
//! A source knows nothing of it: it is asked by its own names, which a renamed column keeps
//! ([`renamed_from`](crate::schema::Column::renamed_from)).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{FieldRef, Schema as ArrowSchema};

use crate::change;
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::schema::{Column, ColumnSpec, Schema};

/// The names of columns in the destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renames {
    /// The names, by the source's.
    pub names: BTreeMap<String, String>,
    /// Whether a column that the stream does not have may be named: where one setting is for many tables.
    pub lenient: bool,
}

impl Renames {
    /// Whether all columns are called as in the source.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// A column's name in the destination.
    pub fn name<'a>(&'a self, column: &'a str) -> &'a str {
        self.names.get(column).map_or(column, String::as_str)
    }

    /// Names in the destination.
    pub fn names(&self, columns: &[String]) -> Vec<String> {
        let names = columns.iter().map(|column| self.name(column));
        names.map(str::to_owned).collect()
    }

    /// The names of these columns, and of those for values that do not fit them, which go with their own columns.
    #[must_use]
    pub fn of(&self, columns: &[ColumnSpec], misfits: &BTreeMap<String, String>) -> Self {
        let there: BTreeSet<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        let mut names = self.names.clone();
        // The name of a column that is not there may be another's own.
        names.retain(|column, name| {
            there.contains(column.as_str()) || !there.contains(name.as_str())
        });
        for (column, misfit) in misfits {
            let name = self.names.get(column);
            if let Some((name, suffix)) = name.zip(misfit.strip_prefix(column.as_str())) {
                names.insert(misfit.clone(), format!("{name}{suffix}"));
            }
        }
        Self {
            names,
            lenient: self.lenient,
        }
    }

    /// Refuses names that do not go with the columns that a source describes. `fixed` are those that acequia itself finds by
    /// their names.
    ///
    /// # Errors
    /// [`Error::Config`]: a column does not exist or must keep its name, or two would have one name.
    pub fn check(&self, columns: &[ColumnSpec], fixed: &[&str]) -> Result<()> {
        for name in self.names.keys() {
            if !columns.iter().any(|column| column.name == *name) && !self.lenient {
                let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                return Err(Error::config(format!(
                    "[streams.STREAM.rename] names the column `{name}`, which is not read or does not exist"
                ))
                .remedy(format!("the columns are {}", known.join(", "))));
            }
            if fixed.contains(&name.as_str()) {
                return Err(Error::config(format!(
                    "[streams.STREAM.rename] names the column `{name}`, by which acequia itself finds records again"
                ))
                .remedy("leave it as it is"));
            }
        }
        let mut taken: BTreeMap<String, &str> = BTreeMap::new();
        for column in columns {
            let name = self.name(&column.name).to_lowercase();
            if let Some(other) = taken.insert(name, &column.name)
                && (self.names.contains_key(other) || self.names.contains_key(&column.name))
            {
                return Err(Error::config(format!(
                    "[streams.STREAM.rename] gives the columns `{other}` and `{}` one name",
                    column.name
                ))
                .remedy("give each a name of its own, or leave one of them out with `exclude`"));
            }
        }
        Ok(())
    }

    /// Notes in a schema of the destination what the source calls each renamed column.
    pub fn mark(&self, schema: &mut Schema) {
        for column in &mut schema.columns {
            let source = self.names.iter().find(|(_, name)| **name == column.name);
            column.renamed_from = source.map(|(source, _)| source.clone());
        }
    }

    /// The schema of the destination, of one with the source's names.
    pub fn to_table(&self, schema: Schema) -> Schema {
        let columns = schema.columns.into_iter().map(|column| {
            let Some(name) = self.names.get(&column.name) else {
                return column;
            };
            Column {
                renamed_from: Some(column.name),
                name: name.clone(),
                ..column
            }
        });
        Schema {
            columns: columns.collect(),
        }
    }

    /// Refuses to add rows to a table whose columns were called otherwise.
    ///
    /// # Errors
    /// [`Error::Config`], which names the columns and the remedy.
    pub fn refuse_others(&self, known: &TableSchema) -> Result<()> {
        let columns = known.columns.iter().filter(|column| !column.retired);
        let others: Vec<String> = columns
            .map(|column| &column.column)
            .filter_map(|column| {
                let source = column.source_name();
                let name = self.name(source);
                (name != column.name)
                    .then(|| format!("`{source}` is `{}` there, and `{name}` now", column.name))
            })
            .collect();
        if others.is_empty() {
            return Ok(());
        }
        Err(Error::config(format!(
            "the columns of the table have other names than the stream's: {}",
            others.join("; ")
        ))
        .remedy("load the table anew, `acequia run STREAM --full-refresh`, or set the names back"))
    }

    /// A batch by the names of the destination.
    ///
    /// # Errors
    /// A fault in acequia itself.
    pub fn batch(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if self.is_empty() {
            return Ok(batch);
        }
        let schema = batch.schema();
        let mut fields: Vec<FieldRef> = Vec::with_capacity(schema.fields().len());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for (field, values) in schema.fields().iter().zip(batch.columns()) {
            let name = self.name(field.name());
            fields.push(if name == field.name() {
                Arc::clone(field)
            } else {
                Arc::new(field.as_ref().clone().with_name(name))
            });
            columns.push(if field.name() == change::UNCHANGED {
                self.renamed_texts(values)?
            } else {
                Arc::clone(values)
            });
        }
        RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns).map_err(|error| {
            Error::internal("the columns of a batch cannot be renamed").cause(error)
        })
    }

    /// Lists of columns' names, by their names in the destination.
    fn renamed_texts(&self, values: &ArrayRef) -> Result<ArrayRef> {
        let Some(list) = values.as_list_opt::<i32>() else {
            return Ok(Arc::clone(values));
        };
        let (field, offsets, names, nulls) = list.clone().into_parts();
        let names = names.as_string::<i32>().iter();
        let names: StringArray = names.map(|name| name.map(|name| self.name(name))).collect();
        let list = ListArray::try_new(field, offsets, Arc::new(names), nulls);
        list.map(|list| Arc::new(list) as ArrayRef)
            .map_err(|error| Error::internal("names of columns cannot be renamed").cause(error))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;

    use super::*;
    use crate::evolution::{assign_field_ids, rebuild};
    use crate::schema::ColumnType;

    fn renames(names: &[(&str, &str)]) -> Renames {
        let own = |(one, other): &(&str, &str)| ((*one).to_owned(), (*other).to_owned());
        Renames {
            names: names.iter().map(own).collect(),
            lenient: false,
        }
    }

    fn columns() -> Vec<ColumnSpec> {
        ["id", "email", "n"]
            .map(|name| ColumnSpec {
                name: name.to_owned(),
                column_type: ColumnType::Int64,
                nullable: false,
                source_type: "x".to_owned(),
            })
            .to_vec()
    }

    /// A schema of the destination.
    fn schema(renames: &Renames) -> Schema {
        renames.to_table(assign_field_ids(None, columns()))
    }

    #[test]
    fn a_batch_has_the_names_and_field_ids_of_its_schema() {
        // Two columns may take each other's names.
        let renames = renames(&[("email", "n"), ("n", "email")]);
        renames.check(&columns(), &[]).unwrap();
        let schema = schema(&renames);
        let source = schema.as_source();
        let values = (1..=3).map(|n| Arc::new(Int64Array::from(vec![n])) as ArrayRef);
        let batch = RecordBatch::try_new(source.arrow(), values.collect()).unwrap();
        let after = renames.batch(batch).unwrap();
        assert_eq!(after.schema(), schema.arrow());
        assert_eq!(renames.to_table(source), schema);
        let mut marked = schema.clone();
        renames.mark(&mut marked);
        assert_eq!(marked, schema);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (names, expected) in [
            (&[("nada", "x")][..], "`nada`"),
            (&[("email", "n")], "one name"),
            (&[("email", "N")], "one name"),
            (&[("id", "clave")], "finds records again"),
        ] {
            let error = renames(names).check(&columns(), &["id"]).unwrap_err();
            assert!(error.report().contains(expected), "{}", error.report());
        }
    }

    #[test]
    fn rows_under_other_names_are_not_added_to() {
        let before = renames(&[("n", "numero")]);
        let known = rebuild(None, &schema(&before));
        before.refuse_others(&known).unwrap();
        for (names, expected) in [
            (&[][..], "`n` is `numero` there, and `n` now"),
            (&[("n", "otro")], "`n` is `numero` there, and `otro` now"),
            (
                &[("n", "numero"), ("id", "clave")],
                "`id` is `id` there, and `clave` now",
            ),
        ] {
            let error = renames(names).refuse_others(&known).unwrap_err().report();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn what_does_not_fit_goes_with_its_column() {
        let misfits = BTreeMap::from([("email".to_owned(), "email__text".to_owned())]);
        let settings = renames(&[("email", "correo"), ("nada", "n")]);
        let names = settings.of(&columns(), &misfits);
        assert_eq!(names.name("email__text"), "correo__text");
        assert!(!names.names.contains_key("nada"));
    }
}

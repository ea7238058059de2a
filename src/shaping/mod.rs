//! What a stream's columns are called and hold in the destination: renames and masks. They are applied to each batch before
//! anything of it is written. No I/O.
//!
//! A source knows nothing of them: it is asked by its own names and types, which a column keeps as its
//! [`Origin`](crate::schema::Origin).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Schema as ArrowSchema};

use crate::change;
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::schema::{Column, ColumnSpec, ColumnType, Origin, Schema};

mod mask;
mod personal;

pub use mask::{BadMask, Mask};

/// The column of HubSpot's history that holds values of several properties, and that which names the property.
const HISTORY_VALUE: &str = "value";
const HISTORY_PROPERTY: &str = "property";

/// How a stream's columns are called and masked. Columns are named by the source's names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shaping {
    /// The names in the destination.
    pub renames: BTreeMap<String, String>,
    /// The masks.
    pub masks: BTreeMap<String, Mask>,
    /// The columns that look personal and are meant to stay as they are.
    pub kept: BTreeSet<String>,
    /// The masks of values in a table of values of many properties, by property.
    pub history: BTreeMap<String, Mask>,
    /// Whether a column that the stream does not have may be named: where one setting is for many tables.
    pub lenient: bool,
}

/// What a source says of a stream, and what a stream's settings say of its columns.
#[derive(Debug, Clone, Copy)]
pub struct Described<'a> {
    /// Its columns.
    pub columns: &'a [ColumnSpec],
    /// Its key.
    pub key: &'a [String],
    /// The columns that acequia itself finds by their names.
    pub fixed: &'a [&'a str],
}

impl Shaping {
    /// Whether all columns stay as they are.
    pub fn is_empty(&self) -> bool {
        self.renames.is_empty() && self.masks.is_empty() && self.history.is_empty()
    }

    /// What identifies the settings. It tells no key.
    pub fn identity(&self) -> String {
        format!("{:?}", (&self.renames, &self.masks, &self.history))
    }

    /// A column's name in the destination.
    pub fn name<'a>(&'a self, column: &'a str) -> &'a str {
        self.renames.get(column).map_or(column, String::as_str)
    }

    /// Names in the destination.
    pub fn names(&self, columns: &[String]) -> Vec<String> {
        let names = columns.iter().map(|column| self.name(column));
        names.map(str::to_owned).collect()
    }

    /// As well for the columns of values that do not fit, which go with their own columns.
    #[must_use]
    pub fn with_misfits(&self, misfits: &BTreeMap<String, String>) -> Self {
        let mut shaping = self.clone();
        for (column, misfit) in misfits {
            if let Some(mask) = self.masks.get(column) {
                shaping.masks.insert(misfit.clone(), mask.clone());
            }
            let name = self.renames.get(column);
            if let Some((name, suffix)) = name.zip(misfit.strip_prefix(column.as_str())) {
                shaping
                    .renames
                    .insert(misfit.clone(), format!("{name}{suffix}"));
            }
        }
        shaping
    }

    /// Refuses settings that do not go with the columns that a source describes.
    ///
    /// # Errors
    /// [`Error::Config`]: a column does not exist, two would have one name, or what a mask leaves is not enough.
    pub fn check(&self, described: Described<'_>) -> Result<()> {
        let Described {
            columns,
            key,
            fixed,
        } = described;
        let find = |name: &String| columns.iter().find(|column| column.name == *name);
        let of = |table: &'static str, name: &String| (table, name.clone());
        let names = self.renames.keys().map(|name| of("rename", name));
        let names = names.chain(self.masks.keys().map(|name| of("mask", name)));
        for (table, name) in names {
            if find(&name).is_none() && !self.lenient {
                let known: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
                return Err(Error::config(format!(
                    "[streams.STREAM.{table}] names the column `{name}`, which is not read or does not exist"
                ))
                .remedy(format!("the columns are {}", known.join(", "))));
            }
            if fixed.contains(&name.as_str()) {
                return Err(Error::config(format!(
                    "[streams.STREAM.{table}] names the column `{name}`, by which acequia itself finds records again"
                ))
                .remedy("leave it as it is"));
            }
        }
        let mut taken: BTreeMap<String, &str> = BTreeMap::new();
        for column in columns {
            let name = self.name(&column.name).to_lowercase();
            if let Some(other) = taken.insert(name, &column.name)
                && (self.renames.contains_key(other) || self.renames.contains_key(&column.name))
            {
                return Err(Error::config(format!(
                    "[streams.STREAM.rename] gives the columns `{other}` and `{}` one name",
                    column.name
                ))
                .remedy("give each a name of its own, or leave one of them out with `exclude`"));
            }
        }
        for (name, mask) in &self.masks {
            let Some(column) = find(name) else { continue };
            if key.contains(name) && !mask.keeps_apart() {
                return Err(Error::config(format!(
                    "[streams.STREAM.mask] leaves rows that cannot be told apart: `{name}` is of the key"
                ))
                .remedy("mask it with \"hmac:${KEY}\", or leave it as it is"));
            }
            if !mask.can_mask(&column.column_type) {
                return Err(Error::config(format!(
                    "[streams.STREAM.mask] cannot mask `{name}` so: it holds lists"
                ))
                .remedy("use \"redact\" or \"null\", or leave it out with `exclude`"));
            }
        }
        Ok(())
    }

    /// The columns as the destination has them.
    pub fn specs(&self, columns: &[ColumnSpec]) -> Vec<ColumnSpec> {
        let shaped = columns.iter().map(|column| {
            let mask = self.mask_of(&column.name);
            ColumnSpec {
                name: self.name(&column.name).to_owned(),
                column_type: mask.map_or_else(
                    || column.column_type.clone(),
                    |mask| mask.column_type(&column.column_type),
                ),
                nullable: column.nullable || mask == Some(&Mask::Null),
                source_type: column.source_type.clone(),
            }
        });
        shaped.collect()
    }

    /// Notes in a schema of the destination what the source has in place of each column that is not as it is there.
    pub fn mark(&self, schema: &mut Schema, described: &[ColumnSpec]) {
        for spec in described {
            let name = self.name(&spec.name);
            let origin = self.origin(&spec.name, &spec.column_type, spec.nullable);
            let columns = &mut schema.columns.iter_mut();
            if let Some(column) = columns.find(|column| column.name == name) {
                column.origin = origin;
            }
        }
        // Columns for misfits are not described.
        for column in &mut schema.columns {
            let source = self.renames.iter().find(|(_, name)| **name == column.name);
            let source = source.map_or(&column.name, |(source, _)| source).clone();
            if column.origin.is_none() && column.column_type == ColumnType::Text {
                column.origin = self.origin(&source, &ColumnType::Text, true);
            }
        }
    }

    /// The schema that a load has in the destination, of one that the source has.
    pub fn to_table(&self, schema: Schema) -> Schema {
        let columns = schema.columns.into_iter().map(|column| {
            let origin = self.origin(&column.name, &column.column_type, column.nullable);
            let mask = self.mask_of(&column.name);
            Column {
                name: self.name(&column.name).to_owned(),
                column_type: mask.map_or_else(
                    || column.column_type.clone(),
                    |mask| mask.column_type(&column.column_type),
                ),
                nullable: column.nullable || mask == Some(&Mask::Null),
                element_id: column.element_id,
                origin,
                ..column
            }
        });
        Schema {
            columns: columns.collect(),
        }
    }

    fn mask_of(&self, column: &str) -> Option<&Mask> {
        self.masks.get(column)
    }

    fn origin(
        &self,
        column: &str,
        column_type: &ColumnType,
        nullable: bool,
    ) -> Option<Box<Origin>> {
        let mask = match self.mask_of(column) {
            Some(mask) => Some(mask.id()),
            None if column == HISTORY_VALUE && !self.history.is_empty() => {
                Some(format!("by property: {:?}", self.history))
            }
            None => None,
        };
        if mask.is_none() && !self.renames.contains_key(column) {
            return None;
        }
        Some(Box::new(Origin {
            name: column.to_owned(),
            column_type: column_type.clone(),
            nullable,
            mask,
        }))
    }

    /// Refuses to add rows to a table whose rows were called or masked otherwise.
    ///
    /// # Errors
    /// [`Error::Config`], which names the columns and the remedy.
    pub fn check_unchanged(&self, known: &TableSchema) -> Result<()> {
        let columns = known.columns.iter().filter(|column| !column.retired);
        let columns = columns.map(|column| &column.column);
        let changed: Vec<String> = columns
            .filter(|column| !change::is_of_change(&column.name))
            .filter_map(|column| self.changed(column))
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        Err(Error::config(format!(
            "the rows that the table has were made otherwise: {}",
            changed.join("; ")
        ))
        .remedy(
            "make all rows anew: `acequia run STREAM --full-refresh`. Until then nothing is read; what was landed before stays in \
             the landing area as it is (`acequia landing prune`)",
        ))
    }

    fn changed(&self, column: &Column) -> Option<String> {
        let source = column.source_name();
        let now = self.origin(source, &column.column_type, column.nullable);
        let mask = |origin: Option<&Origin>| origin.and_then(|origin| origin.mask.clone());
        let (before, after) = (mask(column.origin.as_deref()), mask(now.as_deref()));
        if before != after {
            let none = || "no mask".to_owned();
            return Some(format!(
                "`{source}` had {}, and has {} now",
                before.unwrap_or_else(none),
                after.unwrap_or_else(none)
            ));
        }
        let name = self.name(source);
        (name != column.name).then(|| {
            format!(
                "`{source}` was called `{}`, and is `{name}` now",
                column.name
            )
        })
    }

    /// A batch as the destination has it.
    ///
    /// # Errors
    /// A fault in acequia itself: a column cannot be written as text.
    pub fn batch(&self, batch: RecordBatch) -> Result<RecordBatch> {
        if self.is_empty() {
            return Ok(batch);
        }
        let schema = batch.schema();
        let mut fields: Vec<FieldRef> = Vec::with_capacity(schema.fields().len());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for (field, values) in schema.fields().iter().zip(batch.columns()) {
            let (field, values) = self.column(field, values, &batch)?;
            fields.push(field);
            columns.push(values);
        }
        RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), columns)
            .map_err(|error| Error::internal("a batch cannot be renamed or masked").cause(error))
    }

    fn column(
        &self,
        field: &FieldRef,
        values: &ArrayRef,
        batch: &RecordBatch,
    ) -> Result<(FieldRef, ArrayRef)> {
        let source = field.name();
        if source == change::UNCHANGED && !self.renames.is_empty() {
            return Ok((Arc::clone(field), self.renamed_texts(values)?));
        }
        if source == HISTORY_VALUE && !self.history.is_empty() {
            return Ok((Arc::clone(field), self.history_values(values, batch)));
        }
        let name = self.name(source);
        let Some(mask) = self.mask_of(source) else {
            if name == source {
                return Ok((Arc::clone(field), Arc::clone(values)));
            }
            return Ok((
                Arc::new(field.as_ref().clone().with_name(name)),
                Arc::clone(values),
            ));
        };
        let field = if *mask == Mask::Null {
            field.as_ref().clone().with_name(name).with_nullable(true)
        } else {
            let id = crate::schema::field_id(field);
            Field::new(name, DataType::Utf8, field.is_nullable()).with_metadata(id)
        };
        Ok((Arc::new(field), mask.apply(values)?))
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

    /// Values of many properties, each masked as its property.
    fn history_values(&self, values: &ArrayRef, batch: &RecordBatch) -> ArrayRef {
        let properties = batch.column_by_name(HISTORY_PROPERTY);
        let properties = properties.and_then(|column| column.as_string_opt::<i32>());
        let (Some(properties), Some(texts)) = (properties, values.as_string_opt::<i32>()) else {
            // Without the property nothing tells which values may be seen.
            return arrow::array::new_null_array(values.data_type(), values.len());
        };
        let masked = properties.iter().zip(texts).map(|(property, value)| {
            let value = value?;
            match property.and_then(|property| self.mask_of_property(property)) {
                Some(Mask::Null) => None,
                Some(mask) => Some(mask.of(value.as_bytes())),
                None => Some(value.to_owned()),
            }
        });
        Arc::new(masked.collect::<StringArray>())
    }

    /// A column is called after its property, with more behind it where names meet.
    fn mask_of_property(&self, property: &str) -> Option<&Mask> {
        let is_its = |column: &str| {
            let rest = column.strip_prefix(property);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("__"))
        };
        let mut masks = self.history.iter();
        masks
            .find(|(column, _)| is_its(column))
            .map(|(_, mask)| mask)
    }

    /// The columns that look personal and are neither masked nor said to be meant so.
    pub fn unmasked_personal<'a>(&self, columns: &'a [ColumnSpec]) -> Vec<&'a str> {
        let personal = columns
            .iter()
            .filter(|column| personal::looks_personal(column));
        personal
            .map(|column| column.name.as_str())
            .filter(|name| !self.masks.contains_key(*name) && !self.kept.contains(*name))
            .collect()
    }
}

#[cfg(test)]
mod tests;

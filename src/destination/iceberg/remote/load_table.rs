//! A table that a load goes into by way of an engine elsewhere: the columns that the load wants of it, and what it writes.
//! No I/O.

use crate::destination::iceberg::catalog::TableMetadata;
use crate::destination::iceberg::schema::Field;
use crate::destination::iceberg::state::Properties;
use crate::destination::sql::statement::Insert;
use crate::destination::sql::{Dialect as _, Table};
use crate::error::{Error, Result};
use crate::evolution::TableSchema;
use crate::layout::Layout;

use super::dialect::SparkSql;

/// A table of a load.
pub(super) struct LoadTable {
    pub(super) name: String,
    pub(super) layout: Layout,
    /// The table as the catalog has it.
    pub(super) seen: Option<TableMetadata>,
    /// What it said when the load began.
    pub(super) begun: Properties,
    /// Where the load begins, once it has claimed the table.
    pub(super) from: Option<Begin>,
    /// Its columns as the load wants them.
    pub(super) columns: Vec<Wanted>,
    pub(super) altered: bool,
    /// Whether the rows that it has go.
    pub(super) anew: bool,
    pub(super) inserts: Vec<Insert>,
    pub(super) statement: Option<String>,
    /// Whether the statement was sent.
    pub(super) sent: bool,
}

/// Where a load begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begin {
    pub(super) snapshot: i64,
    /// Whether it was begun before, and may have been written.
    pub(super) resumed: bool,
}

/// A column of the table.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) data_type: String,
    /// As the table has it now; none where it is new.
    pub(super) field: Option<Field>,
}

impl LoadTable {
    pub(super) fn new(name: &str, layout: Layout, seen: Option<TableMetadata>) -> Self {
        let begun = seen.as_ref().map(|seen| seen.properties.clone());
        let fields = seen.as_ref().and_then(TableMetadata::schema);
        let fields = fields.map_or(&[][..], |schema| &schema.fields);
        let columns = fields.iter().map(|field| Wanted {
            name: field.name.clone(),
            data_type: field
                .column_type()
                .map_or_else(|| field.shown_type(), |kind| SparkSql.type_name(&kind)),
            field: Some(field.clone()),
        });
        Self {
            name: name.to_owned(),
            layout,
            columns: columns.collect(),
            begun: begun.unwrap_or_default(),
            seen,
            from: None,
            altered: false,
            anew: false,
            inserts: Vec::new(),
            statement: None,
            sent: false,
        }
    }

    /// Names and types of its columns.
    pub(super) fn columns(&self) -> Vec<(String, String)> {
        let columns = self.columns.iter();
        columns
            .map(|of| (of.name.clone(), of.data_type.clone()))
            .collect()
    }

    /// Whether the load writes it.
    pub(super) fn is_written(&self) -> bool {
        self.anew || self.statement.is_some() || !self.inserts.is_empty()
    }

    /// Takes what writes the load.
    pub(super) fn gather(&mut self, statement: Option<String>) -> Result<()> {
        if statement.is_some() && self.statement.is_some() {
            return Err(Error::internal("a load writes its table twice"));
        }
        self.statement = self.statement.take().or(statement);
        Ok(())
    }

    /// Wants these columns, and none that it had by the schema `known`. A column that has another type now is another.
    pub(super) fn make(
        &mut self,
        table: &Table,
        columns: Vec<(String, String)>,
        known: Option<&TableSchema>,
    ) {
        let away = table.gone(&columns, known);
        self.altered |= !away.is_empty();
        self.columns.retain(|of| !away.contains(&of.name));
        for (name, data_type) in columns {
            let of_name = |of: &&mut Wanted| SparkSql.is_same_name(&of.name, &name);
            match self.columns.iter_mut().find(of_name) {
                Some(known) if known.data_type == data_type && known.name == name => {}
                Some(known) => {
                    self.altered = true;
                    *known = Wanted {
                        name,
                        data_type,
                        field: None,
                    };
                }
                None => self.push(name, data_type),
            }
        }
    }

    fn push(&mut self, name: String, data_type: String) {
        self.altered = true;
        self.columns.push(Wanted {
            name,
            data_type,
            field: None,
        });
    }

    /// Wants one more column. A load that failed may have left it there.
    pub(super) fn add_column(&mut self, name: &str, data_type: &str) -> Result<()> {
        let mut known = self.columns.iter_mut();
        let known = known.find(|known| SparkSql.is_same_name(&known.name, name));
        match known {
            Some(known) if known.data_type == data_type => {}
            Some(known) if SparkSql.can_change(&known.data_type, data_type) => {
                data_type.clone_into(&mut known.data_type);
                self.altered = true;
            }
            Some(known) if SparkSql.can_change(data_type, &known.data_type) => {}
            Some(known) => {
                return Err(Error::data(format!(
                    "table {} has a column `{name}` of type {} already, and the source's new one is {data_type}",
                    self.name, known.data_type
                ))
                .remedy("make the table anew: `acequia run STREAM --full-refresh`"));
            }
            None => self.push(name.to_owned(), data_type.to_owned()),
        }
        Ok(())
    }

    /// Wants a column with another type.
    pub(super) fn change_column(&mut self, name: &str, data_type: &str) {
        for known in &mut self.columns {
            if SparkSql.is_same_name(&known.name, name) && known.data_type != data_type {
                data_type.clone_into(&mut known.data_type);
                self.altered = true;
            }
        }
    }
}

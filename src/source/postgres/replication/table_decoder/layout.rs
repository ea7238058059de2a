//! Determines the layout of rows in the batches, from what the log or the catalog says of the columns.

use tokio_postgres::Client;

use super::{Shape, TableDecoder};
use crate::change::{self};
use crate::config::postgres::ColumnSettings;
use crate::error::Result;
use crate::evolution::{SchemaContract, assign_field_ids, evolve};
use crate::schema::ColumnSpec;
use crate::shape::{Seen, TableShape};
use crate::source::postgres::catalog;
use crate::source::postgres::identity::relation_identity;
use crate::source::postgres::replication::alterations::frozen;
use crate::source::postgres::replication::change::ChangeBuilder;
use crate::source::postgres::replication::pgoutput::{Relation, RelationColumn};
use crate::source::postgres::replication::table::Table;
use crate::source::postgres::text::TextForm;
use crate::source::postgres::types::{ColumnPlan, plan};

/// Where the description of a table's columns comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Teller {
    /// From the log: the columns when the rows were written.
    Log,
    /// From the catalog: the current columns.
    Catalog,
}

fn same_names(one: &[(String, String)], other: &[(String, String)]) -> bool {
    one.len() == other.len()
        && one
            .iter()
            .all(|(name, _)| other.iter().any(|(other, _)| other == name))
}

/// Whether two type names mean one type: with its schema, or without it if the search path finds the type.
fn same_type(one: &str, other: &str) -> bool {
    let within = |long: &str, short: &str| {
        let schema = long.strip_suffix(short);
        schema.is_some_and(|schema| schema.ends_with('.'))
    };
    one == other || within(one, other) || within(other, one)
}

/// The table as the log would describe it.
pub(super) fn as_relation(table: &Table, seen: &Seen) -> Relation {
    let published = seen
        .shape
        .columns
        .iter()
        .map(|column| &column.identity)
        .filter(|column| !seen.generated.contains(&column.number));
    Relation {
        oid: table.oid,
        schema: String::new(),
        name: String::new(),
        columns: published
            .map(|column| RelationColumn {
                name: column.name.clone(),
                type_oid: column.type_oid,
                modifier: column.modifier,
                identifies: seen.shape.key.contains(&column.number),
            })
            .collect(),
        whole: true,
    }
}

impl TableDecoder {
    pub(super) async fn take_shape(
        &mut self,
        client: &Client,
        relation: &Relation,
        teller: Teller,
    ) -> Result<()> {
        let Some(columns) = catalog::typed(client, &relation.columns).await? else {
            self.restart("a type of one of its columns was dropped meanwhile");
            return Ok(());
        };
        let mut plans = Vec::with_capacity(columns.len());
        let mut forms = Vec::with_capacity(columns.len());
        let ColumnSettings {
            selected, types, ..
        } = &self.columns;
        for column in columns.iter().filter(|column| selected.takes(&column.name)) {
            let mut plan = plan(column, types.get(&column.name))?;
            // A deleted row has values only in the key columns.
            plan.spec.nullable = true;
            forms.push(TextForm::of(column, &plan)?);
            plans.push(plan);
        }
        let live: Vec<(String, String)> = plans
            .iter()
            .map(|plan| (plan.spec.name.clone(), plan.spec.source_type.clone()))
            .collect();
        if !self.follow(client, relation, &live, teller).await? {
            return Ok(());
        }
        let place = |name: &String| {
            relation
                .columns
                .iter()
                .position(|column| column.name == *name)
        };
        let Some(key) = self
            .table
            .key
            .iter()
            .map(place)
            .collect::<Option<Vec<usize>>>()
        else {
            self.restart("its key changed");
            return Ok(());
        };
        if self.builder.is_none() || !same_names(&self.live, &live) {
            self.build(&plans, forms)?;
            self.live = live;
        }
        let names = self.live.iter().map(|(name, _)| place(name)).collect();
        let identifies = |place: &usize| {
            let column = relation.columns.get(*place);
            column.is_some_and(|column| column.identifies)
        };
        // For a partitioned table, the partitions' identities count; they were checked.
        let by_partitions = relation.oid == self.table.oid && !self.table.partitions.is_empty();
        let is_identified =
            by_partitions || relation.whole || (!key.is_empty() && key.iter().all(identifies));
        self.shapes.insert(
            relation.oid,
            Shape {
                places: names,
                key,
                identified: is_identified,
            },
        );
        Ok(())
    }

    /// Whether rows of these columns can follow the rows so far. If not, the decoder has ended.
    async fn follow(
        &mut self,
        client: &Client,
        relation: &Relation,
        live: &[(String, String)],
        teller: Teller,
    ) -> Result<bool> {
        let find = |among: &[(String, String)], name: &str| {
            among
                .iter()
                .find(|(other, _)| other == name)
                .map(|(_, kind)| kind.clone())
        };
        let mut new = Vec::new();
        let mut changes = Vec::new();
        for (name, kind) in live {
            match find(&self.live, name) {
                None => {
                    changes.push(format!("column `{name}` ({kind}) is new"));
                    new.push(name.clone());
                }
                Some(known) if !same_type(&known, kind) => {
                    changes.push(format!("column `{name}` changed from {known} to {kind}"));
                    if self.contract == SchemaContract::Evolve {
                        self.restart(&format!(
                            "its column `{name}` changed from {known} to {kind}"
                        ));
                        return Ok(false);
                    }
                }
                Some(_) => {}
            }
        }
        let gone: Vec<&String> = self
            .live
            .iter()
            .map(|(name, _)| name)
            .filter(|name| find(live, name).is_none())
            .collect();
        changes.extend(
            gone.iter()
                .map(|name| format!("column `{name}` is gone from the source")),
        );
        if teller == Teller::Log && self.is_out_of_order(relation) {
            self.restart("names of its columns were swapped");
            return Ok(false);
        }
        if changes.is_empty() {
            return Ok(true);
        }
        if self.contract == SchemaContract::Freeze {
            return Err(frozen(&changes.join("; ")));
        }
        if let Some(name) = new.first().filter(|_| teller == Teller::Log)
            && let Some(hidden) = self.hidden_elsewhere(relation)
        {
            // Where that is still so, the snapshot would have it, too.
            let identity = relation_identity(client, self.table.oid).await?;
            let known = self.known.as_ref().map(TableShape::identities);
            let known = known.unwrap_or_default();
            self.columns.refuse_shown(&known, &identity.columns)?;
            let reason = format!(
                "its column `{hidden}`, which is left out, was renamed or replaced (`{name}` is new)"
            );
            self.restart(&reason);
            return Ok(false);
        }
        let renamed = gone.first().zip(new.first());
        if let Some((gone, new)) = renamed.filter(|_| teller == Teller::Log) {
            let reason = format!("its column `{gone}` was renamed or replaced (`{new}` is new)");
            self.restart(&reason);
            return Ok(false);
        }
        if let Some(gone) = gone.first().filter(|_| self.table.key.is_empty()) {
            let reason = format!(
                "its column `{gone}` was dropped, and its rows are matched by all that they have"
            );
            self.restart(&reason);
            return Ok(false);
        }
        let known = self.known.as_ref();
        let before = |name: &&String| known.is_some_and(|known| known.column(name).is_some());
        if let Some(name) = new.iter().find(before) {
            let reason =
                format!("its column `{name}` was there before, and what it had is not in the log");
            self.restart(&reason);
            return Ok(false);
        }
        let gone: Vec<String> = gone.into_iter().cloned().collect();
        self.gone.extend(gone);
        let filled = catalog::columns_with_defaults(client, relation.oid, &new).await?;
        if let Some(name) = filled.first() {
            let reason = format!(
                "its new column `{name}` has a default, which gave values to rows that were there"
            );
            self.restart(&reason);
            return Ok(false);
        }
        Ok(true)
    }

    /// A column that the stream leaves out and that the log does not name, although the table had it.
    fn hidden_elsewhere(&self, relation: &Relation) -> Option<String> {
        if self.table.lists_columns {
            return None;
        }
        let known = self.known.as_ref()?;
        let had = known.columns.iter().map(|column| &column.identity.name);
        let mut hidden = had.filter(|name| !self.columns.selected.takes(name));
        let is_told = |name: &String| relation.columns.iter().any(|column| column.name == *name);
        hidden.find(|name| !is_told(name)).cloned()
    }

    fn is_out_of_order(&self, relation: &Relation) -> bool {
        let names = relation.columns.iter().map(|column| column.name.as_str());
        let known = self
            .known
            .as_ref()
            .filter(|_| relation.oid == self.table.oid);
        known.is_some_and(|known| !known.has_in_order(names))
    }

    /// Starts batches of another layout.
    pub(super) fn build(&mut self, plans: &[ColumnPlan], forms: Vec<TextForm>) -> Result<()> {
        self.flush()?;
        let mut specs: Vec<ColumnSpec> = plans.iter().map(|plan| plan.spec.clone()).collect();
        specs.extend(change::columns());
        let schema = assign_field_ids(Some(&self.numbering), specs);
        self.numbering = evolve(&self.numbering, &schema)?.table;
        for column in schema.columns.iter().take(plans.len()) {
            if !self.sent.iter().any(|sent| sent.name == column.name) {
                self.sent.push(column.clone());
            }
        }
        self.builder = Some(ChangeBuilder::new(&schema, plans.to_vec(), forms));
        Ok(())
    }
}

//! How a load claims its table, and publishes what was written: commits of the catalog, of which only one of two runs has
//! its way.

use serde_json::{Value, json};

use crate::destination::iceberg::catalog::{Committed, TableMetadata, asserted};
use crate::destination::iceberg::layout;
use crate::destination::iceberg::schema::{Field, TableFields};
use crate::destination::iceberg::state::{self, Intent, Properties};
use crate::destination::sql::Dialect as _;
use crate::error::{Error, Kind, Result};

use super::dialect::SparkSql;
use super::run::{Begin, Run};
use super::{Way, insert};

impl Run<'_> {
    fn seen(&self) -> Result<&TableMetadata> {
        let seen = self.work.seen.as_ref();
        seen.ok_or_else(|| again(format!("table {} is gone", self.work.table)))
    }

    fn look(&mut self) -> Result<()> {
        self.work.seen = self.catalog.table(&self.work.table)?;
        self.seen().map(drop)
    }

    fn commit(&mut self, requirements: Vec<Value>, updates: &[Value]) -> Result<Committed> {
        let seen = self.seen()?.clone();
        self.catalog
            .commit(&self.work.table, &seen, requirements, updates)
    }

    /// Claims the table for the load, once it is there and has the load's columns.
    pub(super) fn settle(&mut self) -> Result<()> {
        if self.work.from.is_some() {
            return Ok(());
        }
        self.bring_schema()?;
        let begun = self.seen()?;
        // The load was begun, and may have been written: it is written again on what it began on. What was written on a branch
        // that nobody published is as if it had never been.
        let resumed = Intent::read(&begun.properties)
            .filter(|intent| intent.load == self.work.load_id && !intent.branch)
            .and_then(|intent| begun.reference(&intent.claim));
        let from = match resumed {
            Some(from) => from,
            None => self.snapshot_to_begin_on()?,
        };
        let way = self.way();
        let main = self.seen()?.snapshot();
        let undoes = way == Way::Branch && main != Some(from);
        if undoes && self.seen()?.parent_of_main() != Some(from) {
            return Err(self.is_elsewhere());
        }
        let claim = self.work.claim.clone();
        let mut requirements = vec![asserted(&claim, None)];
        if resumed.is_none() || way == Way::Branch {
            requirements.push(asserted("main", main));
        }
        let mut updates = Vec::new();
        if undoes {
            // An engine without branches wrote the load onto the table, and it was never published.
            updates.push(json!({
                "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": from
            }));
        }
        for (dead, at) in state::claims(self.seen()?) {
            requirements.push(asserted(dead, Some(at)));
            updates.push(json!({"action": "remove-snapshot-ref", "ref-name": dead}));
        }
        updates.push(json!({
            "action": "set-snapshot-ref", "ref-name": claim, "snapshot-id": from,
            "type": match way { Way::Branch => "branch", Way::Direct => "tag" }
        }));
        let intent = Intent {
            load: self.work.load_id.clone(),
            claim: claim.clone(),
            branch: way == Way::Branch,
        };
        updates.push(json!({
            "action": "set-properties", "updates": intent.write(self.work.turn)?
        }));
        done(self.commit(requirements, &updates)?)?;
        fail::fail_point!("iceberg.claimed", crate::failpoint::abort);
        self.look()?;
        let now = self.seen()?;
        if now.reference(&claim) != Some(from)
            || !state::stands_as(&self.work.begun, &now.properties)
        {
            return Err(self.is_elsewhere());
        }
        self.work.from = Some(Begin {
            snapshot: from,
            resumed: resumed.is_some() && way == Way::Direct,
        });
        if way == Way::Branch {
            // Spark keeps what it knows of a table for a while.
            let refresh = format!("REFRESH TABLE {}", self.remote.name(&self.work.table));
            self.remote.ask(&refresh)?;
        }
        Ok(())
    }

    fn is_elsewhere(&self) -> Error {
        again(format!("another run is at table {}", self.work.table))
    }

    /// Makes the table, or gives it the columns that the load wants.
    fn bring_schema(&mut self) -> Result<()> {
        let Some(seen) = self.work.seen.clone() else {
            let mut last = 0;
            let fields = self.fields(&mut last)?;
            let made = self.catalog.create_table(
                &self.work.table,
                &TableFields::of(fields),
                &self.work.at_creation,
                &self.work.layout,
            )?;
            done(made)?;
            return self.look();
        };
        if !self.work.altered {
            return Ok(());
        }
        let mut last = seen.last_column_id;
        let fields = self.fields(&mut last)?;
        let known = seen.schema().map_or(&[][..], |schema| &schema.fields);
        let gone = known
            .iter()
            .filter(|of| !fields.iter().any(|field| field.id == of.id))
            .map(|of| of.name.as_str());
        layout::refuse_to_drop(&seen.laid_out_by(), &self.work.table, gone)?;
        let requirements = vec![
            seen.assert_schema(),
            asserted("main", seen.snapshot()),
            json!({"type": "assert-last-assigned-field-id", "last-assigned-field-id": seen.last_column_id}),
        ];
        let updates = vec![
            json!({"action": "add-schema", "schema": TableFields::of(fields), "last-column-id": last}),
            json!({"action": "set-current-schema", "schema-id": -1}),
        ];
        done(self.commit(requirements, &updates)?)?;
        self.work.altered = false;
        self.look()
    }

    fn fields(&self, last: &mut i32) -> Result<Vec<Field>> {
        let columns = self.work.columns.iter();
        columns
            .map(|wanted| {
                let kind = SparkSql.parse_type(&wanted.data_type);
                match (&wanted.field, kind) {
                    (Some(field), Some(kind)) if field.column_type() != Some(kind.clone()) => {
                        Ok(field.promoted(&kind))
                    }
                    (Some(field), _) => Ok(field.clone()),
                    (None, Some(kind)) => Ok(Field::new(&wanted.name, &kind, last)),
                    (None, None) => Err(Error::internal("a column of a type that Iceberg lacks")),
                }
            })
            .collect()
    }

    /// The table's snapshot. One that is read by a tag has to have the table's columns: what is read so has those that the snapshot
    /// was made with, and a branch has those that the table has now.
    fn snapshot_to_begin_on(&mut self) -> Result<i64> {
        if let Some(now) = self.beginning()? {
            return Ok(now);
        }
        let nothing = insert::nothing(&self.remote.name(&self.work.table));
        self.remote.ask(&nothing)?;
        self.look()?;
        self.beginning()?.ok_or_else(|| {
            again(format!(
                "the engine at {} wrote table {}, and the catalog does not have it",
                self.remote.channel.address(),
                self.work.table
            ))
            .remedy("name the catalog as the engine calls it with `engine_catalog` of the destination, and see that it is the same one")
        })
    }

    fn beginning(&self) -> Result<Option<i64>> {
        let seen = self.seen()?;
        let begins = |now: &i64| self.way() == Way::Branch || seen.is_of_this_schema(*now);
        Ok(seen.snapshot().filter(begins))
    }

    /// Sets the properties, makes the branch the table, and takes the mark away: one commit.
    ///
    /// # Errors
    /// Where the table is not where the load has left it.
    pub(in crate::destination::iceberg) fn publish(
        &mut self,
        properties: &Properties,
    ) -> Result<Committed> {
        self.look()?;
        let seen = self.seen()?;
        let claim = self.work.claim.clone();
        let (Some(at), Some(begin)) = (seen.reference(&claim), self.work.from) else {
            return Err(self.is_elsewhere());
        };
        if !state::stands_as(&self.work.begun, &seen.properties) {
            return Err(self.is_elsewhere());
        }
        let main = seen.snapshot();
        let mut requirements = vec![asserted(&claim, Some(at))];
        let mut updates = Vec::new();
        match self.way() {
            // One statement makes one snapshot. An engine that repeats a commit whose answer it lost would have made two.
            Way::Branch if at != begin.snapshot && seen.parent_of(at) != Some(begin.snapshot) => {
                return Err(again(format!(
                    "the engine at {} wrote table {} more than once",
                    self.remote.channel.address(),
                    self.work.table
                )));
            }
            Way::Branch if main != Some(begin.snapshot) => return Err(self.is_elsewhere()),
            Way::Branch => updates.push(json!({
                "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": at
            })),
            Way::Direct if self.work.sent && main == Some(begin.snapshot) => {
                return Err(again(format!(
                    "the engine at {} wrote table {}, and the catalog does not have it",
                    self.remote.channel.address(),
                    self.work.table
                )));
            }
            Way::Direct => {}
        }
        requirements.push(asserted("main", main));
        updates.push(json!({"action": "set-properties", "updates": properties}));
        updates.push(json!({"action": "remove-properties", "removals": [state::INTENT]}));
        updates.push(json!({"action": "remove-snapshot-ref", "ref-name": claim}));
        fail::fail_point!("iceberg.before_commit", crate::failpoint::abort);
        self.commit(requirements, &updates)
    }

    /// Drops the views; and gives the claim up, where nothing was written for it that could be seen.
    pub(in crate::destination::iceberg) fn close(&mut self, gives_up: bool) {
        self.views.drop_all(self.remote);
        let is_unseen = match self.way() {
            Way::Branch => true,
            Way::Direct => !self.work.sent,
        };
        if gives_up && is_unseen && self.work.from.is_some_and(|begin| !begin.resumed) {
            let answer = self.give_up();
            tracing::debug!(?answer, "a claim is given up");
        }
    }

    fn give_up(&mut self) -> Result<Option<Committed>> {
        self.look()?;
        let claim = self.work.claim.clone();
        let Some(at) = self.seen()?.reference(&claim) else {
            return Ok(None);
        };
        let updates = [
            json!({"action": "remove-properties", "removals": [state::INTENT]}),
            json!({"action": "remove-snapshot-ref", "ref-name": claim}),
        ];
        let requirements = vec![asserted(&claim, Some(at))];
        self.commit(requirements, &updates).map(Some)
    }
}

fn again(what: String) -> Error {
    Error::destination(what)
        .for_now()
        .of_kind(Kind::Storage)
        .remedy("run again; keep others from writing tables of acequia's")
}

/// A commit that has to be done before the load goes on. What became of one whose answer was lost is seen when the load is begun
/// anew.
fn done(committed: Committed) -> Result<()> {
    let done = committed.done();
    done.map_err(|error| error.for_now().of_kind(Kind::Storage))
}

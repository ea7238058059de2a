//! How a load claims its table, and publishes what was written: commits of the catalog, of which only one of two runs has
//! its way.

use serde_json::{Value, json};

use crate::destination::iceberg::catalog::{Committed, TableMetadata, asserted};
use crate::destination::iceberg::schema::{Field, TableFields};
use crate::destination::iceberg::state::{self, Intent, Properties};
use crate::destination::sql::Dialect as _;
use crate::error::{Error, Kind, Result};

use super::dialect::SparkSql;
use super::merge;
use super::run::{Begin, Run};

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
        let begun = self.seen()?.clone();
        // The load was begun, and may have been written: it is written again on what it began on.
        let resumed = Intent::read(&begun.properties)
            .filter(|intent| intent.load == self.work.load_id)
            .and_then(|intent| begun.reference(&intent.claim));
        let from = match resumed {
            Some(from) => from,
            None => self.snapshot_of_schema()?,
        };
        let claim = self.work.claim.clone();
        let mut requirements = vec![asserted(&claim, None)];
        if resumed.is_none() {
            requirements.push(asserted("main", Some(from)));
        }
        let mut updates = Vec::new();
        for (dead, at) in state::claims(self.seen()?) {
            requirements.push(asserted(dead, Some(at)));
            updates.push(json!({"action": "remove-snapshot-ref", "ref-name": dead}));
        }
        updates.push(json!({
            "action": "set-snapshot-ref", "ref-name": claim, "type": "tag", "snapshot-id": from
        }));
        let intent = Intent {
            load: self.work.load_id.clone(),
            claim: claim.clone(),
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
            return Err(again(format!(
                "another run is at table {}",
                self.work.table
            )));
        }
        self.work.from = Some(Begin {
            snapshot: from,
            resumed: resumed.is_some(),
        });
        Ok(())
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
            )?;
            done(made)?;
            return self.look();
        };
        if !self.work.altered {
            return Ok(());
        }
        let mut last = seen.last_column_id;
        let fields = self.fields(&mut last)?;
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

    /// The table's snapshot, which has to have its columns: what is read at a snapshot has those that it was made with.
    fn snapshot_of_schema(&mut self) -> Result<i64> {
        let seen = self.seen()?;
        if let Some(now) = seen.snapshot().filter(|now| seen.is_of_this_schema(*now)) {
            return Ok(now);
        }
        let nothing = merge::nothing(&self.remote.name(&self.work.table));
        self.remote.ask(&nothing)?;
        self.look()?;
        let seen = self.seen()?;
        let now = seen.snapshot().filter(|now| seen.is_of_this_schema(*now));
        now.ok_or_else(|| {
            again(format!(
                "the engine at {} wrote table {}, and the catalog does not have it",
                self.remote.channel.address(),
                self.work.table
            ))
            .remedy("name the catalog as the engine calls it with `engine_catalog` of the destination, and see that it is the same one")
        })
    }

    /// Sets the properties and takes the mark away: one commit.
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
        let elsewhere = || again(format!("another run is at table {}", self.work.table));
        let at = seen.reference(&claim).ok_or_else(elsewhere)?;
        if !state::stands_as(&self.work.begun, &seen.properties) {
            return Err(elsewhere());
        }
        let main = seen.snapshot();
        let mut requirements = vec![asserted(&claim, Some(at))];
        let mut updates = Vec::new();
        if self.work.sent && main == self.work.from.map(|begin| begin.snapshot) {
            return Err(again(format!(
                "the engine at {} wrote table {}, and the catalog does not have it",
                self.remote.channel.address(),
                self.work.table
            )));
        }
        requirements.push(asserted("main", main));
        updates.push(json!({"action": "set-properties", "updates": properties}));
        updates.push(json!({"action": "remove-properties", "removals": [state::INTENT]}));
        updates.push(json!({"action": "remove-snapshot-ref", "ref-name": claim}));
        fail::fail_point!("iceberg.before_commit", crate::failpoint::abort);
        self.commit(requirements, &updates)
    }

    /// Drops the views; and gives the claim up, where nothing was written for it.
    pub(in crate::destination::iceberg) fn close(&mut self, gives_up: bool) {
        self.views.drop_all(self.remote);
        let Some(begin) = self
            .work
            .from
            .filter(|begin| gives_up && !self.work.sent && !begin.resumed)
        else {
            return;
        };
        let claim = self.work.claim.clone();
        let answer = self.commit(
            vec![asserted(&claim, Some(begin.snapshot))],
            &[
                json!({"action": "remove-properties", "removals": [state::INTENT]}),
                json!({"action": "remove-snapshot-ref", "ref-name": claim}),
            ],
        );
        tracing::debug!(?answer, "a claim is given up");
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
    match committed {
        Committed::Done => Ok(()),
        Committed::Conflict(error) | Committed::Unknown(error) => {
            Err(error.for_now().of_kind(Kind::Storage))
        }
    }
}

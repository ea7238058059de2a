//! How a load claims its tables, and publishes what was written: commits of the catalog, of which only one of two runs has
//! its way.

use serde_json::{Value, json};

use crate::destination::iceberg::catalog::{Catalog, Change, Committed, TableMetadata, asserted};
use crate::destination::iceberg::claims::{self, Claim, Intent, Unfinished, again, not_undone};
use crate::destination::iceberg::layout;
use crate::destination::iceberg::schema::{Field, TableFields};
use crate::destination::iceberg::state::{self, Kept, Properties};
use crate::destination::sql::Dialect as _;
use crate::error::{Error, Kind, Result};

use super::dialect::SparkSql;
use super::load_table::{Begin, LoadTable};
use super::{Remote, Way, insert};

/// What a load claims its tables with.
pub(super) struct Claimant<'a> {
    pub(super) remote: &'a mut Remote,
    pub(super) catalog: &'a mut Catalog,
    pub(super) load_id: String,
    /// What tables that it makes are given.
    pub(super) at_creation: Properties,
    /// The branch or tag, the same on each of its tables; and its number.
    pub(super) claim: String,
    pub(super) turn: u64,
    /// Whether it makes the stream's table anew, whatever that holds.
    pub(super) rebuilds: bool,
    /// As [`Intent::amends`].
    pub(super) amends: bool,
    /// What the stream's table kept when the load began.
    pub(super) own: Option<Kept>,
}

impl LoadTable {
    fn seen(&self) -> Result<&TableMetadata> {
        let seen = self.seen.as_ref();
        seen.ok_or_else(|| again(format!("table {} is gone", self.name)))
    }

    fn look(&mut self, of: &mut Claimant<'_>) -> Result<()> {
        self.seen = of.catalog.table(&self.name)?;
        self.seen().map(drop)
    }

    fn commit(
        &self,
        of: &mut Claimant<'_>,
        requirements: Vec<Value>,
        updates: Vec<Value>,
    ) -> Result<Committed> {
        let seen = self.seen()?;
        of.catalog.commit(&self.name, seen, requirements, updates)
    }

    /// Claims the table for the load, once it is there and has the load's columns.
    pub(super) fn settle(&mut self, of: &mut Claimant<'_>) -> Result<()> {
        if self.from.is_some() {
            return Ok(());
        }
        self.bring_schema(of)?;
        let way = of.remote.way;
        let (from, resumed) = self.begin(of)?;
        let intent = Intent {
            load: of.load_id.clone(),
            claim: of.claim.clone(),
            branch: way == Way::Branch,
            // Until the branch is published, an engine without branches may write the load onto the table.
            from: (way == Way::Branch && resumed).then_some(from),
            amends: of.amends,
        };
        let claim = Claim {
            seen: self.seen()?,
            intent: &intent,
            turn: of.turn,
            from,
            // What is written once more on what it began on may stand in the table already.
            holds_main: way == Way::Branch || !resumed,
        };
        let (requirements, updates) = claim.commit()?;
        done(self.commit(of, requirements, updates)?)?;
        fail::fail_point!("iceberg.claimed", crate::failpoint::abort);
        self.look(of)?;
        let now = self.seen()?;
        if now.reference(&of.claim) != Some(from) || !state::stands_as(&self.begun, &now.properties)
        {
            return Err(self.is_elsewhere());
        }
        self.from = Some(Begin {
            snapshot: from,
            resumed,
        });
        if way == Way::Branch {
            // Spark keeps what it knows of a table for a while.
            let refresh = format!("REFRESH TABLE {}", of.remote.name(&self.name));
            of.remote.ask(&refresh)?;
        }
        Ok(())
    }

    /// The snapshot to begin on, and whether a load was begun on it before.
    ///
    /// What was written on a branch that nobody published is as if it had never been. What an engine without branches wrote onto
    /// the table is undone by a load on a branch, and written once more by the same load without one.
    fn begin(&mut self, of: &mut Claimant<'_>) -> Result<(i64, bool)> {
        let unfinished = Unfinished::of(self.seen()?, of.own.as_ref());
        let resumed = match (of.remote.way, &unfinished) {
            (Way::Branch, Some(unfinished)) => {
                let undone = unfinished.can_be_undone(self.seen()?);
                // The rows of a table that is made anew go, whatever they are, and what another load kept of changes is true.
                let may_stay = self.anew || (of.rebuilds && unfinished.load.as_str() != of.load_id);
                if undone.is_none() && !may_stay {
                    return Err(not_undone(unfinished, &self.name));
                }
                undone
            }
            (Way::Direct, Some(unfinished)) if unfinished.load == of.load_id => unfinished.from,
            (Way::Direct, Some(_)) => return Ok((self.fence(of)?, false)),
            (_, None) => None,
        };
        match resumed {
            Some(from) => Ok((from, true)),
            None => Ok((self.snapshot_to_begin_on(of)?, false)),
        }
    }

    fn is_elsewhere(&self) -> Error {
        again(format!("another run is at table {}", self.name))
    }

    /// Makes the table, or gives it the columns that the load wants.
    pub(super) fn bring_schema(&mut self, of: &mut Claimant<'_>) -> Result<()> {
        let Some(seen) = self.seen.clone() else {
            let mut last = 0;
            let fields = TableFields::of(self.fields(&mut last)?);
            let made =
                of.catalog
                    .create_table(&self.name, &fields, &of.at_creation, &self.layout)?;
            done(made)?;
            self.altered = false;
            return self.look(of);
        };
        if !self.altered {
            return Ok(());
        }
        let mut last = seen.last_column_id;
        let fields = self.fields(&mut last)?;
        let known = seen.schema().map_or(&[][..], |schema| &schema.fields);
        let gone = known
            .iter()
            .filter(|of| !fields.iter().any(|field| field.id == of.id))
            .map(|of| of.name.as_str());
        layout::refuse_to_drop(&seen.laid_out_by(), &self.name, gone)?;
        let requirements = vec![
            seen.assert_schema(),
            asserted("main", seen.snapshot()),
            json!({"type": "assert-last-assigned-field-id", "last-assigned-field-id": seen.last_column_id}),
        ];
        let updates = vec![
            json!({"action": "add-schema", "schema": TableFields::of(fields), "last-column-id": last}),
            json!({"action": "set-current-schema", "schema-id": -1}),
        ];
        done(self.commit(of, requirements, updates)?)?;
        self.altered = false;
        self.look(of)
    }

    fn fields(&self, last: &mut i32) -> Result<Vec<Field>> {
        let columns = self.columns.iter();
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
    fn snapshot_to_begin_on(&mut self, of: &mut Claimant<'_>) -> Result<i64> {
        match self.beginning(of.remote.way)? {
            Some(now) => Ok(now),
            None => self.write_nothing(of),
        }
    }

    /// Takes the table off the snapshot that another load began on, so that a statement which that one has left running is refused
    /// when it comes to its commit.
    ///
    /// # Errors
    /// Where that statement came to its commit before.
    fn fence(&mut self, of: &mut Claimant<'_>) -> Result<i64> {
        let before = self.seen()?.snapshot();
        let now = self.write_nothing(of)?;
        if self.seen()?.parent_of(now) == before {
            Ok(now)
        } else {
            Err(self.is_elsewhere())
        }
    }

    /// A snapshot that changes no row.
    fn write_nothing(&mut self, of: &mut Claimant<'_>) -> Result<i64> {
        let nothing = insert::nothing(&of.remote.name(&self.name));
        of.remote.ask(&nothing)?;
        self.look(of)?;
        self.beginning(of.remote.way)?
            .ok_or_else(|| self.is_not_the_catalogs(of))
    }

    fn is_not_the_catalogs(&self, of: &Claimant<'_>) -> Error {
        again(format!(
            "the engine at {} wrote table {}, and the catalog does not have it",
            of.remote.channel.address(),
            self.name
        ))
        .remedy("name the catalog as the engine calls it with `engine_catalog` of the destination, and see that it is the same one")
    }

    fn beginning(&self, way: Way) -> Result<Option<i64>> {
        let seen = self.seen()?;
        let begins = |now: &i64| way == Way::Branch || seen.is_of_this_schema(*now);
        Ok(seen.snapshot().filter(begins))
    }

    /// Looks at the table once more; what publishes it: it becomes what was written, and the claim is taken away. Only a table that the
    /// load claims has any.
    ///
    /// # Errors
    /// Where the table is not where the load has left it.
    fn published(&mut self, of: &mut Claimant<'_>) -> Result<(Vec<Value>, Vec<Value>)> {
        self.look(of)?;
        let seen = self.seen()?;
        let (Some(at), Some(begin)) = (seen.reference(&of.claim), self.from) else {
            return Err(self.is_elsewhere());
        };
        if !state::stands_as(&self.begun, &seen.properties) {
            return Err(self.is_elsewhere());
        }
        let main = seen.snapshot();
        let requirements = vec![asserted(&of.claim, Some(at)), asserted("main", main)];
        let mut updates = Vec::new();
        match of.remote.way {
            // One statement makes one snapshot. An engine that repeats a commit whose answer it lost would have made two.
            Way::Branch if at != begin.snapshot && seen.parent_of(at) != Some(begin.snapshot) => {
                return Err(again(format!(
                    "the engine at {} wrote table {} more than once",
                    of.remote.channel.address(),
                    self.name
                )));
            }
            Way::Branch if main != Some(begin.snapshot) => return Err(self.is_elsewhere()),
            Way::Branch => updates.push(json!({
                "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": at
            })),
            Way::Direct if self.sent && main == Some(begin.snapshot) => {
                return Err(self.is_not_the_catalogs(of));
            }
            Way::Direct => {}
        }
        updates.push(claims::forgotten());
        updates.push(claims::dropped(&of.claim));
        Ok((requirements, updates))
    }

    /// Gives the claim up, where nothing was written for it that could be seen.
    pub(super) fn give_up(&mut self, of: &mut Claimant<'_>) -> Result<Option<Committed>> {
        if self.from.is_none_or(|begin| begin.resumed) {
            return Ok(None);
        }
        self.look(of)?;
        let Some(at) = self.seen()?.reference(&of.claim) else {
            return Ok(None);
        };
        let updates = vec![claims::forgotten(), claims::dropped(&of.claim)];
        let requirements = vec![asserted(&of.claim, Some(at))];
        self.commit(of, requirements, updates).map(Some)
    }
}

/// Publishes tables, the stream's own first, which is given these properties: one commit.
///
/// # Errors
/// Where one is not where the load has left it.
pub(super) fn publish(
    of: &mut Claimant<'_>,
    table: &mut LoadTable,
    changes: Option<&mut LoadTable>,
    properties: &Properties,
) -> Result<Committed> {
    let (requirements, mut updates) = table.published(of)?;
    updates.insert(
        0,
        json!({"action": "set-properties", "updates": properties}),
    );
    let mut all = vec![Change {
        table: &table.name,
        seen: table.seen()?,
        requirements,
        updates,
    }];
    if let Some(changes) = changes.filter(|changes| changes.from.is_some()) {
        let (requirements, updates) = changes.published(of)?;
        all.push(Change {
            table: &changes.name,
            seen: changes.seen()?,
            requirements,
            updates,
        });
    }
    fail::fail_point!("iceberg.before_commit", crate::failpoint::abort);
    of.catalog.commit_all(all)
}

/// A commit that has to be done before the load goes on. What became of one whose answer was lost is seen when the load is begun
/// anew.
fn done(committed: Committed) -> Result<()> {
    let done = committed.done();
    done.map_err(|error| error.for_now().of_kind(Kind::Storage))
}

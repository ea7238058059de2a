//! How a table tells that a load is at it which its commit does not end: a branch or a tag, and a property that names the load.
//! No I/O.
//!
//! Only one of two loads can claim a table, as each takes the other's claim away. A load that an engine without branches writes
//! may stand in the table before it is published: the tag is the snapshot that the table had before, so that another writer can
//! begin there.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::destination::sql::changes::changelog;
use crate::error::{Error, Kind, Result};
use crate::landing::manifest::Manifest;
use crate::mode::Mode;

use super::catalog::{TableMetadata, asserted};
use super::state::{Kept, Properties, from_json, to_json};

/// A load that is at the table, and has perhaps written it.
pub(super) const INTENT: &str = "acequia.intent";
/// The number of the last claim.
const TURN: &str = "acequia.turn";
/// What the names of claims begin with.
const CLAIM: &str = "acequia_";

/// A load that claims a table, until it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) load: String,
    /// The branch or tag by which it does.
    pub(super) claim: String,
    /// Whether that is a branch: what is written for the load is then seen by nobody until it is published.
    #[serde(default)]
    pub(super) branch: bool,
    /// With a branch: the snapshot on which an engine without branches had begun a load, which it may write even now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) from: Option<i64>,
    /// Whether it brings nothing that another load would bring once more: it amends the table, and the stream's position stays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) amends: bool,
}

/// A load that was begun, may stand in the table, and was not published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unfinished {
    pub(super) load: String,
    /// The snapshot that it began on; none where somebody has taken the tag away.
    pub(super) from: Option<i64>,
    /// As [`Intent::amends`].
    pub(super) amends: bool,
}

impl Intent {
    /// What a table's properties tell.
    pub(super) fn read(properties: &Properties) -> Option<Self> {
        from_json(properties.get(INTENT)?)
    }
}

impl Unfinished {
    /// The load that may stand in a table; none where the stream has it.
    pub(super) fn of(table: &TableMetadata, own: Option<&Kept>) -> Option<Self> {
        let intent = Intent::read(&table.properties)?;
        let from = if intent.branch {
            Some(intent.from?)
        } else {
            table.reference(&intent.claim)
        };
        let is_done = own.is_some_and(|own| own.has_named(&intent.load));
        (!is_done).then_some(Self {
            load: intent.load,
            from,
            amends: intent.amends,
        })
    }

    /// The snapshot at which a table is as it was before the load, if its own is that or was made from that.
    pub(super) fn can_be_undone(&self, table: &TableMetadata) -> Option<i64> {
        let from = self.from?;
        let main = table.snapshot();
        (main == Some(from) || table.parent_of_main() == Some(from)).then_some(from)
    }
}

/// Whether a load goes into a table of changes as well.
pub(super) fn keeps_changes(manifest: &Manifest) -> bool {
    manifest.changes.is_some_and(|changes| changes.changelog)
}

/// Whether a load makes its table anew, whatever that holds.
pub(super) fn makes_anew(manifest: &Manifest) -> bool {
    manifest.rebuilds() || manifest.full_refresh
}

/// Whether a load amends a table, so that what it brings is no other's to bring.
pub(super) fn amends(manifest: &Manifest) -> bool {
    manifest.amends.is_some() && manifest.mode != Mode::Cdc
}

/// What is said of a load that cannot be undone.
pub(super) fn not_undone(unfinished: &Unfinished, table: &str) -> Error {
    Error::destination(format!(
        "load {} of table {table} was begun by an engine without branches and never finished, and the table was changed since",
        unfinished.load
    ))
    .for_now()
    .remedy(
        "name that engine as `engine` of the destination once more, so that it finishes the load; or make the table anew: \
         `acequia run STREAM --full-refresh`",
    )
}

/// The commit by which a load claims a table.
pub(super) struct Claim<'a> {
    /// The table as it was found.
    pub(super) seen: &'a TableMetadata,
    pub(super) intent: &'a Intent,
    pub(super) turn: u64,
    /// The snapshot that it begins on.
    pub(super) from: i64,
    /// Whether the table is put back to that, or is found there.
    pub(super) holds_main: bool,
}

impl Claim<'_> {
    /// What the catalog is to find, and what it is to change.
    ///
    /// # Errors
    /// [`Error::Internal`] where it cannot be written.
    pub(super) fn commit(&self) -> Result<(Vec<Value>, Vec<Value>)> {
        let Self {
            seen, intent, from, ..
        } = self;
        let main = seen.snapshot();
        let mut requirements = vec![asserted(&intent.claim, None)];
        let mut updates = Vec::new();
        if self.holds_main {
            requirements.push(asserted("main", main));
            if main != Some(*from) {
                updates.push(json!({
                    "action": "set-snapshot-ref", "ref-name": "main", "type": "branch", "snapshot-id": from
                }));
            }
        }
        take_away(seen, &mut requirements, &mut updates);
        let kind = if intent.branch { "branch" } else { "tag" };
        updates.push(json!({
            "action": "set-snapshot-ref", "ref-name": intent.claim, "snapshot-id": from, "type": kind
        }));
        let told = Properties::from([
            (INTENT.to_owned(), to_json(intent)?),
            (TURN.to_owned(), self.turn.to_string()),
        ]);
        updates.push(json!({"action": "set-properties", "updates": told}));
        Ok((requirements, updates))
    }
}

/// The commit that takes every claim on a table away; none where there is none.
pub(super) fn cleared(seen: &TableMetadata) -> Option<(Vec<Value>, Vec<Value>)> {
    let (mut requirements, mut updates) = (Vec::new(), Vec::new());
    take_away(seen, &mut requirements, &mut updates);
    if updates.is_empty() {
        return None;
    }
    updates.push(forgotten());
    Some((requirements, updates))
}

/// The update by which a table tells of no load any more.
pub(super) fn forgotten() -> Value {
    json!({"action": "remove-properties", "removals": [INTENT]})
}

/// The update that takes a claim away.
pub(super) fn dropped(claim: &str) -> Value {
    json!({"action": "remove-snapshot-ref", "ref-name": claim})
}

fn take_away(seen: &TableMetadata, requirements: &mut Vec<Value>, updates: &mut Vec<Value>) {
    for (dead, at) in of(seen) {
        requirements.push(asserted(dead, Some(at)));
        updates.push(dropped(dead));
    }
}

/// The name of the claim of a number.
pub(super) fn named(turn: u64) -> String {
    format!("{CLAIM}{turn}")
}

/// The claims on a table, and the snapshots that they are at.
pub(super) fn of(table: &TableMetadata) -> impl Iterator<Item = (&str, i64)> {
    table
        .refs
        .iter()
        .filter(|(name, _)| number(name).is_some())
        .map(|(name, of)| (name.as_str(), of.snapshot_id))
}

/// The tables of a load as the catalog has them.
pub(super) struct Tables {
    pub(super) table: Option<TableMetadata>,
    /// The table of changes, where the load goes into one that is there.
    pub(super) changes: Option<TableMetadata>,
}

impl Tables {
    /// Those that are there.
    pub(super) fn each(&self) -> impl Iterator<Item = &TableMetadata> {
        self.table.iter().chain(&self.changes)
    }

    /// Those that are there, with their names, of a load.
    pub(super) fn named(
        &self,
        manifest: &Manifest,
    ) -> impl Iterator<Item = (String, &TableMetadata)> {
        let table = self.table.iter().map(|seen| (manifest.table.clone(), seen));
        let changes = self.changes.iter();
        table.chain(changes.map(|seen| (changelog::table_name(&manifest.table), seen)))
    }

    /// The number of the next claim, one that none of them had.
    pub(super) fn next_turn(&self) -> u64 {
        self.each().map(last_turn).max().unwrap_or(0) + 1
    }
}

fn last_turn(table: &TableMetadata) -> u64 {
    let last = table
        .properties
        .get(TURN)
        .and_then(|turn| turn.parse().ok());
    let claims = of(table).filter_map(|(name, _)| number(name));
    claims.chain(last).max().unwrap_or(0)
}

fn number(claim: &str) -> Option<u64> {
    claim.strip_prefix(CLAIM)?.parse().ok()
}

/// What is said where another run is at a table.
pub(super) fn again(what: String) -> Error {
    Error::destination(what)
        .for_now()
        .of_kind(Kind::Storage)
        .remedy("run again; keep others from writing tables of acequia's")
}

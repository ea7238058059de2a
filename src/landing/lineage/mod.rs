//! Which loads of a stream follow on which, and what a destination can be built from. No I/O.
//!
//! A load that makes its table anew begins a chain; each of the others follows on the one before it, which its manifest
//! names. A destination that was built from another's loads goes on with loads of its own, so a chain may hold loads of
//! several destinations, and two chains may begin alike.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::inventory::{LoadContent, StoredLoad};
use super::manifest::Manifest;
use crate::mode::{Disposition, Mode};
use crate::names::{DestinationId, LoadId};

#[cfg(test)]
pub(crate) mod tests;

/// The loads of a stream, by id.
#[derive(Debug)]
pub struct Lineage<'a> {
    loads: BTreeMap<&'a LoadId, &'a StoredLoad>,
    /// The loads in order: each after the one that it follows on, and otherwise by their ids. The time in an id does not
    /// tell the order alone, as a clock may have been put back.
    order: Vec<&'a LoadId>,
    /// The place of each in that order.
    ranks: BTreeMap<&'a LoadId, usize>,
}

/// Where a destination stands.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// What tells it from others.
    pub destination: &'a DestinationId,
    /// The stream's last load there; none where it has none.
    pub load_id: Option<&'a LoadId>,
}

/// What breaks a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gap {
    /// A load is not there.
    Missing {
        /// Which; unknown to a manifest that does not name the load before it.
        load_id: Option<LoadId>,
        /// The load that follows on it.
        follower: LoadId,
    },
    /// A load is there and cannot be applied.
    Damaged {
        /// Which.
        load_id: LoadId,
        /// Why.
        fault: String,
    },
    /// A load is there, and was neither loaded nor asked for.
    NotSelected {
        /// Which.
        load_id: LoadId,
        /// The load that follows on it, and was asked for.
        follower: LoadId,
    },
}

/// What there is to apply.
#[derive(Debug)]
pub struct ReplayPlan<'a> {
    /// In this order.
    pub loads: Vec<&'a StoredLoad>,
    /// Why loads that are newer still cannot be applied.
    pub gaps: Vec<Gap>,
    /// The newest load that does not follow on where the destination stands.
    pub diverged: Option<&'a LoadId>,
}

impl<'a> Lineage<'a> {
    /// Of the loads of one stream.
    pub fn new(holdings: &'a [StoredLoad]) -> Self {
        let loads = holdings
            .iter()
            .map(|holding| (holding.load_id(), holding))
            .collect();
        let mut lineage = Self {
            loads,
            order: Vec::new(),
            ranks: BTreeMap::new(),
        };
        lineage.order = lineage.in_order();
        let places = lineage.order.iter().copied().zip(0..);
        lineage.ranks = places.collect();
        lineage
    }

    fn in_order(&self) -> Vec<&'a LoadId> {
        let mut followers: BTreeMap<&LoadId, Vec<&'a LoadId>> = BTreeMap::new();
        let mut ready = BTreeSet::new();
        for (load_id, holding) in &self.loads {
            let previous = holding
                .manifest()
                .and_then(|manifest| self.previous(manifest));
            match previous.filter(|previous| self.loads.contains_key(*previous)) {
                Some(previous) => followers.entry(previous).or_default().push(load_id),
                None => {
                    ready.insert(*load_id);
                }
            }
        }
        let mut order = Vec::with_capacity(self.loads.len());
        while let Some(load_id) = ready.pop_first() {
            order.push(load_id);
            ready.extend(followers.remove(load_id).into_iter().flatten());
        }
        // What follows on itself has no place.
        let rest: Vec<&LoadId> = followers.into_values().flatten().collect();
        order.splice(0..0, rest);
        order
    }

    /// Whether a load comes before another.
    fn is_before(&self, one: &LoadId, other: &LoadId) -> bool {
        match (self.ranks.get(one), self.ranks.get(other)) {
            (Some(one), Some(other)) => one < other,
            _ => one < other,
        }
    }

    /// Whether a load begins a chain: it makes its table anew, or it is the first of a stream that is read in full. A refresh
    /// of a table that keeps versions closes those that are no more: it follows on what the table had.
    fn begins(&self, manifest: &Manifest) -> bool {
        let is_first = || self.previous(manifest).is_none();
        if manifest.full_refresh && manifest.disposition == Disposition::Scd2 {
            return is_first();
        }
        manifest.rebuilds()
            || (manifest.mode == Mode::Full && (manifest.full_refresh || is_first()))
    }

    /// The loads, newest first.
    fn newest_first(&self) -> impl Iterator<Item = &'a StoredLoad> {
        let ids = self.order.iter().rev();
        ids.filter_map(|load_id| self.loads.get(load_id).copied())
    }

    /// What brings a destination to the newest load that it can be brought to: the load that makes the table anew and all
    /// that follow on it, or those that follow on where the destination stands.
    pub fn choose(&self, standing: &Head<'_>) -> ReplayPlan<'a> {
        let mut choice = ReplayPlan {
            loads: Vec::new(),
            gaps: Vec::new(),
            diverged: None,
        };
        for holding in self.newest_first() {
            if standing.load_id == Some(holding.load_id()) {
                break;
            }
            match self.chain_to(holding, standing.load_id) {
                Ok(chain) if self.follows(&chain, standing) => {
                    choice.loads = chain;
                    break;
                }
                Ok(_) if self.is_older(standing, holding.load_id()) => {
                    choice.diverged = choice.diverged.or(Some(holding.load_id()));
                }
                Err(gap) if self.concerns(standing, holding) && !choice.gaps.contains(&gap) => {
                    choice.gaps.push(gap);
                }
                Ok(_) | Err(_) => {}
            }
        }
        choice
    }

    /// The loads that are asked for, in their order, where nothing is missing between them nor before the first.
    ///
    /// # Errors
    /// What is missing.
    pub fn named(
        &self,
        asked: &BTreeSet<&LoadId>,
        standing: Option<&LoadId>,
    ) -> Result<Vec<&'a StoredLoad>, Gap> {
        let mut before = standing;
        let mut loads = Vec::new();
        let mut asked: Vec<&LoadId> = asked.iter().copied().collect();
        asked.sort_by_key(|load_id| self.ranks.get(load_id).copied().unwrap_or(usize::MAX));
        for load_id in asked {
            let holding = self.loads.get(load_id).copied().ok_or(Gap::Missing {
                load_id: Some(load_id.clone()),
                follower: load_id.clone(),
            })?;
            let manifest = sound(holding)?;
            let previous = self.previous(manifest);
            if !self.begins(manifest) && (previous.is_none() || previous != before) {
                let follower = load_id.clone();
                return Err(match previous {
                    Some(previous) if self.loads.contains_key(previous) => Gap::NotSelected {
                        load_id: previous.clone(),
                        follower,
                    },
                    previous => Gap::Missing {
                        load_id: previous.cloned(),
                        follower,
                    },
                });
            }
            before = Some(load_id);
            loads.push(holding);
        }
        Ok(loads)
    }

    /// The loads that a chain to this one consists of, itself included.
    ///
    /// # Errors
    /// What it lacks.
    pub fn chain(&self, load_id: &LoadId) -> Result<Vec<&'a StoredLoad>, Gap> {
        let holding = self.loads.get(load_id).copied().ok_or(Gap::Missing {
            load_id: Some(load_id.clone()),
            follower: load_id.clone(),
        })?;
        self.chain_to(holding, None)
    }

    /// The newest chain that is complete, whatever destination it was made for.
    pub fn newest(&self) -> Option<Vec<&'a StoredLoad>> {
        self.newest_first()
            .find_map(|holding| self.chain_to(holding, None).ok())
    }

    /// Adds the loads that this one was built on to `kept`, as far as they are there.
    pub fn keep(&self, load_id: &LoadId, kept: &mut BTreeSet<LoadId>) {
        let mut next = Some(load_id);
        while let Some(holding) = next.and_then(|load_id| self.loads.get(load_id)) {
            let manifest = holding.manifest();
            let begins = manifest.is_none_or(|manifest| self.begins(manifest));
            if !kept.insert(holding.load_id().clone()) || begins {
                break;
            }
            next = manifest.and_then(|manifest| self.previous(manifest));
        }
    }

    /// The loads from the one that makes the table anew, or after `standing`, up to `last`.
    fn chain_to(
        &self,
        last: &'a StoredLoad,
        standing: Option<&LoadId>,
    ) -> Result<Vec<&'a StoredLoad>, Gap> {
        let mut chain = Vec::new();
        let mut holding = last;
        loop {
            let manifest = sound(holding)?;
            chain.push(holding);
            if self.begins(manifest) {
                break;
            }
            // No chain is longer than all loads together.
            if chain.len() > self.loads.len() {
                return Err(Gap::Damaged {
                    load_id: last.load_id().clone(),
                    fault: "it follows on itself".to_owned(),
                });
            }
            let previous = self.previous(manifest);
            if previous.is_some() && previous == standing {
                break;
            }
            holding = previous
                .and_then(|previous| self.loads.get(previous).copied())
                .ok_or_else(|| Gap::Missing {
                    load_id: previous.cloned(),
                    follower: holding.load_id().clone(),
                })?;
        }
        chain.reverse();
        Ok(chain)
    }

    /// Whether a chain goes on from where the destination stands, so that nothing that it has is taken back.
    ///
    /// A load that makes the table anew goes on from those that its destination had before, also where they are gone.
    fn follows(&self, chain: &[&StoredLoad], standing: &Head<'_>) -> bool {
        let Some(stands_at) = standing.load_id else {
            return true;
        };
        let Some(first) = chain.first() else {
            return false;
        };
        let same_line = first.load_id().destination() == stands_at.destination();
        if same_line && self.is_before(stands_at, first.load_id()) {
            return true;
        }
        let mut next = first
            .manifest()
            .and_then(|manifest| self.previous(manifest));
        for _ in 0..=self.loads.len() {
            match next {
                Some(load_id) if load_id == stands_at => return true,
                Some(load_id) => {
                    let manifest = self.loads.get(load_id).and_then(|load| load.manifest());
                    next = manifest.and_then(|manifest| self.previous(manifest));
                }
                None => return false,
            }
        }
        false
    }

    /// The load that one follows on. A manifest that does not name it was written before they did: then it is the last one
    /// of the same destination that ended at the position where this one begins.
    fn previous<'m>(&self, manifest: &'m Manifest) -> Option<&'m LoadId>
    where
        'a: 'm,
    {
        if manifest.previous.is_some() {
            return manifest.previous.as_ref();
        }
        let older = self.loads.range::<LoadId, _>(..&manifest.load_id).rev();
        let mut older =
            older.filter(|(load_id, _)| load_id.destination() == manifest.load_id.destination());
        if manifest.mode == Mode::Full {
            // It has no position, and follows on whatever came before it.
            let last = older.find(|(_, holding)| holding.manifest().is_some());
            return last.map(|(load_id, _)| *load_id);
        }
        let position = manifest.position_before.as_ref()?;
        older
            .filter_map(|(load_id, holding)| Some((*load_id, holding.manifest()?)))
            .find(|(_, older)| {
                let after = older.position_after.as_ref();
                after.or(older.position_before.as_ref()) == Some(position)
            })
            .map(|(load_id, _)| load_id)
    }
}

impl Lineage<'_> {
    /// Whether a destination stands before a load.
    fn is_older(&self, standing: &Head<'_>, load_id: &LoadId) -> bool {
        standing
            .load_id
            .is_none_or(|stands_at| self.is_before(stands_at, load_id))
    }

    /// Whether a load that cannot be applied would have been meant for a destination: one of its own, or of the destination
    /// whose loads it has so far.
    fn concerns(&self, standing: &Head<'_>, holding: &StoredLoad) -> bool {
        let load_id = holding.load_id();
        if matches!(holding.content, LoadContent::Unfinished) || !self.is_older(standing, load_id) {
            return false;
        }
        standing.load_id.is_none_or(|stands_at| {
            load_id.is_for(standing.destination) || load_id.destination() == stands_at.destination()
        })
    }
}

/// The manifest of a load that can be applied, as far as a listing tells.
fn sound(holding: &StoredLoad) -> Result<&Manifest, Gap> {
    let fault = match &holding.content {
        LoadContent::Complete(manifest) => return Ok(manifest),
        LoadContent::Unfinished => "its extract did not end".to_owned(),
        LoadContent::Damaged { fault, .. } => fault.clone(),
    };
    Err(Gap::Damaged {
        load_id: holding.load_id().clone(),
        fault,
    })
}

impl fmt::Display for Gap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing {
                load_id: Some(load_id),
                follower,
            } if load_id == follower => {
                write!(f, "load {load_id} is not in the landing area")
            }
            Self::Missing {
                load_id: Some(load_id),
                follower,
            } => write!(
                f,
                "load {load_id}, on which load {follower} follows, is not in the landing area"
            ),
            Self::Missing {
                load_id: None,
                follower,
            } => write!(
                f,
                "the load on which load {follower} follows is not in the landing area"
            ),
            Self::Damaged { load_id, fault } => {
                write!(f, "load {load_id} cannot be applied: {fault}")
            }
            Self::NotSelected { load_id, follower } => write!(
                f,
                "load {load_id}, on which load {follower} follows, is neither loaded nor named"
            ),
        }
    }
}

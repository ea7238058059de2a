use proptest::prelude::*;

use super::*;
use crate::landing::lineage::tests::{base, damaged, id, next, unfinished};

/// The destination `aaaaaaaa`, with these loads in its ledger.
struct Kept {
    destination: DestinationId,
    loaded: HashSet<LoadId>,
    stands_at: Option<LoadId>,
}

impl Kept {
    fn new(loaded: impl IntoIterator<Item = LoadId>) -> Self {
        let loaded: Vec<LoadId> = loaded.into_iter().collect();
        Self {
            destination: "aaaaaaaa".parse().unwrap(),
            stands_at: loaded.last().cloned(),
            loaded: loaded.into_iter().collect(),
        }
    }

    /// What goes of these loads, where all that was extracted before that day is old.
    fn prunable(
        &self,
        landed_loads: &[StoredLoad],
        day: i64,
        all_destinations: bool,
    ) -> Vec<LoadId> {
        let ledger = Ledger {
            destination: Some(&self.destination),
            stands_at: self.stands_at.as_ref(),
            loaded: &self.loaded,
        };
        let cutoff = id(day, 'a').began_at().unwrap();
        prunable(landed_loads, &ledger, cutoff, all_destinations)
            .into_iter()
            .map(|holding| holding.load_id().clone())
            .collect()
    }
}

fn a(day: i64) -> LoadId {
    id(day, 'a')
}

fn b(day: i64) -> LoadId {
    id(day, 'b')
}

fn chain() -> Vec<StoredLoad> {
    vec![base(&a(1), None), next(&a(2), &a(1)), next(&a(3), &a(2))]
}

/// A chain of three, and another of three that a full refresh began.
fn two_chains() -> Vec<StoredLoad> {
    let mut landed_loads = chain();
    landed_loads.push(base(&a(4), Some(&a(3))));
    landed_loads.push(next(&a(5), &a(4)));
    landed_loads.push(next(&a(6), &a(5)));
    landed_loads
}

#[test]
fn a_chain_stays_from_its_base_on_and_what_came_before_goes() {
    let all = Kept::new((1..=6).map(a));
    assert_eq!(all.prunable(&two_chains(), 20, false), [a(1), a(2), a(3)]);
    assert!(
        Kept::new((1..=3).map(a))
            .prunable(&chain(), 20, false)
            .is_empty()
    );
}

#[test]
fn a_load_that_is_young_stays() {
    let all = Kept::new((1..=6).map(a));
    assert_eq!(all.prunable(&two_chains(), 3, false), [a(1), a(2)]);
    assert!(all.prunable(&two_chains(), 1, false).is_empty());
}

#[test]
fn a_load_that_was_not_loaded_stays() {
    let most = Kept::new([1, 3, 4, 5, 6].map(a));
    assert_eq!(most.prunable(&two_chains(), 20, false), [a(1), a(3)]);
    assert_eq!(most.prunable(&two_chains(), 20, true), [a(1), a(3)]);
    let mut landed_loads = two_chains();
    landed_loads[0] = unfinished(landed_loads[0].clone());
    let all = Kept::new((1..=6).map(a));
    assert_eq!(all.prunable(&landed_loads, 20, false), [a(2), a(3)]);
}

#[test]
fn where_the_chain_in_use_is_broken_everything_stays() {
    let all = Kept::new((1..=6).map(a));
    for place in 3..6 {
        let mut landed_loads = two_chains();
        landed_loads[place] = damaged(landed_loads[place].clone());
        assert!(all.prunable(&landed_loads, 20, true).is_empty(), "{place}");
        landed_loads.remove(place);
        assert!(all.prunable(&landed_loads, 20, true).is_empty(), "{place}");
    }
}

#[test]
fn loads_of_another_destination_stay_unless_they_are_given_up() {
    let mut landed_loads = two_chains();
    landed_loads.insert(0, next(&b(2), &b(1)));
    landed_loads.insert(0, base(&b(1), None));
    let all = Kept::new((1..=6).map(a));
    assert_eq!(all.prunable(&landed_loads, 20, false), [a(1), a(2), a(3)]);
    let gone = all.prunable(&landed_loads, 20, true);
    assert_eq!(gone, [b(1), b(2), a(1), a(2), a(3)]);
    // Of another destination the newest chain of all stays.
    landed_loads.push(base(&b(7), None));
    let gone = all.prunable(&landed_loads, 20, true);
    assert_eq!(gone, [b(1), b(2), a(1), a(2), a(3)]);
}

#[test]
fn what_another_destination_was_built_from_stays() {
    let mut landed_loads = two_chains();
    landed_loads.push(next(&b(7), &a(2)));
    let all = Kept::new((1..=6).map(a));
    assert_eq!(all.prunable(&landed_loads, 20, false), [a(3)]);
}

#[test]
fn a_destination_that_was_built_from_another_keeps_what_it_was_built_from() {
    let mut landed_loads = chain();
    landed_loads.push(next(&b(4), &a(2)));
    let other = Kept {
        destination: "bbbbbbbb".parse().unwrap(),
        ..Kept::new([a(1), a(2), b(4)])
    };
    assert_eq!(other.prunable(&landed_loads, 20, true), [a(3)]);
    assert!(other.prunable(&landed_loads, 20, false).is_empty());
}

#[test]
fn what_a_load_beside_the_chain_in_use_was_built_on_stays() {
    // The destination was built from another's chain, and yet another goes on from a load of its own.
    let landed_loads = [
        base(&a(1), None),
        base(&b(2), Some(&a(1))),
        next(&a(3), &a(1)),
        next(&b(4), &a(3)),
    ];
    let ledger = Kept::new([a(1), b(2)]);
    assert!(ledger.prunable(&landed_loads, 20, false).is_empty());
}

/// A history of two destinations: each load follows on an older one, or makes the table anew.
fn history() -> impl Strategy<Value = (Vec<StoredLoad>, Vec<bool>)> {
    let load = (
        any::<bool>(),
        any::<prop::sample::Index>(),
        0..4,
        0..8,
        any::<bool>(),
    );
    proptest::collection::vec(load, 1..16).prop_map(|loads| {
        let mut landed_loads: Vec<StoredLoad> = Vec::new();
        let mut loaded = Vec::new();
        for ((own, older, base_in_four, damage_in_eight, is_loaded), day) in
            loads.into_iter().zip(1..)
        {
            let load_id = if own { a(day) } else { b(day) };
            let previous =
                (!landed_loads.is_empty()).then(|| older.get(&landed_loads).load_id().clone());
            let holding = match &previous {
                Some(previous) if base_in_four > 0 => next(&load_id, previous),
                previous => base(&load_id, previous.as_ref()),
            };
            landed_loads.push(if damage_in_eight == 0 {
                damaged(holding)
            } else {
                holding
            });
            loaded.push(is_loaded);
        }
        (landed_loads, loaded)
    })
}

proptest! {
    #[test]
    fn what_a_destination_can_be_built_from_never_goes(
        (landed_loads, loaded) in history(),
        cutoff in 1_i64..20,
        all_destinations: bool,
    ) {
        let ledger = Kept::new(
            landed_loads.iter().zip(loaded).filter(|(_, loaded)| *loaded).map(|(holding, _)| holding.load_id().clone()),
        );
        let gone = ledger.prunable(&landed_loads, cutoff, all_destinations);
        let left: Vec<StoredLoad> = landed_loads.iter().filter(|holding| !gone.contains(holding.load_id())).cloned().collect();
        let ids = |chain: &[&StoredLoad]| -> Vec<LoadId> { chain.iter().map(|load| load.load_id().clone()).collect() };
        let (before, after) = (Lineage::new(&landed_loads), Lineage::new(&left));
        prop_assert_eq!(before.newest().map(|chain| ids(&chain)), after.newest().map(|chain| ids(&chain)));
        if let Some(stands_at) = &ledger.stands_at {
            prop_assert_eq!(before.chain(stands_at).map(|chain| ids(&chain)), after.chain(stands_at).map(|chain| ids(&chain)));
        }
        for load_id in &gone {
            let own = load_id.is_for(&ledger.destination);
            prop_assert!(own || all_destinations);
            prop_assert!(!own || ledger.loaded.contains(load_id));
            prop_assert!(load_id.began_at() < a(cutoff).began_at());
        }
        if !all_destinations {
            for holding in left.iter().filter(|holding| !holding.load_id().is_for(&ledger.destination)) {
                prop_assert_eq!(
                    before.chain(holding.load_id()).map(|chain| ids(&chain)),
                    after.chain(holding.load_id()).map(|chain| ids(&chain))
                );
            }
        }
    }
}

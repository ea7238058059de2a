use proptest::prelude::*;

use super::*;
use crate::landing::LoadAddress;
use crate::landing::manifest::FORMAT_VERSION;
use crate::mode::{Disposition, Mode};
use crate::position::{CursorPosition, CursorValue, Position};
use crate::schema::Schema;

/// The id of a load of that day, for the destination `aaaaaaaa`, `bbbbbbbb`, …
pub(crate) fn id(day: i64, destination: char) -> LoadId {
    let text = format!(
        "202601{day:02}T000000000-{}-0000",
        destination.to_string().repeat(8)
    );
    text.parse().unwrap()
}

fn destination(name: char) -> DestinationId {
    name.to_string().repeat(8).parse().unwrap()
}

fn position(day: i64) -> Position {
    Position::Cursor(CursorPosition {
        column: "updated_at".to_owned(),
        value: CursorValue::Integer(day),
        resume: CursorValue::Integer(day),
        seen: None,
        boundary: None,
        compared: None,
    })
}

fn holding(load_id: LoadId, previous: Option<LoadId>, from: Option<i64>, to: i64) -> StoredLoad {
    let stream = "ventas".parse().unwrap();
    StoredLoad {
        content: LoadContent::Complete(Box::new(Manifest {
            format_version: FORMAT_VERSION,
            pipeline: "formacion".to_owned(),
            stream,
            load_id: load_id.clone(),
            table: "ventas".to_owned(),
            mode: Mode::Incremental,
            disposition: Disposition::Merge,
            primary_key: vec!["id".to_owned()],
            changes: None,
            previous,
            full_refresh: false,
            key_is_unique: true,
            amends: None,
            marks: None,
            configuration: None,
            cursor: Some("updated_at".to_owned()),
            schema: Schema {
                columns: Vec::new(),
            },
            position_before: from.map(position),
            position_after: Some(position(to)),
            rows: 1,
            bytes: 1,
            parts: Vec::new(),
            extracted_at: load_id.began_at().unwrap(),
            acequia_version: "0.1.0".to_owned(),
        })),
        address: LoadAddress {
            pipeline: "formacion".parse().unwrap(),
            stream: "ventas".parse().unwrap(),
            load_id,
        },
        bytes: 1,
    }
}

/// A load that makes its table anew, with the load before it, if there was one.
pub(crate) fn base(load_id: &LoadId, previous: Option<&LoadId>) -> StoredLoad {
    holding(load_id.clone(), previous.cloned(), None, 0)
}

/// A load that follows on another.
pub(crate) fn next(load_id: &LoadId, previous: &LoadId) -> StoredLoad {
    holding(load_id.clone(), Some(previous.clone()), Some(0), 0)
}

pub(crate) fn damaged(holding: StoredLoad) -> StoredLoad {
    StoredLoad {
        content: LoadContent::Damaged {
            manifest: holding.manifest().cloned().map(Box::new),
            fault: "a part is missing".to_owned(),
        },
        ..holding
    }
}

pub(crate) fn unfinished(holding: StoredLoad) -> StoredLoad {
    StoredLoad {
        content: LoadContent::Unfinished,
        ..holding
    }
}

/// Loads of `a`, one a day from the first on, of which those are bases.
fn days(last: i64, bases: &[i64]) -> Vec<StoredLoad> {
    (1..=last)
        .map(|day| {
            let previous = (day > 1).then(|| id(day - 1, 'a'));
            match &previous {
                Some(previous) if !bases.contains(&day) => next(&id(day, 'a'), previous),
                previous => base(&id(day, 'a'), previous.as_ref()),
            }
        })
        .collect()
}

/// The days of the loads that a destination `t` is brought on by, and the rest of the choice.
fn choose(
    holdings: &[StoredLoad],
    stands_at: Option<&LoadId>,
) -> (Vec<LoadId>, Vec<Gap>, Option<LoadId>) {
    let lineage = Lineage::new(holdings);
    let choice = lineage.choose(&Head {
        destination: &destination('f'),
        load_id: stands_at,
    });
    let loads = choice.loads.iter().map(|load| load.load_id().clone());
    (loads.collect(), choice.gaps, choice.diverged.cloned())
}

fn of_a(days: impl IntoIterator<Item = i64>) -> Vec<LoadId> {
    days.into_iter().map(|day| id(day, 'a')).collect()
}

fn missing(day: i64, follower: i64) -> Gap {
    Gap::Missing {
        load_id: Some(id(day, 'a')),
        follower: id(follower, 'a'),
    }
}

fn unsound(day: i64) -> Gap {
    Gap::Damaged {
        load_id: id(day, 'a'),
        fault: "a part is missing".to_owned(),
    }
}

#[test]
fn a_new_destination_gets_the_newest_chain_from_its_base_on() {
    assert_eq!(choose(&days(4, &[]), None), (of_a(1..=4), vec![], None));
    assert_eq!(choose(&days(6, &[4]), None), (of_a(4..=6), vec![], None));
    assert_eq!(choose(&days(3, &[2, 3]), None), (of_a([3]), vec![], None));
    assert_eq!(choose(&[], None), (vec![], vec![], None));
}

#[test]
fn what_breaks_a_chain_is_told_once_and_what_comes_before_it_is_applied() {
    let mut holdings = days(5, &[]);
    holdings.remove(2);
    assert_eq!(
        choose(&holdings, None),
        (of_a([1, 2]), vec![missing(3, 4)], None)
    );
    let mut holdings = days(5, &[]);
    holdings[2] = damaged(holdings[2].clone());
    assert_eq!(
        choose(&holdings, None),
        (of_a([1, 2]), vec![unsound(3)], None)
    );
    let holdings = &days(3, &[])[1..];
    assert_eq!(choose(holdings, None), (vec![], vec![missing(1, 2)], None));
}

#[test]
fn a_base_after_the_hole_makes_the_hole_no_matter() {
    let mut holdings = days(5, &[4]);
    holdings.remove(1);
    assert_eq!(choose(&holdings, None), (of_a([4, 5]), vec![], None));
}

#[test]
fn an_extract_that_is_under_way_is_no_gap() {
    let mut holdings = days(3, &[]);
    holdings[2] = unfinished(holdings[2].clone());
    assert_eq!(choose(&holdings, None), (of_a([1, 2]), vec![], None));
}

#[test]
fn a_destination_goes_on_from_what_it_has() {
    let holdings = days(5, &[]);
    assert_eq!(
        choose(&holdings, Some(&id(3, 'a'))),
        (of_a([4, 5]), vec![], None)
    );
    assert_eq!(choose(&holdings, Some(&id(5, 'a'))), (vec![], vec![], None));
    // Its own first load followed on the fifth of the other.
    let mut holdings = holdings;
    holdings.push(next(&id(6, 'f'), &id(5, 'a')));
    assert_eq!(
        choose(&holdings, Some(&id(5, 'a'))),
        (vec![id(6, 'f')], vec![], None)
    );
    assert_eq!(choose(&holdings, Some(&id(6, 'f'))), (vec![], vec![], None));
    let mut holdings = days(5, &[]);
    holdings[3] = damaged(holdings[3].clone());
    assert_eq!(
        choose(&holdings, Some(&id(2, 'a'))),
        (of_a([3]), vec![unsound(4)], None)
    );
}

#[test]
fn a_full_stream_goes_on_to_the_newest_load_also_where_others_are_gone() {
    let mut holdings = days(6, &[2, 3, 4, 5, 6]);
    assert_eq!(
        choose(&holdings, Some(&id(2, 'a'))),
        (of_a([6]), vec![], None)
    );
    holdings.drain(0..4);
    assert_eq!(
        choose(&holdings, Some(&id(2, 'a'))),
        (of_a([6]), vec![], None)
    );
}

#[test]
fn what_does_not_follow_on_a_destination_is_left_alone_and_told() {
    let mut holdings = days(2, &[]);
    holdings.push(base(&id(3, 'b'), None));
    holdings.push(next(&id(4, 'b'), &id(3, 'b')));
    assert_eq!(
        choose(&holdings, Some(&id(2, 'a'))),
        (vec![], vec![], Some(id(4, 'b')))
    );
    // Nor is it any matter that it is damaged.
    holdings[3] = damaged(holdings[3].clone());
    assert_eq!(
        choose(&holdings, Some(&id(2, 'a'))),
        (vec![], vec![], Some(id(3, 'b')))
    );
    assert_eq!(
        choose(&holdings, None),
        (
            vec![id(3, 'b')],
            vec![Gap::Damaged {
                load_id: id(4, 'b'),
                fault: "a part is missing".to_owned()
            }],
            None
        )
    );
}

#[test]
fn manifests_that_do_not_name_the_load_before_are_joined_by_position() {
    let old = |day: i64, destination: char, from: Option<i64>, to: i64| {
        holding(id(day, destination), None, from, to)
    };
    let holdings = [
        old(1, 'a', None, 10),
        old(2, 'a', Some(10), 20),
        old(3, 'b', None, 20),
        old(4, 'a', Some(20), 30),
    ];
    assert_eq!(
        choose(&holdings, None),
        (vec![id(1, 'a'), id(2, 'a'), id(4, 'a')], vec![], None)
    );
    let gap = Gap::Missing {
        load_id: None,
        follower: id(4, 'a'),
    };
    assert_eq!(
        choose(&holdings[2..], None),
        (vec![id(3, 'b')], vec![gap], None)
    );
}

#[test]
fn a_manifest_that_follows_on_itself_ends_no_worse_than_in_nothing() {
    let holdings = [
        next(&id(1, 'a'), &id(2, 'a')),
        next(&id(2, 'a'), &id(1, 'a')),
    ];
    let lineage = Lineage::new(&holdings);
    assert!(lineage.newest().is_none());
    let mut kept = BTreeSet::new();
    lineage.keep(&id(1, 'a'), &mut kept);
    assert_eq!(kept.len(), 2);
    assert!(choose(&holdings, None).0.is_empty());
}

#[test]
fn loads_that_are_named_must_follow_one_on_another() {
    let mut holdings = days(5, &[4]);
    let named = |holdings: &[StoredLoad], asked: &[i64], stands_at: Option<i64>| {
        let asked = of_a(asked.iter().copied());
        let lineage = Lineage::new(holdings);
        let stands_at = stands_at.map(|day| id(day, 'a'));
        lineage
            .named(&asked.iter().collect(), stands_at.as_ref())
            .map(|loads| loads.iter().map(|load| load.load_id().clone()).collect())
    };
    assert_eq!(named(&holdings, &[2, 1], None), Ok(of_a([1, 2])));
    assert_eq!(named(&holdings, &[3], Some(2)), Ok(of_a([3])));
    assert_eq!(named(&holdings, &[4], Some(1)), Ok(of_a([4])));
    assert_eq!(
        named(&holdings, &[1, 3], None),
        Err(Gap::NotSelected {
            load_id: id(2, 'a'),
            follower: id(3, 'a')
        })
    );
    assert!(matches!(
        named(&holdings, &[2], None),
        Err(Gap::NotSelected { .. })
    ));
    assert!(matches!(
        named(&holdings, &[5], Some(3)),
        Err(Gap::NotSelected { .. })
    ));
    holdings.remove(1);
    assert_eq!(named(&holdings, &[1, 3], None), Err(missing(2, 3)));
    holdings[0] = damaged(holdings[0].clone());
    assert_eq!(named(&holdings, &[1], None), Err(unsound(1)));
}

proptest! {
    #[test]
    fn whatever_is_lost_what_is_applied_is_a_whole_chain(
        bases in proptest::collection::vec(1_i64..20, 0..4),
        lost in proptest::collection::btree_set(1_i64..=20, 0..8),
        broken in proptest::collection::btree_set(1_i64..=20, 0..4),
        stands_at in proptest::option::of(1_i64..=20),
    ) {
        let holdings: Vec<StoredLoad> = days(20, &bases)
            .into_iter()
            .zip(1..)
            .filter(|(_, day)| !lost.contains(day))
            .map(|(holding, day)| if broken.contains(&day) { damaged(holding) } else { holding })
            .collect();
        let stands_at = stands_at.map(|day| id(day, 'a'));
        let (loads, gaps, diverged) = choose(&holdings, stands_at.as_ref());
        let is_base = |load_id: &LoadId| *load_id == id(1, 'a') || bases.iter().any(|day| *load_id == id(*day, 'a'));
        let mut before = stands_at.clone();
        for (place, load_id) in loads.iter().enumerate() {
            let found = holdings.iter().find(|holding| holding.load_id() == load_id).unwrap();
            let previous = found.manifest().unwrap().previous.clone();
            prop_assert!(matches!(found.content, LoadContent::Complete(_)));
            prop_assert!(previous == before || (place == 0 && is_base(load_id)));
            prop_assert!(stands_at.as_ref().is_none_or(|stands_at| stands_at < load_id));
            before = Some(load_id.clone());
        }
        let newest = holdings.last().map(|holding| holding.load_id().clone());
        let reached = before.is_some() && before >= newest;
        prop_assert_eq!(gaps.is_empty(), reached || newest.is_none(), "{:?} {:?}", loads, gaps);
        prop_assert_eq!(diverged, None);
    }
}

/// The clock was put back after the second load: its followers have older ids.
#[test]
fn loads_are_in_the_order_of_their_chain_whatever_their_ids_say() {
    let holdings = vec![
        base(&id(10, 'a'), None),
        next(&id(11, 'a'), &id(10, 'a')),
        next(&id(3, 'a'), &id(11, 'a')),
        next(&id(4, 'a'), &id(3, 'a')),
    ];
    let lineage = Lineage::new(&holdings);
    let days = |loads: &[&StoredLoad]| -> Vec<String> {
        let day = |load: &&StoredLoad| load.load_id().as_str()[6..8].to_owned();
        loads.iter().map(day).collect()
    };
    let destination = destination('e');
    let standing = |load_id| Head {
        destination: &destination,
        load_id,
    };
    assert_eq!(
        days(&lineage.choose(&standing(None)).loads),
        ["10", "11", "03", "04"]
    );
    let (then, last) = (id(11, 'a'), id(4, 'a'));
    let choice = lineage.choose(&standing(Some(&then)));
    assert_eq!(days(&choice.loads), ["03", "04"]);
    let choice = lineage.choose(&standing(Some(&last)));
    assert!(choice.loads.is_empty() && choice.gaps.is_empty());
    assert_eq!(days(&lineage.newest().unwrap()).len(), 4);
}

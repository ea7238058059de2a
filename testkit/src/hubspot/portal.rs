//! A portal's state: records, their history, what search knows of them, associations, owners and pipelines.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;

use chrono::Utc;

use super::json;
use super::oddity::Oddities;
use super::schema::{self, Maker, Property};
use crate::seed::mix;

/// The number of the first generated record of each object.
pub(crate) const FIRST_ID: u64 = 21_000_000_001;
/// How long archived records are kept: 90 days, in milliseconds.
const KEPT: i64 = 90 * 86_400_000;
/// When generated records were made: over the 1,000 days from here.
const EPOCH: i64 = 1_672_531_200_000;
const SPAN: u64 = 86_400_000_000;

/// A `HubSpot` account. Times are milliseconds since 1970 by its own clock.
#[derive(Debug, Default)]
pub struct Portal {
    seed: u64,
    /// How far its clock is ahead of this machine's.
    ahead: i64,
    /// After how long a change can be found by search.
    index_lag: i64,
    /// Whether restoring a record counts as a change of it.
    pub restoring_is_a_change: bool,
    /// Whether the primary record of a merge keeps its id, as HubSpot's did for long; else what comes of a merge is a record
    /// with an id of its own, and both are gone.
    pub merging_keeps_the_id: bool,
    pub(crate) oddities: Oddities,
    objects: BTreeMap<String, Object>,
    links: BTreeMap<(String, String), BTreeMap<u64, Vec<Link>>>,
    pub(crate) owners: Vec<Owner>,
    next_id: u64,
}

/// One kind of object.
#[derive(Debug, Default)]
pub(crate) struct Object {
    name: String,
    properties: Vec<Property>,
    places: HashMap<String, usize>,
    pub(crate) records: BTreeMap<u64, Record>,
    /// Records that were merged into others.
    merged: BTreeMap<u64, u64>,
}

/// One record.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record {
    /// The number by which its values are generated; none where all were set.
    number: Option<i64>,
    created: i64,
    modified: i64,
    pub(crate) archived: Option<i64>,
    /// Every value that was set, oldest first.
    set: BTreeMap<String, Vec<Version>>,
    merged: Vec<u64>,
    /// What search knows: from when on, and which time of change.
    indexed: Vec<(i64, i64)>,
}

#[derive(Debug, Clone)]
struct Version {
    at: i64,
    value: Option<String>,
}

/// An association of a record with another.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    /// The other record.
    pub(crate) to: u64,
    /// Type and label of the association.
    pub(crate) types: Vec<(u32, Option<String>)>,
}

/// An owner.
#[derive(Debug, Clone)]
pub(crate) struct Owner {
    pub(crate) id: u64,
    pub(crate) first_name: String,
    pub(crate) archived: bool,
}

/// Which records a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shelf {
    Live,
    Archived,
}

impl Portal {
    pub(crate) fn new(seed: u64) -> Self {
        let mut portal = Self {
            seed,
            restoring_is_a_change: false,
            next_id: 90_000_000_001,
            ..Self::default()
        };
        for name in [
            "companies",
            "contacts",
            "deals",
            "tickets",
            "products",
            "line_items",
            "quotes",
            "calls",
            "emails",
            "meetings",
            "notes",
            "tasks",
            "2-123",
        ] {
            portal.add_object(name);
        }
        for (id, first_name) in schema::OWNERS.iter().zip(["Lucía", "Íñigo", "Óscar"]) {
            portal.owners.push(Owner {
                id: id.parse().unwrap_or_default(),
                first_name: first_name.to_owned(),
                archived: first_name == "Óscar",
            });
        }
        portal
    }

    /// Adds a kind of object, with the properties that any has.
    pub fn add_object(&mut self, name: &str) {
        let mut object = Object {
            name: name.to_owned(),
            ..Object::default()
        };
        for property in schema::standard(name) {
            object.add(property);
        }
        self.objects.insert(name.to_owned(), object);
    }

    /// The time by the portal's clock, milliseconds since 1970.
    #[must_use]
    pub fn now(&self) -> i64 {
        Utc::now().timestamp_millis() + self.ahead
    }

    /// Puts the portal's clock forward.
    pub fn advance(&mut self, seconds: i64) {
        self.ahead += seconds * 1_000;
    }

    /// From now on, changes are found by search so much later.
    pub fn set_index_lag(&mut self, seconds: i64) {
        self.index_lag = seconds * 1_000;
    }

    /// Adds or replaces a property.
    pub fn set_property(&mut self, object: &str, property: Property) {
        if let Some(object) = self.objects.get_mut(object) {
            object.add(property);
        }
    }

    /// Adds properties of every type, `propiedad_0000` and on.
    pub fn add_properties(&mut self, object: &str, count: usize) {
        for property in schema::more(count) {
            self.set_property(object, property);
        }
    }

    /// Archives a property: it is no longer listed, and asking for it gives nothing.
    pub fn archive_property(&mut self, object: &str, name: &str) {
        if let Some(object) = self.objects.get_mut(object)
            && let Some(property) = object
                .places
                .get(name)
                .and_then(|place| object.properties.get_mut(*place))
        {
            property.archived = true;
        }
    }

    /// Makes so many records with generated values. Companies are numbered as `clientes` are.
    pub fn generate(&mut self, object: &str, count: u64) {
        let seed = self.seed;
        let Some(object) = self.objects.get_mut(object) else {
            return;
        };
        for number in 1..=count {
            let at = EPOCH + i64::try_from(mix(seed ^ number) % SPAN).unwrap_or(0);
            let modified = at + i64::try_from(mix(number) % SPAN).unwrap_or(0) / 100;
            object.records.insert(
                FIRST_ID + number - 1,
                Record {
                    number: i64::try_from(number).ok(),
                    created: at,
                    modified,
                    indexed: vec![(modified, modified)],
                    ..Record::default()
                },
            );
        }
    }

    /// The id of the generated record of that number.
    #[must_use]
    pub const fn generated_id(number: u64) -> u64 {
        FIRST_ID + number - 1
    }

    /// Makes a record, and gives its id.
    pub fn create(&mut self, object: &str, values: &[(&str, Option<&str>)]) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        let now = self.now();
        if let Some(object) = self.objects.get_mut(object) {
            object.records.insert(
                id,
                Record {
                    created: now,
                    ..Record::default()
                },
            );
        }
        self.update(object, id, values);
        id
    }

    /// Sets values of a record. None clears to null.
    pub fn update(&mut self, object: &str, id: u64, values: &[(&str, Option<&str>)]) -> bool {
        self.update_at(object, id, values, self.now())
    }

    /// Sets values of a record, at that time.
    pub fn update_at(
        &mut self,
        object: &str,
        id: u64,
        values: &[(&str, Option<&str>)],
        at: i64,
    ) -> bool {
        let visible = self.now() + self.index_lag;
        let Some(record) = self.record_mut(object, id) else {
            return false;
        };
        record.set_values(values, at);
        record.modified = at;
        record.indexed.push((visible, at));
        true
    }

    /// Sets values that a generated record has had since it was made.
    pub fn set_from_the_start(&mut self, object: &str, id: u64, values: &[(&str, Option<&str>)]) {
        if let Some(record) = self.record_mut(object, id) {
            record.set_values(values, record.created);
        }
    }

    /// Archives a record. Its time of change stays as it was.
    pub fn archive(&mut self, object: &str, id: u64) -> bool {
        let now = self.now();
        self.record_mut(object, id).is_some_and(|record| {
            record.archived = Some(now);
            true
        })
    }

    /// Takes a record back from the archive.
    pub fn restore(&mut self, object: &str, id: u64) -> bool {
        let now = self.now();
        let changes = self.restoring_is_a_change;
        self.record_mut(object, id).is_some_and(|record| {
            record.archived = None;
            if changes {
                record.modified = now;
                record.indexed.push((now, now));
            }
            true
        })
    }

    /// Removes a record for good.
    pub fn purge(&mut self, object: &str, id: u64) {
        if let Some(object) = self.objects.get_mut(object) {
            object.records.remove(&id);
        }
    }

    /// Merges a record into another. Gives the id of what they are now; the others lead to it.
    pub fn merge(&mut self, object: &str, from: u64, into: u64) -> Option<u64> {
        let now = self.now();
        let visible = now + self.index_lag;
        let new_id = self.next_id;
        let keeps = self.merging_keeps_the_id;
        let object = self.objects.get_mut(object)?;
        if from == into || !object.records.contains_key(&into) {
            return None;
        }
        let gone = object.records.remove(&from)?;
        let id = if keeps { into } else { new_id };
        let mut survivor = object.records.remove(&into)?;
        survivor.merged.extend(gone.merged);
        survivor.merged.push(from);
        if !keeps {
            survivor.merged.push(into);
            object.merged.insert(into, id);
            self.next_id += 1;
        }
        object.merged.insert(from, id);
        survivor.modified = now;
        survivor.indexed.push((visible, now));
        object.records.insert(id, survivor);
        Some(id)
    }

    /// Sets values of a record as a calculation does: nothing tells that it changed.
    pub fn recalculate(&mut self, object: &str, id: u64, values: &[(&str, Option<&str>)]) {
        let at = self.now();
        if let Some(record) = self.record_mut(object, id) {
            record.set_values(values, at);
        }
    }

    /// Makes a record with an id of one's own.
    pub fn create_as(&mut self, object: &str, id: u64, values: &[(&str, Option<&str>)]) {
        let next = std::mem::replace(&mut self.next_id, id);
        self.create(object, values);
        self.next_id = next;
    }

    /// Adds an owner.
    pub fn add_owner(&mut self, id: u64, first_name: &str) {
        self.owners.push(Owner {
            id,
            first_name: first_name.to_owned(),
            archived: false,
        });
    }

    /// Associates two records, in both directions.
    pub fn associate(
        &mut self,
        from: (&str, u64),
        to: (&str, u64),
        kind: u32,
        label: Option<&str>,
    ) {
        for ((object, id), (other, other_id)) in [(from, to), (to, from)] {
            let links = self
                .links
                .entry((object.to_owned(), other.to_owned()))
                .or_default()
                .entry(id)
                .or_default();
            let types = (kind, label.map(str::to_owned));
            match links.iter_mut().find(|link| link.to == other_id) {
                Some(link) => link.types.push(types),
                None => links.push(Link {
                    to: other_id,
                    types: vec![types],
                }),
            }
        }
    }

    /// Ends an association, in both directions.
    pub fn dissociate(&mut self, from: (&str, u64), to: (&str, u64)) {
        for ((object, id), (other, other_id)) in [(from, to), (to, from)] {
            if let Some(links) = self
                .links
                .get_mut(&(object.to_owned(), other.to_owned()))
                .and_then(|links| links.get_mut(&id))
            {
                links.retain(|link| link.to != other_id);
            }
        }
    }

    /// How many records there are, archived ones included.
    #[must_use]
    pub fn count(&self, object: &str) -> usize {
        self.objects
            .get(object)
            .map_or(0, |object| object.records.len())
    }

    /// The ids of all records, archived ones included.
    #[must_use]
    pub fn ids(&self, object: &str) -> Vec<u64> {
        self.objects
            .get(object)
            .map_or_else(Vec::new, |object| object.records.keys().copied().collect())
    }

    /// The types of an object's properties, by name.
    #[must_use]
    pub fn property_kinds(&self, object: &str) -> BTreeMap<String, String> {
        let properties = self
            .objects
            .get(object)
            .map_or(&[][..], |object| &object.properties);
        properties
            .iter()
            .map(|property| (property.name.clone(), property.kind.clone()))
            .collect()
    }

    pub(crate) fn object(&self, called: &str) -> Option<&Object> {
        let name = schema::canonical(called);
        self.objects.get(&name).or_else(|| match called {
            // Custom objects go by their name as well.
            "p_sedes" | "sedes" => self.objects.get("2-123"),
            _ => None,
        })
    }

    pub(crate) fn links(&self, from: &str, to: &str, id: u64) -> &[Link] {
        self.links
            .get(&(from.to_owned(), to.to_owned()))
            .and_then(|links| links.get(&id))
            .map_or(&[], Vec::as_slice)
    }

    fn record_mut(&mut self, object: &str, id: u64) -> Option<&mut Record> {
        self.objects.get_mut(object)?.records.get_mut(&id)
    }

    /// Records that a list shows, from after an id on.
    pub(crate) fn list<'a>(
        &self,
        object: &'a Object,
        which: Shelf,
        after: u64,
    ) -> impl Iterator<Item = (u64, &'a Record)> + use<'a> {
        let kept_since = self.now() - KEPT;
        object
            .records
            .range(after + 1..)
            .filter(move |(_, record)| match (which, record.archived) {
                (Shelf::Live, archived) => archived.is_none(),
                (Shelf::Archived, archived) => archived.is_some_and(|at| at > kept_since),
            })
            .map(|(id, record)| (*id, record))
    }

    /// Writes a record as the objects API gives it.
    pub(crate) fn write_record(
        &self,
        object: &Object,
        id: u64,
        record: &Record,
        asked: &Asked<'_>,
        out: &mut String,
    ) {
        let _ = write!(out, "{{\"id\":\"{id}\",\"properties\":{{");
        for (place, name) in asked.properties.iter().enumerate() {
            if place > 0 {
                out.push(',');
            }
            json::text(out, name);
            out.push(':');
            self.write_value(object, id, record, name, out);
        }
        out.push('}');
        if !asked.history.is_empty() {
            out.push_str(",\"propertiesWithHistory\":{");
            for (place, name) in asked.history.iter().enumerate() {
                if place > 0 {
                    out.push(',');
                }
                json::text(out, name);
                out.push(':');
                self.write_history(object, id, record, name, out);
            }
            out.push('}');
        }
        out.push_str(",\"createdAt\":");
        json::moment(out, record.created);
        out.push_str(",\"updatedAt\":");
        json::moment(out, record.modified);
        let _ = write!(out, ",\"archived\":{}", record.archived.is_some());
        if let Some(archived) = record.archived {
            out.push_str(",\"archivedAt\":");
            json::moment(out, archived);
        }
        let _ = write!(
            out,
            ",\"url\":\"https://app.hubspot.com/contacts/1/record/{}/{id}\"}}",
            schema::type_id(&object.name)
        );
    }

    fn write_value(&self, object: &Object, id: u64, record: &Record, name: &str, out: &mut String) {
        if name == "hs_object_id" {
            let _ = write!(out, "\"{id}\"");
        } else if let Some(version) = record.set.get(name).and_then(|versions| versions.last()) {
            match &version.value {
                Some(value) => json::text(out, value),
                None => out.push_str("null"),
            }
        } else if name == schema::created_property(&object.name) {
            json::moment(out, record.created);
        } else if name == schema::modified_property(&object.name) {
            json::moment(out, record.modified);
        } else if name == "hs_merged_object_ids" {
            if record.merged.is_empty() {
                out.push_str("null");
            } else {
                let ids: Vec<String> = record.merged.iter().map(ToString::to_string).collect();
                json::text(out, &ids.join(";"));
            }
        } else {
            match (object.property(name), record.number) {
                (Some((place, property)), Some(number)) if property.maker != Maker::Nothing => {
                    property
                        .maker
                        .write(self.seed, number, place as u64 + 1, out);
                }
                _ => out.push_str("null"),
            }
        }
    }

    fn write_history(
        &self,
        object: &Object,
        id: u64,
        record: &Record,
        name: &str,
        out: &mut String,
    ) {
        out.push('[');
        let versions = record.set.get(name).map_or(&[][..], Vec::as_slice);
        for version in versions.iter().rev() {
            out.push_str("{\"value\":");
            json::text(out, version.value.as_deref().unwrap_or_default());
            out.push_str(",\"timestamp\":");
            json::moment(out, version.at);
            out.push_str(
                ",\"sourceType\":\"CRM_UI\",\"sourceId\":\"userId:7\",\"updatedByUserId\":7},",
            );
        }
        out.push_str("{\"value\":");
        let bare = Record {
            set: BTreeMap::new(),
            ..record.clone()
        };
        let mut first = String::new();
        self.write_value(object, id, &bare, name, &mut first);
        out.push_str(if first == "null" { "\"\"" } else { &first });
        out.push_str(",\"timestamp\":");
        json::moment(out, record.created);
        out.push_str(",\"sourceType\":\"IMPORT\",\"sourceLabel\":\"Importación\"}]");
    }

    /// What search knows of when a record was changed; none where it does not know the record yet.
    pub(crate) fn indexed(&self, record: &Record) -> Option<i64> {
        let now = self.now();
        record
            .indexed
            .iter()
            .rev()
            .find(|(visible, _)| *visible <= now)
            .map(|(_, modified)| *modified)
    }
}

impl Record {
    fn set_values(&mut self, values: &[(&str, Option<&str>)], at: i64) {
        for (name, value) in values {
            self.set
                .entry((*name).to_owned())
                .or_default()
                .push(Version {
                    at,
                    value: value.map(str::to_owned),
                });
        }
    }
}

impl Object {
    fn add(&mut self, property: Property) {
        let known = self.places.get(&property.name);
        if let Some(known) = known.and_then(|place| self.properties.get_mut(*place)) {
            *known = property;
        } else {
            self.places
                .insert(property.name.clone(), self.properties.len());
            self.properties.push(property);
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn properties(&self) -> &[Property] {
        &self.properties
    }

    fn property(&self, name: &str) -> Option<(usize, &Property)> {
        let place = *self.places.get(name)?;
        self.properties.get(place).map(|property| (place, property))
    }

    /// The record of that id, or the one that it was merged into.
    pub(crate) fn find(&self, mut id: u64) -> Option<(u64, &Record)> {
        while let Some(into) = self.merged.get(&id) {
            id = *into;
        }
        self.records.get(&id).map(|record| (id, record))
    }
}

/// Which properties a request asks for, in the order in which they are given.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    properties: BTreeSet<&'a str>,
    history: BTreeSet<&'a str>,
}

impl<'a> Asked<'a> {
    /// Those that exist among the ones named, and those that always come.
    pub(crate) fn new(object: &'a Object, properties: &'a [String], history: &'a [String]) -> Self {
        let exists = |name: &&str| {
            object
                .property(name)
                .is_some_and(|(_, property)| !property.archived)
        };
        let mut names: BTreeSet<&str> = properties
            .iter()
            .map(String::as_str)
            .filter(exists)
            .collect();
        if properties.is_empty() {
            names.extend(
                schema::default_properties(&object.name)
                    .iter()
                    .copied()
                    .filter(exists),
            );
        }
        names.extend([
            "hs_object_id",
            schema::created_property(&object.name),
            schema::modified_property(&object.name),
        ]);
        Self {
            properties: names,
            history: history.iter().map(String::as_str).filter(exists).collect(),
        }
    }
}

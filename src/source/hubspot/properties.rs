//! Maps an object's properties to a stream's columns: which are read, their types, and their names. No I/O.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::glob::matches;
use crate::schema::{ColumnSpec, ColumnType};

/// The digits of numbers: twenty before the point, for ids and large amounts, and eighteen after it, for every double that
/// `HubSpot` computes.
const NUMBER: ColumnType = ColumnType::Decimal {
    precision: 38,
    scale: 18,
};

/// The suffix of the column for values that do not fit another column's type.
pub const MISFIT_SUFFIX: &str = "__text";

/// A property, as the properties API gives it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Default)]
#[serde(rename_all = "camelCase")]
pub struct Property {
    /// Its internal name.
    pub name: String,
    /// Its type: string, number, date, datetime, enumeration, bool, `phone_number`, `object_coordinates`, json.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// How it is edited or computed: text, select, `calculation_equation`, …
    #[serde(default)]
    pub field_type: String,
    /// Whether `HubSpot` computes it.
    #[serde(default)]
    pub calculated: bool,
    /// Whether it is archived.
    #[serde(default)]
    pub archived: bool,
    /// When it was created. `None` for `HubSpot`'s own properties.
    #[serde(default)]
    pub created_at: Option<String>,
}

/// The answer of the properties API.
#[derive(Debug, Deserialize)]
pub struct PropertyList {
    /// The properties.
    pub results: Vec<Property>,
}

/// The properties that a stream reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names and patterns (`hs_analytics_*`). `None` for all.
    pub wanted: Option<Vec<String>>,
    /// Names and patterns to leave out.
    pub excluded: Vec<String>,
}

/// A property and its column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyColumn {
    /// The property's name, exactly.
    pub property: String,
    /// The column.
    pub column: ColumnSpec,
    /// The name of the column for values that do not fit. `None` if every value fits.
    pub misfit: Option<String>,
    /// Whether the configuration sets its type.
    pub is_chosen: bool,
    /// Whether its value can change without the record's time of change.
    pub calculated: bool,
}

/// The properties that every record has, and whose changes HubSpot always reports.
const OWN: [&str; 6] = [
    "hs_object_id",
    "createdate",
    "hs_createdate",
    "lastmodifieddate",
    "hs_lastmodifieddate",
    "hs_merged_object_ids",
];

impl Property {
    /// Whether `HubSpot` computes it, so that its value can change without the record's time of change.
    pub fn is_calculated(&self) -> bool {
        (self.calculated || self.field_type.starts_with("calculation"))
            && !OWN.contains(&self.name.as_str())
    }
}

impl Selection {
    /// The properties that the selection matches, by name.
    ///
    /// # Errors
    /// [`Error::Config`] if a name or pattern matches no property.
    pub fn choose(&self, object: &str, properties: Vec<Property>) -> Result<Vec<Property>> {
        let mut chosen: BTreeMap<String, Property> = properties
            .into_iter()
            .filter(|property| !property.archived)
            .map(|property| (property.name.clone(), property))
            .collect();
        if let Some(wanted) = &self.wanted {
            for pattern in wanted {
                if !chosen.keys().any(|name| matches(pattern, name)) {
                    return Err(Error::config(format!("{object} of HubSpot have no property `{pattern}`")).remedy(
                        "correct `properties`, or leave it out to take all; archived properties are not listed",
                    ));
                }
            }
            chosen.retain(|name, _| wanted.iter().any(|pattern| matches(pattern, name)));
        }
        chosen.retain(|name, _| !self.excluded.iter().any(|pattern| matches(pattern, name)));
        Ok(chosen.into_values().collect())
    }
}

/// The columns of properties, whose names must differ from those that are `taken`.
///
/// A column has its property's name. Names that differ only in case would be one name in `DuckDB`: of these, the property
/// that was created first keeps its name, and each other gets a suffix derived from its exact name. Therefore no name
/// depends on properties that are created later.
pub fn columns(
    properties: &[Property],
    taken: &[&str],
    types: &BTreeMap<String, ColumnType>,
) -> Vec<PropertyColumn> {
    let mut used: HashSet<String> = taken.iter().map(|name| name.to_lowercase()).collect();
    let mut by_age: Vec<&Property> = properties.iter().collect();
    by_age.sort_by_key(|property| {
        let has_capitals = property.name.to_lowercase() != property.name;
        (property.created_at.as_deref(), has_capitals, &property.name)
    });
    let mut names: HashMap<&str, String> = HashMap::new();
    for property in by_age {
        let name = if used.insert(property.name.to_lowercase()) {
            property.name.clone()
        } else {
            let name = format!("{}__{}", property.name, fingerprint(&property.name));
            used.insert(name.to_lowercase());
            name
        };
        names.insert(&property.name, name);
    }
    properties
        .iter()
        .map(|property| {
            let name = names
                .get(property.name.as_str())
                .cloned()
                .unwrap_or_else(|| property.name.clone());
            let column_type = types
                .get(&name)
                .cloned()
                .unwrap_or_else(|| column_type(property));
            let misfit = (column_type != ColumnType::Text)
                .then(|| beside(&name, |beside| used.insert(beside.to_lowercase())));
            PropertyColumn {
                property: property.name.clone(),
                column: ColumnSpec {
                    name,
                    column_type,
                    nullable: true,
                    source_type: property.kind.clone(),
                },
                misfit,
                is_chosen: false,
                calculated: property.is_calculated(),
            }
        })
        .collect()
}

/// The name of the column beside a column. `is_free` says whether a name can be used.
pub fn beside(column: &str, is_free: impl FnOnce(&str) -> bool) -> String {
    let beside = format!("{column}{MISFIT_SUFFIX}");
    if is_free(&beside) {
        beside
    } else {
        format!("{beside}__{}", fingerprint(&beside))
    }
}

/// The type of a property's column.
fn column_type(property: &Property) -> ColumnType {
    if property.name == "hs_object_id" {
        return ColumnType::Int64;
    }
    match property.kind.as_str() {
        "number" => NUMBER,
        "bool" => ColumnType::Boolean,
        "date" => ColumnType::Date,
        "datetime" => ColumnType::TimestampTz,
        "json" => ColumnType::Json,
        _ => ColumnType::Text,
    }
}

fn fingerprint(name: &str) -> String {
    let digest = Sha256::digest(name.as_bytes());
    digest.iter().take(3).fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The columns that have a column beside them, for values that do not fit.
pub fn misfits(properties: &[PropertyColumn]) -> BTreeMap<String, String> {
    properties
        .iter()
        .filter_map(|property| Some((property.column.name.clone(), property.misfit.clone()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str, kind: &str, created_at: Option<&str>) -> Property {
        Property {
            name: name.to_owned(),
            kind: kind.to_owned(),
            created_at: created_at.map(str::to_owned),
            ..Property::default()
        }
    }

    fn names(properties: &[Property], taken: &[&str]) -> Vec<String> {
        columns(properties, taken, &BTreeMap::new())
            .into_iter()
            .map(|column| column.column.name)
            .collect()
    }

    #[test]
    fn names_that_differ_in_case_do_not_meet_and_never_change() {
        let old = property("Sector", "string", Some("2023-01-01T00:00:00Z"));
        let new = property("sector", "string", Some("2024-01-01T00:00:00Z"));
        let alone = names(std::slice::from_ref(&old), &[]);
        assert_eq!(alone, ["Sector"]);
        let both = names(&[old, new], &[]);
        assert_eq!(both.first(), alone.first());
        assert!(both.get(1).unwrap().starts_with("sector__"), "{both:?}");
    }

    #[test]
    fn a_property_named_as_a_column_of_every_stream_gives_way() {
        let found = names(
            &[
                property("archived", "bool", None),
                property("x__text", "string", None),
            ],
            &["id", "archived"],
        );
        assert!(
            found.first().unwrap().starts_with("archived__"),
            "{found:?}"
        );
        let found = columns(
            &[
                property("x", "number", None),
                property("x__text", "string", None),
            ],
            &[],
            &BTreeMap::new(),
        );
        let misfit = found.first().unwrap().misfit.clone().unwrap();
        assert!(misfit.starts_with("x__text__"), "{misfit}");
    }

    #[test]
    fn a_property_that_is_not_there_is_named() {
        let selection = Selection {
            wanted: Some(vec!["name".to_owned(), "nmae".to_owned()]),
            excluded: Vec::new(),
        };
        let error = selection
            .choose("companies", vec![property("name", "string", None)])
            .unwrap_err();
        assert!(error.to_string().contains("`nmae`"));
    }
}

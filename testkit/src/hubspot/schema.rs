//! What kinds of object the portal has, and their properties.

use std::fmt::Write as _;

use super::clients;
use super::json;
use crate::seed::mix;

/// Numbers by which paths may name the standard objects, and their names.
const TYPE_IDS: &[(&str, &str)] = &[
    ("0-1", "contacts"),
    ("0-2", "companies"),
    ("0-3", "deals"),
    ("0-5", "tickets"),
    ("0-7", "products"),
    ("0-8", "line_items"),
    ("0-14", "quotes"),
    ("0-27", "tasks"),
    ("0-46", "notes"),
    ("0-47", "meetings"),
    ("0-48", "calls"),
    ("0-49", "emails"),
];

/// The name of an object by what a path calls it.
pub(crate) fn canonical(called: &str) -> String {
    TYPE_IDS
        .iter()
        .find(|(id, _)| *id == called)
        .map_or(called, |(_, name)| name)
        .to_owned()
}

/// The number of an object.
pub(crate) fn type_id(name: &str) -> &str {
    TYPE_IDS
        .iter()
        .find(|(_, known)| *known == name)
        .map_or(name, |(id, _)| id)
}

/// The name of one of an object's records.
pub(crate) fn singular(name: &str) -> &str {
    match name {
        "companies" => "company",
        name => name.strip_suffix('s').unwrap_or(name),
    }
}

/// A property of an object.
#[derive(Debug, Clone)]
pub struct Property {
    /// Its internal name.
    pub name: String,
    /// Its type: string, number, date, datetime, enumeration, bool, `phone_number`, `object_coordinates`, json.
    pub kind: String,
    /// How it is edited: text, select, checkbox, …
    pub field_type: String,
    /// Whether it is archived.
    pub archived: bool,
    /// When it was made, milliseconds since 1970; none for `HubSpot`'s own.
    pub created: Option<i64>,
    /// Whether `HubSpot` computes it.
    pub calculated: bool,
    pub(crate) maker: Maker,
}

/// What a generated record has in a property that nobody has set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    Nothing,
    ClientName,
    ClientDomain,
    ClientStage,
    Among(&'static [&'static str]),
    SeveralAmong(&'static [&'static str]),
    Number(u64),
    Money,
    Day,
    Moment,
    Flag,
    Text,
    Email,
}

impl Property {
    /// A property that nobody has set anywhere.
    #[must_use]
    pub fn new(name: &str, kind: &str) -> Self {
        let field_type = match kind {
            "number" => "number",
            "date" | "datetime" => "date",
            "bool" => "booleancheckbox",
            "enumeration" => "select",
            _ => "text",
        };
        Self {
            name: name.to_owned(),
            kind: kind.to_owned(),
            field_type: field_type.to_owned(),
            archived: false,
            created: None,
            calculated: false,
            maker: Maker::Nothing,
        }
    }

    /// One that `HubSpot` computes by a formula.
    #[must_use]
    pub fn calculated(mut self) -> Self {
        "calculation_equation".clone_into(&mut self.field_type);
        self.calculated = true;
        self
    }

    /// Made at that time (milliseconds since 1970).
    #[must_use]
    pub fn created_at(mut self, milliseconds: i64) -> Self {
        self.created = Some(milliseconds);
        self
    }

    fn made(name: &str, kind: &str, maker: Maker) -> Self {
        Self {
            maker,
            ..Self::new(name, kind)
        }
    }

    fn checkbox(mut self) -> Self {
        "checkbox".clone_into(&mut self.field_type);
        self
    }

    /// As the properties API gives it.
    pub(crate) fn write(&self, out: &mut String) {
        out.push_str("{\"name\":");
        json::text(out, &self.name);
        let _ = write!(
            out,
            ",\"label\":\"{}\",\"description\":\"\",\"groupName\":\"informacion\",\"type\":\"{}\",\"fieldType\":\"{}\",\
             \"calculated\":{},\"archived\":{},\"hasUniqueValue\":false,\"hidden\":false,\"formField\":true,\
             \"displayOrder\":-1,\"hubspotDefined\":{}",
            self.name.replace('_', " "),
            self.kind,
            self.field_type,
            self.calculated,
            self.archived,
            self.created.is_none(),
        );
        if let Some(created) = self.created {
            out.push_str(",\"createdAt\":");
            json::moment(out, created);
        }
        out.push_str(",\"options\":[");
        let values = match self.maker {
            Maker::Among(values) | Maker::SeveralAmong(values) => Some(values),
            Maker::ClientStage => Some(STAGES),
            _ => None,
        };
        if let Some(values) = values {
            for (place, value) in values.iter().enumerate() {
                let comma = if place > 0 { "," } else { "" };
                let _ = write!(
                    out,
                    "{comma}{{\"label\":\"{value}\",\"value\":\"{value}\",\"displayOrder\":{place},\"hidden\":false}}"
                );
            }
        }
        out.push_str("]}");
    }
}

impl Maker {
    /// Writes the value of a generated record, as JSON.
    pub(crate) fn write(self, seed: u64, number: i64, salt: u64, out: &mut String) {
        let bits = mix(mix(seed ^ salt) ^ number.cast_unsigned());
        let chosen = |values: &'static [&'static str], bits: u64| {
            let place = usize::try_from(bits % values.len().max(1) as u64).unwrap_or(0);
            values.get(place).copied().unwrap_or_default()
        };
        // One value in eleven was never set, as in a portal in use.
        if bits.is_multiple_of(11) && !matches!(self, Self::ClientName | Self::ClientDomain) {
            out.push_str("null");
            return;
        }
        let _ = match self {
            Self::Nothing => out.write_str("null"),
            Self::ClientName => {
                json::text(out, &clients::company_name(seed, number));
                Ok(())
            }
            Self::ClientDomain => {
                match clients::company_domain(seed, number) {
                    Some(domain) => json::text(out, &domain),
                    None => out.push_str("null"),
                }
                Ok(())
            }
            Self::ClientStage => write!(out, "\"{}\"", clients::stage(number)),
            Self::Among(values) => write!(out, "\"{}\"", chosen(values, bits >> 8)),
            Self::SeveralAmong(values) => write!(
                out,
                "\"{};{}\"",
                chosen(values, bits >> 8),
                chosen(values, bits >> 24)
            ),
            Self::Number(bound) => write!(out, "\"{}\"", (bits >> 8) % bound.max(1)),
            Self::Money => {
                let cents = (bits >> 8) % 100_000_000;
                write!(out, "\"{}.{:02}\"", cents / 100, cents % 100)
            }
            Self::Day => {
                let (year, month, day) = (
                    1990 + (bits >> 8) % 35,
                    1 + (bits >> 16) % 12,
                    1 + (bits >> 24) % 28,
                );
                write!(out, "\"{year}-{month:02}-{day:02}\"")
            }
            Self::Moment => {
                let milliseconds = 1_672_531_200_000 + (bits >> 8) % 86_400_000_000;
                json::moment(out, i64::try_from(milliseconds).unwrap_or(0));
                Ok(())
            }
            Self::Flag => out.write_str(if bits & 256 == 0 {
                "\"true\""
            } else {
                "\"false\""
            }),
            Self::Text => write!(
                out,
                "\"Valor {} de la empresa número {number}: formación, año {}\"",
                bits >> 40,
                2000 + (bits >> 8) % 25
            ),
            Self::Email => write!(out, "\"persona.{number}@correo.example\""),
        };
    }
}

/// The properties that an object has from the start.
pub(crate) fn standard(object: &str) -> Vec<Property> {
    let mut properties = vec![
        Property::new("hs_object_id", "number"),
        Property::new(created_property(object), "datetime"),
        Property::new(modified_property(object), "datetime"),
        Property::new("hs_merged_object_ids", "enumeration").checkbox(),
        Property::made("hubspot_owner_id", "enumeration", Maker::Among(OWNERS)),
    ];
    properties.extend(match object {
        "companies" => vec![
            Property::made("name", "string", Maker::ClientName),
            Property::made("domain", "string", Maker::ClientDomain),
            Property::made(
                "city",
                "string",
                Maker::Among(&["Logroño", "Cádiz", "León", "Málaga", "Girona"]),
            ),
            Property::made("phone", "phone_number", Maker::Number(999_999_999)),
            Property::made("industry", "enumeration", Maker::Among(INDUSTRIES)),
            Property::made("lifecyclestage", "enumeration", Maker::ClientStage),
            Property::made("annualrevenue", "number", Maker::Money),
            Property::made("numberofemployees", "number", Maker::Number(5_000)),
            Property::made("is_public", "bool", Maker::Flag),
            Property::made("fecha_alta", "date", Maker::Day),
            Property::made("notes_last_updated", "datetime", Maker::Moment),
            Property::made(
                "temas_de_interes",
                "enumeration",
                Maker::SeveralAmong(TOPICS),
            )
            .checkbox(),
        ],
        "contacts" => vec![
            Property::made("email", "string", Maker::Email),
            Property::made(
                "firstname",
                "string",
                Maker::Among(&["Lucía", "Íñigo", "Begoña", "Óscar"]),
            ),
            Property::made(
                "lastname",
                "string",
                Maker::Among(&["Núñez", "Peña", "Ibáñez", "Güell"]),
            ),
            Property::new("associatedcompanyid", "number"),
        ],
        "deals" => vec![
            Property::made("dealname", "string", Maker::Text),
            Property::made("amount", "number", Maker::Money),
            Property::made("closedate", "datetime", Maker::Moment),
            Property::made("pipeline", "enumeration", Maker::Among(&["default"])),
            Property::made(
                "dealstage",
                "enumeration",
                Maker::Among(&["propuesta", "ganada", "perdida"]),
            ),
        ],
        "tickets" => vec![
            Property::made("subject", "string", Maker::Text),
            Property::made("hs_pipeline", "enumeration", Maker::Among(&["0"])),
            Property::made(
                "hs_pipeline_stage",
                "enumeration",
                Maker::Among(&["1", "4"]),
            ),
        ],
        "products" | "line_items" => vec![
            Property::made("name", "string", Maker::Text),
            Property::made("price", "number", Maker::Money),
            Property::made("quantity", "number", Maker::Number(100)),
        ],
        _ => vec![
            Property::made("hs_title", "string", Maker::Text),
            Property::made("hs_timestamp", "datetime", Maker::Moment),
        ],
    });
    properties
}

/// More properties of every type, `propiedad_0000` and on.
pub(crate) fn more(count: usize) -> Vec<Property> {
    (0..count)
        .map(|number| {
            let (kind, maker) = match number % 8 {
                0 => ("number", Maker::Money),
                1 => ("enumeration", Maker::Among(INDUSTRIES)),
                2 => ("datetime", Maker::Moment),
                3 => ("bool", Maker::Flag),
                4 => ("date", Maker::Day),
                5 => ("number", Maker::Number(1_000_000)),
                _ => ("string", Maker::Text),
            };
            Property::made(&format!("propiedad_{number:04}"), kind, maker)
                .created_at(1_700_000_000_000)
        })
        .collect()
}

/// The property that tells when a record was last changed.
pub(crate) fn modified_property(object: &str) -> &'static str {
    match object {
        "contacts" => "lastmodifieddate",
        _ => "hs_lastmodifieddate",
    }
}

/// The property that tells when a record was made.
pub(crate) fn created_property(object: &str) -> &'static str {
    match object {
        "companies" | "contacts" | "deals" | "tickets" | "products" | "line_items" => "createdate",
        _ => "hs_createdate",
    }
}

/// The properties that come when none is asked for.
pub(crate) fn default_properties(object: &str) -> &'static [&'static str] {
    match object {
        "companies" => &["name", "domain"],
        "contacts" => &["firstname", "lastname", "email"],
        "deals" => &["dealname", "amount", "closedate", "pipeline", "dealstage"],
        _ => &[],
    }
}

pub(crate) const OWNERS: &[&str] = &["701", "702", "703"];
const STAGES: &[&str] = &["lead", "customer", "opportunity"];
const INDUSTRIES: &[&str] = &[
    "CONSTRUCTION",
    "EDUCATION",
    "HOSPITALITY",
    "LOGISTICS",
    "RETAIL",
];
const TOPICS: &[&str] = &["excel", "liderazgo", "sql", "idiomas"];

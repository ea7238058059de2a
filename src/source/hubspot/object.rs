//! The objects of the CRM: how paths call them, which scopes they need, and which property tells when one was changed.
//! No I/O.

use crate::config::hubspot::ApiVersion;

/// The standard objects: plural, singular, type id.
pub(super) const STANDARD: [(&str, &str, &str); 13] = [
    ("contacts", "contact", "0-1"),
    ("companies", "company", "0-2"),
    ("deals", "deal", "0-3"),
    ("tickets", "ticket", "0-5"),
    ("products", "product", "0-7"),
    ("line_items", "line_item", "0-8"),
    ("quotes", "quote", "0-14"),
    ("tasks", "task", "0-27"),
    ("notes", "note", "0-46"),
    ("meetings", "meeting", "0-47"),
    ("calls", "call", "0-48"),
    ("emails", "email", "0-49"),
    ("leads", "lead", "0-136"),
];

/// A kind of object, as the configuration calls it: `companies`, `2-123`, `p_sedes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrmObject(String);

impl CrmObject {
    /// By its name, its type id, or the name of a custom object. A standard object is known by its plural name from here on,
    /// however it is called: as `contact`, as `Contacts`, as `0-1`.
    pub fn new(name: impl Into<String>) -> Self {
        let name = name.into();
        let lower = name.to_lowercase();
        let standard = STANDARD.iter().find(|(plural, singular, id)| {
            [plural, singular, id]
                .into_iter()
                .any(|known| *known == lower)
        });
        Self(standard.map_or(name, |(plural, ..)| (*plural).to_owned()))
    }

    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The property that holds the time of a record's last change, as far as is known.
    pub fn modified_property(&self) -> &'static str {
        match self.0.as_str() {
            "contacts" => "lastmodifieddate",
            _ => "hs_lastmodifieddate",
        }
    }

    /// How a path calls it. Of the dated paths, those of deals are published under the type's id.
    fn segment(&self, version: ApiVersion) -> &str {
        match (self.0.as_str(), version) {
            ("deals", ApiVersion::Dated202603) => "0-3",
            (name, _) => name,
        }
    }

    /// The scopes that reading it needs, in the order in which they are granted.
    pub fn scopes(&self) -> Vec<String> {
        match self.0.as_str() {
            "owners" => vec!["crm.objects.owners.read".to_owned()],
            "tickets" => vec!["tickets".to_owned()],
            name if name.starts_with("2-") || name.starts_with("p_") => {
                vec![
                    "crm.objects.custom.read".to_owned(),
                    "crm.schemas.custom.read".to_owned(),
                ]
            }
            name => vec![
                format!("crm.objects.{name}.read"),
                format!("crm.schemas.{name}.read"),
            ],
        }
    }
}

impl std::fmt::Display for CrmObject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl ApiVersion {
    /// The records of an object.
    pub fn objects(self, object: &CrmObject) -> String {
        self.path("objects", object.segment(self))
    }

    /// The properties of an object.
    pub fn properties(self, object: &CrmObject) -> String {
        self.path("properties", object.as_str())
    }

    /// The pipelines of an object.
    pub fn pipelines(self, object: &CrmObject) -> String {
        self.path("pipelines", object.as_str())
    }

    /// The owners.
    pub fn owners(self) -> String {
        match self {
            Self::Dated202603 => "/crm/owners/2026-03".to_owned(),
            Self::V3 => "/crm/v3/owners".to_owned(),
        }
    }

    /// The associations of one kind of object with another, by batch. Beside the v3 paths, those that tell labels are
    /// called v4.
    pub fn associations(self, from: &CrmObject, to: &CrmObject) -> String {
        match self {
            Self::Dated202603 => format!("/crm/associations/2026-03/{from}/{to}/batch/read"),
            Self::V3 => format!("/crm/v4/associations/{from}/{to}/batch/read"),
        }
    }

    fn path(self, part: &str, object: &str) -> String {
        match self {
            Self::Dated202603 => format!("/crm/{part}/2026-03/{object}"),
            Self::V3 => format!("/crm/v3/{part}/{object}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_known_however_it_is_called() {
        for called in ["contacts", "contact", "Contact", "CONTACTS", "0-1"] {
            let object = CrmObject::new(called);
            assert_eq!(object.as_str(), "contacts");
            assert_eq!(object.modified_property(), "lastmodifieddate");
        }
        for called in ["2-123", "p_Sedes", "p1_contact"] {
            assert_eq!(CrmObject::new(called).as_str(), called);
        }
    }

    #[test]
    fn paths_are_those_of_the_published_documents() {
        let (companies, deals) = (CrmObject::new("companies"), CrmObject::new("deals"));
        assert_eq!(
            ApiVersion::Dated202603.objects(&companies),
            "/crm/objects/2026-03/companies"
        );
        assert_eq!(
            ApiVersion::Dated202603.objects(&deals),
            "/crm/objects/2026-03/0-3"
        );
        assert_eq!(ApiVersion::V3.objects(&deals), "/crm/v3/objects/deals");
        assert_eq!(
            ApiVersion::Dated202603.properties(&deals),
            "/crm/properties/2026-03/deals"
        );
        assert_eq!(
            ApiVersion::Dated202603.associations(&companies, &deals),
            "/crm/associations/2026-03/companies/deals/batch/read"
        );
    }
}

//! Whether the server that these tests run against answers as HubSpot does: its own client and the schemas that it
//! publishes are the judges.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::*;

/// What HubSpot's published documents (2026-03) say of each schema: which members it has, of which type, and which of them
/// are never missing.
#[derive(Deserialize)]
struct Schema {
    required: Vec<String>,
    properties: BTreeMap<String, Value>,
}

type Schemas = BTreeMap<String, Schema>;

/// Whether a value is of a type: a name, `[type]` or `{"*": type}`.
fn judge(schemas: &Schemas, place: &str, kind: &Value, value: &Value) {
    match kind {
        Value::Array(element) => {
            let elements = value
                .as_array()
                .unwrap_or_else(|| panic!("{place}: no list: {value}"));
            for (number, value) in elements.iter().enumerate() {
                judge(schemas, &format!("{place}[{number}]"), &element[0], value);
            }
        }
        Value::Object(map) => {
            let members = value
                .as_object()
                .unwrap_or_else(|| panic!("{place}: no object: {value}"));
            for (name, value) in members {
                // The documents call them text, and what is not set comes as null.
                if !value.is_null() {
                    judge(schemas, &format!("{place}.{name}"), &map["*"], value);
                }
            }
        }
        Value::String(name) => judge_named(schemas, place, name, value),
        other => panic!("{other} is no type"),
    }
}

fn judge_named(schemas: &Schemas, place: &str, name: &str, value: &Value) {
    let fits = match name {
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "object" => value.is_object() || value.is_string(),
        "date-time" => value
            .as_str()
            .is_some_and(|time| chrono::DateTime::parse_from_rfc3339(time).is_ok()),
        _ => true,
    };
    assert!(fits, "{place}: {value} is no {name}");
    let Some(schema) = schemas.get(name) else {
        return;
    };
    let members = value
        .as_object()
        .unwrap_or_else(|| panic!("{place}: no {name}: {value}"));
    for required in &schema.required {
        assert!(
            members.contains_key(required),
            "{place}: {name} lacks `{required}`"
        );
    }
    for (member, value) in members {
        // `status` comes with every error, and is in none of the documents.
        if name == "Error" && member == "status" {
            continue;
        }
        let kind = schema
            .properties
            .get(member)
            .unwrap_or_else(|| panic!("{place}: {name} has no `{member}`"));
        judge(schemas, &format!("{place}.{member}"), kind, value);
    }
}

/// A portal with something of everything.
fn portal() -> Crm {
    let crm = Crm::of(250, FULL);
    {
        let mut portal = crm.server.portal();
        portal.set_property("companies", Property::new("suma", "number").calculated());
        portal.archive("companies", Portal::generated_id(200));
        portal.update(
            "companies",
            Portal::generated_id(1),
            &[("city", Some("Soria"))],
        );
        portal.merge(
            "companies",
            Portal::generated_id(248),
            Portal::generated_id(249),
        );
        for id in 1_000..1_120 {
            portal.add_owner(id, "Begoña");
        }
    }
    crm
}

#[test]
fn answers_are_as_the_published_documents_say() {
    let schemas: Schemas = serde_json::from_str(include_str!("schemas.json")).unwrap();
    let crm = portal();
    let first = Portal::generated_id(1).to_string();
    let objects = "/crm/objects/2026-03/companies";
    let get = |path: &str| (path.to_owned(), None);
    let post = |path: &str, body: Value| (path.to_owned(), Some(body));
    let search =
        json!({"filterGroups": [], "sorts": [], "properties": ["name"], "limit": 5, "after": "0"});
    let asked = [
        (
            get(&format!("{objects}?limit=3&properties=name")),
            200,
            "CollectionResponseSimplePublicObjectWithAssociationsForwardPaging",
        ),
        (
            get(&format!(
                "{objects}?limit=50&archived=True&propertiesWithHistory=city"
            )),
            200,
            "CollectionResponseSimplePublicObjectWithAssociationsForwardPaging",
        ),
        (
            post(&format!("{objects}/search"), search),
            200,
            "CollectionResponseWithTotalSimplePublicObject",
        ),
        (
            post(
                &format!("{objects}/batch/read"),
                json!({"inputs": [{"id": first}], "properties": [], "propertiesWithHistory": ["city"]}),
            ),
            200,
            "BatchResponseSimplePublicObject",
        ),
        (
            post(
                &format!("{objects}/batch/read"),
                json!({"inputs": [{"id": first}, {"id": "7"}], "properties": ["city"], "propertiesWithHistory": []}),
            ),
            207,
            "BatchResponseSimplePublicObjectWithErrors",
        ),
        (
            get("/crm/properties/2026-03/companies"),
            200,
            "CollectionResponsePropertyNoPaging",
        ),
        (
            get("/crm/pipelines/2026-03/deals"),
            200,
            "CollectionResponsePipelineNoPaging",
        ),
        (
            get("/crm/owners/2026-03?limit=100"),
            200,
            "CollectionResponsePublicOwnerForwardPaging",
        ),
        (
            post(
                "/crm/associations/2026-03/companies/contacts/batch/read",
                json!({"inputs": [{"id": first}]}),
            ),
            200,
            "BatchResponsePublicAssociationMultiWithLabel",
        ),
        (
            post(
                "/crm/associations/2026-03/companies/contacts/batch/read",
                json!({"inputs": [{"id": first}, {"id": "7"}]}),
            ),
            207,
            "BatchResponsePublicAssociationMultiWithLabelWithErrors",
        ),
        (get(&format!("{objects}?limit=101")), 400, "Error"),
        (get("/crm/objects/2026-03/nada"), 400, "Error"),
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let client = reqwest::Client::new();
    for ((path, body), status, schema) in asked {
        let url = format!("{}{path}", crm.server.url());
        let request = match body {
            None => client.get(url),
            Some(body) => client.post(url).json(&body),
        };
        let request = request.bearer_auth(crm.server.token());
        let (found, answer): (u16, Value) = runtime.block_on(async {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json().await.unwrap())
        });
        assert_eq!(found, status, "{path}: {answer}");
        assert!(schemas.contains_key(schema), "{schema}");
        judge_named(&schemas, &path, schema, &answer);
    }
}

#[test]
fn hubspots_own_client_finds_what_there_is() {
    let python = python();
    let crm = portal();
    let output = std::process::Command::new(python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/it/hubspot/judges/client.py"
        ))
        .args([&crm.server.url(), crm.server.token()])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{shown}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let (first, second) = (Portal::generated_id(1), Portal::generated_id(2));
    let first_city = found["history"][1].as_str().unwrap();
    assert_eq!(
        found,
        json!({
            "live": 248, "pages": 3, "archived": [Portal::generated_id(200).to_string()],
            "owners": 122, "owner_pages": 2, "total": 248, "hits": 248, "batch": [1, 1],
            "history": ["Soria", first_city], "links": [first.to_string(), second.to_string()],
            "category": "HUBSPOT_DEFINED", "calculated": ["suma"], "stages": 3, "refused": 400,
        })
    );
}

/// The interpreter that has HubSpot's client, where `scripts/setup.sh` puts it.
fn python() -> std::path::PathBuf {
    let output = std::process::Command::new("bash")
        .args(["-c", ". scripts/tools.sh && printf %s \"$PYTHON_FOLDER\""])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let python =
        std::path::Path::new(&String::from_utf8(output.stdout).unwrap()).join("bin/python");
    assert!(
        python.exists(),
        "HubSpot's own client is not at {}: install python3 with venv (Debian: python3-venv), then run scripts/setup.sh",
        python.display()
    );
    python
}

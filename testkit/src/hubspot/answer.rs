//! What each path answers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::Value;

use super::json;
use super::oddity::Oddity;
use super::portal::{Asked, Object, Portal, Record, Shelf};
use super::schema;
use crate::seed::mix;

/// The number of hits that a search shows.
const SEARCH_CAP: usize = 10_000;
/// Associations of one record that a batch gives before it pages.
const LINKS_A_PAGE: usize = 500;

/// A status and a body.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BatchRead {
    inputs: Vec<Input>,
    #[serde(default)]
    properties: Vec<String>,
    #[serde(default)]
    properties_with_history: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Input {
    id: String,
    after: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Search {
    #[serde(default)]
    filter_groups: Vec<FilterGroup>,
    #[serde(default)]
    sorts: Vec<Value>,
    #[serde(default)]
    properties: Vec<String>,
    limit: Option<usize>,
    after: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct FilterGroup {
    filters: Vec<Filter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    property_name: String,
    operator: String,
    value: Option<String>,
}

/// A request's parameters, and the address that they came with.
#[derive(Debug, Default)]
struct Query {
    origin: String,
    path: String,
    parameters: BTreeMap<String, String>,
}

impl Query {
    fn get(&self, name: &str) -> Option<&String> {
        self.parameters.get(name)
    }

    /// `,"paging":{"next":{…}}`, with the address of the next page.
    fn next(&self, after: &str) -> String {
        let mut link = format!("{}{}?", self.origin, self.path);
        for (name, value) in &self.parameters {
            if name != "after" {
                let _ = write!(link, "{}={}&", encode(name), encode(value));
            }
        }
        let _ = write!(link, "after={}", encode(after));
        let mut paging = String::from(",\"paging\":{\"next\":{\"after\":");
        json::text(&mut paging, after);
        paging.push_str(",\"link\":");
        json::text(&mut paging, &link);
        paging.push_str("}}");
        paging
    }

    /// How many results a page may have, of at most so many.
    fn limit(&self, usual: usize, most: usize) -> Result<usize, Answer> {
        let limit = match self.get("limit") {
            None => usual,
            Some(limit) => limit.parse().unwrap_or(0),
        };
        if (1..=most).contains(&limit) {
            return Ok(limit);
        }
        Err(Answer::invalid(&format!(
            "limit must be between 1 and {most}"
        )))
    }
}

fn encode(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Answers a request.
pub(crate) fn answer(
    portal: &mut Portal,
    denied: &[String],
    method: &str,
    origin: &str,
    path: &str,
    body: &[u8],
) -> Answer {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = Query {
        origin: origin.to_owned(),
        path: path.to_owned(),
        parameters: parse_query(query),
    };
    let Some(rest) = path.strip_prefix("/crm/") else {
        return Answer::not_found();
    };
    let segments: Vec<&str> = rest.split('/').collect();
    let parts = match segments.as_slice() {
        [part, "2026-03", rest @ ..] | ["v3" | "v4", part, rest @ ..] => Some((*part, rest)),
        _ => None,
    };
    let Some((part, rest)) = parts else {
        return Answer::not_found();
    };
    if let Some(refusal) = missing_scope(denied, part, rest) {
        return refusal;
    }
    match (part, method, rest) {
        ("objects", "GET", [object]) => list(portal, object, &query),
        ("objects", "POST", [object, "batch", "read"]) => batch_read(portal, object, &query, body),
        ("objects", "POST", [object, "search"]) => search(portal, object, &query, body),
        ("objects", "POST", [object, "merge"]) => merge(portal, object, body),
        ("objects", "POST", [object]) => create(portal, object, body),
        ("objects", "PATCH", [object, id]) => update(portal, object, id, body),
        ("objects", "DELETE", [object, id]) => archive(portal, object, id),
        ("properties", "GET", [object]) => properties(portal, object, &query),
        ("associations", "POST", [from, to, "batch", "read"]) => {
            let shape = match segments.first() {
                Some(&"v3") => Shape::V3,
                _ => Shape::WithLabels,
            };
            associations(portal, shape, from, to, body)
        }
        ("owners", "GET", [] | [""]) => owners(portal, &query),
        ("pipelines", "GET", [object]) => pipelines(portal, object),
        _ => Answer::not_found(),
    }
}

impl Answer {
    fn ok(body: String) -> Self {
        Self { status: 200, body }
    }

    pub(crate) fn error(status: u16, category: &str, message: &str) -> Self {
        let mut body = String::from("{\"status\":\"error\",\"message\":");
        json::text(&mut body, message);
        let _ = write!(
            body,
            ",\"correlationId\":\"a43683b0-5717-4ceb-80b4-104d02915d8c\",\"category\":\"{category}\"}}"
        );
        Self { status, body }
    }

    fn not_found() -> Self {
        Self::error(404, "OBJECT_NOT_FOUND", "resource not found")
    }

    fn invalid(message: &str) -> Self {
        Self::error(400, "VALIDATION_ERROR", message)
    }

    fn unknown_object(called: &str) -> Self {
        Self::invalid(&format!("Unable to infer object type from: {called}"))
    }
}

/// Refuses what a scope is missing for.
fn missing_scope(denied: &[String], part: &str, rest: &[&str]) -> Option<Answer> {
    let name = rest
        .first()
        .map_or_else(String::new, |called| schema::canonical(called));
    let family = if name.starts_with("2-") {
        "custom"
    } else {
        name.as_str()
    };
    let needed = match (part, family) {
        ("owners", _) => "crm.objects.owners.read".to_owned(),
        ("properties" | "objects" | "associations" | "pipelines", "tickets") => {
            "tickets".to_owned()
        }
        ("properties", family) => format!("crm.schemas.{family}.read"),
        (_, family) => format!("crm.objects.{family}.read"),
    };
    denied.contains(&needed).then(|| Answer {
        status: 403,
        body: format!(
            "{{\"status\":\"error\",\"message\":\"This app hasn't been granted all required scopes to make this call.\",\
             \"correlationId\":\"5ac9ac2f-1a0c-4b6f-9a2e-2b2b2b2b2b2b\",\"errors\":[{{\"message\":\"One or more of the \
             following scopes are required.\",\"context\":{{\"requiredGranularScopes\":[\"{needed}\"]}}}}],\
             \"category\":\"MISSING_SCOPES\"}}"
        ),
    })
}

fn list(portal: &mut Portal, called: &str, query: &Query) -> Answer {
    // A request for one record is no page of a list.
    let is_page = query.get("limit").is_some_and(|limit| limit != "1");
    let ends = is_page && portal.oddities.take(Oddity::ListEnds);
    let round = is_page && portal.oddities.take(Oddity::RoundAndRound);
    let portal = &*portal;
    let Some(object) = portal.object(called) else {
        return Answer::unknown_object(called);
    };
    let history = names(query.get("propertiesWithHistory"));
    let most = if history.is_empty() { 100 } else { 50 };
    let limit = match query.limit(10, most) {
        Ok(limit) => limit,
        Err(refusal) => return refusal,
    };
    let after = match query
        .get("after")
        .map(|after| after.strip_prefix("cursor-").unwrap_or(after).parse())
    {
        Some(Ok(after)) => after,
        Some(Err(_)) => return Answer::invalid("after is not a cursor that was given"),
        None => 0,
    };
    let which = shelf(query);
    let wanted = names(query.get("properties"));
    let asked = Asked::new(object, &wanted, &history);
    let mut body = String::with_capacity(limit * 64 * (asked_width(&wanted) + 8));
    body.push_str("{\"results\":[");
    let mut records = portal.list(object, which, after);
    let mut last = 0;
    for (place, (id, record)) in records.by_ref().take(limit).enumerate() {
        if place > 0 {
            body.push(',');
        }
        portal.write_record(object, id, record, &asked, &mut body);
        last = id;
    }
    body.push(']');
    if round {
        body.push_str(&query.next("cursor-1"));
    } else if records.next().is_some() && !ends {
        body.push_str(&query.next(&format!("cursor-{last}")));
    }
    body.push('}');
    Answer::ok(body)
}

/// The body of a list's first page, with all properties.
pub(crate) fn first_page(portal: &mut Portal, object: &str, records: usize) -> String {
    let names: Vec<&str> = portal
        .object(object)
        .map(|object| {
            object
                .properties()
                .iter()
                .map(|property| property.name.as_str())
                .collect()
        })
        .unwrap_or_default();
    let query = Query {
        parameters: BTreeMap::from([
            ("limit".to_owned(), records.to_string()),
            ("properties".to_owned(), names.join(",")),
        ]),
        ..Query::default()
    };
    list(portal, object, &query).body
}

fn asked_width(names: &[String]) -> usize {
    names.len().max(4)
}

fn batch_read(portal: &mut Portal, called: &str, query: &Query, body: &[u8]) -> Answer {
    let mut omits = portal.oddities.take(Oddity::BatchOmits);
    let portal = &*portal;
    let Some(object) = portal.object(called) else {
        return Answer::unknown_object(called);
    };
    let request: BatchRead = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return Answer::invalid(&format!("Invalid input JSON: {error}")),
    };
    let most = if request.properties_with_history.is_empty() {
        100
    } else {
        50
    };
    if request.inputs.is_empty() || request.inputs.len() > most {
        return Answer::invalid(&format!("between 1 and {most} inputs are allowed"));
    }
    let asked = Asked::new(
        object,
        &request.properties,
        &request.properties_with_history,
    );
    let which = shelf(query);
    let mut missing = Vec::new();
    let mut results = String::new();
    for input in &request.inputs {
        let found = input
            .id
            .parse()
            .ok()
            .and_then(|id| object.find(id))
            .filter(|(_, record)| record.archived.is_some() == (which == Shelf::Archived));
        if std::mem::take(&mut omits) {
            continue;
        }
        match found {
            Some((id, record)) => {
                if !results.is_empty() {
                    results.push(',');
                }
                portal.write_record(object, id, record, &asked, &mut results);
            }
            None => missing.push(input.id.as_str()),
        }
    }
    Answer {
        status: if missing.is_empty() { 200 } else { 207 },
        body: batch(&results, "COMPANY", &missing),
    }
}

/// A batch's body: results, and which inputs were not found.
fn batch(results: &str, what: &str, missing: &[&str]) -> String {
    let mut body = format!(
        "{{\"status\":\"COMPLETE\",\"results\":[{results}],\"startedAt\":\"2026-01-01T00:00:00.000Z\",\
         \"completedAt\":\"2026-01-01T00:00:00.100Z\""
    );
    if !missing.is_empty() {
        let ids: Vec<String> = missing.iter().map(|id| format!("\"{id}\"")).collect();
        let _ = write!(
            body,
            ",\"numErrors\":1,\"errors\":[{{\"status\":\"error\",\"category\":\"OBJECT_NOT_FOUND\",\"message\":\"Could not \
             get some {what} objects, they may be deleted or not exist. Check that ids are valid.\",\
             \"errors\":[],\"links\":{{}},\"context\":{{\"ids\":[{}]}}}}]",
            ids.join(",")
        );
    }
    body.push('}');
    body
}

fn search(portal: &mut Portal, called: &str, query: &Query, body: &[u8]) -> Answer {
    let mut odd = |oddity: Oddity| portal.oddities.take(oddity);
    let (empty, unsorted, as_text) = (
        odd(Oddity::EmptyPage),
        odd(Oddity::Unsorted),
        odd(Oddity::SortedAsText),
    );
    let (no_paging, no_total, fewer) = (
        odd(Oddity::NoPaging),
        odd(Oddity::NoPagingNorTotal),
        odd(Oddity::FewerHits),
    );
    let portal = &*portal;
    let Some(object) = portal.object(called) else {
        return Answer::unknown_object(called);
    };
    let request: Search = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return Answer::invalid(&format!("Invalid input JSON: {error}")),
    };
    let limit = request.limit.unwrap_or(10);
    let after = match &request.after {
        None | Some(Value::Null) => 0,
        Some(Value::String(after)) => after.parse().unwrap_or(0),
        Some(after) => after
            .as_u64()
            .and_then(|after| usize::try_from(after).ok())
            .unwrap_or(0),
    };
    if limit == 0 || limit > 200 {
        return Answer::invalid("limit must be between 1 and 200");
    }
    if after + limit > SEARCH_CAP {
        return Answer::invalid("Paging past 10000 results is not supported");
    }
    if request.sorts.len() > 1 || request.filter_groups.len() > 6 {
        return Answer::invalid("at most one sort and six groups of filters are allowed");
    }
    let modified = schema::modified_property(object.name());
    let mut hits = Vec::new();
    // Records that search does not know yet, and archived ones, are not found.
    for (id, record) in portal.list(object, Shelf::Live, 0) {
        let Some(indexed) = portal.indexed(record) else {
            continue;
        };
        let mut matched = request.filter_groups.is_empty();
        for group in &request.filter_groups {
            let mut all = true;
            for filter in &group.filters {
                match meets(filter, id, indexed, modified) {
                    Ok(met) => all &= met,
                    Err(refusal) => return refusal,
                }
            }
            matched |= all;
        }
        if matched {
            hits.push((id, indexed, record));
        }
    }
    if let Some(sort) = request.sorts.first()
        && let Err(refusal) = sort_hits(&mut hits, sort, modified)
    {
        return refusal;
    }
    if unsorted {
        hits.sort_by_key(|(id, ..)| mix(*id));
    }
    if as_text {
        hits.sort_by_key(|(id, ..)| id.to_string());
    }
    let total = hits.len();
    let mut shown: Vec<_> = hits.into_iter().skip(after).take(limit).collect();
    if empty {
        shown.clear();
    }
    if fewer {
        shown.pop();
    }
    let asked = Asked::new(object, &request.properties, &[]);
    let told = if no_total { shown.len() } else { total };
    let mut body = format!("{{\"total\":{told},\"results\":[");
    for (place, (id, _, record)) in shown.iter().enumerate() {
        if place > 0 {
            body.push(',');
        }
        portal.write_record(object, *id, record, &asked, &mut body);
    }
    body.push(']');
    if total > after + limit && !no_paging && !no_total {
        body.push_str(&query.next(&(after + limit).to_string()));
    }
    body.push('}');
    Answer::ok(body)
}

/// Records that a search found: id, time of change as search knows it, record.
type Hits<'a> = Vec<(u64, i64, &'a Record)>;

/// Sorts as a request says, as text (`-name` for descending) or as an object.
fn sort_hits(hits: &mut Hits<'_>, sort: &Value, modified: &str) -> Result<(), Answer> {
    let (name, descending) = match sort {
        Value::String(name) => (name.trim_start_matches('-'), name.starts_with('-')),
        other => (
            other
                .get("propertyName")
                .and_then(Value::as_str)
                .unwrap_or_default(),
            other.get("direction").and_then(Value::as_str) == Some("DESCENDING"),
        ),
    };
    match name {
        "hs_object_id" => hits.sort_by_key(|(id, ..)| *id),
        name if name == modified => hits.sort_by_key(|(_, indexed, _)| *indexed),
        _ => {
            return Err(Answer::invalid(
                "only sorts by id and by time of change are served here",
            ));
        }
    }
    if descending {
        hits.reverse();
    }
    Ok(())
}

/// Whether a record meets a filter; those by id and by time of change are served.
fn meets(filter: &Filter, id: u64, indexed: i64, modified: &str) -> Result<bool, Answer> {
    let value: i64 = filter
        .value
        .as_deref()
        .and_then(|value| value.parse().ok())
        .ok_or_else(|| {
            Answer::invalid("a filter's value must be a number, or milliseconds since 1970")
        })?;
    let actual = match filter.property_name.as_str() {
        "hs_object_id" => i64::try_from(id).unwrap_or(i64::MAX),
        name if name == modified => indexed,
        _ => {
            return Err(Answer::invalid(
                "only filters by id and by time of change are served here",
            ));
        }
    };
    Ok(match filter.operator.as_str() {
        "GT" => actual > value,
        "GTE" => actual >= value,
        "LT" => actual < value,
        "LTE" => actual <= value,
        "EQ" => actual == value,
        "NEQ" => actual != value,
        _ => return Err(Answer::invalid("unknown operator")),
    })
}

fn create(portal: &mut Portal, called: &str, body: &[u8]) -> Answer {
    let (name, values) = match to_write(portal, called, body) {
        Ok(to_write) => to_write,
        Err(refusal) => return refusal,
    };
    let id = portal.create(&name, &borrowed(&values));
    one(portal, &name, id, 201)
}

fn update(portal: &mut Portal, called: &str, id: &str, body: &[u8]) -> Answer {
    let (name, values) = match to_write(portal, called, body) {
        Ok(to_write) => to_write,
        Err(refusal) => return refusal,
    };
    match id.parse() {
        Ok(id) if portal.update(&name, id, &borrowed(&values)) => one(portal, &name, id, 200),
        _ => Answer::not_found(),
    }
}

fn archive(portal: &mut Portal, called: &str, id: &str) -> Answer {
    let Some(name) = portal.object(called).map(|object| object.name().to_owned()) else {
        return Answer::unknown_object(called);
    };
    if let Ok(id) = id.parse() {
        portal.archive(&name, id);
    }
    Answer {
        status: 204,
        body: String::new(),
    }
}

fn merge(portal: &mut Portal, called: &str, body: &[u8]) -> Answer {
    let Some(name) = portal.object(called).map(|object| object.name().to_owned()) else {
        return Answer::unknown_object(called);
    };
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let id = |key: &str| {
        request
            .get(key)
            .and_then(Value::as_str)
            .and_then(|id| id.parse().ok())
    };
    match (id("objectIdToMerge"), id("primaryObjectId")) {
        (Some(from), Some(into)) => match portal.merge(&name, from, into) {
            Some(id) => one(portal, &name, id, 200),
            None => Answer::not_found(),
        },
        _ => Answer::invalid("objectIdToMerge and primaryObjectId must be two records"),
    }
}

/// What a request would write: the object's name, and values by property.
type ToWrite = (String, Vec<(String, Option<String>)>);

fn to_write(portal: &Portal, called: &str, body: &[u8]) -> Result<ToWrite, Answer> {
    match portal.object(called) {
        Some(object) => Ok((object.name().to_owned(), set_values(body)?)),
        None => Err(Answer::unknown_object(called)),
    }
}

fn borrowed(values: &[(String, Option<String>)]) -> Vec<(&str, Option<&str>)> {
    values
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_deref()))
        .collect()
}

fn set_values(body: &[u8]) -> Result<Vec<(String, Option<String>)>, Answer> {
    let request: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(Value::Object(properties)) = request.get("properties") else {
        return Err(Answer::invalid("properties are missing"));
    };
    Ok(properties
        .iter()
        .map(|(name, value)| (name.clone(), value.as_str().map(str::to_owned)))
        .collect())
}

fn one(portal: &Portal, name: &str, id: u64, status: u16) -> Answer {
    let mut body = String::new();
    if let Some(object) = portal.object(name)
        && let Some((id, record)) = object.find(id)
    {
        let asked = Asked::new(object, &[], &[]);
        portal.write_record(object, id, record, &asked, &mut body);
    }
    Answer { status, body }
}

fn properties(portal: &Portal, called: &str, query: &Query) -> Answer {
    let Some(object) = portal.object(called) else {
        return Answer::unknown_object(called);
    };
    let archived = shelf(query) == Shelf::Archived;
    let mut body = String::from("{\"results\":[");
    let listed = object
        .properties()
        .iter()
        .filter(|property| property.archived == archived);
    for (place, property) in listed.enumerate() {
        if place > 0 {
            body.push(',');
        }
        property.write(&mut body);
    }
    body.push_str("]}");
    Answer::ok(body)
}

/// How associations are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Those of v3: an id and the name of a type.
    V3,
    /// Those of v4 and of the dated paths: an id, and types with number, category and label.
    WithLabels,
}

fn associations(portal: &mut Portal, shape: Shape, from: &str, to: &str, body: &[u8]) -> Answer {
    let round = portal.oddities.take(Oddity::RoundAndRound);
    let portal = &*portal;
    let (Some(from), Some(to)) = (portal.object(from), portal.object(to)) else {
        return Answer::unknown_object(from);
    };
    let request: BatchRead = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(error) => return Answer::invalid(&format!("Invalid input JSON: {error}")),
    };
    if request.inputs.is_empty() || request.inputs.len() > 1_000 {
        return Answer::invalid("between 1 and 1000 inputs are allowed");
    }
    let mut results = String::new();
    let mut without = Vec::new();
    for input in &request.inputs {
        let after: usize = input
            .after
            .as_deref()
            .and_then(|after| after.parse().ok())
            .unwrap_or(0);
        let written = input.id.parse().is_ok_and(|id| {
            write_links(portal, shape, (from, to), id, (after, round), &mut results)
        });
        if !written {
            without.push(input.id.as_str());
        }
    }
    let mut body = format!(
        "{{\"status\":\"COMPLETE\",\"results\":[{results}],\"startedAt\":\"2026-01-01T00:00:00.000Z\",\
         \"completedAt\":\"2026-01-01T00:00:00.100Z\""
    );
    if !without.is_empty() {
        let errors: Vec<String> = without
            .iter()
            .map(|id| {
                format!(
                    "{{\"status\":\"error\",\"category\":\"OBJECT_NOT_FOUND\",\"subCategory\":\
                     \"crm.associations.NO_ASSOCIATIONS_FOUND\",\"message\":\"No {} is associated with {} {id}.\",\
                     \"errors\":[],\"links\":{{}},\"context\":{{\"fromObjectId\":[\"{id}\"]}}}}",
                    to.name(),
                    from.name()
                )
            })
            .collect();
        let _ = write!(
            body,
            ",\"numErrors\":{},\"errors\":[{}]",
            errors.len(),
            errors.join(",")
        );
    }
    body.push('}');
    Answer {
        status: if without.is_empty() { 200 } else { 207 },
        body,
    }
}

fn write_links(
    portal: &Portal,
    shape: Shape,
    (from, to): (&Object, &Object),
    id: u64,
    (after, round): (usize, bool),
    out: &mut String,
) -> bool {
    let links = portal.links(from.name(), to.name(), id);
    if links.is_empty() {
        return false;
    }
    if !out.is_empty() {
        out.push(',');
    }
    let _ = write!(out, "{{\"from\":{{\"id\":\"{id}\"}},\"to\":[");
    for (place, link) in links.iter().skip(after).take(LINKS_A_PAGE).enumerate() {
        let comma = if place > 0 { "," } else { "" };
        if shape == Shape::V3 {
            let kind = format!(
                "{}_to_{}",
                schema::singular(from.name()),
                schema::singular(to.name())
            );
            let _ = write!(out, "{comma}{{\"id\":\"{}\",\"type\":\"{kind}\"}}", link.to);
            continue;
        }
        let _ = write!(
            out,
            "{comma}{{\"toObjectId\":\"{}\",\"associationTypes\":[",
            link.to
        );
        for (place, (kind, label)) in link.types.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            let category = if label.is_some() {
                "USER_DEFINED"
            } else {
                "HUBSPOT_DEFINED"
            };
            let _ = write!(
                out,
                "{comma}{{\"category\":\"{category}\",\"typeId\":{kind}"
            );
            if let Some(label) = label {
                out.push_str(",\"label\":");
                json::text(out, label);
            }
            out.push('}');
        }
        out.push_str("]}");
    }
    out.push(']');
    if round {
        out.push_str(",\"paging\":{\"next\":{\"after\":\"0\"}}");
    } else if links.len() > after + LINKS_A_PAGE {
        let _ = write!(
            out,
            ",\"paging\":{{\"next\":{{\"after\":\"{}\"}}}}",
            after + LINKS_A_PAGE
        );
    }
    out.push('}');
    true
}

fn owners(portal: &mut Portal, query: &Query) -> Answer {
    let is_page = query.get("limit").is_some_and(|limit| limit != "1");
    let round = is_page && portal.oddities.take(Oddity::RoundAndRound);
    let archived = shelf(query) == Shelf::Archived;
    let limit = match query.limit(100, 500) {
        Ok(limit) => limit,
        Err(refusal) => return refusal,
    };
    let after = query
        .get("after")
        .and_then(|after| after.parse::<u64>().ok())
        .unwrap_or(0);
    let mut body = String::from("{\"results\":[");
    let mut listed = portal
        .owners
        .iter()
        .filter(|owner| owner.archived == archived && owner.id > after);
    let mut last = 0;
    for (place, owner) in listed.by_ref().take(limit).enumerate() {
        let comma = if place > 0 { "," } else { "" };
        last = owner.id;
        let _ = write!(
            body,
            "{comma}{{\"id\":\"{id}\",\"email\":\"comercial.{id}@formacion.example\",\"type\":\"PERSON\",\
             \"firstName\":\"{}\",\"lastName\":\"Peña\",\"userId\":{id},\"userIdIncludingInactive\":{id},\
             \"createdAt\":\"2023-01-01T08:00:00.000Z\",\"updatedAt\":\"2023-01-02T08:00:00.000Z\",\"archived\":{},\
             \"teams\":[{{\"id\":\"9\",\"name\":\"Ventas\",\"primary\":true}}]}}",
            owner.first_name,
            owner.archived,
            id = owner.id,
        );
    }
    body.push(']');
    if round {
        body.push_str(&query.next("1"));
    } else if listed.next().is_some() {
        body.push_str(&query.next(&last.to_string()));
    }
    body.push('}');
    Answer::ok(body)
}

fn pipelines(portal: &Portal, called: &str) -> Answer {
    let Some(object) = portal.object(called) else {
        return Answer::unknown_object(called);
    };
    let (id, label, stages): (&str, &str, &[(&str, &str, &str)]) = match object.name() {
        "deals" => (
            "default",
            "Ventas de formación",
            &[
                (
                    "propuesta",
                    "Propuesta enviada",
                    "{\"probability\":\"0.4\"}",
                ),
                (
                    "ganada",
                    "Ganada",
                    "{\"isClosed\":\"true\",\"probability\":\"1.0\"}",
                ),
                (
                    "perdida",
                    "Perdida",
                    "{\"isClosed\":\"true\",\"probability\":\"0.0\"}",
                ),
            ],
        ),
        "tickets" => (
            "0",
            "Soporte",
            &[
                ("1", "Nuevo", "{\"ticketState\":\"OPEN\"}"),
                ("4", "Cerrado", "{\"ticketState\":\"CLOSED\"}"),
            ],
        ),
        _ => return Answer::ok("{\"results\":[]}".to_owned()),
    };
    let dates = "\"createdAt\":\"2023-01-01T08:00:00.000Z\",\"updatedAt\":\"2023-01-02T08:00:00.000Z\",\"archived\":false";
    let stages: Vec<String> = stages
        .iter()
        .enumerate()
        .map(|(place, (id, label, metadata))| {
            format!(
                "{{\"id\":\"{id}\",\"label\":\"{label}\",\"displayOrder\":{place},\"metadata\":{metadata},\
                 \"writePermissions\":\"CRM_PERMISSIONS_ENFORCEMENT\",{dates}}}"
            )
        })
        .collect();
    Answer::ok(format!(
        "{{\"results\":[{{\"id\":\"{id}\",\"label\":\"{label}\",\"displayOrder\":0,{dates},\"stages\":[{}]}}]}}",
        stages.join(",")
    ))
}

fn shelf(query: &Query) -> Shelf {
    // Python's clients write `True`.
    match query.get("archived") {
        Some(archived) if archived.eq_ignore_ascii_case("true") => Shelf::Archived,
        _ => Shelf::Live,
    }
}

fn names(list: Option<&String>) -> Vec<String> {
    list.map_or_else(Vec::new, |list| {
        list.split(',')
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    })
}

/// A query's parameters. Parameters that come more than once are joined with commas.
fn parse_query(query: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::<String, String>::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decode(value);
        parameters
            .entry(decode(name))
            .and_modify(|known| {
                known.push(',');
                known.push_str(&value);
            })
            .or_insert(value);
    }
    parameters
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'%'));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

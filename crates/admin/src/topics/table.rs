//! Every endpoint, once: the router and the OpenAPI document are both made from this table.

use axum::routing::MethodFilter;
use cresset_delivery::MAX_TOPICS;
use serde_json::{Map, Value, json};

use super::messages::{STATES, reasons};
use super::{Answering, Call, DEFAULT_PAGE, MAX_PAGE, TopicsApi};

#[derive(Clone, Copy)]
pub(super) enum Method {
    Get,
    Put,
    Post,
}

impl Method {
    pub(super) fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Put => MethodFilter::PUT,
            Self::Post => MethodFilter::POST,
        }
    }

    fn key(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Put => "put",
            Self::Post => "post",
        }
    }
}

#[derive(Clone, Copy)]
pub(super) enum Serve {
    /// Without a credential.
    Anybody(fn() -> Value),
    /// With an access token of the project in the path.
    Project(fn(TopicsApi, Call) -> Answering),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Path,
    Query,
}

struct Parameter {
    name: &'static str,
    place: Place,
    about: &'static str,
    schema: Value,
}

pub(super) struct Endpoint {
    pub(super) method: Method,
    pub(super) path: &'static str,
    summary: &'static str,
    parameters: Vec<Parameter>,
    /// The schema of the body, if the call has one.
    pub(super) body: Option<Value>,
    answer: Value,
    pub(super) serve: Serve,
}

impl Endpoint {
    pub(super) fn has_query(&self, name: &str) -> bool {
        self.parameters.iter().any(|p| p.place == Place::Query && p.name == name)
    }
}

const REGISTRATION_TOPICS: &str = "/cresset/v1/projects/{project}/registrations/{registration}/topics";

pub(super) fn endpoints() -> Vec<Endpoint> {
    let count = || json!({ "type": "integer", "minimum": 0 });
    vec![
        Endpoint {
            method: Method::Get,
            path: "/cresset/v1/projects/{project}/topics",
            summary: "The topics that have members, by name.",
            parameters: paged(vec![project()]),
            body: None,
            answer: page_of("topics", object(&[("name", text()), ("members", count())])),
            serve: Serve::Project(|api, call| Box::pin(super::list_topics(api, call))),
        },
        Endpoint {
            method: Method::Get,
            path: "/cresset/v1/projects/{project}/topics/{topic}/members",
            summary: "The registrations that are subscribed to a topic.",
            parameters: paged(vec![project(), named("topic", "The topic, URL-encoded.")]),
            body: None,
            answer: page_of("members", object(&[("token", text()), ("platform", platform())])),
            serve: Serve::Project(|api, call| Box::pin(super::list_members(api, call))),
        },
        Endpoint {
            method: Method::Get,
            path: "/cresset/v1/projects/{project}/registrations/{registration}",
            summary: "An app instance: whether its device is connected, and how much waits for it.",
            parameters: vec![project(), registration()],
            body: None,
            answer: app_instance(),
            serve: Serve::Project(|api, call| Box::pin(super::app_instance(api, call))),
        },
        Endpoint {
            method: Method::Get,
            path: REGISTRATION_TOPICS,
            summary: "The topics of a registration, and since when.",
            parameters: vec![project(), registration()],
            body: None,
            answer: object(&[("topics", list(object(&[("name", text()), ("since", time())])))]),
            serve: Serve::Project(|api, call| Box::pin(super::topics_of(api, call))),
        },
        Endpoint {
            method: Method::Put,
            path: REGISTRATION_TOPICS,
            summary: "Gives a registration exactly these topics.",
            parameters: vec![project(), registration()],
            body: Some(object(&[(
                "topics",
                json!({ "type": "array", "items": text(), "maxItems": MAX_TOPICS }),
            )])),
            answer: object(&[("added", count()), ("removed", count())]),
            serve: Serve::Project(|api, call| Box::pin(super::replace_topics(api, call))),
        },
        Endpoint {
            method: Method::Post,
            path: "/cresset/v1/projects/{project}/targets:preview",
            summary: "How many registrations a target has now. Nothing is sent.",
            parameters: vec![project()],
            body: Some(json!({
                "oneOf": [
                    object(&[("topic", text())]),
                    object(&[("condition", text())]),
                    object(&[("token", text())]),
                ],
            })),
            answer: object(&[
                ("registrations", count()),
                ("platforms", object(&[("android", count()), ("ios", count()), ("web", count())])),
                ("connected", count()),
            ]),
            serve: Serve::Project(|api, call| Box::pin(super::preview(api, call))),
        },
        Endpoint {
            method: Method::Get,
            path: "/cresset/v1/projects/{project}/messages/{message}",
            summary: "What became of a message, and of each of its deliveries.",
            parameters: paged(vec![
                project(),
                named("message", "What its sender was told, or the persistent id that a device saw."),
            ]),
            body: None,
            answer: page_with_trace(),
            serve: Serve::Project(|api, call| Box::pin(super::messages::trace(api, call))),
        },
        Endpoint {
            method: Method::Get,
            path: "/cresset/v1/projects/{project}/fanouts",
            summary: "Messages to topics and conditions that are still being spread.",
            parameters: vec![project()],
            body: None,
            answer: object(&[("open", count())]),
            serve: Serve::Project(|api, call| Box::pin(super::fanouts(api, call))),
        },
        Endpoint {
            method: Method::Get,
            path: "/cresset/v1/openapi.json",
            summary: "This document.",
            parameters: vec![],
            body: None,
            answer: json!({ "type": "object" }),
            serve: Serve::Anybody(document),
        },
    ]
}

fn project() -> Parameter {
    named("project", "The project's id, or its number.")
}

fn registration() -> Parameter {
    named("registration", "A registration token, or the FID of the app instance.")
}

fn named(name: &'static str, about: &'static str) -> Parameter {
    Parameter { name, place: Place::Path, about, schema: text() }
}

fn paged(mut parameters: Vec<Parameter>) -> Vec<Parameter> {
    let size = json!({ "type": "integer", "minimum": 1, "maximum": MAX_PAGE, "default": DEFAULT_PAGE });
    let query = |name, about, schema| Parameter { name, place: Place::Query, about, schema };
    parameters.push(query("pageSize", "Entries of one page at most; it may have fewer.", size));
    parameters.push(query("pageToken", "`nextPageToken` of the page before.", text()));
    parameters
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn platform() -> Value {
    json!({ "type": "string", "enum": ["android", "ios", "web"] })
}

fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// An object that has all of these fields, and no other.
fn object(fields: &[(&str, Value)]) -> Value {
    let names: Vec<&str> = fields.iter().map(|(name, _)| *name).collect();
    let fields: Map<String, Value> =
        fields.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "properties": fields, "required": names, "additionalProperties": false })
}

/// The last page has no token.
fn page_of(name: &str, entry: Value) -> Value {
    let mut page = object(&[(name, list(entry))]);
    page["properties"]["nextPageToken"] = text();
    page
}

fn app_instance() -> Value {
    let mut instance = object(&[
        ("platform", platform()),
        ("created", time()),
        ("connected", json!({ "type": "boolean" })),
        ("waiting", json!({ "type": "integer", "minimum": 0, "maximum": 1_000 })),
    ]);
    instance["properties"]["application"] = text();
    instance["properties"]["lastSeen"] = time();
    instance
}

fn page_with_trace() -> Value {
    let count = || json!({ "type": "integer", "minimum": 0 });
    let reasons: Vec<&str> = reasons().collect();
    let counted: Vec<_> = reasons.iter().map(|reason| (*reason, count())).collect();
    let mut dropped = object(&counted);
    dropped["required"] = json!([]);
    let mut counts = vec![("deliveries", count())];
    counts.extend(STATES.map(|state| (state, if state == "dropped" { dropped.clone() } else { count() })));
    let mut delivery = object(&[
        ("persistentId", text()),
        ("state", json!({ "type": "string", "enum": STATES })),
        ("expires", time()),
        ("token", text()),
        ("platform", platform()),
        ("sent", time()),
        ("ended", time()),
        ("collapseKey", text()),
        ("reason", json!({ "type": "string", "enum": reasons })),
        ("by", text()),
        ("told", text()),
    ]);
    delivery["required"] = json!(["persistentId", "state", "expires"]);
    let mut page = object(&[
        ("id", text()),
        ("accepted", time()),
        ("target", json!({ "type": "string", "enum": ["token", "group", "topic", "condition"] })),
        ("spreading", json!({ "type": "boolean" })),
        ("counts", object(&counts)),
        ("deliveries", list(delivery)),
    ]);
    page["properties"]["to"] = text();
    page["properties"]["nextPageToken"] = text();
    page
}

/// The table in OpenAPI 3.1.
fn document() -> Value {
    let mut paths = Map::new();
    for endpoint in endpoints() {
        let path = paths.entry(endpoint.path).or_insert_with(|| json!({}));
        path[endpoint.method.key()] = operation(&endpoint);
    }
    json!({
        "openapi": "3.1.0",
        "info": { "title": "Cresset: topics, targets and messages", "version": "1" },
        "paths": paths,
        "components": {
            "securitySchemes": { "accessToken": { "type": "http", "scheme": "bearer" } },
            "schemas": { "Error": error_schema() },
        },
    })
}

fn operation(endpoint: &Endpoint) -> Value {
    let content = |schema: &Value| json!({ "application/json": { "schema": schema } });
    let mut operation = json!({
        "summary": endpoint.summary,
        "parameters": endpoint.parameters.iter().map(parameter).collect::<Vec<_>>(),
        "responses": { "200": { "description": "Success.", "content": content(&endpoint.answer) } },
    });
    if let Some(body) = &endpoint.body {
        operation["requestBody"] = json!({ "required": true, "content": content(body) });
    }
    if let Serve::Project(_) = endpoint.serve {
        let error = json!({ "$ref": "#/components/schemas/Error" });
        operation["security"] = json!([{ "accessToken": [] }]);
        operation["responses"]["default"] =
            json!({ "description": "An error, as HTTP v1 tells it.", "content": content(&error) });
    }
    operation
}

fn parameter(parameter: &Parameter) -> Value {
    let is_path = parameter.place == Place::Path;
    json!({
        "name": parameter.name,
        "in": if is_path { "path" } else { "query" },
        "required": is_path,
        "description": parameter.about,
        "schema": parameter.schema,
    })
}

/// More may stand beside these, such as `details`.
fn error_schema() -> Value {
    let fields = json!({ "code": { "type": "integer" }, "status": text(), "message": text() });
    let error = json!({
        "type": "object",
        "properties": fields,
        "required": ["code", "status", "message"],
    });
    json!({ "type": "object", "properties": { "error": error }, "required": ["error"] })
}

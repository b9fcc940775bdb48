//! The API's discovery document, from which generic Google API clients build themselves: the
//! methods that are served, and the messages as [`schema`](super::schema) has them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::schema::{EnumType, Field, Kind, MessageType, SEND_REQUEST, every_message};

/// When what this document says changed last.
const REVISION: &str = "20261124";

const SCOPES: [(&str, &str); 2] = [
    ("https://www.googleapis.com/auth/cloud-platform", "Everything of a project."),
    ("https://www.googleapis.com/auth/firebase.messaging", "Send messages and manage subscriptions."),
];

/// The document for clients that reach the server under `root`, such as `https://fcm.googleapis.com/`.
pub fn discovery(root: &str) -> String {
    super::error::pretty(&json!({
        "kind": "discovery#restDescription",
        "discoveryVersion": "v1",
        "id": "fcm:v1",
        "name": "fcm",
        "version": "v1",
        "revision": REVISION,
        "title": "Firebase Cloud Messaging API",
        "canonicalName": "Firebase Cloud Messaging",
        "description": "FCM's HTTP v1 API, as Cresset serves it.",
        "protocol": "rest",
        "rootUrl": root,
        "baseUrl": root,
        "basePath": "",
        "servicePath": "",
        "batchPath": "batch",
        "version_module": true,
        "fullyEncodeReservedExpansion": true,
        "auth": { "oauth2": { "scopes": scopes() } },
        "parameters": parameters(),
        "schemas": schemas(),
        "resources": { "projects": { "resources": { "messages": { "methods": { "send": send() } } } } },
    }))
}

fn scopes() -> Value {
    SCOPES.iter().map(|(scope, doc)| ((*scope).to_owned(), json!({ "description": doc }))).collect()
}

fn send() -> Value {
    json!({
        "id": "fcm.projects.messages.send",
        "description": "Sends a message to a registration, a topic or a condition.",
        "httpMethod": "POST",
        "path": "v1/{+parent}/messages:send",
        "flatPath": "v1/projects/{projectsId}/messages:send",
        "parameterOrder": ["parent"],
        "parameters": {
            "parent": {
                "description": "Required. `projects/` and the id or the number of the sending project.",
                "location": "path",
                "pattern": "^projects/[^/]+$",
                "required": true,
                "type": "string",
            },
        },
        "request": { "$ref": SEND_REQUEST.short_name() },
        "response": { "$ref": "Message" },
        "scopes": SCOPES.map(|(scope, _)| scope),
    })
}

/// Those of every method (`protocol/http-v1.md` §1.3).
fn parameters() -> Value {
    let text = |doc: &str| json!({ "description": doc, "location": "query", "type": "string" });
    let flag =
        |doc: &str| json!({ "default": "true", "description": doc, "location": "query", "type": "boolean" });
    json!({
        "access_token": text("The access token, in place of the header."),
        "alt": {
            "default": "json",
            "description": "The form of the answer.",
            "enum": ["json"],
            "enumDescriptions": ["JSON."],
            "location": "query",
            "type": "string",
        },
        "fields": text("Taken and not looked at: answers have one field."),
        "key": text("Taken and not looked at."),
        "oauth_token": text("The access token, in place of the header."),
        "prettyPrint": flag("Whether answers are indented."),
        "quotaUser": text("Taken and not looked at."),
    })
}

fn schemas() -> Value {
    let named = |message: &&'static MessageType| (message.short_name().to_owned(), schema(message));
    every_message().iter().map(named).collect()
}

fn schema(message: &MessageType) -> Value {
    let properties: BTreeMap<String, Value> =
        message.fields.iter().map(|field| (field.lower_camel(), property(field))).collect();
    json!({ "id": message.short_name(), "type": "object", "description": message.doc, "properties": properties })
}

fn property(field: &Field) -> Value {
    let mut value = value(&field.kind);
    if field.repeated {
        value = json!({ "type": "array", "items": value });
    }
    value["description"] = field.doc.into();
    value
}

fn value(kind: &Kind) -> Value {
    let formatted = |kind: &str, format: &str| json!({ "type": kind, "format": format });
    match kind {
        Kind::String => json!({ "type": "string" }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Int32 => formatted("integer", "int32"),
        Kind::Float | Kind::FloatValue => formatted("number", "float"),
        Kind::Duration => formatted("string", "google-duration"),
        Kind::Timestamp => formatted("string", "google-datetime"),
        Kind::Struct => json!({ "type": "object", "additionalProperties": { "type": "any" } }),
        Kind::Map => json!({ "type": "object", "additionalProperties": { "type": "string" } }),
        Kind::Enum(kind) => enumeration(kind),
        Kind::Message(kind) => json!({ "$ref": kind.short_name() }),
    }
}

fn enumeration(kind: &EnumType) -> Value {
    let names: Vec<&str> = kind.values.iter().map(|choice| choice.name).collect();
    let docs: Vec<&str> = kind.values.iter().map(|choice| choice.doc).collect();
    json!({ "type": "string", "enum": names, "enumDescriptions": docs })
}

//! What is derived from the table of messages and from the catalogue of errors.

use cresset_wire::v1::{discovery, errors_page, messages_page};
use serde_json::Value;

#[test]
fn the_pages_in_docs_are_what_the_code_says() {
    for (page, file, written) in [
        ("messages", include_str!("../../../../docs/reference/messages.md"), messages_page()),
        ("errors", include_str!("../../../../docs/reference/errors.md"), errors_page()),
    ] {
        let again = format!("cargo run -p cresset-wire --example reference {page}");
        assert!(file == written, "docs/reference/{page}.md is old; write it anew: {again}");
    }
}

#[test]
fn the_discovery_document_names_every_message_it_refers_to() {
    let document: Value = serde_json::from_str(&discovery("https://fcm.example/")).unwrap();
    assert_eq!(document["rootUrl"], "https://fcm.example/");
    let schemas = document["schemas"].as_object().unwrap();
    let mut references = Vec::new();
    collect(&document, &mut references);
    assert!(references.len() > 10);
    for name in references {
        assert!(schemas.contains_key(&name), "{name}");
    }
    let send = &document["resources"]["projects"]["resources"]["messages"]["methods"]["send"];
    assert_eq!(send["path"], "v1/{+parent}/messages:send");
    assert_eq!(schemas["SendMessageRequest"]["properties"]["validateOnly"]["type"], "boolean");
    let priority = &schemas["AndroidConfig"]["properties"]["priority"];
    assert_eq!(priority["enum"], serde_json::json!(["NORMAL", "HIGH"]));
    assert_eq!(
        schemas["AndroidNotification"]["properties"]["vibrateTimings"]["items"]["format"],
        "google-duration"
    );
}

fn collect(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            references.extend(fields.get("$ref").and_then(Value::as_str).map(str::to_owned));
            fields.values().for_each(|inner| collect(inner, references));
        }
        Value::Array(values) => values.iter().for_each(|inner| collect(inner, references)),
        _ => {}
    }
}

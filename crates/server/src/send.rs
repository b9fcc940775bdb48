//! `cresset send`: one message from the command line, by the Admin SDK.

use std::io::Read as _;
use std::path::Path;

use cresset_admin_client::{
    AndroidConfig, AndroidPriority, Client, Content, Credentials, Error, Message, Notification, Refusal,
};
use serde_json::{Value, json};

use crate::cli::{Send, SendContent, SendElsewhere, SendTarget};
use crate::data::{DataFolder, reachable};
use crate::exec::no_credentials;
use crate::failure::Failure;
use crate::output::print;

/// As large as the largest request that a server reads; FCM takes some 4 kB of it.
const LONGEST_MESSAGE: u64 = 1 << 20;

/// As of clap, for what is wrong with the call itself.
const USAGE: u8 = 2;

/// Of the local project, where none is named.
const DEMO: &str = "demo";

pub async fn run(args: &Send) -> Result<(), Failure> {
    let request = request(args)?;
    let client = client(args)?;
    match client.send_request(request).await {
        Ok(name) => {
            print(&if args.json { format!("{:#}\n", json!({ "name": name })) } else { format!("{name}\n") });
            Ok(())
        }
        Err(error) => {
            if let (true, Some(refusal)) = (args.json, error.refusal()) {
                print(&format!("{}\n", refusal.body.trim_end()));
            }
            Err(Failure::new(told(&error)))
        }
    }
}

/// The body of the request.
fn request(args: &Send) -> Result<String, Failure> {
    if let Some(file) = &args.target.message {
        return written(&read(file)?, args.dry_run);
    }
    let Some(message) = target(&args.target) else {
        return Err(Failure::with_code("whom it is for is missing", USAGE));
    };
    let message = message.content(content(&args.content));
    let mut request = json!({ "message": message });
    if args.dry_run {
        request["validate_only"] = json!(true);
    }
    Ok(request.to_string())
}

fn target(args: &SendTarget) -> Option<Message> {
    let token = args.token.as_ref().map(Message::to_token);
    let fid = || args.fid.as_ref().map(Message::to_fid);
    let topic = || args.topic.as_deref().map(Message::to_topic);
    let condition = || args.condition.as_ref().map(Message::to_condition);
    token.or_else(fid).or_else(topic).or_else(condition)
}

fn content(args: &SendContent) -> Content {
    let priority = args.priority.as_deref().map(|priority| match priority {
        "high" => AndroidPriority::High,
        _ => AndroidPriority::Normal,
    });
    let android = AndroidConfig {
        priority,
        ttl: args.ttl.map(Into::into),
        collapse_key: args.collapse_key.clone(),
        ..AndroidConfig::default()
    };
    let (title, body, image) = (args.title.clone(), args.body.clone(), args.image.clone());
    let notification = Notification { title, body, image };
    Content {
        data: args.data.iter().cloned().collect(),
        android: (android != AndroidConfig::default()).then_some(android),
        notification: (notification != Notification::default()).then_some(notification),
        ..Content::default()
    }
}

/// The text of a file, or of standard input.
fn read(file: &Path) -> Result<String, Failure> {
    let name = file.display();
    let cannot = |why: &dyn std::fmt::Display| Failure::new(format!("cannot read {name}: {why}"));
    let mut text = String::new();
    let read = if file == Path::new("-") {
        std::io::stdin().lock().take(LONGEST_MESSAGE + 1).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(file).map_err(|e| cannot(&e))?;
        file.take(LONGEST_MESSAGE + 1).read_to_string(&mut text)
    };
    match read.map_err(|e| cannot(&e))? as u64 > LONGEST_MESSAGE {
        true => Err(cannot(&format!("it is longer than {LONGEST_MESSAGE} bytes"))),
        false => Ok(text),
    }
}

/// A request around `text`, which is a message or a request already. FCM reads more than JSON
/// (commas at the end, single quotes): what cannot be read here is for the server to judge.
fn written(text: &str, dry_run: bool) -> Result<String, Failure> {
    let text = text.trim();
    let end = if dry_run { ",\"validate_only\":true}" } else { "}" };
    match serde_json::from_str(text) {
        Ok(Value::Object(request)) if request.contains_key("message") => {
            let open = text.strip_suffix('}').unwrap_or(text);
            Ok(format!("{open}{end}"))
        }
        Ok(_) => Ok(format!("{{\"message\":{text}{end}")),
        Err(e) if dry_run => {
            Err(Failure::with_code(format!("for --dry-run it must be strict JSON: {e}"), USAGE))
        }
        Err(_) => Ok(text.to_owned()),
    }
}

fn client(args: &Send) -> Result<Client, Failure> {
    let elsewhere = &args.elsewhere;
    if elsewhere.google || elsewhere.url.is_some() {
        return client_of(elsewhere, args.project.as_deref());
    }
    let folder = DataFolder::open(&args.folder)?;
    let running = folder.must_run()?;
    let project = args.project.as_deref().unwrap_or(DEMO);
    let account = folder.credentials(project);
    if !account.exists() {
        return Err(Failure::new(no_credentials(&folder, project)));
    }
    let builder = Client::builder()
        .base_url(format!("http://{}", reachable(running.http)))
        .credentials(Credentials::from_file(account).map_err(|e| failure(&e))?);
    builder.build().map_err(|e| failure(&e))
}

fn client_of(place: &SendElsewhere, project: Option<&str>) -> Result<Client, Failure> {
    let credentials = match &place.credentials {
        Some(file) => Credentials::from_file(file),
        None => Credentials::application_default(),
    };
    let mut builder = Client::builder().credentials(credentials.map_err(|e| failure(&e))?);
    if let Some(url) = &place.url {
        builder = builder.base_url(url);
    }
    if let Some(project) = project {
        builder = builder.project(project);
    }
    if let Some(file) = &place.ca {
        let pem = std::fs::read_to_string(file);
        let pem = pem.map_err(|e| Failure::new(format!("cannot read {}: {e}", file.display())))?;
        builder = builder.root_certificates(pem);
    }
    builder.build().map_err(|e| failure(&e))
}

fn failure(error: &Error) -> Failure {
    Failure::new(error.to_string())
}

fn told(error: &Error) -> String {
    error.refusal().map_or_else(|| error.to_string(), refusal)
}

/// A refusal for people: a line for each thing that the server said.
fn refusal(refusal: &Refusal) -> String {
    let (status, code) = (refusal.status.as_str(), refusal.code.as_str());
    let status = if status == code { String::new() } else { format!("{status} ") };
    let mut lines = vec![format!("refused with {} {status}{code}: {}", refusal.http_status, refusal.message)];
    let violations = refusal.field_violations.iter();
    lines.extend(violations.map(|violation| format!("{}: {}", violation.field, violation.description)));
    lines.extend(
        refusal.apns.iter().map(|apns| format!("APNs answered {} {}", apns.status_code, apns.reason)),
    );
    lines.extend(refusal.reason.iter().map(|reason| format!("the reason is {reason}")));
    lines.extend(refusal.retry_after.map(|after| format!("it may be tried again in {} s", after.as_secs())));
    lines.join("\n  ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_wrapped_and_a_request_is_not() {
        let rows = [
            (r#"{"topic":"a"}"#, false, r#"{"message":{"topic":"a"}}"#),
            (r#"{"topic":"a"}"#, true, r#"{"message":{"topic":"a"},"validate_only":true}"#),
            (" {\"message\": {\"topic\":\"a\"} }\n", false, r#"{"message": {"topic":"a"} }"#),
            (
                r#"{"message":{},"validateOnly":false}"#,
                true,
                r#"{"message":{},"validateOnly":false,"validate_only":true}"#,
            ),
            ("{'message': {topic: 'a',}}", false, "{'message': {topic: 'a',}}"),
            ("[]", false, r#"{"message":[]}"#),
            ("", false, ""),
        ];
        for (text, dry_run, expected) in rows {
            assert_eq!(written(text, dry_run).unwrap(), expected, "{text}");
        }
        assert_eq!(written("{'message': {}}", true).unwrap_err().exit_code, USAGE);
    }
}

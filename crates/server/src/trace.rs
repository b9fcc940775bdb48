//! `cresset trace`: what became of a message, asked of the running server.

use std::fmt::Write as _;

use http::{Request, header};
use serde_json::Value;

use crate::cli::Trace;
use crate::clock;
use crate::data::DataFolder;
use crate::failure::Failure;
use crate::output::print;
use crate::project::{answer, over_http};

/// Of the local server, where none is named.
const DEMO: &str = "demo";

/// Deliveries of one page.
const PAGE: usize = 1_000;

pub async fn run(args: &Trace) -> Result<(), Failure> {
    let (project, message) = named(args)?;
    let folder = DataFolder::open(&args.data.folder)?;
    let running = folder.must_run()?;
    let token = folder.admin_token(&*clock::random())?;
    let (mut rest, mut next, mut first) = (args.limit, None, true);
    loop {
        let path = path_of(project, message, rest.clamp(1, PAGE), next.as_deref());
        let page = ask(running.http, &path, &token).await?;
        let deliveries = page["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default();
        let told = &deliveries[..deliveries.len().min(rest)];
        if args.json {
            print(&format!("{page:#}\n"));
        } else {
            let head = if first { head(&page) } else { String::new() };
            print(&told.iter().fold(head, |text, delivery| text + &line(delivery)));
        }
        rest -= told.len();
        first = false;
        next = page["nextPageToken"].as_str().map(str::to_owned);
        if next.is_none() || rest == 0 {
            break;
        }
    }
    if next.is_some() && !args.json {
        print("  … and others: --limit tells of more\n");
    }
    Ok(())
}

/// The project and the id: `projects/demo/messages/0:1%2` says both.
fn named(args: &Trace) -> Result<(&str, &str), Failure> {
    let whole = args.message.strip_prefix("projects/").and_then(|rest| rest.split_once("/messages/"));
    let (project, message) = whole.map_or((None, args.message.as_str()), |(p, m)| (Some(p), m));
    if message.is_empty() {
        return Err(Failure::new("which message? Name it as `cresset send` or its sender's SDK printed it"));
    }
    Ok((args.project.as_deref().or(project).unwrap_or(DEMO), message))
}

fn path_of(project: &str, message: &str, size: usize, next: Option<&str>) -> String {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let mut path =
        format!("/cresset/v1/projects/{}/messages/{}?pageSize={size}", encode(project), encode(message));
    if let Some(next) = next {
        let _ = write!(path, "&pageToken={}", encode(next));
    }
    path
}

async fn ask(address: std::net::SocketAddr, path: &str, token: &str) -> Result<Value, Failure> {
    let request = Request::get(path)
        .header(header::HOST, "localhost")
        .header(header::AUTHORIZATION, format!("Bearer {token}"))
        .body(String::new());
    let request = request.map_err(|_| Failure::new(format!("`{path}` cannot be part of a URL")))?;
    let (status, bytes) = over_http(address, request).await?;
    answer(status, &bytes)
}

/// The message itself, and how many deliveries are how far.
fn head(page: &Value) -> String {
    let text = |name: &str| page[name].as_str().unwrap_or_default();
    let to = match page["to"].as_str() {
        Some(to) => format!("{} {to}", text("target")),
        None => text("target").to_owned(),
    };
    let mut out = format!("{}  accepted {}  to {to}\n", text("id"), text("accepted"));
    if page["spreading"] == true {
        out.push_str("  is still being spread\n");
    }
    let counts = &page["counts"];
    let count = |name: &str| counts[name].as_u64().unwrap_or_default();
    let _ = write!(out, "  {} deliveries", count("deliveries"));
    let states = ["waiting", "sent", "acknowledged", "collapsed", "expired"];
    for state in states.into_iter().filter(|state| count(state) > 0) {
        let _ = write!(out, ", {} {state}", count(state));
    }
    for (why, many) in counts["dropped"].as_object().into_iter().flatten() {
        let _ = write!(out, ", {many} dropped: {}", words(why));
    }
    out.push('\n');
    out
}

fn line(delivery: &Value) -> String {
    let text = |name: &str| delivery[name].as_str();
    let mut out = format!("  {:<12}", text("state").unwrap_or_default());
    let who = text("token").map_or_else(|| "a registration that is no more".to_owned(), shortened);
    let _ = write!(out, " {:<8} {who}", text("platform").unwrap_or("-"));
    let mut say = |label: &str, value: Option<&str>| {
        if let Some(value) = value {
            let _ = write!(out, "  {label} {value}");
        }
    };
    say("sent", text("sent"));
    say("ended", text("ended"));
    say("because", text("reason").map(words));
    say("in favour of", text("by"));
    say("told", text("told"));
    if matches!(text("state"), Some("waiting" | "sent")) {
        say("expires", text("expires"));
    }
    out.push('\n');
    out
}

fn words(reason: &str) -> &str {
    match reason {
        "unregistered" => "the registration is no more",
        "tooManyStored" => "too many messages waited",
        "tooManyCollapseKeys" => "too many collapse keys waited",
        "notConnected" => "now or never, and not connected",
        "notForApp" => "not for this app",
        "noForm" => "it has no form for this device",
        other => other,
    }
}

/// Enough of a token to know it by.
fn shortened(token: &str) -> String {
    const ENDS: usize = 18;
    match (token.get(..ENDS), token.get(token.len().saturating_sub(6)..)) {
        (Some(begin), Some(end)) if token.len() > ENDS + 8 => format!("{begin}…{end}"),
        _ => token.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_named_as_its_sender_was_told() {
        let named = |message: &str, project: Option<&str>| {
            let data = crate::cli::DataArgs { folder: "cresset-data".into() };
            let (message, project) = (message.to_owned(), project.map(str::to_owned));
            let args = Trace { message, project, limit: 1, json: false, data };
            super::named(&args).map(|(project, message)| format!("{project} {message}"))
        };
        assert_eq!(named("projects/shop/messages/0:1%2", None).unwrap(), "shop 0:1%2");
        assert_eq!(named("0:1%2", None).unwrap(), "demo 0:1%2");
        assert_eq!(named("0:1%2", Some("shop")).unwrap(), "shop 0:1%2");
        for nothing in ["", "projects/shop/messages/"] {
            assert!(named(nothing, None).unwrap_err().to_string().starts_with("which message?"));
        }
    }

    #[test]
    fn a_story_is_told_in_lines() {
        let page = json!({
            "id": "0:1%0000000000000002", "accepted": "2026-01-01T00:00:00Z", "target": "topic", "to": "news",
            "spreading": false,
            "counts": { "deliveries": 3, "waiting": 1, "sent": 0, "acknowledged": 1, "collapsed": 0,
                        "expired": 0, "dropped": { "unregistered": 1 } },
        });
        assert_eq!(
            head(&page),
            "0:1%0000000000000002  accepted 2026-01-01T00:00:00Z  to topic news\n  \
             3 deliveries, 1 waiting, 1 acknowledged, 1 dropped: the registration is no more\n"
        );
        let delivery = json!({ "state": "dropped", "reason": "noForm", "platform": "web", "token": "abc" });
        assert_eq!(line(&delivery), "  dropped      web      abc  because it has no form for this device\n");
    }
}

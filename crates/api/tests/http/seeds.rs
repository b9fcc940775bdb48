//! Every request that FCM's own guides show, sent as it stands there. The requests are data, in
//! `tests/seeds/` (its README says how they were taken); this is what reads them.

use std::collections::BTreeMap;

use cresset_identity::Project;
use http::StatusCode;
use serde_json::{Value, json};

use crate::groups::{self, Manager};
use crate::registration::{install, register_web, subscribe};
use crate::world::{Answer, World};

const FILES: [(&str, &str); 6] = [
    ("rest", include_str!("../seeds/rest.json")),
    ("sdk", include_str!("../seeds/sdk.json")),
    ("topics", include_str!("../seeds/topics.json")),
    ("legacy", include_str!("../seeds/legacy.json")),
    ("xmpp", include_str!("../seeds/xmpp.json")),
    ("errors", include_str!("../seeds/errors.json")),
];

#[tokio::test]
async fn every_request_of_the_guides_is_answered_as_they_say() {
    let world = World::new().await;
    let cast = Cast::of(&world).await;
    let mut wrong = Vec::new();
    for (file, entry) in entries() {
        for request in cast.requests(&entry) {
            if let Err(problem) = request.is_answered(&world, &entry).await {
                wrong.push(format!("{file}: {}: {problem}", entry["name"]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The table in the README. A variant of an entry is not a request of its own.
#[test]
fn no_request_of_the_guides_is_lost() {
    let mut count: BTreeMap<(&str, String), usize> = BTreeMap::new();
    for (file, entry) in entries().filter(|(_, entry)| entry["variant"] != true) {
        for place in entry["from"].as_array().unwrap() {
            let (seed, _line) = place.as_str().unwrap().split_once(':').unwrap();
            *count.entry((file, seed.to_owned())).or_default() += 1;
        }
    }
    let of = |file: &'static str| {
        ["000", "001", "002", "003"]
            .map(|seed| count.get(&(file, seed.to_owned())).copied().unwrap_or_default())
    };
    assert_eq!(of("rest"), [6, 15, 15, 15]);
    assert_eq!(of("sdk"), [10, 38, 38, 38]);
    assert_eq!(of("topics"), [11, 0, 0, 0]);
    assert_eq!(of("legacy"), [0, 12, 12, 12]);
    assert_eq!(of("xmpp"), [0, 4, 4, 4]);
    assert_eq!(of("errors"), [0, 22, 22, 22]);
    let later = |what: &str| entries().filter(|(_, entry)| entry["later"] == what).count();
    assert_eq!(
        ["topics", "groups", "legacy", "xmpp"].map(later),
        [0, 0, 0, 0],
        "an issue that serves one of these takes the word out of its entries"
    );
}

/// The codes of `error-codes.json` are all there, and each says who causes it.
#[test]
fn every_code_of_the_guides_has_a_cause() {
    let codes: Value = serde_json::from_str(include_str!("../seeds/error-codes.json")).unwrap();
    let of = |kind: &str| codes[kind].as_array().unwrap().len();
    assert_eq!((of("v1"), of("admin")), (8, 19));
    let rows = codes.as_object().unwrap().values().flat_map(|rows| rows.as_array().unwrap());
    for row in rows {
        let cause = row["caused_by"].as_str().unwrap_or_default();
        assert!(["request", "server", "client side", "later issue"].contains(&cause), "{row}");
    }
}

fn entries() -> impl Iterator<Item = (&'static str, Value)> {
    FILES.iter().flat_map(|(file, text)| {
        let Ok(Value::Array(entries)) = serde_json::from_str(text) else { panic!("{file} is not a list") };
        entries.into_iter().map(move |entry| (*file, entry))
    })
}

/// What stands in the place of the documents' tokens, keys and names.
struct Cast(BTreeMap<&'static str, String>);

impl Cast {
    async fn of(world: &World) -> Self {
        let phone = world.check_in().await;
        let endpoint = subscribe(world, &phone).await;
        let web = install(world, "").await;
        let web_token =
            register_web(world, &web, &endpoint).await.json()["token"].as_str().unwrap().to_owned();
        let other = world.project("other").await;
        let phone_token = android_token(world, &world.demo()).await;
        let members = [&*phone_token, &*web_token];
        let notification_key = groups::key(&Manager::of(world).create(world, "user-42", &members).await);
        Self(BTreeMap::from([
            ("project", "demo".to_owned()),
            ("access token", world.access_token("demo").await),
            ("android token", phone_token),
            ("another token", web_token.clone()),
            ("web token", web_token),
            ("FID", web.fid),
            ("foreign token", android_token(world, &other).await),
            ("server key", world.demo().server_keys[0].clone()),
            ("notification key", notification_key),
            ("4096 letters", "x".repeat(4_096)),
        ]))
    }

    /// The entry's request with everything put in its place; where a token stands, once for each
    /// kind of client.
    fn requests(&self, entry: &Value) -> Vec<Request> {
        let put: Vec<(&str, &str)> = texts(&entry["put"]).collect();
        let tokens = match put.iter().any(|(_, kind)| *kind == "token") {
            true => &["android token", "web token", "FID"][..],
            false => &["none"][..],
        };
        tokens.iter().map(|token| self.request(entry, &put, token)).collect()
    }

    fn request(&self, entry: &Value, put: &[(&str, &str)], token: &str) -> Request {
        let fill = |text: &str| {
            put.iter().fold(text.to_owned(), |text, (marker, kind)| {
                let kind = if *kind == "token" { token } else { kind };
                text.replace(marker, &self.0[kind])
            })
        };
        let lines: Vec<&str> =
            entry["body"].as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
        let body = fill(&lines.join(if entry["line_ends"] == "CRLF" { "\r\n" } else { "\n" }));
        Request {
            path: fill(entry["path"].as_str().unwrap_or_default()),
            misspelt: entry["misspelt_path"].as_str().map(fill),
            headers: texts(&entry["headers"]).map(|(name, value)| (name.to_owned(), fill(value))).collect(),
            body,
        }
    }
}

async fn android_token(world: &World, project: &Project) -> String {
    let phone = world.check_in().await;
    let sender = project.number.to_string();
    let fields =
        [("app", "com.example.app"), ("sender", &*sender), ("X-subtype", &*sender), ("X-scope", "*")];
    let answer = world.register3(&phone, &fields).await;
    answer.text().strip_prefix("token=").expect("a token").to_owned()
}

fn texts(object: &Value) -> impl Iterator<Item = (&str, &str)> {
    object.as_object().into_iter().flatten().map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
}

struct Request {
    path: String,
    /// As the document has it, where that is no path of FCM's.
    misspelt: Option<String>,
    headers: Vec<(String, String)>,
    body: String,
}

impl Request {
    async fn is_answered(&self, world: &World, entry: &Value) -> Result<(), String> {
        if entry["method"] == "XMPP" || entry["elsewhere"].is_string() {
            return Ok(());
        }
        if let Some(path) = &self.misspelt {
            is_refused(&self.post(world, path).await, &[404])?;
        }
        let answer = self.post(world, &self.path).await;
        if entry["later"].is_string() {
            return is_refused(&answer, &[400, 404]);
        }
        let expected = &entry["answer"];
        if self.path == "/fcm/send" {
            return is_answered_as_before(expected, &answer);
        }
        match (&expected["parts"], &expected["error"]) {
            (Value::Array(statuses), _) => has_parts(statuses, &answer),
            (_, Value::Null) if expected["body"].is_object() => {
                is(&expected["status"], &answer.status.as_u16().into())?;
                is(&expected["body"], &answer.json())
            }
            (_, Value::Null) => is_accepted(&answer),
            (_, error) => is(&expected["status"], &answer.status.as_u16().into()).and(tells(error, &answer)),
        }
    }

    async fn post(&self, world: &World, path: &str) -> Answer {
        let headers: Vec<(&str, &str)> = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        world.request("POST", path, &headers, self.body.clone()).await
    }
}

/// The legacy protocol: a text of 400, or a body that differs in ids only. `canonical_ids` is always
/// there, which the documents leave out in places.
fn is_answered_as_before(expected: &Value, answer: &Answer) -> Result<(), String> {
    is(&expected["status"], &answer.status.as_u16().into())?;
    if let Some(text) = expected["text"].as_str() {
        return match answer.text().starts_with(text) {
            true => Ok(()),
            false => Err(format!("should begin with {text}: {}", answer.text())),
        };
    }
    let mut seen = without_ids(answer.json());
    let mut whole = without_ids(expected["body"].clone());
    if seen["results"].is_array() {
        whole["canonical_ids"] = whole.get("canonical_ids").cloned().unwrap_or(json!(0));
    }
    is(&whole.take(), &seen.take())
}

/// With the kind of each id in its place.
fn without_ids(mut body: Value) -> Value {
    let kind = |id: &Value| if id.is_number() { "a number" } else { "a text" };
    for name in ["multicast_id", "message_id"] {
        if let Some(id) = body.get_mut(name) {
            *id = kind(id).into();
        }
    }
    for result in body.get_mut("results").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(id) = result.get_mut("message_id") {
            *id = kind(id).into();
        }
    }
    body
}

/// One of our own envelopes, not a page and not a panic.
fn is_refused(answer: &Answer, statuses: &[u16]) -> Result<(), String> {
    let status = answer.status.as_u16();
    let enveloped = statuses.contains(&status) && answer.json()["error"]["code"] == status;
    if enveloped { Ok(()) } else { Err(format!("should be refused, but: {status} {}", answer.text())) }
}

fn is_accepted(answer: &Answer) -> Result<(), String> {
    let named =
        || answer.json()["name"].as_str().is_some_and(|name| name.starts_with("projects/demo/messages/"));
    if answer.status == StatusCode::OK && named() {
        return Ok(());
    }
    Err(format!("should be accepted, but: {} {}", answer.status, answer.text()))
}

/// The parts of a batch are answered in its order, each with its own status.
fn has_parts(statuses: &[Value], answer: &Answer) -> Result<(), String> {
    let told = answer.text().lines().filter_map(|line| line.strip_prefix("HTTP/1.1 "));
    let told: Vec<u16> = told.map(|line| line[..3].parse().unwrap()).collect();
    is(&statuses.into(), &told.into()).map_err(|e| format!("{e}: {}", answer.text()))
}

/// What `http-v1.md` §5 promises of an error: `status`, `message`, the code of FCM's detail, and the
/// violations; and nothing of the latter two where the entry has none.
fn tells(expected: &Value, answer: &Answer) -> Result<(), String> {
    let error = answer.json()["error"].clone();
    let detail = |name: &str| {
        let details = error["details"].as_array().into_iter().flatten();
        details.filter_map(|detail| detail.get(name)).next().cloned().unwrap_or_default()
    };
    let told = json!({
        "status": error["status"],
        "message": error["message"],
        "errorCode": detail("errorCode"),
        "fieldViolations": detail("fieldViolations"),
    });
    let mut whole = json!({ "errorCode": null, "fieldViolations": null });
    whole.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
    is(&whole, &told)
}

fn is(expected: &Value, seen: &Value) -> Result<(), String> {
    if expected == seen { Ok(()) } else { Err(format!("expected {expected}\n  but saw {seen}")) }
}

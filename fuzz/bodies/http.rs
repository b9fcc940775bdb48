//! The HTTP APIs by their front door, for somebody who has what it takes to be let in: a device, an
//! installation, a server key. In the input, `$TOKEN` and its like stand for what is known here.

use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Answer, World};

/// What a fuzz target posts to: its name, and how.
pub(crate) const TARGETS: [(&str, fn(&Stage, &[u8])); 8] = [
    ("register3", register3),
    ("installations", installations),
    ("registrations", registrations),
    ("iid_batch", iid_batch),
    ("topics", topics),
    ("groups", groups),
    ("legacy_send", legacy_send),
    ("push", push),
];

const VAPID: &str = "BDOU99-h67HcA6JeFXHbSNMu7e2yNNu3RzoMj8TM4W88jITfq7ZmPvIM1Iv-4_l2LxQcYwhqby2xGpWwzjfAnG4";

/// A server without sockets, and somebody known to it.
pub(crate) struct Stage {
    runtime: tokio::runtime::Runtime,
    world: World,
    login: String,
    installation: String,
    api_key: String,
    server_key: String,
    number: String,
    /// What stands for what in an input.
    names: Vec<(&'static str, String)>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let world = runtime.block_on(World::new());
        let (phone, token) = runtime.block_on(world.android_token());
        let demo = world.demo();
        let sender = demo.number.to_string();
        let fields = [("app", "org.chromium.linux"), ("X-subtype", "wp:1"), ("sender", &*sender)];
        let subscribed = runtime.block_on(world.register3(&phone, &fields));
        let endpoint = subscribed.text().strip_prefix("token=").expect("a token").to_owned();
        let (api_key, number) = (demo.api_keys[0].clone(), demo.number.to_string());
        let app = demo.apps.iter().find(|app| app.id.as_str().contains("web")).unwrap().id.to_string();
        let mut stage = Self {
            runtime,
            world,
            login: phone.login(),
            installation: String::new(),
            api_key,
            server_key: format!("key={}", demo.server_keys[0]),
            number: number.clone(),
            names: Vec::new(),
        };
        let made = stage.install(json!({ "appId": app }).to_string().as_bytes()).json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        stage.installation = text(&made["authToken"]["token"]);
        let group =
            json!({ "operation": "create", "notification_key_name": "g", "registration_ids": [token] });
        let group = stage.group(group.to_string().as_bytes()).json();
        stage.names = vec![
            ("$TOKEN", token),
            ("$DEVICE", phone.id.to_string()),
            ("$NUMBER", number),
            ("$APP", app),
            ("$FID", text(&made["fid"])),
            ("$KEY", text(&group["notification_key"])),
            ("$VAPID", VAPID.into()),
            ("$ENDPOINT", endpoint),
        ];
        stage
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.runtime.block_on(self.world.request("POST", path, headers, body.to_vec()))
    }

    fn install(&self, body: &[u8]) -> Answer {
        self.post("/v1/projects/demo/installations", &[("x-goog-api-key", &self.api_key)], body)
    }

    fn group(&self, body: &[u8]) -> Answer {
        let headers = [("authorization", &*self.server_key), ("project_id", &*self.number)];
        self.post("/fcm/notification", &headers, body)
    }

    fn own(&self) -> [(&str, &str); 2] {
        [("x-goog-api-key", &self.api_key), ("x-goog-firebase-installations-auth", &self.installation)]
    }

    /// The input with what its names stand for.
    fn filled(&self, input: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(input.len());
        let mut rest = input;
        while let Some((&first, after)) = rest.split_first() {
            match self.names.iter().find(|(name, _)| rest.starts_with(name.as_bytes())) {
                Some((name, value)) => {
                    out.extend_from_slice(value.as_bytes());
                    rest = &rest[name.len()..];
                }
                None => {
                    out.push(first);
                    rest = after;
                }
            }
        }
        out
    }
}

/// One word, which says whether it succeeded, and nothing beside it.
fn register3(stage: &Stage, input: &[u8]) {
    let answer = stage.post("/c2dm/register3", &[("authorization", &stage.login)], &stage.filled(input));
    assert_eq!(answer.status, StatusCode::OK);
    let text = answer.text();
    let known = ["token=", "deleted=", "Error="].iter().any(|word| text.starts_with(word));
    assert!(known && !text.contains("INTERNAL"), "{text}");
}

fn installations(stage: &Stage, input: &[u8]) {
    let answer = stage.install(&stage.filled(input));
    let made = well_formed(&answer);
    if answer.status.is_success() {
        assert!(made["fid"].as_str().is_some_and(|fid| fid.parse::<cresset_message::Fid>().is_ok()));
    }
}

fn registrations(stage: &Stage, input: &[u8]) {
    let body = stage.filled(input);
    let answer = stage.post("/v1/projects/demo/registrations", &stage.own(), &body);
    well_formed(&answer);
    // Its forerunner takes a form.
    well_formed(&stage.post("/fcm/connect/subscribe", &[], &body));
}

/// The first byte chooses the verb.
fn iid_batch(stage: &Stage, input: &[u8]) {
    let Some((verb, body)) = input.split_first() else { return };
    let verb = if verb & 1 == 0 { "Add" } else { "Remove" };
    let headers = [("authorization", &*stage.server_key)];
    let body = stage.filled(body);
    let told = well_formed(&stage.post(&format!("/iid/v1:batch{verb}"), &headers, &body));
    if let Some(results) = told["results"].as_array() {
        // A result for each token, in their order.
        let asked: Value = serde_json::from_slice(&body).expect("what was answered was read");
        assert_eq!(asked["registration_tokens"].as_array().map(Vec::len), Some(results.len()));
    }
}

/// An app's own subscription, and one by its server: the topic stands in the path. The first byte
/// chooses the verb.
fn topics(stage: &Stage, input: &[u8]) {
    let Some((verb, topic)) = input.split_first() else { return };
    let (verb, method) = if verb & 1 == 0 { ("subscribe", "POST") } else { ("unsubscribe", "DELETE") };
    let name = |name: &str| stage.names.iter().find(|(known, _)| *known == name).map_or("", |(_, v)| v);
    let topic: String = stage.filled(topic).iter().map(|byte| format!("%{byte:02X}")).collect();
    let fid = name("$FID");
    let path = format!("/v1/projects/demo/registrations/{fid}/topicSubscriptions/{topic}:{verb}");
    well_formed(&stage.post(&path, &stage.own(), b""));
    let path = format!("/iid/v1/{}/rel/topics/{topic}", name("$TOKEN"));
    let headers = [("authorization", &*stage.server_key)];
    well_formed(&stage.runtime.block_on(stage.world.request(method, &path, &headers, "")));
}

fn groups(stage: &Stage, input: &[u8]) {
    let answer = stage.group(&stage.filled(input));
    let told = well_formed(&answer);
    let field = if answer.status.is_success() { "notification_key" } else { "error" };
    assert!(told[field].is_string(), "{told}");
}

/// The first byte chooses between JSON and a form. A line of text refuses it, or it is answered in the
/// shape of its kind.
fn legacy_send(stage: &Stage, input: &[u8]) {
    let Some((kind, body)) = input.split_first() else { return };
    let json = kind & 1 == 0;
    let mut headers = vec![("authorization", &*stage.server_key)];
    headers.extend(json.then_some(("content-type", "application/json")));
    let answer = stage.post("/fcm/send", &headers, &stage.filled(body));
    let told = well_formed(&answer);
    let text = answer.text();
    match answer.status {
        StatusCode::OK if json => {
            let shapes = ["results", "message_id", "error", "success"];
            assert!(shapes.iter().any(|field| !told[*field].is_null()), "{text}");
        }
        StatusCode::OK => assert!(text.starts_with("id=") || text.starts_with("Error="), "{text}"),
        status => assert!(status == StatusCode::BAD_REQUEST && json && text.ends_with('\n'), "{text}"),
    }
}

/// A path, headers in lines, an empty line, and a body: a push, or that one is taken back. Each service's
/// style has its own form of a refusal, and what is taken says where and for how long.
fn push(stage: &Stage, input: &[u8]) {
    let input = stage.filled(input);
    let head = input.windows(2).position(|two| two == b"\n\n");
    let (head, body) = input.split_at(head.unwrap_or(input.len()));
    let head = String::from_utf8_lossy(head);
    let mut lines = head.lines();
    let path = lines.next().unwrap_or_default();
    let styles = ["/fcm/send/", "/wp/", "/wpush/v1/", "/wpush/v2/", "/m/"];
    let Some((style, rest)) = styles.iter().find_map(|style| Some((*style, path.strip_prefix(style)?)))
    else {
        return;
    };
    let path: String = rest.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let path = format!("{style}{path}");
    let is_name = |name: &str| http::HeaderName::from_bytes(name.as_bytes()).is_ok();
    let is_value = |value: &str| http::HeaderValue::from_str(value).is_ok();
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).collect();
    let headers: Vec<_> =
        headers.into_iter().filter(|(name, value)| is_name(name) && is_value(value)).collect();
    let body = body.get(2..).unwrap_or_default().to_vec();
    let method = if style == "/m/" { "DELETE" } else { "POST" };
    let answer = stage.runtime.block_on(stage.world.request(method, &path, &headers, body));
    let told = well_formed(&answer);
    let text = String::from_utf8_lossy(&answer.body);
    match answer.status {
        StatusCode::CREATED => {
            let header = |name: &str| answer.headers[name].to_str().expect("a text");
            assert!(header("location").contains("/m/") && header("ttl").parse::<u32>().unwrap() <= 2_419_200);
        }
        StatusCode::NO_CONTENT => assert_eq!(style, "/m/"),
        // A path that is no text is refused by the router, and one of nothing has no route.
        _ if text.starts_with("Invalid") || rest.is_empty() => {}
        _ if style.starts_with("/wpush") || style == "/m/" => {
            assert!(told["errno"].is_u64() && told["code"] == answer.status.as_u16(), "{text}");
        }
        _ => assert!(text.ends_with('\n') && !text.starts_with('{'), "{text}"),
    }
}

/// JSON, whatever was asked; and no failure of ours.
fn well_formed(answer: &Answer) -> Value {
    assert!(
        !answer.status.is_server_error(),
        "{}: {:?}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    // The router's own refusals are no answers of an API: a path that is no text.
    match answer
        .headers
        .get("content-type")
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
    {
        true => answer.json(),
        false => Value::Null,
    }
}

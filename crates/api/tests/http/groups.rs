//! Device groups: the texts that clients compare, and who may (`protocol/device-groups.md`).

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::registration::{install, register_web, subscribe};
use crate::world::{Answer, Phone, World};

/// Texts of errors, as the protocol page has them.
const EXISTS: &str = "notification_key already exists";
const NOT_FOUND: &str = "notification_key not found";
const NO_VALID_IDS: &str = "no valid registration ids";
const OTHER_NAME: &str = "notification_key_name doesn't match the group name of the notification_key";

/// One app server of the demo project, by its server key.
pub(crate) struct Manager {
    authorization: String,
    project_id: String,
}

impl Manager {
    pub(crate) fn of(world: &World) -> Self {
        let demo = world.demo();
        Self { authorization: format!("key={}", demo.server_keys[0]), project_id: demo.number.to_string() }
    }

    fn headers(&self) -> [(&str, &str); 3] {
        [
            ("authorization", &self.authorization),
            ("project_id", &self.project_id),
            ("content-type", "application/json"),
        ]
    }

    async fn post(&self, world: &World, body: Value) -> Answer {
        world.request("POST", "/fcm/notification", &self.headers(), body.to_string()).await
    }

    pub(crate) async fn create(&self, world: &World, name: &str, ids: &[&str]) -> Answer {
        let body = json!({ "operation": "create", "notification_key_name": name, "registration_ids": ids });
        self.post(world, body).await
    }

    async fn change(&self, world: &World, operation: &str, key: &str, ids: &[&str]) -> Answer {
        let body = json!({ "operation": operation, "notification_key": key, "registration_ids": ids });
        self.post(world, body).await
    }

    async fn find(&self, world: &World, query: &str) -> Answer {
        let path = format!("/fcm/notification{query}");
        world.request("GET", &path, &self.headers(), "").await
    }
}

/// The key in a success.
pub(crate) fn key(answer: &Answer) -> String {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    answer.json()["notification_key"].as_str().expect("a key").to_owned()
}

/// The whole body: one text, one line.
fn refused(answer: &Answer, text: &str) {
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    assert_eq!(answer.text(), format!("{}\n", json!({ "error": text })));
}

async fn unregister(world: &World, phone: &Phone) {
    let sender = world.demo().number.to_string();
    let app = [("app", "com.example.app"), ("X-subtype", &*sender)];
    let fields = [&app[..], &[("sender", "*"), ("X-scope", "*"), ("delete", "true")]].concat();
    assert!(world.register3(phone, &fields).await.text().starts_with("token="));
}

#[tokio::test]
async fn a_group_is_made_changed_found_and_sent_to() {
    let world = World::new().await;
    let manager = Manager::of(&world);
    let access = world.access_token("demo").await;
    let (_phone, a) = world.android_token().await;
    let (_tablet, b) = world.android_token().await;
    let group = key(&manager.create(&world, "user-42", &[&a]).await);
    assert!(group.starts_with("APA91b") && (140..=160).contains(&group.len()), "{group}");
    let base64url = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    assert!(group.chars().all(base64url), "a colon would make it a token to SDKs: {group}");
    // Adding one that is in, and removing one that is not, is success; the key stays.
    for (operation, token) in [("add", &b), ("add", &b), ("remove", &b), ("remove", &b), ("add", &b)] {
        assert_eq!(key(&manager.change(&world, operation, &group, &[token]).await), group);
    }
    assert_eq!(key(&manager.find(&world, "?notification_key_name=user-42").await), group);
    let sent = world.send("demo", &access, &json!({ "message": { "token": group } }).to_string()).await;
    assert_eq!(sent.status, StatusCode::OK, "{}", sent.text());
    let name = sent.json()["name"].as_str().unwrap().to_owned();
    let id = name.strip_prefix("projects/demo/messages/").unwrap();
    assert!(id.parse::<cresset_message::MessageId>().is_ok(), "{id}");
}

#[tokio::test]
async fn every_error_has_its_text() {
    let world = World::new().await;
    let manager = Manager::of(&world);
    let (_phone, a) = world.android_token().await;
    let (_tablet, b) = world.android_token().await;
    let group = key(&manager.create(&world, "user-42", &[&a, "nonsense"]).await);
    refused(&manager.create(&world, "user-42", &[&a]).await, EXISTS);

    let foreign = format!("APA91b{}", "n".repeat(134));
    for unknown in [foreign.as_str(), "no key", &a] {
        refused(&manager.change(&world, "add", unknown, &[&b]).await, NOT_FOUND);
        refused(&manager.change(&world, "remove", unknown, &[&a]).await, NOT_FOUND);
    }
    refused(&manager.find(&world, "?notification_key_name=user-43").await, NOT_FOUND);

    let other = world.project("other").await;
    let others_token = {
        let phone = world.check_in().await;
        let sender = other.number.to_string();
        let answer = world.register3(&phone, &[("app", "com.example.app"), ("sender", &sender)]).await;
        answer.text().strip_prefix("token=").unwrap().to_owned()
    };
    let invalid = ["", "nonsense", "cAAAAAAAAAAAAAAAAAAAAA", &others_token, &group];
    refused(&manager.create(&world, "user-43", &invalid).await, NO_VALID_IDS);
    refused(&manager.create(&world, "user-43", &[]).await, NO_VALID_IDS);
    refused(&manager.change(&world, "add", &group, &invalid).await, NO_VALID_IDS);
    refused(&manager.change(&world, "remove", &group, &invalid).await, NO_VALID_IDS);

    for operation in ["add", "remove"] {
        let named = |name: &str| {
            let mut body =
                json!({ "operation": operation, "notification_key": group, "registration_ids": [b] });
            body["notification_key_name"] = name.into();
            body
        };
        refused(&manager.post(&world, named("user-43")).await, OTHER_NAME);
        assert_eq!(key(&manager.post(&world, named("user-42")).await), group);
    }
}

#[tokio::test]
async fn a_request_that_is_none_is_told_what_is_wrong() {
    let world = World::new().await;
    let manager = Manager::of(&world);
    let (_phone, a) = world.android_token().await;
    let group = key(&manager.create(&world, "user-42", &[&a]).await);
    let request = |field: &str, value: Value, operation: Value, ids: Value| {
        let mut body = json!({ "operation": operation, "registration_ids": ids });
        body[field] = value;
        body
    };
    let create = |name, ids| request("notification_key_name", name, "create".into(), ids);
    let on = |operation, key, ids| request("notification_key", key, operation, ids);
    let operation = "operation must be create, add or remove";
    let ids = "registration_ids must be an array of strings";
    let one = json!([a]);
    for (body, text) in [
        (json!({}), operation),
        (json!([]), "the request body is not a JSON object"),
        (on("delete".into(), group.clone().into(), one.clone()), operation),
        (on(1.into(), group.clone().into(), one.clone()), "operation must be a string"),
        (create(Value::Null, one.clone()), "notification_key_name is missing"),
        (create("".into(), one.clone()), "notification_key_name is missing"),
        (create("n".repeat(513).into(), one.clone()), "notification_key_name must have 1 to 512 bytes"),
        (create("n".into(), a.clone().into()), ids),
        (create("n".into(), json!([1])), ids),
        (create("n".into(), Value::Null), NO_VALID_IDS),
        (on("add".into(), Value::Null, one.clone()), "notification_key is missing"),
        (on("remove".into(), json!([]), one.clone()), "notification_key must be a string"),
        (
            on("remove".into(), group.clone().into(), vec!["x"; 1_001].into()),
            "registration_ids has more than 1000 entries",
        ),
    ] {
        refused(&manager.post(&world, body).await, text);
    }
    let broken = world.request("POST", "/fcm/notification", &manager.headers(), "{").await;
    refused(&broken, "the request body is not a JSON object");
    let huge = world.request("POST", "/fcm/notification", &manager.headers(), " ".repeat(70_000)).await;
    refused(&huge, "the request body is too large");
    refused(&manager.find(&world, "").await, "notification_key_name is missing");
    assert_eq!(key(&manager.create(&world, &"n".repeat(512), &[&a]).await).len(), group.len());
}

#[tokio::test]
async fn a_group_has_at_most_twenty_members() {
    let world = World::new().await;
    let manager = Manager::of(&world);
    let mut tokens = Vec::new();
    for _ in 0..21 {
        tokens.push(world.android_token().await.1);
    }
    let tokens: Vec<&str> = tokens.iter().map(String::as_str).collect();
    let too_many = "a device group has at most 20 members";
    refused(&manager.create(&world, "user-42", &tokens).await, too_many);
    // One that is named twice is one.
    let twice = [&tokens[..20], &tokens[..1]].concat();
    let group = key(&manager.create(&world, "user-42", &twice).await);
    refused(&manager.change(&world, "add", &group, &[tokens[20]]).await, too_many);
    assert_eq!(key(&manager.change(&world, "add", &group, &[tokens[3]]).await), group);
    key(&manager.change(&world, "remove", &group, &[tokens[0]]).await);
    assert_eq!(key(&manager.change(&world, "add", &group, &[tokens[20]]).await), group);
}

#[tokio::test]
async fn a_fid_is_a_registration_id_too() {
    let world = World::new().await;
    let manager = Manager::of(&world);
    let phone = world.check_in().await;
    let endpoint = subscribe(&world, &phone).await;
    let web = install(&world, "").await;
    let token = register_web(&world, &web, &endpoint).await.json()["token"].as_str().unwrap().to_owned();
    let group = key(&manager.create(&world, "user-42", &[&web.fid]).await);
    // It is the same member: the group ends with it.
    key(&manager.change(&world, "remove", &group, &[&token]).await);
    refused(&manager.find(&world, "?notification_key_name=user-42").await, NOT_FOUND);
}

#[tokio::test]
async fn a_name_is_free_again_when_its_group_has_ended() {
    let world = World::new().await;
    let manager = Manager::of(&world);
    let access = world.access_token("demo").await;
    let (phone, a) = world.android_token().await;
    let (_tablet, b) = world.android_token().await;
    let first = key(&manager.create(&world, "user-42", &[&a]).await);
    assert_eq!(key(&manager.change(&world, "remove", &first, &[&a]).await), first);
    refused(&manager.change(&world, "add", &first, &[&a]).await, NOT_FOUND);
    let second = key(&manager.create(&world, "user-42", &[&a]).await);
    assert_ne!(first, second);
    unregister(&world, &phone).await;
    refused(&manager.change(&world, "add", &second, &[&b]).await, NOT_FOUND);
    let third = key(&manager.create(&world, "user-42", &[&b]).await);
    for dead in [&first, &second] {
        let sent = world.send("demo", &access, &json!({ "message": { "token": dead } }).to_string()).await;
        assert_eq!(sent.refusal(), (404, "NOT_FOUND".to_owned(), "UNREGISTERED".to_owned()));
    }
    let sent = world.send("demo", &access, &json!({ "message": { "token": third } }).to_string()).await;
    assert_eq!(sent.status, StatusCode::OK);
    world.project("other").await;
    let others = world.access_token("other").await;
    let sent = world.send("other", &others, &json!({ "message": { "token": third } }).to_string()).await;
    assert_eq!(sent.refusal(), (403, "PERMISSION_DENIED".to_owned(), "SENDER_ID_MISMATCH".to_owned()));
}

#[tokio::test]
async fn names_are_decoded_and_stand_beside_each_other() {
    let world = World::new().await;
    let manager = Manager::of(&world);
    let (_phone, a) = world.android_token().await;
    for (name, query) in [
        ("user@example.com", "user%40example.com"),
        ("a b+c", "a%20b%2Bc"),
        ("été/&=", "%C3%A9t%C3%A9%2F%26%3D"),
        ("user", "user"),
    ] {
        let made = key(&manager.create(&world, name, &[&a]).await);
        let found = manager.find(&world, &format!("?notification_key_name={query}")).await;
        assert_eq!(key(&found), made, "{name}");
    }
}

#[tokio::test]
async fn both_hosts_paths_and_both_credentials_are_served() {
    let world = World::new().await;
    let (_phone, a) = world.android_token().await;
    let demo = world.demo();
    let number = demo.number.to_string();
    let bearer = format!("Bearer {}", world.access_token("demo").await);
    let server_key = format!("key={}", demo.server_keys[0]);
    for path in ["/fcm/notification", "/gcm/notification"] {
        for authorization in [&bearer, &server_key] {
            let name = format!("{path} {}", &authorization[..3]);
            let headers = [
                ("authorization", authorization.as_str()),
                ("access_token_auth", "true"),
                ("project_id", &number),
            ];
            let body =
                json!({ "operation": "create", "notification_key_name": name, "registration_ids": [a] });
            let made = key(&world.request("POST", path, &headers, body.to_string()).await);
            let query: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
            let find = format!("{path}?notification_key_name={query}");
            // `access_token_auth` may be absent, and so may the content type.
            let found = world.request("GET", &find, &[headers[0], headers[2]], "").await;
            assert_eq!(key(&found), made);
        }
    }
    for path in ["/fcm/googlenotification", "/gcm/googlenotification"] {
        let heard = world.request("POST", path, &[("project_id", &number)], "{}").await;
        assert_eq!(heard.status, StatusCode::BAD_REQUEST);
        assert!(heard.json()["error"].as_str().unwrap().contains("not served"), "{}", heard.text());
    }
}

#[tokio::test]
async fn who_may_is_asked_before_everything_else() {
    let world = World::new().await;
    let other = world.project("other").await;
    let demo = world.demo();
    let (number, others_number) = (demo.number.to_string(), other.number.to_string());
    let bearer = format!("Bearer {}", world.access_token("demo").await);
    let server_key = format!("key={}", demo.server_keys[0]);
    let forged = format!("key=AAAAdemo:APA91b{}", "k".repeat(134));
    let heard = async |authorization: &str, project_id: &str| {
        let named = [("authorization", authorization), ("project_id", project_id)];
        let headers: Vec<_> = named.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let post = world.request("POST", "/fcm/notification", &headers, "this is not JSON").await;
        let get = world.request("GET", "/fcm/notification", &headers, "").await;
        assert_eq!(post.status, get.status, "{authorization} {project_id}");
        assert!(post.json()["error"].is_string() && post.text().ends_with('\n'), "{}", post.text());
        (post.status.as_u16(), post.headers.contains_key("www-authenticate"))
    };
    for authorization in ["", "Bearer ya29.c.forged", "Bearer x", "Basic x", &forged, "key="] {
        assert_eq!(heard(authorization, &number).await, (401, true), "{authorization}");
        assert_eq!(heard(authorization, "").await, (401, true), "{authorization}");
    }
    for authorization in [&bearer, &server_key] {
        for project_id in ["", "demo", "0"] {
            assert_eq!(heard(authorization, project_id).await, (400, false), "{authorization} {project_id}");
        }
        for project_id in [&others_number, "12345"] {
            assert_eq!(heard(authorization, project_id).await, (403, false), "{authorization} {project_id}");
        }
    }
    world.pass(Duration::from_secs(3_700));
    assert_eq!(heard(&bearer, &number).await, (401, true));
    world.identity.delete_project(&"demo".parse().unwrap(), world.now()).await.unwrap();
    assert_eq!(heard(&server_key, &number).await, (401, true));
}

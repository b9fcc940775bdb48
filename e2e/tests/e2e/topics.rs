//! Cresset's own calls about topics and targets, which any listener answers.

use bytes::Bytes;
use cresset_e2e::{Answer, Http2, TestServer, World, patiently};
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{next, saying};

struct Caller {
    world: World,
    http: Http2,
}

impl Caller {
    async fn of(server: &TestServer) -> Self {
        let world = server.world().await.unwrap();
        Self { http: world.sender().await.unwrap(), world }
    }

    async fn ask(
        &self,
        method: &str,
        path: &str,
        credential: Option<&str>,
        body: impl Into<Bytes>,
    ) -> Answer {
        let credential = credential.map(|credential| format!("Bearer {credential}"));
        let headers: Vec<_> = credential.iter().map(|value| ("authorization", value.as_str())).collect();
        let mut request = self.http.request(path, &headers).unwrap();
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        self.http.send(request, body.into()).await.unwrap()
    }

    /// `path` is below the project.
    async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let path = format!("/cresset/v1/projects/{}/{path}", self.world.project);
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.ask(method, &path, Some(&self.world.access), body).await
    }

    async fn get(&self, path: &str) -> Value {
        let answer = self.call("GET", path, &Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()
    }

    async fn replace(&self, token: &str, topics: &[&str]) -> Value {
        let path = format!("registrations/{token}/topics");
        let answer = self.call("PUT", &path, &json!({ "topics": topics })).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    async fn preview(&self, target: &Value) -> Value {
        let answer = self.call("POST", "targets:preview", target).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        answer.json()
    }

    async fn refusal(&self, method: &str, path: &str, body: &Value) -> (u64, String) {
        let error = self.call(method, path, body).await.json()["error"].clone();
        assert!(error["message"].is_string(), "{path}: {error}");
        (error["code"].as_u64().unwrap(), error["status"].as_str().unwrap().to_owned())
    }
}

fn registrations(android: usize, connected: usize) -> Value {
    json!({
        "registrations": android,
        "platforms": { "android": android, "ios": 0, "web": 0 },
        "connected": connected,
    })
}

#[tokio::test]
async fn topics_and_members_are_listed_in_pages() {
    let server = TestServer::start().await.unwrap();
    let caller = Caller::of(&server).await;
    assert_eq!(caller.get("topics").await, json!({ "topics": [] }));
    let (one, two) = (caller.world.device().await.unwrap(), caller.world.device().await.unwrap());
    assert_eq!(caller.replace(&one.token, &["a", "b", "c"]).await, json!({ "added": 3, "removed": 0 }));
    assert_eq!(caller.replace(&two.token, &["b", "50%"]).await, json!({ "added": 2, "removed": 0 }));

    let first = caller.get("topics?pageSize=3").await;
    let topics = [("50%", 1), ("a", 1), ("b", 2)].map(|(name, n)| json!({ "name": name, "members": n }));
    assert_eq!(first, json!({ "topics": topics, "nextPageToken": "b" }));
    let last = caller.get("topics?pageSize=3&pageToken=b").await;
    assert_eq!(last, json!({ "topics": [{ "name": "c", "members": 1 }] }));

    let member = |token: &str| json!([{ "token": token, "platform": "android" }]);
    let first = caller.get("topics/b/members?pageSize=1").await;
    let next = first["nextPageToken"].as_str().expect("there is one more");
    let last = caller.get(&format!("topics/b/members?pageSize=1&pageToken={next}")).await;
    let mut found = [first["members"].clone(), last["members"].clone()];
    let mut all = [member(&one.token), member(&two.token)];
    found.sort_by_key(Value::to_string);
    all.sort_by_key(Value::to_string);
    assert_eq!(found, all);
    assert_eq!(last["nextPageToken"], Value::Null);
    assert_eq!(caller.get("topics/50%25/members").await["members"], member(&two.token));
    assert_eq!(caller.get("topics/nobody/members").await, json!({ "members": [] }));
}

#[tokio::test]
async fn the_topics_of_a_registration_are_read_and_replaced() {
    let server = TestServer::start().await.unwrap();
    let caller = Caller::of(&server).await;
    let device = caller.world.device().await.unwrap();
    caller.replace(&device.token, &["a", "b"]).await;
    let path = format!("registrations/{}/topics", device.token);
    let before = caller.get(&path).await["topics"].clone();
    let replaced = caller.replace(&device.token, &["/topics/b", "c", "c", "d"]).await;
    assert_eq!(replaced, json!({ "added": 2, "removed": 1 }));
    let topics = caller.get(&path).await["topics"].as_array().unwrap().clone();
    assert_eq!(topics.iter().map(|t| t["name"].as_str().unwrap()).collect::<Vec<_>>(), ["b", "c", "d"]);
    assert_eq!(topics[0], before[1], "what stays is as old as before");
    let since = topics[0]["since"].as_str().unwrap();
    assert!(since.len() == 24 && since.starts_with("20") && since.ends_with('Z'), "{since}");

    let invalid = (400, "INVALID_ARGUMENT".to_owned());
    let wrong = json!({ "topics": ["no spaces"] });
    assert_eq!(caller.refusal("PUT", &path, &wrong).await, invalid);
    let most: Vec<String> = (0..2_000).map(|n| n.to_string()).collect();
    let more: Vec<String> = (0..2_001).map(|n| n.to_string()).collect();
    assert_eq!(caller.refusal("PUT", &path, &json!({ "topics": more })).await, invalid);
    assert_eq!(caller.refusal("PUT", &path, &json!({ "topic": [] })).await, invalid);
    let large = json!({ "topics": ["x".repeat(256 * 1_024)] });
    assert_eq!(caller.refusal("PUT", &path, &large).await, invalid);
    assert_eq!(caller.get(&path).await["topics"].as_array().unwrap().len(), 3, "nothing changed");
    let answer = caller.call("PUT", &path, &json!({ "topics": most })).await;
    assert_eq!(answer.json(), json!({ "added": 2_000, "removed": 3 }));
    assert_eq!(caller.replace(&device.token, &[]).await, json!({ "added": 0, "removed": 2_000 }));
}

#[tokio::test]
async fn a_preview_says_whom_a_target_has_and_who_of_them_is_connected() {
    let server = TestServer::start().await.unwrap();
    let caller = Caller::of(&server).await;
    let (one, two) = (caller.world.device().await.unwrap(), caller.world.device().await.unwrap());
    caller.replace(&one.token, &["a", "b"]).await;
    caller.replace(&two.token, &["b"]).await;
    let mut connection = caller.world.connect(&one).await.unwrap();
    caller.world.accept(&saying(&one, "hello")).await.unwrap();
    assert_eq!(next(&mut connection).await.get("word"), Some("hello"));

    assert_eq!(caller.preview(&json!({ "topic": "b" })).await, registrations(2, 1));
    let only = json!({ "condition": "'b' in topics && !('a' in topics)" });
    assert_eq!(caller.preview(&only).await, registrations(1, 0));
    assert_eq!(caller.preview(&json!({ "topic": "nobody" })).await, registrations(0, 0));
    assert_eq!(caller.preview(&json!({ "token": one.token })).await, registrations(1, 1));
    assert_eq!(caller.preview(&json!({ "token": two.token })).await, registrations(1, 0));

    let group = json!({ "operation": "create", "notification_key_name": "g",
        "registration_ids": [one.token, two.token] });
    let authorization = caller.world.authorization();
    let headers = [("authorization", &*authorization), ("project_id", &*caller.world.sender_id)];
    let made = caller.http.post("/fcm/notification", &headers, group.to_string().into()).await.unwrap();
    let key = made.json()["notification_key"].clone();
    assert_eq!(caller.preview(&json!({ "token": key })).await, registrations(2, 1));

    // A token that was never given out is of nobody; what is no token is an error.
    let foreign = format!("{}:APA91b{}", "x".repeat(22), "y".repeat(134));
    assert_eq!(caller.preview(&json!({ "token": foreign })).await, registrations(0, 0));
    let wrong = [
        json!({}),
        json!({ "token": "never" }),
        json!({ "topic": "no spaces" }),
        json!({ "condition": "'a' in" }),
        json!({ "topic": "a", "token": one.token }),
        json!({ "fid": "x" }),
    ];
    for wrong in wrong {
        let refusal = caller.refusal("POST", "targets:preview", &wrong).await;
        assert_eq!(refusal, (400, "INVALID_ARGUMENT".into()), "{wrong}");
    }
    assert_eq!(caller.get("fanouts").await, json!({ "open": 0 }));
}

#[tokio::test]
async fn what_is_wrong_is_told_as_http_v1_tells_it() {
    let server = TestServer::start().await.unwrap();
    let caller = Caller::of(&server).await;
    for query in ["pageSize=0", "pageSize=1001", "pageSize=x", "pageToken=no%20topic", "pagesize=1"] {
        let refusal = caller.refusal("GET", &format!("topics?{query}"), &Value::Null).await;
        assert_eq!(refusal, (400, "INVALID_ARGUMENT".into()), "{query}");
    }
    let foreign = format!("registrations/{}:APA91b{}/topics", "x".repeat(22), "y".repeat(134));
    assert_eq!(caller.refusal("GET", &foreign, &Value::Null).await, (404, "NOT_FOUND".into()));
    let malformed = caller.refusal("GET", "registrations/never/topics", &Value::Null).await;
    assert_eq!(malformed, (400, "INVALID_ARGUMENT".into()));
    assert_eq!(caller.refusal("DELETE", "topics", &Value::Null).await, (404, "NOT_FOUND".into()));
    let other = "/cresset/v1/projects/other/topics";
    let answer = caller.ask("GET", other, Some(&caller.world.access), "").await;
    assert_eq!(answer.json()["error"]["status"], "PERMISSION_DENIED");
    let answer = caller.ask("GET", other, Some("made-up"), "").await;
    assert_eq!(answer.json()["error"]["status"], "UNAUTHENTICATED");
    assert!(answer.headers.contains_key("www-authenticate"));
}

#[tokio::test]
async fn an_app_instance_is_there_or_not_and_has_something_waiting_or_not() {
    let server = TestServer::start().await.unwrap();
    let caller = Caller::of(&server).await;
    let device = caller.world.device().await.unwrap();
    caller.world.accept(&saying(&device, "one")).await.unwrap();
    let path = format!("registrations/{}", device.token);
    let instance = caller.get(&path).await;
    assert_eq!((&instance["connected"], &instance["waiting"]), (&json!(false), &json!(1)));
    assert_eq!(
        (&instance["platform"], &instance["application"]),
        (&json!("android"), &json!("com.example.demo"))
    );
    assert!(instance["lastSeen"].is_string(), "{instance}");
    let mut connection = caller.world.connect(&device).await.unwrap();
    next(&mut connection).await;
    assert_eq!(caller.get(&path).await["connected"], true);
}

#[tokio::test]
async fn the_openapi_document_has_what_is_served_and_all_its_parameters() {
    let server = TestServer::start().await.unwrap();
    let caller = Caller::of(&server).await;
    let document = caller.ask("GET", "/cresset/v1/openapi.json", None, "").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut served = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let answer = caller.ask(&method.to_uppercase(), path, None, "").await;
            let expected = if operation["security"].is_null() { 200 } else { 401 };
            assert_eq!(answer.status, expected, "{method} {path}: {}", answer.text());
            let parameters = operation["parameters"].as_array().unwrap();
            let described = parameters.iter().filter(|p| p["in"] == "path").map(|p| p["name"].clone());
            let named = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
            assert!(described.eq(named.map(Value::from)), "{method} {path}: {parameters:?}");
            served += 1;
        }
    }
    assert_eq!(served, 9);
}

#[tokio::test]
async fn the_plain_listener_answers_too() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let mut socket = tokio::net::TcpStream::connect(world.running.http).await.unwrap();
    let request = format!(
        "GET /cresset/v1/projects/{}/fanouts HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\n\
         Connection: close\r\n\r\n",
        world.project,
        world.authorization()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    patiently("an answer", socket.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"open\": 0"), "{answer}");
}

//! Managing topics over HTTP, in all the forms there are (`protocol/topics-and-batch.md` §2 to §4).

use std::time::Duration;

use cresset_delivery::Quotas;
use http::StatusCode;
use serde_json::{Value, json};

use crate::registration::{install, register_web, subscribe};
use crate::world::{Answer, World};

const STRANGE: &str = "fGw0qy4TGgk:APA91bAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn call(world: &World, access: &str, method: &str, path: &str, body: Value) -> Answer {
    let authorization = format!("Bearer {access}");
    let headers = [("authorization", &*authorization), ("access_token_auth", "true")];
    let body = if body.is_null() { String::new() } else { body.to_string() };
    world.request(method, path, &headers, body).await
}

async fn topics_of(world: &World, access: &str, token: &str) -> Vec<String> {
    let path = format!("/iid/info/{token}?details=true");
    let told = call(world, access, "GET", &path, Value::Null).await.json();
    told["rel"]["topics"].as_object().map_or_else(Vec::new, |topics| topics.keys().cloned().collect())
}

#[tokio::test]
async fn a_batch_is_answered_token_by_token() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (_phone, token) = world.android_token().await;
    let other = world.project("other").await;
    let phone = world.check_in().await;
    let fields = [("app", "com.example.app"), ("sender", &*other.number.to_string()), ("X-scope", "*")];
    let foreign = world.register3(&phone, &fields).await.text().replace("token=", "");
    let tokens = [&*token, "not-a-token", STRANGE, &foreign, &token];
    for (method, topics) in [("batchAdd", vec!["news"]), ("batchRemove", Vec::new())] {
        for to in ["/topics/news", "news"] {
            let body = json!({ "to": to, "registration_tokens": tokens });
            let answer = call(&world, &access, "POST", &format!("/iid/v1:{method}"), body).await;
            assert_eq!(answer.status, StatusCode::OK);
            let expected = json!({ "results": [
                {}, { "error": "INVALID_ARGUMENT" }, { "error": "NOT_FOUND" },
                { "error": "PERMISSION_DENIED" }, {},
            ] });
            assert_eq!(answer.json(), expected, "{method} {to}");
        }
        assert_eq!(topics_of(&world, &access, &token).await, topics);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_whole_call_is_one_word() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (_phone, token) = world.android_token().await;
    let many = vec![token.as_str(); 1_001];
    for body in [
        json!({ "to": "/topics/a b", "registration_tokens": [token] }),
        json!({ "to": "/topics/news", "registration_tokens": [] }),
        json!({ "to": "/topics/news", "registration_tokens": [1] }),
        json!({ "to": "/topics/news", "registration_tokens": many }),
        json!({ "registration_tokens": [token] }),
        json!({ "to": "/topics/news" }),
        json!([]),
    ] {
        let answer = call(&world, &access, "POST", "/iid/v1:batchAdd", body.clone()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.json(), json!({ "error": "INVALID_ARGUMENT" }));
    }
    let body = json!({ "to": "news", "registration_tokens": [token] });
    assert_eq!(call(&world, "forged", "POST", "/iid/v1:batchAdd", body.clone()).await.status, 401);
    let unknown = call(&world, &access, "POST", "/iid/v1:batchMove", body.clone()).await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    // Old users come with a server key.
    let key = format!("key={}", world.demo().server_keys[0]);
    let answer =
        world.request("POST", "/iid/v1:batchAdd", &[("authorization", &key)], body.to_string()).await;
    assert_eq!(answer.json(), json!({ "results": [{}] }));
}

#[tokio::test]
async fn one_relation_and_what_is_known_of_an_instance() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (_phone, token) = world.android_token().await;
    let escaped = token.replace(':', "%3A");
    for name in [&token, &escaped] {
        let path = format!("/iid/v1/{name}/rel/topics/movies");
        for method in ["POST", "DELETE", "DELETE", "POST"] {
            let answer = call(&world, &access, method, &path, Value::Null).await;
            assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({})), "{method}");
        }
    }
    let told = call(&world, &access, "GET", &format!("/iid/info/{escaped}"), Value::Null).await.json();
    let number = world.demo().number.to_string();
    let expected = json!({
        "application": "com.example.app", "authorizedEntity": number, "scope": "*", "platform": "ANDROID",
    });
    assert_eq!(told, expected);
    let path = format!("/iid/info/{token}?details=true");
    let told = call(&world, &access, "GET", &path, Value::Null).await.json();
    assert_eq!(told["rel"], json!({ "topics": { "movies": { "addDate": "2027-01-15" } } }));
    let malformed = call(&world, &access, "GET", "/iid/info/nonsense", Value::Null).await;
    assert_eq!((malformed.status.as_u16(), malformed.json()), (400, json!({ "error": "InvalidToken" })));
    let unknown = call(&world, &access, "GET", &format!("/iid/info/{STRANGE}"), Value::Null).await;
    let text = "No information found about this instance id.";
    assert_eq!((unknown.status.as_u16(), unknown.json()), (404, json!({ "error": text })));
}

#[tokio::test]
async fn subscriptions_are_a_resource_too() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (_phone, token) = world.android_token().await;
    let all = format!("/v1/projects/demo/registrations/{token}/topicSubscriptions");
    let one = format!("{all}/news");
    let code = async |method, path: &str| {
        let answer = call(&world, &access, method, path, json!({})).await;
        (answer.status.as_u16(), answer.json()["error"]["status"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(code("GET", &one).await, (404, "NOT_FOUND".into()));
    assert_eq!(code("PATCH", &one).await, (404, "NOT_FOUND".into()));
    assert_eq!(code("POST", &format!("{all}?topicName=a%20b")).await, (400, "INVALID_ARGUMENT".into()));
    let made = call(&world, &access, "POST", &format!("{all}?topic_name=news"), json!({})).await.json();
    assert_eq!(made["name"], format!("projects/demo/registrations/{token}/topicSubscriptions/news"));
    assert_eq!(
        (&made["topicName"], &made["createTime"]),
        (&"news".into(), &"2027-01-15T08:00:00.000Z".into())
    );
    assert_eq!(code("POST", &format!("{all}?topicName=news")).await, (409, "ALREADY_EXISTS".into()));
    assert_eq!(code("PATCH", &format!("{all}/art?allowMissing=true")).await, (200, String::new()));
    let page = call(&world, &access, "GET", &format!("{all}?pageSize=1"), Value::Null).await.json();
    assert_eq!(page["topicSubscriptions"][0]["topicName"], "art");
    let next = page["nextPageToken"].as_str().unwrap();
    let page =
        call(&world, &access, "GET", &format!("{all}?pageSize=1&pageToken={next}"), Value::Null).await.json();
    assert_eq!(
        (&page["topicSubscriptions"][0]["topicName"], &page["nextPageToken"]),
        (&"news".into(), &Value::Null)
    );
    assert_eq!(code("DELETE", &one).await, (200, String::new()));
    assert_eq!(code("DELETE", &one).await, (404, "NOT_FOUND".into()));
    assert_eq!(code("DELETE", &format!("{one}?allowMissing=true")).await, (200, String::new()));
    let strange = format!("/v1/projects/demo/registrations/{STRANGE}/topicSubscriptions");
    assert_eq!(code("GET", &strange).await, (404, "NOT_FOUND".into()));
    assert_eq!(call(&world, "forged", "GET", &all, Value::Null).await.status, 401);
}

#[tokio::test]
async fn apps_subscribe_themselves_through_register3() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (phone, token) = world.android_token().await;
    let fields = [
        ("app", "com.example.app"),
        ("sender", &*token),
        ("X-subtype", &*token),
        ("X-scope", "/topics/news"),
        ("X-gcm.topic", "/topics/news"),
    ];
    let answer = world.register3(&phone, &fields).await;
    assert_eq!(answer.text(), format!("token={token}"));
    assert_eq!(topics_of(&world, &access, &token).await, ["news"]);
    // Another device does not speak for it.
    let stranger = world.check_in().await;
    let leave = [&fields[..], &[("delete", "1")]].concat();
    assert_eq!(world.register3(&stranger, &fields).await.text(), "Error=INVALID_SENDER");
    assert_eq!(world.register3(&stranger, &leave).await.text(), format!("token={token}"));
    assert_eq!(topics_of(&world, &access, &token).await, ["news"]);
    assert_eq!(world.register3(&phone, &leave).await.text(), format!("token={token}"));
    assert!(topics_of(&world, &access, &token).await.is_empty());
    // It is still registered.
    let body = json!({ "message": { "token": token } }).to_string();
    assert_eq!(world.send("demo", &access, &body).await.status, StatusCode::OK);
}

#[tokio::test]
async fn apps_subscribe_themselves_by_their_installation() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let phone = world.check_in().await;
    let endpoint = subscribe(&world, &phone).await;
    let app = install(&world, "").await;
    let registered = register_web(&world, &app, &endpoint).await.json();
    let token = registered["token"].as_str().unwrap();
    let another = install(&world, "").await;
    let api_key = world.demo().api_keys[0].clone();
    let ask = async |auth: &str, call: &str| {
        let path = format!("/v1/projects/demo/registrations/{}/topicSubscriptions/news:{call}", app.fid);
        let headers = [("x-goog-api-key", &*api_key), ("x-goog-firebase-installations-auth", auth)];
        world.request("POST", &path, &headers, "").await.status.as_u16()
    };
    assert_eq!(ask(&app.auth_token, "subscribe").await, 200);
    assert_eq!(topics_of(&world, &access, token).await, ["news"]);
    assert_eq!(ask(&another.auth_token, "unsubscribe").await, 403);
    assert_eq!(ask("forged", "unsubscribe").await, 401);
    assert_eq!(ask(&app.auth_token, "burn").await, 404);
    assert_eq!(topics_of(&world, &access, token).await, ["news"]);
    assert_eq!(ask(&app.auth_token, "unsubscribe").await, 200);
    assert!(topics_of(&world, &access, token).await.is_empty());
}

#[tokio::test]
async fn too_many_changes_are_refused_for_a_while() {
    let quotas = Quotas { subscriptions_per_second: Some(1), ..Quotas::OFF };
    let world = World::with_quotas(quotas).await;
    let access = world.access_token("demo").await;
    let (_phone, token) = world.android_token().await;
    let body = json!({ "to": "news", "registration_tokens": [token, token] });
    let add = async || call(&world, &access, "POST", "/iid/v1:batchAdd", body.clone()).await;
    assert_eq!(add().await.status, StatusCode::OK, "a call that begins within the quota is done");
    let refused = add().await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.json(), json!({ "error": "RESOURCE_EXHAUSTED" }));
    let wait: u64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    world.pass(Duration::from_secs(wait));
    assert_eq!(add().await.status, StatusCode::OK);
}

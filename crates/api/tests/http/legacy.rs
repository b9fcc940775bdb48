//! `/fcm/send` and `/gcm/send` (`protocol/legacy-http.md`): who is let in, and every answer's shape.

use std::time::Duration;

use cresset_delivery::Quotas;
use cresset_store::Table;
use http::StatusCode;
use serde_json::{Value, json};

use crate::groups::{self, Manager};
use crate::world::{Answer, World};

const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded;charset=UTF-8";

/// Well formed, and of nobody's.
fn stranger() -> String {
    format!("fGw0qy4TGgk:APA91b{}", "x".repeat(134))
}

impl World {
    fn server_key(&self) -> String {
        format!("key={}", self.demo().server_keys[0])
    }

    async fn legacy(&self, body: &Value) -> Answer {
        self.legacy_text(&body.to_string()).await
    }

    async fn legacy_text(&self, body: &str) -> Answer {
        let headers = [("authorization", &*self.server_key()), ("content-type", JSON)];
        self.request("POST", "/fcm/send", &headers, body.to_owned()).await
    }

    async fn legacy_form(&self, fields: &[(&str, &str)]) -> Answer {
        let headers = [("authorization", &*self.server_key()), ("content-type", FORM)];
        self.form("/fcm/send", &headers, fields).await
    }
}

/// What a 200 in JSON says; clients search its text, so that it is compact.
fn told(answer: &Answer) -> Value {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
    assert!(answer.headers.get("retry-after").is_none());
    let text = answer.text();
    assert!(!text.contains("\": ") && !text.contains('\n'), "{text}");
    answer.json()
}

/// The words of the results, or `ok`; and that the counts are theirs.
fn words(answer: &Answer) -> Vec<String> {
    let told = told(answer);
    let id = told["multicast_id"].as_i64().expect("a number of 63 bits");
    assert!(id > 0);
    let results = told["results"].as_array().unwrap();
    let sent = results.iter().filter(|result| result["message_id"].is_string()).count();
    assert_eq!(told["success"], sent);
    assert_eq!(told["failure"], results.len() - sent);
    assert_eq!(told["canonical_ids"], 0);
    let word = |result: &Value| match &result["error"] {
        Value::Null => "ok".to_owned(),
        error => error.as_str().unwrap().to_owned(),
    };
    results.iter().map(word).collect()
}

fn refused(answer: &Answer, status: u16, text: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.text(), format!("{text}\n"));
    assert_eq!(answer.headers["content-type"], "text/plain; charset=UTF-8");
}

#[tokio::test]
async fn each_token_is_answered_in_its_place() {
    let world = World::new().await;
    let other = world.project("other").await;
    let (phone, token) = world.android_token().await;
    let (_, another) = world.android_token().await;
    let fields = [
        ("app", "com.example.app"),
        ("sender", &*other.number.to_string()),
        ("X-subtype", &*other.number.to_string()),
        ("X-scope", "*"),
    ];
    let foreign = world.register3(&phone, &fields).await.text().strip_prefix("token=").unwrap().to_owned();
    let body = json!({ "registration_ids": [token, "nonsense", stranger(), foreign, another, "", token] });
    assert_eq!(
        words(&world.legacy(&body).await),
        ["ok", "InvalidRegistration", "NotRegistered", "MismatchSenderId", "ok", "InvalidRegistration", "ok"]
    );
    for path in ["/fcm/send", "/gcm/send"] {
        let headers =
            [("authorization", &*world.server_key()), ("content-type", "application/json;charset=utf-8")];
        let body = json!({ "to": token, "data": { "k": 1 } }).to_string();
        assert_eq!(words(&world.request("POST", path, &headers, body).await), ["ok"]);
    }
    assert_eq!(words(&world.legacy(&json!({ "to": "" })).await), ["MissingRegistration"]);
    assert_eq!(
        words(&world.legacy(&json!({ "registration_ids": ["nonsense"] })).await),
        ["InvalidRegistration"]
    );
}

#[tokio::test]
async fn rules_are_told_by_their_words() {
    let world = World::new().await;
    let (_phone, token) = world.android_token().await;
    let large = "x".repeat(4_096);
    let rows = [
        (json!({ "data": { "k": large } }), "MessageTooBig"),
        (json!({ "data": { "google.x": "1" } }), "InvalidDataKey"),
        (json!({ "restricted_package_name": "com.else" }), "InvalidPackageName"),
        (json!({ "notification": { "color": "red" } }), "InvalidParameters"),
        (json!({ "notification": { "body_loc_args": ["x"] } }), "InvalidParameters"),
    ];
    for (mut body, word) in rows {
        for dry_run in [true, false] {
            body["dry_run"] = dry_run.into();
            body["to"] = token.as_str().into();
            body.as_object_mut().unwrap().remove("registration_ids");
            assert_eq!(words(&world.legacy(&body).await), [word], "{body}");
            body.as_object_mut().unwrap().remove("to");
            body["registration_ids"] = json!([token, token]);
            assert_eq!(words(&world.legacy(&body).await), [word, word], "{body}");
        }
    }
}

#[tokio::test]
async fn topics_and_conditions_are_answered_by_a_number() {
    let world = World::new().await;
    for target in
        [json!({ "to": "/topics/news" }), json!({ "condition": "'a' in topics && !('b' in topics)" })]
    {
        for dry_run in [false, true] {
            let mut body = target.clone();
            body["dry_run"] = dry_run.into();
            let told = told(&world.legacy(&body).await);
            assert!(told["message_id"].as_u64().is_some_and(|id| id > 0), "{told}");
            assert_eq!(told.as_object().unwrap().len(), 1);
        }
    }
    let bad = json!({ "error": "InvalidParameters: Bad topic or filter provided" });
    for target in [json!({ "to": "/topics/a b" }), json!({ "condition": "'a' in topic" })] {
        assert_eq!(told(&world.legacy(&target).await), bad);
    }
    let reserved = json!({ "to": "/topics/news", "data": { "gcm": "1" } });
    assert_eq!(told(&world.legacy(&reserved).await), json!({ "error": "InvalidDataKey" }));
    let large = json!({ "to": "/topics/news", "data": { "k": "x".repeat(4_096) } });
    assert_eq!(told(&world.legacy(&large).await), json!({ "error": "MessageTooBig" }));
}

#[tokio::test]
async fn a_group_is_answered_by_counts() {
    let quotas = Quotas { device_per_minute: Some(1), ..Quotas::OFF };
    let world = World::with_quotas(quotas).await;
    let ((_, a), (_, b)) = (world.android_token().await, world.android_token().await);
    let group = groups::key(&Manager::of(&world).create(&world, "user-42", &[&a, &b]).await);
    let to_group = json!({ "to": group, "data": { "k": "v" } });
    let dry = json!({ "notification_key": group, "dry_run": true });
    assert_eq!(told(&world.legacy(&dry).await), json!({ "success": 2, "failure": 0 }));
    assert_eq!(words(&world.legacy(&json!({ "to": b })).await), ["ok"]);
    assert_eq!(
        told(&world.legacy(&to_group).await),
        json!({ "success": 1, "failure": 1, "failed_registration_ids": [b] })
    );
    assert_eq!(
        told(&world.legacy(&to_group).await),
        json!({ "success": 0, "failure": 2, "failed_registration_ids": [a, b] })
    );
    world.pass(Duration::from_secs(60));
    assert_eq!(told(&world.legacy(&to_group).await), json!({ "success": 2, "failure": 0 }));
    // Among tokens it is none; one that is no more is answered like a token.
    assert_eq!(words(&world.legacy(&json!({ "registration_ids": [group] })).await), ["InvalidRegistration"]);
    let unknown = format!("APA91b{}", "x".repeat(140));
    assert_eq!(words(&world.legacy(&json!({ "to": unknown })).await), ["NotRegistered"]);
}

#[tokio::test]
async fn a_dry_run_checks_all_and_delivers_nothing() {
    let world = World::new().await;
    let (phone, token) = world.android_token().await;
    let body = json!({ "registration_ids": [token, "nonsense"], "dry_run": true });
    let answer = world.legacy(&body).await;
    assert_eq!(words(&answer), ["ok", "InvalidRegistration"]);
    assert_eq!(answer.json()["results"][0]["message_id"], "fake_message_id");
    assert_eq!(world.engine.rows(Table::Inbox, &phone.id.to_be_bytes()).await, 0);
    let form = world.legacy_form(&[("registration_id", &token), ("dry_run", "1")]).await;
    assert_eq!(form.text(), "id=fake_message_id");
    assert_eq!(words(&world.legacy(&json!({ "to": token })).await), ["ok"]);
    assert_eq!(world.engine.rows(Table::Inbox, &phone.id.to_be_bytes()).await, 1);
}

#[tokio::test]
async fn who_is_not_let_in_gets_a_page() {
    let world = World::new().await;
    let (_phone, token) = world.android_token().await;
    let access = format!("Bearer {}", world.access_token("demo").await);
    let key = world.demo().server_keys[0].clone();
    let body = json!({ "to": token }).to_string();
    let send = async |authorization: Option<&str>| {
        let mut headers = vec![("content-type", JSON), ("access_token_auth", "true")];
        headers.extend(authorization.map(|value| ("authorization", value)));
        world.request("POST", "/fcm/send", &headers, body.clone()).await
    };
    for fine in [&*format!("key={key}"), &format!("KEY = {key}"), &access] {
        assert_eq!(words(&send(Some(fine)).await), ["ok"], "{fine}");
    }
    for bad in
        [None, Some("key="), Some("key=AAAA"), Some(&*key), Some("Bearer ya29.forged"), Some("Basic x")]
    {
        let answer = send(bad).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{bad:?}");
        assert_eq!(answer.headers["content-type"], "text/html; charset=UTF-8");
        assert!(answer.headers.contains_key("www-authenticate"));
        assert!(answer.text().contains("Unauthorized"));
        assert!(!answer.text().contains("\"error\""));
    }
}

#[tokio::test]
async fn a_request_that_is_no_message_is_told_in_a_line() {
    let world = World::new().await;
    let many = json!({ "registration_ids": vec!["t"; 1_001] }).to_string();
    let rows = [
        (&*many, "Number of messages on bulk (1001) exceeds maximum allowed (1000)"),
        ("{}", "Missing \"registration_ids\" field"),
        ("", "JSON_PARSING_ERROR: Unexpected token END OF FILE at position 0."),
        (r#"{"to":"a","data":{"from":"x"}}"#, "\"data\" key \"from\" is a reserved keyword"),
        (r#"{"to":["a"]}"#, "Field \"to\" must be a JSON string: [\"a\"]"),
    ];
    for (body, text) in rows {
        refused(&world.legacy_text(body).await, 400, text);
    }
    let large = format!("{{\"to\":\"a\",\"data\":{{\"k\":\"{}\"}}}}", "x".repeat(1 << 20));
    refused(&world.legacy_text(&large).await, 413, "The request body is too large");
    let key = world.server_key();
    let headers = [("authorization", &*key), ("content-type", JSON), ("content-encoding", "gzip")];
    let broken = world.request("POST", "/fcm/send", &headers, "{}").await;
    refused(&broken, 400, "The request body could not be read");
    for (method, path) in [("GET", "/fcm/send"), ("PUT", "/gcm/send"), ("POST", "/fcm/send/abc")] {
        let answer = world.request(method, path, &headers, "{}").await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{method} {path}");
    }
}

#[tokio::test]
async fn forms_are_answered_in_lines() {
    let world = World::new().await;
    let (_phone, token) = world.android_token().await;
    let plain = |answer: &Answer| {
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(answer.headers["content-type"], "text/plain; charset=UTF-8");
        answer.text().to_owned()
    };
    let fields = [("registration_id", &*token), ("data.room", "7 & 8"), ("time_to_live", "60")];
    let sent = plain(&world.legacy_form(&fields).await);
    assert!(sent.starts_with("id=0:") && sent.split('=').count() == 2, "{sent}");
    let topic = plain(&world.legacy_form(&[("to", "/topics/news")]).await);
    assert!(topic.strip_prefix("id=").is_some_and(|id| id.parse::<u64>().is_ok()), "{topic}");
    let rows: [(&[(&str, &str)], &str); 6] = [
        (&[], "Error=MissingRegistration"),
        (&[("registration_id", "nonsense")], "Error=InvalidRegistration"),
        (&[("registration_id", &stranger())], "Error=NotRegistered"),
        (&[("registration_id", &token), ("time_to_live", "soon")], "Error=InvalidTtl"),
        (&[("registration_id", &token), ("data.from", "x")], "Error=InvalidDataKey"),
        (&[("registration_id", &token), ("restricted_package_name", "com.else")], "Error=InvalidPackageName"),
    ];
    for (fields, text) in rows {
        assert_eq!(plain(&world.legacy_form(fields).await), text);
    }
    // Without a type it is a form; and JSON under another type is one, with nobody in it (§3).
    let key = world.server_key();
    let untyped = [("authorization", &*key)];
    assert!(
        plain(&world.form("/gcm/send", &untyped, &[("registration_id", &token)]).await).starts_with("id=")
    );
    let body = json!({ "to": token }).to_string();
    let answer = world.request("POST", "/fcm/send", &untyped, body).await;
    assert_eq!(plain(&answer), "Error=MissingRegistration");
    // A group's members have it under one id.
    let group = groups::key(&Manager::of(&world).create(&world, "user-42", &[&token]).await);
    assert!(plain(&world.legacy_form(&[("registration_id", &group)]).await).starts_with("id=0:"));
}

#[tokio::test]
async fn what_cannot_be_kept_may_come_again() {
    let world = World::new().await;
    let (_phone, token) = world.android_token().await;
    world.engine.refuse_writes(&[Table::Inbox, Table::Bodies, Table::Jobs]);
    let again = |answer: &Answer| {
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
        assert_eq!(answer.headers["retry-after"], "5");
    };
    again(&world.legacy(&json!({ "to": token })).await);
    again(&world.legacy(&json!({ "registration_ids": [token, token] })).await);
    again(&world.legacy(&json!({ "to": "/topics/news" })).await);
    again(&world.legacy_form(&[("registration_id", &token)]).await);
    // What is wrong anyway is told, and the others with it.
    let mixed = world.legacy(&json!({ "registration_ids": [token, "nonsense"] })).await;
    assert_eq!(words(&mixed), ["Unavailable", "InvalidRegistration"]);
    world.engine.refuse_writes(&[]);
    assert_eq!(words(&world.legacy(&json!({ "to": token })).await), ["ok"]);
}

#[tokio::test]
async fn each_recipient_counts_towards_the_quotas() {
    let quotas = Quotas { project_per_minute: Some(3), ..Quotas::OFF };
    let world = World::with_quotas(quotas).await;
    let (_phone, token) = world.android_token().await;
    let body = json!({ "registration_ids": [token, token, token, token] });
    assert_eq!(words(&world.legacy(&body).await), ["ok", "ok", "ok", "Unavailable"]);
    let answer = world.legacy(&json!({ "to": token })).await;
    assert_eq!((answer.status.as_u16(), answer.headers["retry-after"].to_str().unwrap()), (503, "60"));
    let quotas = Quotas { device_per_minute: Some(1), ..Quotas::OFF };
    let world = World::with_quotas(quotas).await;
    let (_phone, token) = world.android_token().await;
    let body = json!({ "registration_ids": [token, token] });
    assert_eq!(words(&world.legacy(&body).await), ["ok", "DeviceMessageRateExceeded"]);
    assert_eq!(words(&world.legacy(&json!({ "to": token })).await), ["DeviceMessageRateExceeded"]);
}

/// §9: the Instance ID service as old app servers call it.
#[tokio::test]
async fn topics_are_managed_with_a_server_key() {
    let world = World::new().await;
    let other = world.project("other").await;
    let (_phone, token) = world.android_token().await;
    let key = world.server_key();
    let call = async |method: &str, path: &str, body: Value| {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let answer = world.request(method, path, &[("authorization", &*key)], text).await;
        (answer.status.as_u16(), answer.json())
    };
    let relation = format!("/iid/v1/{token}/rel/topics/news");
    assert_eq!(call("POST", &relation, Value::Null).await, (200, json!({})));
    let info = call("GET", &format!("/iid/info/{token}?details=true"), Value::Null).await;
    assert_eq!(info.0, 200);
    assert_eq!(info.1["rel"]["topics"]["news"], json!({ "addDate": "2027-01-15" }));
    assert_eq!(info.1["authorizedEntity"], world.demo().number.to_string());
    assert_eq!(call("DELETE", &relation, Value::Null).await, (200, json!({})));
    let batch = |to: &str, tokens: Value| json!({ "to": to, "registration_tokens": tokens });
    for verb in ["Add", "Remove"] {
        let path = format!("/iid/v1:batch{verb}");
        let both = batch("/topics/news", json!([token, "nonsense"]));
        let results = json!({ "results": [{}, { "error": "INVALID_ARGUMENT" }] });
        assert_eq!(call("POST", &path, both).await, (200, results));
        let bad = call("POST", &path, batch("/topics/a b", json!([token]))).await;
        assert_eq!(bad, (400, json!({ "error": "Topic name format is invalid" })));
        for nobody in [json!([]), Value::Null] {
            let none = call("POST", &path, batch("/topics/news", nobody)).await;
            assert_eq!(none, (400, json!({ "error": "MissingIIdToken" })));
        }
    }
    let key = format!("key={}", other.server_keys[0]);
    let stranger = world.request("GET", &format!("/iid/info/{token}"), &[("authorization", &*key)], "").await;
    assert_eq!(stranger.status, StatusCode::FORBIDDEN);
    let bad = world.request("GET", &format!("/iid/info/{token}"), &[("authorization", "key=x")], "").await;
    assert_eq!(bad.status, StatusCode::UNAUTHORIZED);
}

/// An app that once registered as GCM's did, and registers as FCM's do since an update.
#[tokio::test]
async fn an_older_token_of_an_app_still_serves_and_the_newer_one_is_told() {
    let world = World::new().await;
    let phone = world.check_in().await;
    let sender = world.demo().number.to_string();
    let register = async |more: &[(&str, &str)]| {
        let fields = [&[("app", "com.example.app"), ("sender", &*sender)], more].concat();
        world.register3(&phone, &fields).await.text().strip_prefix("token=").unwrap().to_owned()
    };
    let old = register(&[]).await;
    let body = json!({ "registration_ids": [old] });
    assert_eq!(world.legacy(&body).await.json()["canonical_ids"], 0);
    let new = register(&[("X-subtype", &sender), ("X-scope", "*")]).await;
    assert_ne!(old, new);
    let answer = world.legacy(&json!({ "registration_ids": [old, new], "data": { "k": "v" } })).await.json();
    assert_eq!((&answer["success"], &answer["canonical_ids"]), (&json!(2), &json!(1)));
    assert_eq!(answer["results"][0]["registration_id"], new.as_str());
    assert_eq!(answer["results"][1].get("registration_id"), None);
    let one = world.legacy(&json!({ "to": old })).await.json();
    assert_eq!(one["results"][0]["registration_id"], new.as_str());
    let text = world.legacy_form(&[("registration_id", &old), ("data.k", "v")]).await;
    assert!(text.text().starts_with("id=0:") && text.text().ends_with(&format!("\nregistration_id={new}")));
    // Both are one app: each token brings it once.
    assert_eq!(world.engine.rows(Table::Inbox, &phone.id.to_be_bytes()).await, 5);
    // A token that is no more is not recommended.
    let fields = [
        ("app", "com.example.app"),
        ("sender", &*sender),
        ("X-subtype", &*sender),
        ("X-scope", "*"),
        ("delete", "true"),
    ];
    world.register3(&phone, &fields).await;
    assert_eq!(world.legacy(&body).await.json()["canonical_ids"], 0);
}

//! `messages:send`: who is let in, and what is said of the target (`protocol/http-v1.md` §5.2, §7).

use std::time::Duration;

use http::StatusCode;
use serde_json::json;

use crate::world::World;

fn to(token: &str) -> String {
    json!({ "message": { "token": token, "data": { "n": "1" } } }).to_string()
}

#[tokio::test]
async fn a_send_to_a_registered_token_is_accepted_with_a_name() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (_phone, token) = world.android_token().await;
    let number = world.demo().number.to_string();
    for project in ["demo", &number] {
        let answer = world.send(project, &access, &to(&token)).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
        assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
        let name = answer.json()["name"].as_str().unwrap().to_owned();
        let id = name.strip_prefix(&format!("projects/{project}/messages/")).unwrap();
        assert!(id.parse::<cresset_message::MessageId>().is_ok(), "{id}");
    }
}

#[tokio::test]
async fn the_path_may_be_an_alias_and_its_colon_escaped() {
    let world = World::new().await;
    let access = format!("Bearer {}", world.access_token("demo").await);
    let (_phone, token) = world.android_token().await;
    for path in [
        "/v1/projects/demo/messages%3Asend",
        "/projects/demo/messages:send",
        "//v1/projects/demo/messages:send",
    ] {
        let answer = world.request("POST", path, &[("authorization", &access)], to(&token)).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}");
    }
    let in_query = format!("/v1/projects/demo/messages:send?access_token={}", &access[7..]);
    assert_eq!(world.request("POST", &in_query, &[], to(&token)).await.status, StatusCode::OK);
    let odd = world.request("POST", &format!("{in_query}&foo=1"), &[], to(&token)).await;
    assert_eq!(odd.status, StatusCode::BAD_REQUEST);
    assert!(odd.text().contains("Unknown name \\\"foo\\\": Cannot bind query parameter."));
    assert_eq!(
        world.request("POST", "/v1/projects/demo/messages:read", &[], "").await.status,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn targets_are_told_apart_as_fcm_does() {
    let world = World::new().await;
    world.project("other").await;
    let access = world.access_token("demo").await;
    let foreign = format!("fGw0qy4TGgk:APA91b{}", "x".repeat(134));
    for (token, status, error, code) in [
        ("not-a-token", 400, "INVALID_ARGUMENT", "INVALID_ARGUMENT"),
        (foreign.as_str(), 404, "NOT_FOUND", "UNREGISTERED"),
        ("cAAAAAAAAAAAAAAAAAAAAA", 404, "NOT_FOUND", "UNREGISTERED"),
    ] {
        let heard = world.send("demo", &access, &to(token)).await.refusal();
        assert_eq!(heard, (status, error.to_owned(), code.to_owned()), "{token}");
        // Checks run for validate_only too.
        let dry = json!({ "validate_only": true, "message": { "token": token } }).to_string();
        assert_eq!(world.send("demo", &access, &dry).await.refusal(), heard);
    }
    let by_fid = json!({ "message": { "fid": "not-a-fid" } }).to_string();
    assert_eq!(world.send("demo", &access, &by_fid).await.refusal().2, "UNREGISTERED");
    let (_phone, token) = world.android_token().await;
    let others = world.access_token("other").await;
    let heard = world.send("other", &others, &to(&token)).await.refusal();
    assert_eq!(heard, (403, "PERMISSION_DENIED".to_owned(), "SENDER_ID_MISMATCH".to_owned()));
}

#[tokio::test]
async fn credentials_are_refused_before_the_body_is_read() {
    let world = World::new().await;
    world.project("other").await;
    let body = "this is not JSON";
    let none = world.request("POST", "/v1/projects/demo/messages:send", &[], body).await;
    assert_eq!(none.refusal().1, "UNAUTHENTICATED");
    assert!(none.text().contains("CREDENTIALS_MISSING"));
    assert_eq!(world.send("demo", "ya29.forged", body).await.refusal().0, 401);
    let access = world.access_token("demo").await;
    for project in ["other", "nowhere"] {
        let heard = world.send(project, &access, body).await;
        assert_eq!(heard.refusal().1, "PERMISSION_DENIED");
        assert!(heard.text().contains("cloudmessaging.messages.create"));
    }
    assert_eq!(world.send("demo", &access, body).await.refusal().0, 400);
    world.pass(Duration::from_secs(3_700));
    let expired = world.send("demo", &access, body).await;
    assert_eq!(expired.refusal().0, 401);
    assert!(expired.text().contains("ACCESS_TOKEN_EXPIRED"));
}

#[tokio::test]
async fn a_token_without_a_messaging_scope_may_not_send() {
    let world = World::new().await;
    let signer = world.signer("demo").await;
    let mut claims = signer.claims(world.now());
    claims["scope"] = json!("https://www.googleapis.com/auth/userinfo.email");
    let granted = world.grant(&signer.sign(&claims)).await;
    assert_eq!(granted.status, StatusCode::OK, "unknown scopes are granted: {}", granted.text());
    let access = granted.json()["access_token"].as_str().unwrap().to_owned();
    let heard = world.send("demo", &access, "{}").await;
    assert_eq!(heard.refusal().0, 403);
    assert!(heard.text().contains("ACCESS_TOKEN_SCOPE_INSUFFICIENT"));
}

#[tokio::test]
async fn a_deleted_project_lets_nobody_in() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    world.identity.delete_project(&"demo".parse().unwrap(), world.now()).await.unwrap();
    assert_eq!(world.send("demo", &access, "{}").await.refusal().0, 401);
}

#[tokio::test]
async fn bodies_are_bounded_and_may_be_gzipped() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (_phone, token) = world.android_token().await;
    let huge = " ".repeat(200_000);
    let heard = world.send("demo", &access, &huge).await.refusal();
    assert_eq!(heard.1, "INVALID_ARGUMENT");
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, to(&token).as_bytes()).unwrap();
    let headers = [("authorization", &*format!("Bearer {access}")), ("content-encoding", "gzip")];
    let zipped = encoder.finish().unwrap();
    let answer = world.request("POST", "/v1/projects/demo/messages:send", &headers, zipped).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
}

#[tokio::test]
async fn a_package_that_is_not_the_tokens_is_refused() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (_phone, token) = world.android_token().await;
    let restricted = |package: &str| {
        json!({ "message": { "token": token, "android": { "restricted_package_name": package } } })
            .to_string()
    };
    for own_or_none in ["com.example.app", ""] {
        assert_eq!(world.send("demo", &access, &restricted(own_or_none)).await.status, StatusCode::OK);
    }
    assert_eq!(
        world.send("demo", &access, &restricted("com.example.else")).await.refusal().2,
        "INVALID_ARGUMENT"
    );
}

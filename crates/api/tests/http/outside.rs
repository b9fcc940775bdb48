//! Who is reached over push services of others: web apps of other browsers, apps on Apple devices.

use std::sync::Arc;

use cresset_identity::NewApp;
use cresset_message::Platform;
use http::StatusCode;
use serde_json::{Value, json};

use crate::registration::{VAPID, WebApp, install};
use crate::world::{Answer, World};

const ENDPOINT: &str = "https://updates.push.services.example/wpush/v2/abc";
const BUNDLE: &str = "com.example.app";

async fn register(world: &World, app: &WebApp, body: &Value) -> Answer {
    let key = world.demo().api_keys[0].clone();
    let headers = [("x-goog-api-key", &*key), ("x-goog-firebase-installations-auth", &*app.auth_token)];
    world.request("POST", "/v1/projects/demo/registrations", &headers, body.to_string()).await
}

fn web(endpoint: &str, key: &str) -> Value {
    let auth = "AAAAAAAAAAAAAAAAAAAAAA";
    json!({ "web": { "endpoint": endpoint, "p256dh": VAPID, "auth": auth, "applicationPubKey": key } })
}

fn ios(token: &str, environment: &str, bundle: &str) -> Value {
    json!({
        "ios": {
            "apns_token": token,
            "apns_environment": environment,
            "app_version": "1.2",
            "bundle_id": bundle,
        },
        "fcm_sdk_version": "fcm-12.19.0",
    })
}

async fn with_apple_app() -> World {
    let world = World::new().await;
    let app = NewApp { platform: Platform::Ios, package: BUNDLE.into(), display_name: String::new() };
    world.identity.add_app(&"demo".parse().unwrap(), app, world.now()).await.unwrap();
    world
}

async fn import(world: &World, body: Value) -> Answer {
    let authorization = format!("Bearer {}", world.access_token("demo").await);
    let headers = [("authorization", &*authorization), ("access_token_auth", "true")];
    world.request("POST", "/iid/v1:batchImport", &headers, body.to_string()).await
}

#[tokio::test]
async fn a_web_app_registers_with_the_endpoint_of_another_service_under_the_projects_key() {
    let world = World::new().await;
    world.identity.set_foreign(Arc::new(|endpoint| match endpoint.contains("forbidden") {
        true => Err("the operator does not permit its host".to_owned()),
        false => Ok(()),
    }));
    let app = install(&world, "").await;
    let key = world.demo().web_push_keys[0].public_text();
    let made = register(&world, &app, &web(ENDPOINT, &key)).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    let token = made.json()["token"].as_str().unwrap().to_owned();
    let moved = register(&world, &app, &web("https://elsewhere.example/x", &key)).await;
    assert_eq!(moved.json()["token"], token.as_str());
    for (body, says) in [
        (web(ENDPOINT, VAPID), "vapidKey"),
        (web(ENDPOINT, ""), "vapidKey"),
        (web("https://forbidden.example/x", &key), "the operator does not permit its host"),
    ] {
        let refused = register(&world, &app, &body).await;
        assert_eq!(refused.refusal().1, "INVALID_ARGUMENT");
        assert!(refused.text().contains(says), "{}", refused.text());
    }
    let access = world.access_token("demo").await;
    let body = json!({ "message": { "token": token, "data": { "k": "v" } } }).to_string();
    assert_eq!(world.send("demo", &access, &body).await.status, StatusCode::OK);
    // No device of ours has to be there for it.
    let mut walk = cresset_identity::Expiry::new();
    while !walk.step(&world.identity, world.now()).await.unwrap().over {}
    assert_eq!(world.send("demo", &access, &body).await.status, StatusCode::OK);
    let large = json!({ "message": { "token": token, "data": { "k": "v".repeat(3_950) } } }).to_string();
    assert_eq!(world.send("demo", &access, &large).await.refusal().1, "INVALID_ARGUMENT");
}

#[tokio::test]
async fn an_apple_app_registers_by_its_installation() {
    let world = with_apple_app().await;
    let app = install(&world, "").await;
    let token = "AB".repeat(32);
    let made = register(&world, &app, &ios(&token, "SANDBOX", BUNDLE)).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    assert!(made.json()["name"].as_str().unwrap().ends_with(&app.fid));
    assert_eq!(made.json()["ios"]["bundle_id"], BUNDLE);
    // The same device with a new installation: the old one would double every message.
    let access = world.access_token("demo").await;
    let send = async |fid: &str| {
        let body = json!({ "message": { "fid": fid, "data": { "k": "v" } } }).to_string();
        world.send("demo", &access, &body).await
    };
    assert_eq!(send(&app.fid).await.status, StatusCode::OK);
    let other = install(&world, "").await;
    let made = register(&world, &other, &ios(&token, "SANDBOX", BUNDLE)).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.text());
    assert_eq!(send(&app.fid).await.refusal().2, "UNREGISTERED");
    assert_eq!(send(&other.fid).await.status, StatusCode::OK);
    for (body, field) in [
        (ios("", "PROD", BUNDLE), "apns_token"),
        (ios("xyz", "PROD", BUNDLE), "apns_token"),
        (ios(&token, "TEST", BUNDLE), "apns_environment"),
        (ios(&token, "PROD", ""), "bundle_id"),
    ] {
        let refused = register(&world, &app, &body).await;
        assert_eq!(refused.refusal().1, "INVALID_ARGUMENT");
        assert!(refused.text().contains(field), "{}", refused.text());
    }
}

#[tokio::test]
async fn an_apple_app_registers_by_register3_and_renews_its_token() {
    let world = with_apple_app().await;
    let phone = world.check_in().await;
    let sender = world.demo().number.to_string();
    let ask = async |apns: &str| {
        let fields = [
            ("app", BUNDLE),
            ("sender", &*sender),
            ("X-subtype", &*sender),
            ("X-scope", "*"),
            ("apns_token", apns),
        ];
        world.register3(&phone, &fields).await
    };
    let first = ask(&format!("s_{}", "ab".repeat(32))).await;
    assert!(first.text().starts_with("token="), "{}", first.text());
    assert_eq!(ask(&format!("p_{}", "cd".repeat(32))).await.text(), first.text());
    assert_eq!(ask("x_00").await.text(), "Error=INVALID_PARAMETERS");
    let access = world.access_token("demo").await;
    let token = first.text().strip_prefix("token=").unwrap();
    let body = json!({ "message": { "token": token, "notification": { "title": "t" } } }).to_string();
    assert_eq!(world.send("demo", &access, &body).await.status, StatusCode::OK);
    // What another import has, this registration has: they are one.
    let tokens = ["cd".repeat(32)];
    let body = json!({ "application": BUNDLE, "sandbox": false, "apns_tokens": tokens });
    assert_eq!(import(&world, body).await.json()["results"][0]["registration_token"], token);
}

#[tokio::test]
async fn apns_tokens_are_imported_each_once() {
    let world = with_apple_app().await;
    let tokens = ["ab".repeat(32), "CD".repeat(32), "no token".to_owned(), "ab".repeat(32)];
    let body = json!({ "application": BUNDLE, "sandbox": true, "apns_tokens": tokens });
    let answer = import(&world, body).await.json();
    let results = answer["results"].as_array().unwrap();
    let of = |at: usize, name: &str| results[at][name].as_str().map(str::to_owned);
    assert_eq!([0, 1, 3].map(|at| of(at, "status")), [(); 3].map(|()| Some("OK".to_owned())));
    assert_eq!(of(0, "registration_token"), of(3, "registration_token"));
    assert_ne!(of(0, "registration_token"), of(1, "registration_token"));
    assert_eq!((of(2, "registration_token"), of(1, "apns_token")), (None, Some("CD".repeat(32))));
    for wrong in [
        json!({ "application": "com.other", "sandbox": true, "apns_tokens": ["ab"] }),
        json!({ "application": BUNDLE, "sandbox": "yes", "apns_tokens": ["ab"] }),
        json!({ "application": BUNDLE, "apns_tokens": [] }),
        json!({ "application": BUNDLE, "apns_tokens": vec!["ab"; 101] }),
    ] {
        assert_eq!(import(&world, wrong.clone()).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

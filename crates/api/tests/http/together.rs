//! Requests that meet in the middle, and what a full disk leaves half done.

use cresset_store::Table;
use http::StatusCode;
use serde_json::json;

use crate::registration::{WebApp, install, register_web, subscribe};
use crate::world::{Answer, Phone, World};

fn token(answer: &Answer) -> String {
    answer.text().strip_prefix("token=").unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

async fn send(world: &World, access: &str, target: serde_json::Value) -> (u16, String) {
    let answer = world.send("demo", access, &json!({ "message": target }).to_string()).await;
    let (status, _, code) = answer.refusal();
    (status, code)
}

fn accepted() -> (u16, String) {
    (200, String::new())
}

fn unregistered() -> (u16, String) {
    (404, "UNREGISTERED".to_owned())
}

/// Registers the Android app of the demo project with an installation's FID.
async fn register_android(world: &World, phone: &Phone, app: &WebApp) -> Answer {
    let sender = world.demo().number.to_string();
    let fields = [
        ("app", "com.example.app"),
        ("sender", &*sender),
        ("X-subtype", &*sender),
        ("X-scope", "*"),
        ("X-appid", &*app.fid),
        ("X-Goog-Firebase-Installations-Auth", &*app.auth_token),
    ];
    world.register3(phone, &fields).await
}

/// An installation of the Android app.
async fn install_android(world: &World) -> WebApp {
    let demo = world.demo();
    let app = demo.apps.iter().find(|a| a.id.as_str().contains("android")).unwrap();
    let body = json!({ "appId": app.id.as_str(), "authVersion": "FIS_v2", "sdkVersion": "a:17.0.0" });
    let headers = [("x-goog-api-key", &*demo.api_keys[0])];
    let answer = world.request("POST", "/v1/projects/demo/installations", &headers, body.to_string()).await;
    let made = answer.json();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    WebApp {
        fid: text(&made["fid"]),
        refresh_token: text(&made["refreshToken"]),
        auth_token: text(&made["authToken"]["token"]),
    }
}

#[tokio::test]
async fn a_device_that_registers_twice_at_once_has_one_token() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let phone = world.check_in().await;
    let sender = world.demo().number.to_string();
    let fields = [("app", "com.example.app"), ("sender", &*sender), ("X-subtype", &*sender)];
    let (one, other) = tokio::join!(world.register3(&phone, &fields), world.register3(&phone, &fields));
    assert_eq!(token(&one), token(&other));
    let gone = [&fields[..], &[("delete", "1")]].concat();
    let ended = world.register3(&phone, &gone).await;
    assert!(ended.text().contains("com.example.app"), "{}", ended.text());
    assert_eq!(send(&world, &access, json!({ "token": token(&one) })).await, unregistered());
    let partition = cresset_store::tables::registrations::partition(world.demo().number, 0);
    assert_eq!(world.engine.rows(Table::Registrations, &partition).await, 0, "nothing is left behind");
}

#[tokio::test]
async fn an_installation_that_registers_twice_at_once_has_one_token() {
    let world = World::new().await;
    let phone = world.check_in().await;
    let endpoint = subscribe(&world, &phone).await;
    let web = install(&world, "").await;
    let (one, other) =
        tokio::join!(register_web(&world, &web, &endpoint), register_web(&world, &web, &endpoint));
    assert_eq!(one.status, StatusCode::OK, "{}", one.text());
    assert_eq!(one.json()["token"], other.json()["token"]);
}

#[tokio::test]
async fn an_installation_made_twice_at_once_is_no_conflict() {
    let world = World::new().await;
    let fid = "cAAAAAAAAAAAAAAAAAAAAA";
    // Android's SDK would stay away for a day after a 409.
    let (one, other) = tokio::join!(install(&world, fid), install(&world, fid));
    assert_eq!((&*one.fid, &*other.fid), (fid, fid));
}

#[tokio::test]
async fn a_reinstalled_app_gets_a_new_token_and_ends_the_old_one() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let phone = world.check_in().await;
    let first = install_android(&world).await;
    let old = token(&register_android(&world, &phone, &first).await);
    assert_eq!(old, token(&register_android(&world, &phone, &first).await), "the same app, the same token");
    let second = install_android(&world).await;
    let new = token(&register_android(&world, &phone, &second).await);
    assert!(new.starts_with(&second.fid));
    for gone in [json!({ "token": old }), json!({ "fid": first.fid })] {
        assert_eq!(send(&world, &access, gone).await, unregistered());
    }
    for lives in [json!({ "token": new }), json!({ "fid": second.fid })] {
        assert_eq!(send(&world, &access, lives).await, accepted());
    }
}

#[tokio::test]
async fn a_link_that_was_not_made_is_made_when_the_device_asks_again() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let phone = world.check_in().await;
    let app = install_android(&world).await;
    world.engine.refuse_writes(&[Table::Fids]);
    let cut = register_android(&world, &phone, &app).await;
    assert_eq!(cut.text(), "Error=INTERNAL_SERVER_ERROR");
    world.engine.refuse_writes(&[]);
    assert_eq!(send(&world, &access, json!({ "fid": app.fid })).await, unregistered());
    let token = token(&register_android(&world, &phone, &app).await);
    for target in [json!({ "token": token }), json!({ "fid": app.fid })] {
        assert_eq!(send(&world, &access, target).await, accepted());
    }
}

#[tokio::test]
async fn an_installation_deleted_while_it_registers_leaves_no_token_that_works() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let phone = world.check_in().await;
    let endpoint = subscribe(&world, &phone).await;
    let web = install(&world, "").await;
    let key = world.demo().api_keys[0].clone();
    let refresh = format!("FIS_v2 {}", web.refresh_token);
    let headers = [("x-goog-api-key", &*key), ("authorization", &*refresh)];
    let path = format!("/v1/projects/demo/installations/{}", web.fid);
    let (registered, deleted) =
        tokio::join!(register_web(&world, &web, &endpoint), world.request("DELETE", &path, &headers, ""),);
    assert_eq!(deleted.status, StatusCode::OK);
    if registered.status == StatusCode::OK {
        let token = registered.json()["token"].clone();
        assert_eq!(send(&world, &access, json!({ "token": token })).await, unregistered());
    }
    assert_eq!(send(&world, &access, json!({ "fid": web.fid })).await, unregistered());
}

#[tokio::test]
async fn two_projects_made_at_once_do_not_share_a_number() {
    let world = World::new().await;
    let number = Some("123456789012".parse().unwrap());
    let (one, other) = ("one-project".parse().unwrap(), "other-project".parse().unwrap());
    let made = tokio::join!(
        world.identity.create_project(&one, "", number, world.now()),
        world.identity.create_project(&other, "", number, world.now()),
    );
    assert!(made.0.is_ok() != made.1.is_ok(), "{made:?}");
    let demo = "demo".parse().unwrap();
    let keys = tokio::join!(
        world.identity.add_api_key(&demo, world.now()),
        world.identity.add_api_key(&demo, world.now()),
    );
    for key in [keys.0.unwrap(), keys.1.unwrap()] {
        assert!(world.demo().api_keys.contains(&key), "what is in memory is what was written last");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_with_an_answer_that_makes_clients_try_again() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (phone, registered) = world.android_token().await;
    let app = world.demo().apps[0].id.to_string();
    world.engine.refuse_writes(&Table::ALL);
    let body = json!({ "message": { "token": registered } }).to_string();
    let sent = world.send("demo", &access, &body).await;
    assert_eq!(sent.refusal(), (503, "UNAVAILABLE".to_owned(), "UNAVAILABLE".to_owned()));
    assert_eq!(sent.headers["retry-after"], "5");
    let sender = world.demo().number.to_string();
    let fields = [("app", "com.example.other"), ("sender", &*sender)];
    assert_eq!(world.register3(&phone, &fields).await.text(), "Error=INTERNAL_SERVER_ERROR");
    let key = world.demo().api_keys[0].clone();
    let headers = [("x-goog-api-key", &*key)];
    let body = json!({ "appId": app }).to_string();
    let made = world.request("POST", "/v1/projects/demo/installations", &headers, body).await;
    assert_eq!(made.status, StatusCode::SERVICE_UNAVAILABLE, "a 4xx would keep Android away for a day");
    let new = world.request("POST", "/checkin", &[], crate::world::check_in_body(0, 0)).await;
    assert_eq!(new.status, StatusCode::SERVICE_UNAVAILABLE);
    // A device that is known still comes in, though it cannot be noted that it was seen.
    world.pass(std::time::Duration::from_secs(86_400));
    let body = crate::world::check_in_body(phone.id as i64, phone.security_token);
    assert_eq!(world.request("POST", "/checkin", &[], body).await.status, StatusCode::OK);
}

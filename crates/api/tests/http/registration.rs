//! What a device does over HTTP before it can receive (`protocol/device-registration.md`).

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Answer, Phone, World, check_in_body};

/// The JS SDK's default web key (`protocol/device-registration.md` §2).
pub(crate) const VAPID: &str =
    "BDOU99-h67HcA6JeFXHbSNMu7e2yNNu3RzoMj8TM4W88jITfq7ZmPvIM1Iv-4_l2LxQcYwhqby2xGpWwzjfAnG4";
pub(crate) const SUBTYPE: &str = "wp:https://example.test/#0F3A-V2";

#[tokio::test]
async fn a_device_keeps_its_identity_and_nobody_else_takes_it() {
    let world = World::new().await;
    let phone = world.check_in().await;
    assert!(phone.id < 1 << 63 && phone.security_token < 1 << 63, "clients take them for signed");
    let again =
        world.request("POST", "/checkin", &[], check_in_body(phone.id as i64, phone.security_token)).await;
    let again = cresset_wire::checkin::AndroidCheckinResponse::parse(&again.body).unwrap();
    assert_eq!((again.android_id, again.security_token), (Some(phone.id), Some(phone.security_token)));
    assert!(again.time_msec.unwrap() > 0, "microG refuses to register without");
    for (id, token) in [(phone.id as i64, 1), (12_345, 1)] {
        let heard = world.request("POST", "/checkin", &[], check_in_body(id, token)).await;
        assert_eq!(heard.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(world.request("POST", "/checkin", &[], "garbage").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn microg_checks_in_with_gzip_both_ways() {
    let world = World::new().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &check_in_body(0, 0)).unwrap();
    let headers = [("content-encoding", "gzip"), ("accept-encoding", "gzip")];
    let answer = world.request("POST", "/checkin", &headers, encoder.finish().unwrap()).await;
    assert_eq!(answer.headers["content-encoding"], "gzip");
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&*answer.body), &mut plain).unwrap();
    assert!(cresset_wire::checkin::AndroidCheckinResponse::parse(&plain).unwrap().stats_ok);
}

#[tokio::test]
async fn the_same_registration_gets_the_same_token() {
    let world = World::new().await;
    let phone = world.check_in().await;
    let register = async |scope: &str| {
        let fields = [
            ("app", "org.chromium.linux"),
            ("X-subtype", SUBTYPE),
            ("sender", VAPID),
            ("X-scope", scope),
            ("appid", "abcdefghijk"),
        ];
        world.register3(&phone, &fields).await
    };
    let first = register("GCM").await;
    assert_eq!(first.headers["content-type"], "text/plain; charset=UTF-8");
    let token = first.text().strip_prefix("token=").unwrap();
    assert!(token.starts_with("abcdefghijk:APA91b"), "{token}");
    assert!(!token.contains(|c: char| !(c.is_ascii_alphanumeric() || ":-_".contains(c))));
    assert_eq!(register("GCM").await.text(), first.text());
    assert_ne!(register("FCM").await.text(), first.text());
}

#[tokio::test]
async fn register3_says_what_is_wrong_in_its_codes() {
    let world = World::new().await;
    let phone = world.check_in().await;
    let number = world.demo().number.to_string();
    let cases: [(&[(&str, &str)], &str); 4] = [
        (&[("app", "a"), ("sender", "1234")], "Error=INVALID_SENDER"),
        (&[("app", "a"), ("sender", "not a sender")], "Error=INVALID_SENDER"),
        (&[("app", "a")], "Error=INVALID_PARAMETERS"),
        (&[("sender", &number)], "Error=INVALID_PARAMETERS"),
    ];
    for (fields, expected) in cases {
        let heard = world.register3(&phone, fields).await;
        assert_eq!((heard.status, heard.text()), (StatusCode::OK, expected), "{fields:?}");
    }
    let stranger = Phone { id: phone.id, security_token: 1 };
    let fields = [("app", "a"), ("sender", &*number)];
    assert_eq!(world.register3(&stranger, &fields).await.text(), "Error=PHONE_REGISTRATION_ERROR");
    let login = stranger.login();
    let headers = [("authorization", &*login), ("user-agent", "Android-GCM/1.5")];
    let heard = world.form("/c2dm/register3", &headers, &fields).await;
    assert_eq!(heard.status, StatusCode::UNAUTHORIZED, "Android reads the code only from another status");
    // Chromium asks for this one in every profile, for ever if refused.
    let mapping = [("app", "com.google.android.gms"), ("sender", "745476177629")];
    assert!(world.register3(&phone, &mapping).await.text().starts_with("token="));
}

#[tokio::test]
async fn unregistering_ends_the_token_and_is_always_a_success() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (phone, token) = world.android_token().await;
    let sender = world.demo().number.to_string();
    let to = json!({ "message": { "token": token } }).to_string();
    assert_eq!(world.send("demo", &access, &to).await.status, StatusCode::OK);
    let fields = [
        ("app", "com.example.app"),
        ("X-subtype", &*sender),
        ("sender", "*"),
        ("X-scope", "*"),
        ("delete", "true"),
    ];
    for _ in 0..2 {
        assert_eq!(world.register3(&phone, &fields).await.text(), "token=com.example.app");
    }
    assert_eq!(world.send("demo", &access, &to).await.refusal().2, "UNREGISTERED");
    let old_style = [("app", "com.example.old"), ("delete", "true"), ("gcm_unreg_caller", "false")];
    assert_eq!(world.register3(&phone, &old_style).await.text(), "deleted=com.example.old");
}

pub(crate) struct WebApp {
    pub fid: String,
    pub refresh_token: String,
    pub auth_token: String,
}

pub(crate) async fn install(world: &World, proposed: &str) -> WebApp {
    let demo = world.demo();
    let app = demo.apps.iter().find(|a| a.id.as_str().contains("web")).unwrap();
    let body = json!({ "fid": proposed, "authVersion": "FIS_v2", "appId": app.id.as_str(), "sdkVersion": "w:0.6.24" });
    let headers = [("x-goog-api-key", &*demo.api_keys[0]), ("content-type", "text/plain")];
    let answer = world.request("POST", "/v1/projects/demo/installations", &headers, body.to_string()).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let made = answer.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    assert_eq!(made["authToken"]["expiresIn"], "604800s");
    WebApp {
        fid: text(&made["fid"]),
        refresh_token: text(&made["refreshToken"]),
        auth_token: text(&made["authToken"]["token"]),
    }
}

pub(crate) async fn register_web(world: &World, web: &WebApp, endpoint: &str) -> Answer {
    let key = world.demo().api_keys[0].clone();
    let auth = format!("FIS {}", web.auth_token);
    let headers = [
        ("x-goog-api-key", &*key),
        ("x-goog-firebase-installations-auth", &*auth),
        ("origin", "https://example.test"),
    ];
    let body = json!({ "web": { "endpoint": endpoint, "p256dh": VAPID, "auth": "AAAAAAAAAAAAAAAAAAAAAA==", "applicationPubKey": null } });
    world.request("POST", "/v1/projects/demo/registrations", &headers, body.to_string()).await
}

pub(crate) async fn subscribe(world: &World, phone: &Phone) -> String {
    let fields =
        [("app", "org.chromium.linux"), ("X-subtype", SUBTYPE), ("sender", VAPID), ("X-scope", "GCM")];
    let answer = world.register3(phone, &fields).await;
    format!("https://jmt17.google.com/fcm/send/{}", answer.text().strip_prefix("token=").unwrap())
}

#[tokio::test]
async fn a_web_app_registers_over_its_subscription() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let phone = world.check_in().await;
    let endpoint = subscribe(&world, &phone).await;
    // Most receivers propose a FID that is none; all adopt the answer's.
    let web = install(&world, "not+a/fid==").await;
    assert!(web.fid.parse::<cresset_message::Fid>().is_ok());
    let answer = register_web(&world, &web, &endpoint).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    assert_eq!(answer.headers["access-control-allow-origin"], "https://example.test");
    let token = answer.json()["token"].as_str().unwrap().to_owned();
    assert!(token.starts_with(&format!("{}:APA91b", web.fid)));
    assert_eq!(
        register_web(&world, &web, &endpoint).await.json()["token"],
        token.as_str(),
        "it stays the same"
    );
    for target in [json!({ "token": token }), json!({ "token": web.fid }), json!({ "fid": web.fid })] {
        let body = json!({ "message": target }).to_string();
        assert_eq!(world.send("demo", &access, &body).await.status, StatusCode::OK, "{body}");
    }

    let key = world.demo().api_keys[0].clone();
    let headers = [("x-goog-api-key", &*key), ("x-goog-firebase-installations-auth", &*web.auth_token)];
    let path = format!("/v1/projects/demo/registrations/{token}");
    let stranger = install(&world, "").await;
    let strangers =
        [("x-goog-api-key", &*key), ("x-goog-firebase-installations-auth", &*stranger.auth_token)];
    assert_eq!(world.request("DELETE", &path, &strangers, "").await.status, StatusCode::NOT_FOUND);
    let deleted = world.request("DELETE", &path, &headers, "").await;
    assert_eq!((deleted.status, deleted.text()), (StatusCode::OK, "{}"));
    let body = json!({ "message": { "token": token } }).to_string();
    assert_eq!(world.send("demo", &access, &body).await.refusal().2, "UNREGISTERED");
}

#[tokio::test]
async fn a_fid_that_reads_like_a_failure_is_replaced() {
    let world = World::new().await;
    let phone = world.check_in().await;
    let endpoint = subscribe(&world, &phone).await;
    let web = install(&world, "cErrorAAAAAAAAAAAAAAAA").await;
    assert!(!web.fid.contains("Error"));
    assert_eq!(register_web(&world, &web, &endpoint).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_web_token_ends_with_the_subscription_below_it_or_its_installation() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let phone = world.check_in().await;
    let endpoint = subscribe(&world, &phone).await;
    let web = install(&world, "").await;
    let token = register_web(&world, &web, &endpoint).await.json()["token"].as_str().unwrap().to_owned();
    let body = json!({ "message": { "token": token } }).to_string();
    let fields = [
        ("app", "org.chromium.linux"),
        ("X-subtype", SUBTYPE),
        ("sender", "*"),
        ("X-scope", "*"),
        ("delete", "true"),
    ];
    world.register3(&phone, &fields).await;
    assert_eq!(world.send("demo", &access, &body).await.refusal().2, "UNREGISTERED");
    let endpoint = subscribe(&world, &phone).await;
    assert_eq!(register_web(&world, &web, &endpoint).await.json()["token"], token.as_str());
    assert_eq!(world.send("demo", &access, &body).await.status, StatusCode::OK);

    let key = world.demo().api_keys[0].clone();
    let refresh = format!("FIS_v2 {}", web.refresh_token);
    let headers = [("x-goog-api-key", &*key), ("authorization", &*refresh)];
    let path = format!("/v1/projects/demo/installations/{}", web.fid);
    let renewed = world.request("POST", &format!("{path}/authTokens:generate"), &headers, "{}").await;
    assert_eq!(renewed.status, StatusCode::OK);
    assert_eq!(world.request("DELETE", &path, &headers, "").await.text(), "{}");
    assert_eq!(world.send("demo", &access, &body).await.refusal().2, "UNREGISTERED");
    let gone = world.request("POST", &format!("{path}/authTokens:generate"), &headers, "{}").await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND, "the SDK then makes a new installation");
}

#[tokio::test]
async fn registrations_are_refused_with_a_reason() {
    let world = World::new().await;
    let phone = world.check_in().await;
    let endpoint = subscribe(&world, &phone).await;
    let web = install(&world, "").await;
    let foreign = register_web(&world, &web, "https://updates.push.services.example/wpush/v2/abc").await;
    assert_eq!(foreign.refusal().1, "INVALID_ARGUMENT");
    let key = world.demo().api_keys[0].clone();
    let headers = [("x-goog-api-key", &*key), ("x-goog-firebase-installations-auth", &*web.auth_token)];
    let mut no_point = [7; 65];
    no_point[0] = 4;
    let no_point = cresset_wire::webpush::encode_base64(no_point);
    let body =
        json!({ "web": { "endpoint": endpoint, "p256dh": no_point, "auth": "AAAAAAAAAAAAAAAAAAAAAA" } });
    let heard = world.request("POST", "/v1/projects/demo/registrations", &headers, body.to_string()).await;
    assert_eq!(heard.refusal().1, "INVALID_ARGUMENT", "nothing could ever be encrypted for it");
    assert!(heard.text().contains("p256dh"));
    let forged = WebApp { fid: web.fid.clone(), refresh_token: String::new(), auth_token: "x".into() };
    assert_eq!(register_web(&world, &forged, &endpoint).await.status, StatusCode::UNAUTHORIZED);
    let heard = world.request("POST", "/v1/projects/demo/installations", &headers, "{").await;
    assert_eq!(heard.refusal().1, "INVALID_ARGUMENT");
    assert!(heard.text().contains("Invalid JSON"), "{}", heard.text());
    let body = json!({ "appId": "1:1:web:1" }).to_string();
    for (key, status) in [("", 403), ("AIzaWrong", 400)] {
        let headers = [("x-goog-api-key", key)];
        let heard = world.request("POST", "/v1/projects/demo/installations", &headers, body.clone()).await;
        assert_eq!(heard.status.as_u16(), status, "{}", heard.text());
    }
}

#[tokio::test]
async fn a_browser_may_ask_first() {
    let world = World::new().await;
    let headers = [
        ("origin", "https://example.test"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type,x-goog-api-key,x-goog-firebase-installations-auth"),
    ];
    for path in
        ["/v1/projects/demo/installations", "/v1/projects/demo/registrations", "/fcm/connect/subscribe"]
    {
        let answer = world.request("OPTIONS", path, &headers, "").await;
        assert!(answer.status.is_success());
        assert_eq!(answer.headers["access-control-allow-origin"], "https://example.test");
        assert!(answer.headers["access-control-allow-headers"].to_str().unwrap().contains("x-goog-api-key"));
    }
}

#[tokio::test]
async fn receivers_of_2018_register_by_connect() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let phone = world.check_in().await;
    let endpoint = subscribe(&world, &phone).await;
    let number = world.demo().number.to_string();
    let fields = [
        ("authorized_entity", &*number),
        ("endpoint", &*endpoint),
        ("encryption_key", VAPID),
        ("encryption_auth", "AAAAAAAAAAAAAAAAAAAAAA"),
    ];
    let made = world.form("/fcm/connect/subscribe", &[], &fields).await.json();
    let (token, push_set) = (made["token"].as_str().unwrap(), made["pushSet"].as_str().unwrap());
    let body = json!({ "message": { "token": token, "data": { "k": "v" } } }).to_string();
    assert_eq!(world.send("demo", &access, &body).await.status, StatusCode::OK);
    // App servers have the token; only the client has the push set.
    let strangers = [&fields[..], &[("token", token), ("push_set", token)]].concat();
    let other = world.form("/fcm/connect/subscribe", &[], &strangers).await.json();
    assert_ne!(other["token"], token, "whoever has a token cannot turn its messages to themselves");
    let again = [&fields[..], &[("token", token), ("push_set", push_set)]].concat();
    assert_eq!(world.form("/fcm/connect/subscribe", &[], &again).await.json()["token"], token);
    let stolen = [("authorized_entity", &*number), ("token", token), ("pushSet", token)];
    assert_eq!(world.form("/fcm/connect/unsubscribe", &[], &stolen).await.status, StatusCode::NOT_FOUND);
    let gone = [("authorized_entity", &*number), ("token", token), ("pushSet", push_set)];
    assert_eq!(world.form("/fcm/connect/unsubscribe", &[], &gone).await.status, StatusCode::OK);
    assert_eq!(world.send("demo", &access, &body).await.refusal().2, "UNREGISTERED");
}

/// Walks over all registrations once; says how many ended.
async fn walk(world: &World) -> usize {
    let mut expiry = cresset_identity::Expiry::new();
    let mut ended = 0;
    loop {
        let step = expiry.step(&world.identity, world.now()).await.unwrap();
        ended += step.ended;
        if step.over {
            return ended;
        }
    }
}

#[tokio::test]
async fn a_device_that_stays_away_for_270_days_is_forgotten_with_all_its_registrations() {
    const DAY: Duration = Duration::from_secs(86_400);
    let world = World::new().await;
    let (away, gone_token) = world.android_token().await;
    let (regular, kept_token) = world.android_token().await;
    let send = async |token: &str| {
        let access = world.access_token("demo").await;
        let body = json!({ "message": { "token": token, "data": { "k": "v" } } });
        world.send("demo", &access, &body.to_string()).await
    };
    world.pass(200 * DAY);
    let seen = check_in_body(regular.id as i64, regular.security_token);
    assert_eq!(world.request("POST", "/checkin", &[], seen).await.status, StatusCode::OK);
    assert_eq!(walk(&world).await, 0, "nobody has been away for so long");
    world.pass(71 * DAY);
    assert_eq!(walk(&world).await, 1);
    assert_eq!(send(&gone_token).await.refusal().1, "NOT_FOUND");
    assert_eq!(send(&kept_token).await.status, StatusCode::OK);
    assert_eq!(walk(&world).await, 0, "once");
    let late = check_in_body(away.id as i64, away.security_token);
    let late = world.request("POST", "/checkin", &[], late).await;
    assert_eq!(late.status, StatusCode::UNAUTHORIZED, "it starts over");
}

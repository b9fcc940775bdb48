//! Web Push in: what application servers are answered (`protocol/web-push.md` §2.2 and §2.6).

use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use cresset_delivery::Quotas;
use cresset_message::WebKeys;
use cresset_store::Table;
use cresset_wire::es256::SigningKey;
use cresset_wire::webpush::vapid::VapidKey;
use cresset_wire::webpush::{KeyPair, aes128gcm, encode_base64};
use http::StatusCode;
use serde_json::json;

use crate::world::{Answer, World};

const ORIGIN: &str = "https://localhost:8443";
const STYLES: [&str; 2] = ["/fcm/send/", "/wpush/v2/"];

/// An application server: its key, and a body that it encrypted.
struct Server {
    key: VapidKey,
    body: Vec<u8>,
}

impl Server {
    fn new(scalar: u8) -> Self {
        let key = SigningKey::from_scalar(&[scalar; 32]).unwrap();
        let pair = KeyPair::from_scalar(&[9; 32]).unwrap();
        let keys = WebKeys { p256dh: *pair.public(), auth: [7; 16] };
        let ephemeral = KeyPair::from_scalar(&[8; 32]).unwrap();
        let body = aes128gcm::seal(&keys, b"hello", [1; 16], &ephemeral).unwrap();
        Self { key: VapidKey { key, subject: "mailto:a@b.test".into() }, body }
    }

    fn public(&self) -> String {
        encode_base64(self.key.key.public())
    }

    fn authorization(&self, world: &World, origin: &str) -> String {
        self.key.authorization(origin, world.now(), &SystemRandom::new()).unwrap()
    }

    /// With claims and a header of its own.
    fn signed(&self, header: &str, claims: &serde_json::Value) -> String {
        let jwt = self.key.key.jwt(&SystemRandom::new(), header, &claims.to_string()).unwrap();
        format!("vapid t={jwt}, k={}", self.public())
    }
}

/// The token of a subscription that was made with this sender.
async fn subscription(world: &World, sender: &str, subtype: &str) -> String {
    let phone = world.check_in().await;
    let fields =
        [("app", "org.chromium.linux"), ("X-subtype", subtype), ("sender", sender), ("X-scope", "GCM")];
    world.register3(&phone, &fields).await.text().strip_prefix("token=").unwrap().to_owned()
}

async fn restricted(world: &World, server: &Server) -> String {
    subscription(world, &server.public(), "wp:https://a.test/#1").await
}

async fn post(world: &World, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    world.request("POST", path, headers, body.to_vec()).await
}

const USUAL: [(&str, &str); 2] = [("ttl", "60"), ("content-encoding", "aes128gcm")];

/// Headers in the place of usual ones of the same name; an empty value leaves one out.
fn with<'a>(authorization: &'a str, other: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let own = |name: &str| other.iter().any(|(other, _)| *other == name);
    let usual = USUAL.into_iter().chain([("authorization", authorization)]);
    let usual = usual.filter(|(name, _)| !own(name));
    usual.chain(other.iter().copied()).filter(|(_, value)| *value != "-").collect()
}

#[tokio::test]
async fn a_push_is_accepted_and_says_where_it_is() {
    let world = World::new().await;
    let server = Server::new(3);
    let token = restricted(&world, &server).await;
    for path in ["/fcm/send/", "/wp/", "/preprod/wp/", "/wpush/v1/", "/wpush/v2/"] {
        for token in [token.clone(), token.replace(':', "%3A")] {
            let authorization = server.authorization(&world, ORIGIN);
            let headers = with(&authorization, &[("host", "localhost:8443")]);
            let answer = post(&world, &format!("{path}{token}"), &headers, &server.body).await;
            assert_eq!((answer.status, answer.text()), (StatusCode::CREATED, ""), "{path}");
            assert_eq!(answer.headers["ttl"], "60");
            let location = answer.headers["location"].to_str().unwrap();
            let path = location.strip_prefix(ORIGIN).expect("an absolute URL");
            for _ in 0..2 {
                let answer = world.request("DELETE", path, &[], "").await;
                assert_eq!((answer.status, answer.text()), (StatusCode::NO_CONTENT, ""));
            }
        }
    }
    assert_eq!(world.request("DELETE", "/m/abc", &[], "").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn headers_are_held_to_the_rfc() {
    let world = World::new().await;
    let server = Server::new(3);
    let token = restricted(&world, &server).await;
    let longest = "a".repeat(32);
    let too_long = "a".repeat(33);
    let signing = encode_base64(server.key.key.public());
    let signs_and_encrypts = [&[1; 16][..], &[0, 0, 16, 0, 65], server.key.key.public(), &[0; 40]].concat();
    let dh = format!("dh={signing}");
    let old =
        [("content-encoding", "aesgcm"), ("crypto-key", &*dh), ("encryption", "salt=AAAAAAAAAAAAAAAAAAAAAA")];
    let full = [&server.body[..], &vec![0; 4_096 - server.body.len()]].concat();
    let over = [&full[..], &[0]].concat();
    // What differs from a good push, the body, and the answer of both styles with Mozilla's number.
    let table: &[(&[(&str, &str)], &[u8], u16, u16)] = &[
        (&[("ttl", "-")], &server.body, 400, 111),
        (&[("ttl", "")], &server.body, 400, 111),
        (&[("ttl", "abc")], &server.body, 400, 111),
        (&[("ttl", "1.5")], &server.body, 400, 111),
        (&[("ttl", "-1")], &server.body, 400, 114),
        (&[("ttl", "0")], &server.body, 201, 0),
        (&[("ttl", "99999999999999999999999")], &server.body, 201, 0),
        (&[("topic", &longest)], &server.body, 201, 0),
        (&[("topic", &too_long)], &server.body, 400, 113),
        (&[("topic", "a+b")], &server.body, 400, 113),
        (&[("topic", "")], &server.body, 400, 113),
        (&[("urgency", "very-low")], &server.body, 201, 0),
        (&[("urgency", "HIGH")], &server.body, 201, 0),
        (&[("content-encoding", "-")], &server.body, 400, 110),
        (&[("content-encoding", "gzip2")], &server.body, 400, 110),
        (&[("content-encoding", "-")], b"", 201, 0),
        (&[], b"", 201, 0),
        (&[], &server.body[..102], 400, 110),
        (&[], &full, 201, 0),
        (&[], &over, 413, 104),
        (&[("content-length", "4097")], &server.body, 413, 104),
        (&[("encryption", "salt=AAAA")], &server.body, 400, 110),
        (&[("crypto-key", "dh=AAAA")], &server.body, 400, 110),
        (&[("crypto-key", "p256ecdsa=AAAA")], &server.body, 201, 0),
        (&[], &signs_and_encrypts, 400, 110),
        (&old, &[0; 18], 201, 0),
        (&old, &[0; 17], 400, 110),
        (&old[..2], &[0; 18], 400, 110),
        (&[("prefer", "respond-async")], &server.body, 201, 0),
    ];
    for (differs, body, status, errno) in table {
        for style in STYLES {
            let authorization = server.authorization(&world, ORIGIN);
            let answer = post(&world, &format!("{style}{token}"), &with(&authorization, differs), body).await;
            assert_eq!(answer.status.as_u16(), *status, "{style} {differs:?} {}", answer.text());
            if *status < 400 {
                continue;
            }
            if style == "/wpush/v2/" {
                let told = answer.json();
                assert_eq!(
                    (told["errno"].as_u64(), told["code"].as_u64()),
                    (Some((*errno).into()), Some((*status).into()))
                );
            } else {
                assert!(answer.text().ends_with('\n') && !answer.text().starts_with('{'));
            }
        }
    }
    let authorization = server.authorization(&world, ORIGIN);
    let refused = async |style: &str| {
        let headers = with(&authorization, &[("urgency", "urgent")]);
        post(&world, &format!("{style}{token}"), &headers, &server.body).await.status
    };
    assert_eq!(refused("/wp/").await, StatusCode::BAD_REQUEST);
    assert_eq!(refused("/wpush/v1/").await, StatusCode::CREATED, "Mozilla's service does not look at it");
}

#[tokio::test]
async fn the_granted_time_is_told() {
    let world = World::new().await;
    let server = Server::new(3);
    let token = restricted(&world, &server).await;
    let authorization = server.authorization(&world, ORIGIN);
    for (asked, granted) in [("0", "0"), ("2419200", "2419200"), ("99999999", "2419200")] {
        let headers = with(&authorization, &[("ttl", asked)]);
        let answer = post(&world, &format!("/wp/{token}"), &headers, &server.body).await;
        assert_eq!(answer.headers["ttl"], granted, "{asked}");
    }
}

#[tokio::test]
async fn only_who_has_the_key_of_a_subscription_pushes_to_it() {
    let world = World::new().await;
    let (server, other) = (Server::new(3), Server::new(4));
    let token = restricted(&world, &server).await;
    let now = world.now().as_secs();
    let es256 = r#"{"typ":"JWT","alg":"ES256"}"#;
    let claims = |exp: u64| json!({ "aud": ORIGIN, "exp": exp, "sub": "mailto:a@b.test" });
    let good = server.authorization(&world, ORIGIN);
    let mut broken = good.clone();
    let at = broken.find(", k=").unwrap() - 2;
    let turned = if &broken[at..=at] == "A" { "B" } else { "A" };
    broken.replace_range(at..=at, turned);
    let table: &[(&str, String, u16, &str)] = &[
        ("none", "-".into(), 401, "authorization header must be specified."),
        (
            "another's",
            other.authorization(&world, ORIGIN),
            403,
            "the VAPID credentials in the authorization header do not correspond",
        ),
        ("expired", server.signed(es256, &claims(now - 61)), 403, "token has expired"),
        (
            "for too long",
            server.signed(es256, &claims(now + 25 * 3_600)),
            403,
            "exp claim MUST NOT be more than 24 hours",
        ),
        ("without exp", server.signed(es256, &json!({ "aud": ORIGIN })), 403, "exp claim is missing"),
        ("without aud", server.signed(es256, &json!({ "exp": now + 60 })), 403, "invalid aud claim"),
        (
            "for others",
            server.authorization(&world, "https://updates.push.services.mozilla.com"),
            403,
            "aud claim in the token MUST include",
        ),
        (
            "by another port",
            server.authorization(&world, "https://localhost:9"),
            403,
            "aud claim in the token MUST include",
        ),
        ("badly signed", broken, 403, "invalid JWT provided"),
        ("alg none", server.signed(r#"{"alg":"none"}"#, &claims(now + 60)), 403, "invalid JWT provided"),
        ("RS256", server.signed(r#"{"alg":"RS256"}"#, &claims(now + 60)), 403, "invalid JWT provided"),
        ("legacy key", "key=AAAA".into(), 403, "authorization header had invalid format"),
        ("no key", "vapid t=a.b.c".into(), 403, "authorization header had no public application server key"),
    ];
    for (what, authorization, status, text) in table {
        let headers = with(authorization, &[]);
        let answer = post(&world, &format!("/fcm/send/{token}"), &headers, &server.body).await;
        assert_eq!(answer.status.as_u16(), *status, "{what}: {}", answer.text());
        assert!(answer.text().starts_with(text), "{what}: {}", answer.text());
        let answer = post(&world, &format!("/wpush/v2/{token}"), &headers, &server.body).await;
        assert_eq!((answer.status.as_u16(), answer.json()["errno"].as_u64()), (401, Some(109)), "{what}");
    }
    // Whatever host a page was told, the origin is one that leads here.
    for origin in [ORIGIN, "https://fcm.googleapis.com", "https://jmt17.google.com", "http://localhost:8080"]
    {
        let headers = [("host", "evil.test")];
        let authorization = server.authorization(&world, origin);
        let answer =
            post(&world, &format!("/fcm/send/{token}"), &with(&authorization, &headers), &server.body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{origin}: {}", answer.text());
        assert!(answer.headers["location"].to_str().unwrap().starts_with(ORIGIN), "a host is not believed");
    }
}

#[tokio::test]
async fn an_open_subscription_needs_no_key_but_a_token_that_is_shown_must_be_good() {
    let world = World::new().await;
    let server = Server::new(3);
    let number = world.demo().number.to_string();
    let token = subscription(&world, &number, "wp:https://a.test/#1").await;
    let good = server.authorization(&world, ORIGIN);
    let bad = server.authorization(&world, "https://other.test");
    for (authorization, google) in [("-", 201), (&*good, 201), (&*bad, 403)] {
        let answer = post(&world, &format!("/wp/{token}"), &with(authorization, &[]), &server.body).await;
        assert_eq!(answer.status.as_u16(), google, "{}", answer.text());
    }
}

#[tokio::test]
async fn what_has_no_endpoint_is_not_found_and_what_had_one_is_gone() {
    let world = World::new().await;
    let server = Server::new(3);
    let (_, android) = world.android_token().await;
    let phone = world.check_in().await;
    let key = server.public();
    let names = [("app", "org.chromium.linux"), ("X-subtype", "wp:1"), ("sender", &*key)];
    let token = world.register3(&phone, &names).await.text().strip_prefix("token=").unwrap().to_owned();
    world.register3(&phone, &[&names[..], &[("delete", "true")]].concat()).await;
    let authorization = server.authorization(&world, ORIGIN);
    let foreign = format!("fGw0qy4TGgk:APA91b{}", "x".repeat(134));
    for (token, status, errno) in
        [("abc", 404, 102), (&*android, 404, 102), (&*foreign, 404, 102), (&*token, 410, 106)]
    {
        for style in STYLES {
            let headers = with(&authorization, &[]);
            let answer = post(&world, &format!("{style}{token}"), &headers, &server.body).await;
            assert_eq!(answer.status.as_u16(), status, "{token}");
            if style == "/wpush/v2/" {
                assert_eq!(answer.json()["errno"], errno);
                let cached =
                    answer.headers.get("cache-control").is_some_and(|value| value == "max-age=86400");
                assert_eq!(cached, status == 410);
            }
        }
    }
    let old_api = post(&world, "/fcm/send", &[], b"{}").await;
    assert_eq!(old_api.status, StatusCode::UNAUTHORIZED, "that is another protocol");
}

#[tokio::test]
async fn too_many_are_asked_to_wait_and_a_full_disk_too() {
    let world = World::with_quotas(Quotas { device_per_minute: Some(2), ..Quotas::OFF }).await;
    let server = Server::new(3);
    let token = restricted(&world, &server).await;
    let authorization = server.authorization(&world, ORIGIN);
    let send =
        async || post(&world, &format!("/wpush/v2/{token}"), &with(&authorization, &[]), &server.body).await;
    assert_eq!(send().await.status, StatusCode::CREATED);
    world.engine.refuse_writes(&[Table::Inbox]);
    let answer = send().await;
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (503, &"120".parse().unwrap()));
    world.engine.refuse_writes(&[]);
    let answer = send().await;
    assert_eq!((answer.status.as_u16(), &answer.headers["retry-after"]), (429, &"60".parse().unwrap()));
    world.pass(Duration::from_secs(60));
    assert_eq!(send().await.status, StatusCode::CREATED);
}

#[tokio::test]
async fn any_page_may_push() {
    let world = World::new().await;
    let headers = [
        ("origin", "https://page.test"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,ttl,content-encoding"),
    ];
    let answer = world.request("OPTIONS", "/wpush/v2/abc", &headers, "").await;
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(answer.headers["access-control-allow-headers"], "authorization,ttl,content-encoding");
}

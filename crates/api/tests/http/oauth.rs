//! The token endpoint: `protocol/oauth.md` §2 to §4, each refusal in Google's words.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_grant_has_what_every_library_needs() {
    let world = World::new().await;
    let signer = world.signer("demo").await;
    for path in ["/token", "/o/oauth2/token", "/oauth2/v4/token"] {
        let assertion = signer.sign_with(&signer.claims(world.now()), Some(&signer.key_id));
        let fields =
            [("assertion", &*assertion), ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")];
        let answer = world.form(path, &[], &fields).await;
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.text());
        assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
        assert_eq!(answer.headers["cache-control"], "no-store");
        let body = answer.json();
        assert!(body["access_token"].as_str().unwrap().starts_with("ya29."));
        assert_eq!(body["token_type"], "Bearer");
        assert!(body["expires_in"].is_u64(), "Java and Node want an integer");
    }
}

#[tokio::test]
async fn each_bad_assertion_is_refused_in_googles_words() {
    let world = World::new().await;
    let signer = world.signer("demo").await;
    let now = world.now().as_secs();
    let times = "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat and exp values in the JWT claim.";
    let scope = "Invalid OAuth scope or ID token audience provided.";
    let cases: [(&str, Value, u16, &str, &str); 9] = [
        (
            "iss",
            json!("nobody@demo.iam.gserviceaccount.com"),
            400,
            "invalid_grant",
            "Invalid grant: account not found",
        ),
        (
            "aud",
            json!("https://example.com/token"),
            400,
            "invalid_grant",
            "Invalid JWT: Failed audience check",
        ),
        ("iat", json!(now + 600), 400, "invalid_grant", times),
        ("exp", json!(now + 7_200), 400, "invalid_grant", times),
        ("exp", json!(now - 400), 400, "invalid_grant", times),
        ("scope", json!(""), 400, "invalid_scope", scope),
        ("scope", Value::Null, 400, "invalid_scope", scope),
        ("target_audience", json!("https://a.example"), 400, "invalid_scope", scope),
        (
            "sub",
            json!("someone@example.com"),
            401,
            "unauthorized_client",
            "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.",
        ),
    ];
    for (claim, value, status, error, description) in cases {
        let mut claims = signer.claims(world.now());
        claims[claim] = value.clone();
        let answer = world.grant(&signer.sign(&claims)).await;
        let body = answer.json();
        let heard = (answer.status.as_u16(), body["error"].as_str(), body["error_description"].as_str());
        assert_eq!(heard, (status, Some(error), Some(description)), "{claim} = {value}");
    }
}

#[tokio::test]
async fn a_clock_five_minutes_off_is_forgiven() {
    let world = World::new().await;
    let signer = world.signer("demo").await;
    let mut claims = signer.claims(world.now());
    claims["iat"] = json!(world.now().as_secs() + 290);
    claims["exp"] = json!(world.now().as_secs() + 3_800);
    assert_eq!(world.grant(&signer.sign(&claims)).await.status, StatusCode::OK);
}

#[tokio::test]
async fn forged_and_foreign_signatures_are_refused() {
    let world = World::new().await;
    world.project("other").await;
    let (signer, other) = (world.signer("demo").await, world.signer("other").await);
    let forged = other.sign(&signer.claims(world.now()));
    let answer = world.grant(&forged).await;
    assert_eq!(answer.json()["error_description"], "Invalid JWT Signature.");
    let wrong_kid = signer.sign_with(&signer.claims(world.now()), Some("no such key"));
    assert_eq!(world.grant(&wrong_kid).await.json()["error"], "invalid_grant");
    for garbage in ["x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(world.grant(garbage).await.status, StatusCode::BAD_REQUEST, "{garbage}");
    }
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let world = World::new().await;
    let missing = world.form("/token", &[], &[]).await.json();
    assert_eq!(missing["error_description"], "Missing required parameter: grant_type");
    let odd = world.form("/token", &[], &[("grant_type", "password")]).await.json();
    assert_eq!(
        (odd["error"].as_str(), odd["error_description"].as_str()),
        (Some("unsupported_grant_type"), Some("Invalid grant_type: password"))
    );
    assert_eq!(world.grant("").await.json()["error_description"], "Missing required parameter: assertion");
}

#[tokio::test]
async fn a_refresh_token_gets_an_access_token() {
    let world = World::new().await;
    let file = world.identity.user_credential(&"demo".parse().unwrap()).unwrap().0;
    let refresh = async |id: &str, secret: &str, token: &str| {
        let fields = [
            ("grant_type", "refresh_token"),
            ("client_id", id),
            ("client_secret", secret),
            ("refresh_token", token),
        ];
        world.form("/token", &[], &fields).await
    };
    let text = |name: &str| file[name].as_str().unwrap().to_owned();
    let (id, secret, token) = (text("client_id"), text("client_secret"), text("refresh_token"));
    let good = refresh(&id, &secret, &token).await;
    assert_eq!(good.status, StatusCode::OK);
    let access = good.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(world.send("demo", &access, "{}").await.refusal().0, 400, "it lets its holder in");
    assert_eq!(refresh("x", &secret, &token).await.json()["error"], "invalid_client");
    assert_eq!(refresh(&id, "x", &token).await.json()["error"], "invalid_client");
    assert_eq!(refresh(&id, &secret, "1//x").await.json()["error"], "invalid_grant");
}

#[tokio::test]
async fn a_self_signed_jwt_is_a_credential_by_audience_or_by_scope() {
    let world = World::new().await;
    let signer = world.signer("demo").await;
    let mut by_audience = signer.claims(world.now());
    by_audience["scope"].take();
    by_audience.as_object_mut().unwrap().remove("scope");
    by_audience["sub"] = json!(signer.email);
    by_audience["aud"] = json!("https://fcm.googleapis.com/");
    let by_audience = signer.sign(&by_audience);
    let mut by_scope = signer.claims(world.now());
    by_scope.as_object_mut().unwrap().remove("aud");
    let by_scope = signer.sign(&by_scope);
    for credential in [&by_audience, &by_scope] {
        let (status, _, code) = world.send("demo", credential, "{\"message\":{}}").await.refusal();
        assert_eq!((status, code.as_str()), (400, "INVALID_ARGUMENT"), "past the door, no target");
    }
    world.pass(Duration::from_secs(3_600 + 301));
    let (status, error, _) = world.send("demo", &by_scope, "{\"message\":{}}").await.refusal();
    assert_eq!((status, error.as_str()), (401, "UNAUTHENTICATED"));
}

#[tokio::test]
async fn credentials_of_a_deleted_project_do_not_open_the_next_one_of_its_number() {
    let world = World::new().await;
    let id = "demo".parse().unwrap();
    let number = world.demo().number;
    let file = world.identity.user_credential(&id).unwrap().0;
    let text = |name: &str| file[name].as_str().unwrap().to_owned();
    let fields = [
        ("grant_type", "refresh_token"),
        ("client_id", &*text("client_id")),
        ("client_secret", &*text("client_secret")),
        ("refresh_token", &*text("refresh_token")),
    ];
    let access = world.form("/token", &[], &fields).await.json()["access_token"].as_str().unwrap().to_owned();
    let signer = world.signer("demo").await;
    let mut claims = signer.claims(world.now());
    claims.as_object_mut().unwrap().remove("aud");
    let bearer = signer.sign(&claims);
    assert_eq!(world.send("demo", &bearer, "{}").await.refusal().0, 400, "let in, and remembered");
    world.identity.delete_project(&id, world.now()).await.unwrap();
    world.pass(Duration::from_secs(1));
    world.identity.create_project(&id, "", Some(number), world.now()).await.unwrap();
    let again = world.form("/token", &[], &fields).await;
    assert_eq!(again.json()["error"], "invalid_grant");
    for credential in [&access, &bearer] {
        assert_eq!(world.send("demo", credential, "{}").await.refusal().0, 401);
    }
}

//! `/batch`: many sends in one request (`protocol/topics-and-batch.md` §1).

use std::fmt::Write as _;

use cresset_store::Table;
use http::StatusCode;
use serde_json::{Value, json};

use crate::world::{Answer, World};

const MIXED: &str = "multipart/mixed; boundary=__END_OF_PART__";

/// A batch as Node's SDK writes it.
fn batch(requests: &[Request]) -> String {
    let mut text = String::new();
    for (place, request) in requests.iter().enumerate() {
        let Request { line, headers, body } = request;
        let _ = write!(
            text,
            "--__END_OF_PART__\r\nContent-Type: application/http\r\nContent-ID: {}\r\n\r\n{line}\r\n{headers}\r\n{body}\r\n",
            place + 1
        );
    }
    text + "--__END_OF_PART__--\r\n"
}

#[derive(Clone)]
struct Request {
    line: String,
    headers: String,
    body: String,
}

impl Request {
    fn to(line: &str, body: &Value) -> Self {
        Self { line: line.to_owned(), headers: String::new(), body: body.to_string() }
    }

    fn with(mut self, header: &str) -> Self {
        self.headers.push_str(&format!("{header}\r\n"));
        self
    }
}

const SEND: &str = "POST https://fcm.googleapis.com/v1/projects/demo/messages:send HTTP/1.1";

fn send(token: &str) -> Request {
    Request::to(SEND, &json!({ "message": { "token": token, "data": { "n": "1" } } }))
}

async fn post(world: &World, path: &str, credential: Option<&str>, body: &str) -> Answer {
    let authorization = format!("Bearer {}", credential.unwrap_or_default());
    let mut headers = vec![("content-type", MIXED)];
    headers.extend(credential.map(|_| ("authorization", &*authorization)));
    world.request("POST", path, &headers, body.to_owned()).await
}

/// The answers within an answer: id, status, headers, body.
fn inner(answer: &Answer) -> Vec<(String, u16, String, Value)> {
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text());
    let content_type = answer.headers["content-type"].to_str().unwrap();
    let boundary = content_type.strip_prefix("multipart/mixed; boundary=").unwrap();
    let text = answer.text().strip_suffix(&format!("--{boundary}--\r\n")).unwrap();
    let read = |part: &str| {
        let (about, http) = part.split_once("\r\n\r\n").unwrap();
        let id = about.lines().find_map(|line| line.strip_prefix("Content-ID: ")).unwrap_or_default();
        let (head, body) = http.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (id.to_owned(), status, head.to_owned(), serde_json::from_str(body).unwrap())
    };
    text.split(&format!("--{boundary}\r\n")).skip(1).map(read).collect()
}

fn statuses(answer: &Answer) -> Vec<u16> {
    inner(answer).into_iter().map(|(_, status, ..)| status).collect()
}

async fn stored(world: &World, phone: &crate::world::Phone) -> usize {
    world.engine.rows(Table::Inbox, &phone.id.to_be_bytes()).await
}

#[tokio::test]
async fn each_part_is_answered_for_itself_in_the_order_of_the_request() {
    let world = World::new().await;
    world.project("other").await;
    let access = world.access_token("demo").await;
    let (phone, token) = world.android_token().await;
    let foreign = format!("fGw0qy4TGgk:APA91b{}", "x".repeat(134));
    let to_other = Request::to("POST /v1/projects/other/messages:send", &json!({ "message": {} }));
    let requests = [send(&token), send("not-a-token"), send(&token), send(&foreign), to_other, send(&token)];
    let answer = post(&world, "/batch", Some(&access), &batch(&requests)).await;
    let heard = inner(&answer);
    let expected: [(u16, &str); 6] = [
        (200, ""),
        (400, "INVALID_ARGUMENT"),
        (200, ""),
        (404, "NOT_FOUND"),
        (403, "PERMISSION_DENIED"),
        (200, ""),
    ];
    for (place, ((id, status, head, body), expected)) in heard.iter().zip(expected).enumerate() {
        assert_eq!(*id, format!("response-{}", place + 1));
        assert_eq!((*status, body["error"]["status"].as_str().unwrap_or_default()), expected, "{head}");
        assert!(head.contains("\r\nContent-Type: application/json; charset=UTF-8"), "{head}");
        assert_eq!(
            body["name"].as_str().is_some_and(|n| n.starts_with("projects/demo/messages/")),
            *status == 200
        );
    }
    assert_eq!(heard[3].3["error"]["details"][0]["errorCode"], "UNREGISTERED");
    assert_eq!(stored(&world, &phone).await, 3, "what was answered is in the store");
}

#[tokio::test]
async fn a_part_is_answered_as_if_it_had_come_alone() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (_phone, token) = world.android_token().await;
    let bodies =
        ["{}", "not JSON", "{\"message\":{\"token\":1}}", "{\"message\":{\"token\":\"x\"}}", "{\"to\":1}"];
    let request = |body: &&str| Request { body: (*body).to_owned(), ..send(&token) };
    let requests: Vec<_> = bodies.iter().map(request).collect();
    let heard = inner(&post(&world, "/batch", Some(&access), &batch(&requests)).await);
    for (body, (_, status, _, answer)) in bodies.iter().zip(heard) {
        let alone = world.send("demo", &access, body).await;
        assert_eq!((status, answer), (alone.status.as_u16(), alone.json()), "{body}");
    }
}

#[tokio::test]
async fn validate_only_and_the_query_are_each_parts_own() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (phone, token) = world.android_token().await;
    let dry = Request::to(SEND, &json!({ "message": { "token": token }, "validate_only": true }));
    let odd = Request { line: SEND.replace(" HTTP", "?foo=1 HTTP"), ..send(&token) };
    let plain = Request { line: SEND.replace(" HTTP", "?prettyPrint=false HTTP"), ..send(&token) };
    let answer = post(&world, "/batch", Some(&access), &batch(&[dry, odd, plain])).await;
    assert_eq!(statuses(&answer), [200, 400, 200]);
    assert!(answer.text().contains("\r\n\r\n{\"name\":\"projects/demo/messages/"));
    assert_eq!(stored(&world, &phone).await, 1);
}

#[tokio::test]
async fn a_parts_own_credential_stands_for_the_outer_one() {
    let world = World::new().await;
    world.project("other").await;
    let (access, others) = (world.access_token("demo").await, world.access_token("other").await);
    let (_phone, token) = world.android_token().await;
    let requests = [
        send(&token),
        send(&token).with(&format!("AUTHORIZATION: Bearer {others}")),
        send(&token).with("Authorization: Bearer ya29.forged"),
        send(&token).with("Authorization: Basic abc"),
        send(&token).with(&format!("authorization: bearer {access}")),
    ];
    let heard = post(&world, "/batch", Some(&access), &batch(&requests)).await;
    assert_eq!(statuses(&heard), [200, 403, 401, 401, 200]);
    let challenge =
        "\r\nWww-Authenticate: Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\"";
    assert!(inner(&heard)[2].2.contains(challenge), "{}", heard.text());
    // With none for the whole, each has its own or fails alone.
    let heard = post(&world, "/batch", None, &batch(&requests)).await;
    assert_eq!(statuses(&heard), [401, 403, 401, 401, 200]);
}

#[tokio::test]
async fn a_batch_without_a_good_credential_is_refused_whole() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let requests = batch(&[send("x")]);
    let none = post(&world, "/batch", None, &requests).await;
    assert_eq!(none.refusal().1, "UNAUTHENTICATED");
    assert!(none.text().contains("CREDENTIALS_MISSING"));
    // Before the body is looked at.
    let forged = post(&world, "/batch", Some("ya29.forged"), "not a batch").await;
    assert_eq!(forged.refusal().0, 401);
    assert!(forged.headers.contains_key("www-authenticate"));
    let in_query = format!("/batch?access_token={access}");
    assert_eq!(statuses(&post(&world, &in_query, None, &requests).await), [400]);
    world.pass(std::time::Duration::from_secs(3_700));
    let expired = post(&world, "/batch", Some(&access), &requests).await;
    assert!(expired.text().contains("ACCESS_TOKEN_EXPIRED"), "{}", expired.text());
}

#[tokio::test]
async fn what_is_no_send_is_not_found() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let request = |line: &str| Request::to(line, &json!({ "message": {} }));
    let requests = [
        request("GET /v1/projects/demo/messages:send HTTP/1.1"),
        request("POST /v1/projects/demo/messages:read HTTP/1.1"),
        request("POST /batch HTTP/1.1"),
        request("POST /v1/projects//messages:send"),
        request("POST /v1/projects/demo/installations"),
        request("POST /projects/demo/messages%3Asend"),
    ];
    let heard = post(&world, "/batch", Some(&access), &batch(&requests)).await;
    assert_eq!(statuses(&heard), [404, 404, 404, 404, 404, 400]);
    assert_eq!(inner(&heard)[1].3["error"]["status"], "NOT_FOUND");
}

#[tokio::test]
async fn gos_endpoint_takes_batches_and_nothing_else() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (_phone, token) = world.android_token().await;
    for path in ["/v1", "/v1/"] {
        let heard = post(&world, path, Some(&access), &batch(&[send(&token)])).await;
        assert_eq!(statuses(&heard), [200], "{path}");
        let headers = [("content-type", "application/json")];
        assert_eq!(world.request("POST", path, &headers, "{}").await.status, StatusCode::NOT_FOUND);
        assert_eq!(world.request("GET", path, &[], "").await.status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn what_is_no_batch_is_refused_whole() {
    let world = World::new().await;
    let access = format!("Bearer {}", world.access_token("demo").await);
    let good = batch(&[send("x")]);
    for (content_type, body, what) in [
        ("application/json", "{}", "multipart/mixed"),
        ("multipart/mixed", &*good, "boundary"),
        (MIXED, "{}", "closing boundary"),
        (MIXED, "--__END_OF_PART__--", "no parts"),
        (MIXED, &*batch(&vec![send("x"); 501]), "more than 500 parts"),
        (MIXED, &*good.replace("POST", "POST a b"), "Part 1"),
        (MIXED, &*" ".repeat(8_200_000), "exceeds the limit: 8192000 bytes"),
    ] {
        let headers = [("authorization", &*access), ("content-type", content_type)];
        let heard = world.request("POST", "/batch", &headers, body.to_owned()).await;
        assert_eq!((heard.status.as_u16(), &*heard.refusal().1), (400, "INVALID_ARGUMENT"), "{what}");
        assert!(heard.text().contains(what), "{what}: {}", heard.text());
    }
    let strangers = post(&world, "/batch", None, &" ".repeat(300_000)).await;
    assert!(strangers.text().contains("exceeds the limit: 262144 bytes"), "{}", strangers.text());
    let odd = [("authorization", &*access), ("content-type", MIXED)];
    let heard = world.request("POST", "/batch?foo=1", &odd, good).await;
    assert!(heard.text().contains("Unknown name \\\"foo\\\""), "{}", heard.text());
}

#[tokio::test]
async fn five_hundred_of_the_largest_messages_fit() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (phone, token) = world.android_token().await;
    let body = format!(
        "{{\"message\":{{\"token\":\"{token}\",\"data\":{{\"k\":\"{}\"}}}}}}",
        "\\u00fc".repeat(2_047)
    );
    let large = Request { body, ..send(&token).with(&format!("Authorization: Bearer {access}")) };
    let heard = post(&world, "/batch", Some(&access), &batch(&vec![large.clone(); 500])).await;
    assert_eq!(statuses(&heard), [200; 500]);
    assert!(stored(&world, &phone).await > 0);
    // A part has the bound of a send that comes alone.
    let padded = Request { body: " ".repeat(131_073), ..large };
    let heard = post(&world, "/batch", Some(&access), &batch(&[padded, send(&token)])).await;
    assert_eq!(statuses(&heard), [400, 200]);
    assert!(heard.text().contains("exceeds the limit: 131072 bytes"));
}

#[tokio::test]
async fn a_full_disk_fails_the_parts_and_says_when_to_come_back() {
    let world = World::new().await;
    let access = world.access_token("demo").await;
    let (phone, token) = world.android_token().await;
    world.engine.refuse_writes(&[Table::Inbox]);
    let heard = post(&world, "/batch", Some(&access), &batch(&[send(&token), send("x")])).await;
    assert_eq!(statuses(&heard), [503, 400]);
    assert!(inner(&heard)[0].2.contains("\r\nRetry-After: 5"), "{}", heard.text());
    assert_eq!(stored(&world, &phone).await, 0);
}

//! App servers of old, by XMPP: what they send arrives, what devices send reaches them, and neither is
//! lost.

use cresset_device_client::Upstream;
use cresset_e2e::{Device, FromServer, Outcome, RawXmpp, TestServer, World, patiently, xmpp_message};
use cresset_wire::xmpp::namespace;
use serde_json::{Value, json};

use crate::support::next;

/// The app of the devices here.
const PACKAGE: &str = "com.example.demo";

async fn coming(xmpp: &mut RawXmpp) -> FromServer {
    patiently("a stanza", xmpp.next()).await.unwrap()
}

async fn bare(xmpp: &mut RawXmpp) -> Value {
    match coming(xmpp).await {
        FromServer::Bare(json) => json,
        other => panic!("{other:?}"),
    }
}

async fn upstream(xmpp: &mut RawXmpp) -> Value {
    match coming(xmpp).await {
        FromServer::Upstream(json) => json,
        other => panic!("{other:?}"),
    }
}

/// A question that is answered after everything before it.
async fn ping(xmpp: &mut RawXmpp) -> Outcome<()> {
    xmpp.write(&format!("<iq type='get' id='p'><ping xmlns='{}'/></iq>", namespace::PING)).await
}

fn said(world: &World, device: &Device, n: u32) -> Upstream {
    Upstream {
        sender_id: world.sender_id.clone(),
        category: PACKAGE.into(),
        token: device.token.clone(),
        message_id: n.to_string(),
        persistent_id: format!("p-{n}"),
        data: vec![("n".into(), n.to_string())],
        ttl_seconds: 3_600,
    }
}

#[tokio::test]
async fn what_is_acked_arrives() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut phone = world.connect(&device).await.unwrap();
    let mut xmpp = world.app_server().await.unwrap();
    let sent = json!({ "to": device.token, "message_id": "m-1", "data": { "word": "a<&>b" } });
    let ack = xmpp.accept(&sent).await.unwrap();
    assert_eq!(ack, json!({ "message_type": "ack", "from": device.token, "message_id": "m-1" }));
    assert_eq!(next(&mut phone).await.get("word"), Some("a<&>b"));

    let topic = json!({ "to": "/topics/nobody", "message_id": "m-2", "data": { "word": "x" } });
    assert_eq!(xmpp.accept(&topic).await.unwrap()["from"], "/topics/nobody");
    let condition = json!({ "condition": "'a' in topics", "message_id": "m-3" });
    assert_eq!(xmpp.accept(&condition).await.unwrap()["from"], "'a' in topics");
}

#[tokio::test]
async fn what_is_wrong_is_told_in_fcms_words() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut xmpp = world.app_server().await.unwrap();
    let to = device.token.as_str();
    let nacks = [
        (json!({ "to": "tokA", "message_id": "1" }), "BAD_REGISTRATION", "Invalid token on 'to' field: tokA"),
        (
            json!({ "to": to, "message_id": "2", "time_to_live": "600" }),
            "INVALID_JSON",
            "InvalidJson: JSON_TYPE_ERROR : Field \"time_to_live\" must be a JSON java.lang.Number: \"600\"",
        ),
        (
            json!({ "to": to, "message_id": "3", "time_to_live": -1 }),
            "INVALID_JSON",
            "InvalidJson : INVALID_TTL : Invalid value (-1) for \"time_to_live\": must be between 0 and \"2419200\"",
        ),
    ];
    for (sent, code, why) in nacks {
        xmpp.send(&sent).await.unwrap();
        let nack = json!({
            "message_type": "nack", "message_id": sent["message_id"], "from": sent["to"],
            "error": code, "error_description": why,
        });
        assert_eq!(bare(&mut xmpp).await, nack);
    }
    xmpp.accept(&json!({ "to": to, "message_id": "4" })).await.unwrap();
    xmpp.send(&json!({ "to": to, "message_id": "4" })).await.unwrap();
    let twice = bare(&mut xmpp).await;
    assert_eq!(twice["error_description"], "Message with the same id has been received before");

    xmpp.send(&json!({ "to": to, "data": { "k": "v" } })).await.unwrap();
    let FromServer::Stanza(error) = coming(&mut xmpp).await else { panic!("no stanza error") };
    let told = error.child("error", namespace::CLIENT).unwrap();
    assert_eq!(told.attribute("code"), Some("400"));
    let why = "InvalidJson: JSON_PARSING_ERROR : Missing Required Field: message_id";
    assert_eq!(told.child("text", namespace::STANZAS).unwrap().text, why);
    assert!(error.child("gcm", namespace::GCM).is_some(), "it is sent back");

    xmpp.send(&json!({ "to": to, "message_id": "9", "message_type": "ack" })).await.unwrap();
    let FromServer::Stanza(stray) = coming(&mut xmpp).await else { panic!("no stanza error") };
    assert_eq!(stray.child("error", namespace::CLIENT).unwrap().attribute("code"), Some("406"));

    xmpp.write("<message><gcm>{not xml</message>").await.unwrap();
    let FromServer::Stanza(error) = coming(&mut xmpp).await else { panic!("no stream error") };
    assert!(error.child("invalid-xml", namespace::STREAMS).is_some(), "{error:?}");
    assert_eq!(coming(&mut xmpp).await, FromServer::Closed);
}

#[tokio::test]
async fn only_the_key_of_the_sender_lets_in() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let address = world.running.xmpp.unwrap();
    for (user, key) in [(world.sender_id.as_str(), "AAAAwrong:APA91b"), ("1", &world.server_key), ("x", "y")]
    {
        let mut xmpp = RawXmpp::connect(address, &world.trust).await.unwrap();
        xmpp.open().await.unwrap();
        let failure = xmpp.authenticate(user, key).await.unwrap();
        assert!(failure.is("failure", namespace::SASL), "{failure:?}");
        assert!(failure.child("not-authorized", namespace::SASL).is_some(), "{failure:?}");
        assert_eq!(coming(&mut xmpp).await, FromServer::Closed);
    }
    // A bare sender id, as half of the clients have it.
    let mut xmpp = RawXmpp::connect(address, &world.trust).await.unwrap();
    xmpp.open().await.unwrap();
    assert!(
        xmpp.authenticate(&world.sender_id, &world.server_key).await.unwrap().is("success", namespace::SASL)
    );
}

#[tokio::test]
async fn many_are_under_way_at_once_and_each_is_answered_once() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut xmpp = world.app_server().await.unwrap();
    let all: String = (0..1_500)
        .map(|n| {
            xmpp_message(
                &json!({ "to": device.token, "message_id": n.to_string(), "data": { "n": n.to_string() } }),
            )
        })
        .collect();
    let mut answered = std::collections::BTreeSet::new();
    // More than may be pending: nobody is sent away for it.
    xmpp.write(&all).await.unwrap();
    while answered.len() < 1_500 {
        let answer = bare(&mut xmpp).await;
        assert_eq!(answer["message_type"], "ack", "{answer}");
        assert!(answered.insert(answer["message_id"].as_str().unwrap().to_owned()), "{answer}");
    }
    let mut phone = world.connect(&device).await.unwrap();
    for n in 0..1_500 {
        let message = next(&mut phone).await;
        assert_eq!(message.get("n"), Some(n.to_string().as_str()), "in the order of the stream");
        phone.acknowledge(&message).await.unwrap();
    }
}

#[tokio::test]
async fn a_device_is_told_that_its_message_is_taken_and_its_app_server_gets_it() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut phone = world.connect(&device).await.unwrap();
    // Nobody is there yet: it waits.
    let frame = phone.upstream(&said(&world, &device, 1)).await.unwrap();
    assert!(patiently("an ack", phone.wait_until_taken(frame)).await.unwrap());
    let mut xmpp = world.app_server().await.unwrap();
    let first = upstream(&mut xmpp).await;
    let expected = json!({
        "category": PACKAGE, "data": { "n": "1" }, "time_to_live": 3_600, "message_id": "1",
        "from": device.token,
    });
    assert_eq!(first, expected);
    let frame = phone.upstream(&said(&world, &device, 2)).await.unwrap();
    assert!(patiently("an ack", phone.wait_until_taken(frame)).await.unwrap());
    let second = upstream(&mut xmpp).await;
    assert_eq!(second["message_id"], "2");

    // What is not acked goes to another connection; what is acked does not.
    xmpp.acknowledge(&second).await.unwrap();
    ping(&mut xmpp).await.unwrap();
    assert!(matches!(coming(&mut xmpp).await, FromServer::Stanza(_)));
    drop(xmpp);
    let mut other = world.app_server().await.unwrap();
    assert_eq!(upstream(&mut other).await, first);
    other.acknowledge(&first).await.unwrap();
    // The same once more by the device: it was there.
    let frame = phone.upstream(&said(&world, &device, 1)).await.unwrap();
    assert!(patiently("an ack", phone.wait_until_taken(frame)).await.unwrap());
    let frame = phone.upstream(&said(&world, &device, 3)).await.unwrap();
    assert!(patiently("an ack", phone.wait_until_taken(frame)).await.unwrap());
    assert_eq!(upstream(&mut other).await["message_id"], "3");
}

#[tokio::test]
async fn a_message_of_somebody_else_is_dropped_and_the_device_need_not_keep_it() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut xmpp = world.app_server().await.unwrap();
    let mut phone = world.connect(&device).await.unwrap();
    let other_app = Upstream { category: "com.example.other".into(), ..said(&world, &device, 1) };
    let other_project = Upstream { sender_id: "4711".into(), ..said(&world, &device, 2) };
    let too_large = Upstream { data: vec![("k".into(), "v".repeat(4_096))], ..said(&world, &device, 3) };
    for message in [other_app, other_project, too_large, said(&world, &device, 4)] {
        let frame = phone.upstream(&message).await.unwrap();
        assert!(patiently("an ack", phone.wait_until_taken(frame)).await.unwrap());
    }
    assert_eq!(upstream(&mut xmpp).await["message_id"], "4");
}

#[tokio::test]
async fn a_receipt_comes_when_the_device_has_the_message() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut xmpp = world.app_server().await.unwrap();
    for (id, wanted) in [("m-1", true), ("m-2", false)] {
        let sent = json!({ "to": device.token, "message_id": id, "delivery_receipt_requested": wanted });
        xmpp.accept(&sent).await.unwrap();
    }
    let mut phone = world.connect(&device).await.unwrap();
    for _ in 0..2 {
        let message = next(&mut phone).await;
        phone.acknowledge(&message).await.unwrap();
    }
    let mut receipt = upstream(&mut xmpp).await;
    let sent_at = receipt["data"]["message_sent_timestamp"].take();
    assert!(sent_at.as_str().is_some_and(|text| text.parse::<u64>().is_ok()), "{sent_at}");
    let expected = json!({
        "message_type": "receipt", "from": "gcm.googleapis.com", "message_id": "dr2:m-1", "category": PACKAGE,
        "data": {
            "message_status": "MESSAGE_SENT_TO_DEVICE", "original_message_id": "m-1",
            "device_registration_id": device.token, "message_sent_timestamp": null,
        },
    });
    assert_eq!(receipt, expected);
    // Without its prefix, as one client has it.
    let ack = json!({ "to": "gcm.googleapis.com", "message_id": "m-1", "message_type": "ack" });
    xmpp.send(&ack).await.unwrap();
    ping(&mut xmpp).await.unwrap();
    let FromServer::Stanza(pong) = coming(&mut xmpp).await else { panic!("no pong") };
    assert_eq!(pong.attribute("id"), Some("p"), "the ack was taken without a word");
}

#[tokio::test]
async fn a_server_that_stops_says_so_and_lets_what_is_under_way_finish() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut xmpp = world.app_server().await.unwrap();
    let mut phone = world.connect(&device).await.unwrap();
    let frame = phone.upstream(&said(&world, &device, 1)).await.unwrap();
    assert!(patiently("an ack", phone.wait_until_taken(frame)).await.unwrap());
    let unacked = upstream(&mut xmpp).await;
    let stopping = tokio::spawn(server.stop());
    let draining = json!({ "message_type": "control", "control_type": "CONNECTION_DRAINING" });
    assert_eq!(bare(&mut xmpp).await, draining);
    xmpp.send(&json!({ "to": device.token, "message_id": "m-1" })).await.unwrap();
    assert_eq!(bare(&mut xmpp).await["error"], "CONNECTION_DRAINING");
    xmpp.acknowledge(&unacked).await.unwrap();
    assert_eq!(coming(&mut xmpp).await, FromServer::Closed);
    stopping.await.unwrap().unwrap();
}

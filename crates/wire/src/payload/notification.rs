//! What a browser that speaks Mozilla's protocol is told of a push (`protocol/web-push.md` §2.4).

use aws_lc_rs::rand::SecureRandom;
use cresset_message::{Layout, RawPush};
use serde_json::{Value, json};

use super::stanza::{Envelope, Payload, seal};
use crate::webpush::{WebPushError, encode_base64};

/// The frame. Its version is the message's id, and what the browser acknowledges.
pub fn notification(envelope: &Envelope<'_>, randomness: &dyn SecureRandom) -> Result<String, WebPushError> {
    let sealed;
    let push = match (&envelope.recipient.layout, envelope.payload) {
        (Layout::WebPush { .. }, Payload::Push(push)) => push,
        (Layout::WebPush { .. }, Payload::Message(_)) => &RawPush::Empty,
        (Layout::WebApp { keys, coding, .. }, Payload::Message(message)) => {
            sealed = seal(envelope, message, keys, *coding, randomness)?;
            &sealed
        }
        _ => return Err(WebPushError::Elsewhere),
    };
    let mut told = json!({
        "messageType": "notification",
        // Its subscription was registered as an app of this name.
        "channelID": envelope.recipient.category,
        "version": envelope.id.to_string(),
    });
    if let Some(headers) = headers(push) {
        told["data"] = encode_base64(push.body()).into();
        told["headers"] = headers;
    }
    Ok(told.to_string())
}

fn headers(push: &RawPush) -> Option<Value> {
    match push {
        RawPush::Empty => None,
        RawPush::Aes128gcm(_) => Some(json!({ "encoding": "aes128gcm" })),
        // Without padding here.
        RawPush::Aesgcm { encryption, crypto_key, .. } => Some(json!({
            "encoding": "aesgcm",
            "encryption": encryption.trim_end_matches('='),
            "crypto_key": crypto_key.trim_end_matches('='),
        })),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use aws_lc_rs::rand::SystemRandom;
    use cresset_message::{Message, MessageId, Priority, WebCoding, WebKeys};

    use super::super::samples;
    use super::*;
    use crate::webpush::{KeyPair, aes128gcm, decode_base64};

    const ID: MessageId = MessageId { micros: 1_711_623_408_410_794, unique: 0x7031_b2e6_f9fd_7ecd };
    const CHANNEL: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    fn build(payload: Payload<'_>, layout: Layout) -> Result<Value, WebPushError> {
        let recipient = cresset_message::Recipient { category: CHANNEL.into(), ..samples::recipient(layout) };
        let envelope = Envelope {
            id: ID,
            payload,
            recipient: &recipient,
            priority: Priority::High,
            collapse_key: Some("topic"),
            ttl: Duration::from_secs(60),
        };
        Ok(serde_json::from_str(&notification(&envelope, &SystemRandom::new())?).unwrap())
    }

    fn bare() -> Layout {
        Layout::WebPush { sender: String::new(), subtype: String::new() }
    }

    #[test]
    fn a_push_is_told_in_its_own_coding() {
        let aesgcm = RawPush::Aesgcm {
            body: vec![1, 2],
            encryption: "salt=AA==".into(),
            crypto_key: "dh=BB==".into(),
        };
        for (push, expected) in [
            (RawPush::Empty, json!({})),
            (
                RawPush::Aes128gcm(vec![251, 255]),
                json!({ "data": "-_8", "headers": { "encoding": "aes128gcm" } }),
            ),
            (
                aesgcm,
                json!({ "data": "AQI", "headers": { "encoding": "aesgcm", "encryption": "salt=AA", "crypto_key": "dh=BB" } }),
            ),
        ] {
            let mut whole = json!({
                "messageType": "notification", "channelID": CHANNEL,
                "version": "0:1711623408410794%7031b2e6f9fd7ecd",
            });
            whole.as_object_mut().unwrap().extend(expected.as_object().unwrap().clone());
            assert_eq!(build(Payload::Push(&push), bare()), Ok(whole));
        }
    }

    #[test]
    fn a_web_app_opens_what_it_gets() {
        let pair = KeyPair::generate(&SystemRandom::new()).unwrap();
        let keys = WebKeys { p256dh: *pair.public(), auth: [9; 16] };
        let (sender, subtype) = (String::new(), String::new());
        let layout = Layout::WebApp { sender, subtype, keys, coding: WebCoding::Aes128gcm };
        let message = Message { data: vec![("k".into(), "v".into())], ..samples::message() };
        let told = build(Payload::Message(&message), layout).unwrap();
        assert_eq!(told["headers"], json!({ "encoding": "aes128gcm" }));
        let body = decode_base64(told["data"].as_str().unwrap()).unwrap();
        let opened = aes128gcm::open(&pair, &[9; 16], &body).unwrap();
        assert!(opened.ends_with(br#""data":{"k":"v"}}"#));
    }

    #[test]
    fn what_is_in_clear_is_not_for_browsers() {
        let layout = Layout::Raw { sender: "1".into() };
        assert_eq!(build(Payload::Message(&samples::message()), layout), Err(WebPushError::Elsewhere));
    }
}

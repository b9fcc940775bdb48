//! The envelope: the `DataMessageStanza` of each layout (`protocol/payload-layout.md` §2 and §4).

use std::time::Duration;

use aws_lc_rs::rand::SecureRandom;
use cresset_message::{Layout, Message, MessageId, Priority, RawPush, Recipient, WebCoding, WebKeys, limits};

use super::{android, topic_or, web_app};
use crate::mcs::{AppData, DataMessageStanza, stanza_id};
use crate::webpush::{KeyPair, WebPushError, aes128gcm, aesgcm, random};

/// One message for one registration, as its stanza needs to know it.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    pub id: MessageId,
    pub payload: Payload<'a>,
    pub recipient: &'a Recipient,
    pub priority: Priority,
    pub collapse_key: Option<&'a str>,
    /// As the sender gave it.
    pub ttl: Duration,
}

/// What it brings.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'a> {
    Message(&'a Message),
    /// What an application server encrypted.
    Push(&'a RawPush),
}

/// The stanza without stream fields, which are the connection's. `randomness` makes salt and key
/// of messages that are sealed.
pub fn stanza(
    envelope: &Envelope<'_>,
    randomness: &dyn SecureRandom,
) -> Result<DataMessageStanza, WebPushError> {
    let common = common(envelope);
    match (&envelope.recipient.layout, envelope.payload) {
        (Layout::Raw { sender }, Payload::Message(message)) => Ok(DataMessageStanza {
            from: topic_or(message, || sender.clone()),
            app_data: android(message, envelope.recipient),
            ..common
        }),
        (Layout::WebPush { sender, subtype }, Payload::Message(_)) => {
            Ok(pushed(sender, subtype, RawPush::Empty, common))
        }
        (Layout::WebPush { sender, subtype }, Payload::Push(push)) => {
            Ok(pushed(sender, subtype, push.clone(), common))
        }
        (Layout::WebApp { sender, subtype, keys, coding }, Payload::Message(message)) => {
            Ok(pushed(sender, subtype, seal(envelope, message, keys, *coding, randomness)?, common))
        }
        (Layout::Raw { .. } | Layout::WebApp { .. }, Payload::Push(_))
        | (Layout::WebService { .. } | Layout::Apns { .. }, _) => Err(WebPushError::Elsewhere),
    }
}

/// What a browser finds its subscription and its keys by (`protocol/payload-layout.md` §4): any other
/// `from` than the sender it registered with loses the push.
fn pushed(sender: &str, subtype: &str, push: RawPush, common: DataMessageStanza) -> DataMessageStanza {
    let mut app_data = vec![AppData::new("subtype", subtype)];
    let raw_data = match push {
        RawPush::Empty => None,
        RawPush::Aes128gcm(body) => {
            app_data.push(AppData::new("content-encoding", "aes128gcm"));
            Some(body)
        }
        RawPush::Aesgcm { body, encryption, crypto_key } => {
            app_data.push(AppData::new("encryption", encryption));
            app_data.push(AppData::new("crypto-key", crypto_key));
            Some(body)
        }
    };
    DataMessageStanza { from: sender.to_owned(), app_data, raw_data, ..common }
}

/// What an app in clear is told of messages that it will not get: no payload, and how many
/// (`protocol/payload-layout.md` §3.4).
pub fn deleted_messages(id: MessageId, recipient: &Recipient, total: u32) -> DataMessageStanza {
    let from = match &recipient.layout {
        Layout::Raw { sender } | Layout::WebPush { sender, .. } | Layout::WebApp { sender, .. } => {
            sender.clone()
        }
        // They are never told.
        Layout::WebService { .. } | Layout::Apns { .. } => String::new(),
    };
    DataMessageStanza {
        from,
        app_data: vec![
            AppData::new("message_type", "deleted_messages"),
            AppData::new("total_deleted", total.to_string()),
        ],
        ..addressed(id, recipient, limits::MAX_TTL)
    }
}

fn common(envelope: &Envelope<'_>) -> DataMessageStanza {
    DataMessageStanza {
        token: envelope.collapse_key.map(str::to_owned),
        // Chromium then acknowledges at once (`protocol/mcs.md` §7); others do not look.
        immediate_ack: (envelope.priority == Priority::High).then_some(true),
        ..addressed(envelope.id, envelope.recipient, envelope.ttl)
    }
}

/// What every stanza for a recipient says.
fn addressed(id: MessageId, recipient: &Recipient, ttl: Duration) -> DataMessageStanza {
    DataMessageStanza {
        id: Some(stanza_id(id)),
        category: recipient.category.clone(),
        persistent_id: Some(id.to_string()),
        ttl: Some(i32::try_from(ttl.as_secs()).unwrap_or(i32::MAX)),
        sent: Some((id.micros / 1_000) as i64),
        ..DataMessageStanza::default()
    }
}

/// A message for a web app, as its browser reads it.
pub(super) fn seal(
    envelope: &Envelope<'_>,
    message: &Message,
    keys: &WebKeys,
    coding: WebCoding,
    randomness: &dyn SecureRandom,
) -> Result<RawPush, WebPushError> {
    let plaintext = web_app(message, envelope.recipient, envelope.id, envelope.priority);
    let (salt, pair) = (random(randomness)?, KeyPair::generate(randomness)?);
    match coding {
        WebCoding::Aes128gcm => aes128gcm::seal(keys, &plaintext, salt, &pair).map(RawPush::Aes128gcm),
        WebCoding::Aesgcm => {
            let aesgcm::Sealed { crypto_key, encryption, body } =
                aesgcm::seal(keys, &plaintext, salt, &pair)?;
            Ok(RawPush::Aesgcm { body, encryption, crypto_key })
        }
    }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use cresset_message::Target;

    use super::super::samples;
    use super::*;

    const ID: MessageId = MessageId { micros: 1_711_623_408_410_794, unique: 0x7031_b2e6_f9fd_7ecd };

    fn build(message: &Message, layout: Layout) -> DataMessageStanza {
        build_payload(Payload::Message(message), layout).unwrap()
    }

    fn build_payload(payload: Payload<'_>, layout: Layout) -> Result<DataMessageStanza, WebPushError> {
        let recipient = samples::recipient(layout);
        let envelope = Envelope {
            id: ID,
            payload,
            recipient: &recipient,
            priority: Priority::High,
            collapse_key: Some("score"),
            ttl: Duration::from_secs(2_419_200),
        };
        stanza(&envelope, &SystemRandom::new())
    }

    fn expected(from: &str) -> DataMessageStanza {
        DataMessageStanza {
            id: Some("F9FD7ECD".into()),
            from: from.into(),
            category: "com.example.app".into(),
            token: Some("score".into()),
            persistent_id: Some("0:1711623408410794%7031b2e6f9fd7ecd".into()),
            ttl: Some(2_419_200),
            sent: Some(1_711_623_408_410),
            immediate_ack: Some(true),
            ..Default::default()
        }
    }

    #[test]
    fn a_raw_stanza_says_who_sent_it() {
        let sender = || Layout::Raw { sender: "745476177629".into() };
        let app_data = vec![AppData::new("google.c.sender.id", "123456789012")];
        let mut message = samples::message();
        assert_eq!(
            build(&message, sender()),
            DataMessageStanza { app_data: app_data.clone(), ..expected("745476177629") }
        );
        message.target = Target::Topic("news".into());
        assert_eq!(build(&message, sender()), DataMessageStanza { app_data, ..expected("/topics/news") });
    }

    #[test]
    fn a_bare_subscription_gets_an_event_without_data() {
        let layout = Layout::WebPush { sender: "BDOU".into(), subtype: "wp:https://a.test/#1-V2".into() };
        let app_data = vec![AppData::new("subtype", "wp:https://a.test/#1-V2")];
        assert_eq!(build(&samples::message(), layout), DataMessageStanza { app_data, ..expected("BDOU") });
    }

    #[test]
    fn what_an_application_server_encrypted_is_carried_unchanged() {
        let layout = || Layout::WebPush { sender: "BDOU".into(), subtype: "wp:1".into() };
        let aesgcm = RawPush::Aesgcm {
            body: vec![1, 2],
            encryption: "salt=AA==".into(),
            crypto_key: "dh=BB==".into(),
        };
        let parameters = [("encryption", "salt=AA=="), ("crypto-key", "dh=BB==")];
        let coding = [("content-encoding", "aes128gcm")];
        for (push, parameters, raw_data) in [
            (aesgcm, &parameters[..], Some(vec![1, 2])),
            (RawPush::Aes128gcm(vec![3]), &coding[..], Some(vec![3])),
            (RawPush::Empty, &[][..], None),
        ] {
            let given = [&[("subtype", "wp:1")][..], parameters].concat();
            let app_data = given.into_iter().map(|(key, value)| AppData::new(key, value)).collect();
            let made = build_payload(Payload::Push(&push), layout()).unwrap();
            assert_eq!(made, DataMessageStanza { app_data, raw_data, ..expected("BDOU") });
        }
        let raw = Layout::Raw { sender: "1".into() };
        assert_eq!(build_payload(Payload::Push(&RawPush::Empty), raw), Err(WebPushError::Elsewhere));
    }

    #[test]
    fn deleted_messages_are_told_by_their_number() {
        let recipient = samples::recipient(Layout::Raw { sender: "745476177629".into() });
        let app_data =
            vec![AppData::new("message_type", "deleted_messages"), AppData::new("total_deleted", "101")];
        let plain = DataMessageStanza { token: None, immediate_ack: None, ..expected("745476177629") };
        assert_eq!(deleted_messages(ID, &recipient, 101), DataMessageStanza { app_data, ..plain });
    }

    #[test]
    fn a_web_app_opens_what_it_gets() {
        let pair = KeyPair::generate(&SystemRandom::new()).unwrap();
        let keys = WebKeys { p256dh: *pair.public(), auth: [9; 16] };
        let subtype = "wp:receiver.push.com#1".to_owned();
        let coding = WebCoding::Aesgcm;
        let layout = Layout::WebApp { sender: "BDOU".into(), subtype: subtype.clone(), keys, coding };
        let message = Message {
            target: Target::Topic("news".into()),
            data: vec![("k".into(), "v".into())],
            ..samples::message()
        };
        let mut stanza = build(&message, layout);
        let keys: Vec<_> = stanza.app_data.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(keys, ["subtype", "encryption", "crypto-key"]);
        assert_eq!(stanza.get("subtype"), Some(subtype.as_str()));
        let (crypto_key, encryption) = (stanza.get("crypto-key").unwrap(), stanza.get("encryption").unwrap());
        let body = stanza.raw_data.as_ref().unwrap();
        let opened = aesgcm::open(&pair, &[9; 16], crypto_key, encryption, body).unwrap();
        assert!(opened.starts_with(br#"{"from":"/topics/news","#));
        stanza.raw_data = None;
        stanza.app_data.clear();
        assert_eq!(stanza, expected("BDOU"));
    }
}

//! What Firefox and its push service say to each other: one JSON object a text frame
//! (`protocol/web-push.md` §2.4).

use std::fmt;
use std::str::FromStr;

use cresset_message::MessageId;
use serde_json::{Map, Value, json};

use crate::webpush::decode_base64;

/// Bytes of a frame of a browser. A hello with the versions of all that Firefox watches has some 1 KB, and
/// an acknowledgement of a full batch less.
pub const MAX_FRAME: usize = 16 * 1_024;

/// Who a browser is: 32 hexadecimal digits, which it shows and nobody else knows.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Uaid {
    pub device: u64,
    pub secret: u64,
}

impl fmt::Display for Uaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:016x}", self.device, self.secret)
    }
}

impl fmt::Debug for Uaid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Uaid({})", self.device)
    }
}

/// Not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 32 hexadecimal digits")]
pub struct NoUaid;

impl FromStr for Uaid {
    type Err = NoUaid;

    fn from_str(text: &str) -> Result<Self, NoUaid> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(NoUaid);
        }
        let half = |text| u64::from_str_radix(text, 16).map_err(|_| NoUaid);
        Ok(Self { device: half(&text[..16])?, secret: half(&text[16..])? })
    }
}

/// A subscription of a browser, by the name that it gave it: a UUID, lower case, with dashes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Channel(Box<str>);

impl Channel {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let dash = |at: usize| matches!(at, 8 | 13 | 18 | 23);
        let fits = |(at, byte): (usize, u8)| match dash(at) {
            true => byte == b'-',
            false => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        };
        (text.len() == 36 && text.bytes().enumerate().all(fits)).then(|| Self(text.into()))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a browser says.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// `None`: it has no identity, or none that could be ours.
    Hello {
        uaid: Option<Uaid>,
    },
    /// `Err`: there is a key, and it is none.
    Register {
        channel: Channel,
        key: Result<Option<[u8; 65]>, NoKey>,
    },
    Unregister {
        channel: Channel,
    },
    /// What it has, could not decrypt or could not deliver: it will not be asked again.
    Ack(Vec<Update>),
    /// Its page failed with what it had acknowledged.
    Nack,
    /// It wants to hear of changes, of which there are none.
    BroadcastSubscribe,
    Ping,
}

/// Not an uncompressed point in base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid key: it is no uncompressed P-256 point in base64url")]
pub struct NoKey;

/// One acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Update {
    /// `None`: no version of ours.
    pub id: Option<MessageId>,
    /// Whether the page got it.
    pub delivered: bool,
}

/// Why a frame is none of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("not a JSON object")]
    Json,
    #[error("no message of this protocol")]
    Kind,
    #[error("channelID is no UUID")]
    Channel,
    #[error("a field is missing")]
    Field,
}

impl Incoming {
    pub fn parse(text: &str) -> Result<Self, Unreadable> {
        let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(text) else {
            return Err(Unreadable::Json);
        };
        let Some(kind) = fields.get("messageType") else {
            return if fields.is_empty() { Ok(Self::Ping) } else { Err(Unreadable::Kind) };
        };
        match kind.as_str().unwrap_or_default() {
            "hello" => {
                let uaid = fields.get("uaid").and_then(Value::as_str);
                Ok(Self::Hello { uaid: uaid.and_then(|text| text.parse().ok()) })
            }
            "register" => Ok(Self::Register { channel: channel(&fields)?, key: key(&fields) }),
            "unregister" => Ok(Self::Unregister { channel: channel(&fields)? }),
            "ack" => acknowledged(&fields).map(Self::Ack),
            "nack" => Ok(Self::Nack),
            "broadcast_subscribe" => Ok(Self::BroadcastSubscribe),
            "ping" => Ok(Self::Ping),
            _ => Err(Unreadable::Kind),
        }
    }
}

fn channel(fields: &Map<String, Value>) -> Result<Channel, Unreadable> {
    let text = fields.get("channelID").and_then(Value::as_str);
    text.and_then(Channel::parse).ok_or(Unreadable::Channel)
}

fn key(fields: &Map<String, Value>) -> Result<Option<[u8; 65]>, NoKey> {
    match fields.get("key") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => match decode_base64(text).map(<[u8; 65]>::try_from) {
            Some(Ok(point)) if point[0] == 4 => Ok(Some(point)),
            _ => Err(NoKey),
        },
        Some(_) => Err(NoKey),
    }
}

fn acknowledged(fields: &Map<String, Value>) -> Result<Vec<Update>, Unreadable> {
    let updates = fields.get("updates").and_then(Value::as_array).ok_or(Unreadable::Field)?;
    let read = |update: &Value| Update {
        id: update["version"].as_str().and_then(|text| text.parse().ok()),
        delivered: matches!(update["code"].as_u64(), None | Some(100)),
    };
    Ok(updates.iter().map(read).collect())
}

/// The answer to a hello.
pub fn hello(uaid: Uaid) -> String {
    // There are no broadcasts here.
    let answer = json!({
        "messageType": "hello", "uaid": uaid.to_string(), "status": 200, "use_webpush": true,
        "broadcasts": {},
    });
    answer.to_string()
}

/// The answer to a register: the endpoint, or with another status what is wrong.
pub fn registered(channel: &Channel, status: u16, endpoint: &str) -> String {
    let answer = json!({
        "messageType": "register", "channelID": channel.as_str(), "status": status,
        "pushEndpoint": endpoint,
    });
    answer.to_string()
}

pub fn unregistered(channel: &Channel, status: u16) -> String {
    json!({ "messageType": "unregister", "channelID": channel.as_str(), "status": status }).to_string()
}

/// The answer to a ping.
pub const PONG: &str = "{}";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::webpush::encode_base64_padded;

    const CHANNEL: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    fn channel() -> Channel {
        Channel::parse(CHANNEL).unwrap()
    }

    #[test]
    fn what_firefox_says_is_read() {
        let uaid = Uaid { device: 0x1234, secret: 0xabcd };
        let point = [4; 65];
        let key = encode_base64_padded(point);
        let id = "0:1711623408410794%7031b2e6f9fd7ecd";
        let version: MessageId = id.parse().unwrap();
        for (text, expected) in [
            (
                r#"{"messageType":"hello","broadcasts":{},"use_webpush":true}"#.to_owned(),
                Incoming::Hello { uaid: None },
            ),
            (
                format!(
                    r#"{{"messageType":"hello","broadcasts":{{"a":"\"1\""}},"use_webpush":true,"uaid":"{uaid}"}}"#
                ),
                Incoming::Hello { uaid: Some(uaid) },
            ),
            (r#"{"messageType":"hello","uaid":""}"#.into(), Incoming::Hello { uaid: None }),
            (r#"{"messageType":"hello","uaid":7,"channelIDs":["x"]}"#.into(), Incoming::Hello { uaid: None }),
            (
                format!(r#"{{"channelID":"{CHANNEL}","messageType":"register","key":"{key}"}}"#),
                Incoming::Register { channel: channel(), key: Ok(Some(point)) },
            ),
            (
                format!(r#"{{"channelID":"{CHANNEL}","messageType":"register"}}"#),
                Incoming::Register { channel: channel(), key: Ok(None) },
            ),
            (
                format!(r#"{{"channelID":"{CHANNEL}","messageType":"register","key":"AAAA"}}"#),
                Incoming::Register { channel: channel(), key: Err(NoKey) },
            ),
            (
                format!(r#"{{"channelID":"{CHANNEL}","messageType":"unregister","code":200}}"#),
                Incoming::Unregister { channel: channel() },
            ),
            (
                format!(
                    r#"{{"messageType":"ack","updates":[{{"channelID":"{CHANNEL}","version":"{id}","code":100}},{{"channelID":"{CHANNEL}","version":"{id}"}},{{"version":"{id}","code":101}},{{}}]}}"#
                ),
                Incoming::Ack(vec![
                    Update { id: Some(version), delivered: true },
                    Update { id: Some(version), delivered: true },
                    Update { id: Some(version), delivered: false },
                    Update { id: None, delivered: true },
                ]),
            ),
            (format!(r#"{{"messageType":"nack","version":"{id}","code":302}}"#), Incoming::Nack),
            (r#"{"messageType":"broadcast_subscribe","broadcasts":{}}"#.into(), Incoming::BroadcastSubscribe),
            ("{}".into(), Incoming::Ping),
            (r#"{"messageType":"ping"}"#.into(), Incoming::Ping),
        ] {
            assert_eq!(Incoming::parse(&text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn anything_else_is_none_of_the_protocol() {
        let upper = CHANNEL.to_uppercase();
        for (text, expected) in [
            ("".to_owned(), Unreadable::Json),
            ("[]".into(), Unreadable::Json),
            ("{".into(), Unreadable::Json),
            (r#"{"a":1}"#.into(), Unreadable::Kind),
            (r#"{"messageType":7}"#.into(), Unreadable::Kind),
            (r#"{"messageType":"purge"}"#.into(), Unreadable::Kind),
            (r#"{"messageType":"register"}"#.into(), Unreadable::Channel),
            (format!(r#"{{"messageType":"register","channelID":"{upper}"}}"#), Unreadable::Channel),
            (
                format!(r#"{{"messageType":"unregister","channelID":"{}"}}"#, CHANNEL.replace('-', "")),
                Unreadable::Channel,
            ),
            (r#"{"messageType":"ack","updates":{}}"#.into(), Unreadable::Field),
            ("[".repeat(100_000), Unreadable::Json),
        ] {
            assert_eq!(Incoming::parse(&text), Err(expected), "{text}");
        }
    }

    #[test]
    fn answers_are_as_firefox_reads_them() {
        let read = |text: String| serde_json::from_str::<Value>(&text).unwrap();
        let uaid = Uaid { device: 1, secret: 2 };
        let told = read(hello(uaid));
        assert_eq!(told["uaid"].as_str().unwrap().parse(), Ok(uaid));
        assert_eq!((&told["status"], &told["use_webpush"]), (&json!(200), &json!(true)));
        let told = read(registered(&channel(), 200, "https://a.test/wpush/v2/x"));
        assert_eq!(
            (&told["channelID"], &told["pushEndpoint"]),
            (&json!(CHANNEL), &json!("https://a.test/wpush/v2/x"))
        );
        assert_eq!(read(unregistered(&channel(), 200))["status"], 200);
    }

    proptest! {
        #[test]
        fn every_uaid_survives_its_text(device: u64, secret: u64) {
            let uaid = Uaid { device, secret };
            prop_assert_eq!(uaid.to_string().parse(), Ok(uaid));
        }

        #[test]
        fn any_text_is_read_without_panic(text in ".{0,200}") {
            let _ = Incoming::parse(&text);
            let _ = text.parse::<Uaid>();
        }
    }
}

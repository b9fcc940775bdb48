//! The messages of `protocol/mcs.md` §4 (proto2). `required` fields are written even when empty:
//! microG's and the Node parsers refuse a message that lacks one. Reading is lenient.

use prost::Message;

/// [`Extension::id`] of a [`SelectiveAck`].
pub const SELECTIVE_ACK: i32 = 12;
/// [`Extension::id`] of a stream acknowledgement, whose data is empty.
pub const STREAM_ACK: i32 = 13;

#[derive(Clone, PartialEq, Message)]
pub struct HeartbeatPing {
    #[prost(int32, optional, tag = "1")]
    pub stream_id: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub last_stream_id_received: Option<i32>,
    #[prost(int64, optional, tag = "3")]
    pub status: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HeartbeatAck {
    #[prost(int32, optional, tag = "1")]
    pub stream_id: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub last_stream_id_received: Option<i32>,
    #[prost(int64, optional, tag = "3")]
    pub status: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Close {}

#[derive(Clone, PartialEq, Message)]
pub struct Setting {
    #[prost(string, required, tag = "1")]
    pub name: String,
    #[prost(string, required, tag = "2")]
    pub value: String,
}

/// One pair of a message's payload.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct AppData {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(string, required, tag = "2")]
    pub value: String,
}

impl AppData {
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct Extension {
    #[prost(int32, required, tag = "1")]
    pub id: i32,
    #[prost(bytes = "vec", required, tag = "2")]
    pub data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct ErrorInfo {
    #[prost(int32, required, tag = "1")]
    pub code: i32,
    #[prost(string, optional, tag = "2")]
    pub message: Option<String>,
    #[prost(string, optional, tag = "3")]
    pub r#type: Option<String>,
    #[prost(message, optional, tag = "4")]
    pub extension: Option<Extension>,
}

#[derive(Clone, PartialEq, Message)]
pub struct HeartbeatStat {
    #[prost(string, required, tag = "1")]
    pub ip: String,
    #[prost(bool, required, tag = "2")]
    pub timeout: bool,
    #[prost(int32, required, tag = "3")]
    pub interval_ms: i32,
}

#[derive(Clone, PartialEq, Message)]
pub struct HeartbeatConfig {
    #[prost(bool, optional, tag = "1")]
    pub upload_stat: Option<bool>,
    #[prost(string, optional, tag = "2")]
    pub ip: Option<String>,
    #[prost(int32, optional, tag = "3")]
    pub interval_ms: Option<i32>,
}

/// Field 22, Chromium's diagnostics, is left out: prost skips what it does not know.
#[derive(Clone, PartialEq, Message)]
pub struct LoginRequest {
    #[prost(string, required, tag = "1")]
    pub id: String,
    #[prost(string, required, tag = "2")]
    pub domain: String,
    /// The android id, decimal.
    #[prost(string, required, tag = "3")]
    pub user: String,
    #[prost(string, required, tag = "4")]
    pub resource: String,
    /// The security token, decimal.
    #[prost(string, required, tag = "5")]
    pub auth_token: String,
    #[prost(string, optional, tag = "6")]
    pub device_id: Option<String>,
    #[prost(int64, optional, tag = "7")]
    pub last_rmq_id: Option<i64>,
    #[prost(message, repeated, tag = "8")]
    pub setting: Vec<Setting>,
    /// Received, and not known to be acknowledged. microG joins several with `|`.
    #[prost(string, repeated, tag = "10")]
    pub received_persistent_id: Vec<String>,
    #[prost(bool, optional, tag = "12")]
    pub adaptive_heartbeat: Option<bool>,
    #[prost(message, optional, tag = "13")]
    pub heartbeat_stat: Option<HeartbeatStat>,
    #[prost(bool, optional, tag = "14")]
    pub use_rmq2: Option<bool>,
    #[prost(int64, optional, tag = "15")]
    pub account_id: Option<i64>,
    /// 2 is ANDROID_ID; not required, because @aracna/fcm omits it.
    #[prost(int32, optional, tag = "16")]
    pub auth_service: Option<i32>,
    #[prost(int32, optional, tag = "17")]
    pub network_type: Option<i32>,
    #[prost(int64, optional, tag = "18")]
    pub status: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LoginResponse {
    #[prost(string, required, tag = "1")]
    pub id: String,
    #[prost(string, optional, tag = "2")]
    pub jid: Option<String>,
    /// Its mere presence means failure to microG and the Python clients.
    #[prost(message, optional, tag = "3")]
    pub error: Option<ErrorInfo>,
    #[prost(message, repeated, tag = "4")]
    pub setting: Vec<Setting>,
    #[prost(int32, optional, tag = "5")]
    pub stream_id: Option<i32>,
    /// 1 on success, always: @aracna/fcm and Chromium need it.
    #[prost(int32, optional, tag = "6")]
    pub last_stream_id_received: Option<i32>,
    #[prost(message, optional, tag = "7")]
    pub heartbeat_config: Option<HeartbeatConfig>,
    /// Milliseconds since 1970.
    #[prost(int64, optional, tag = "8")]
    pub server_timestamp: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum IqType {
    Get = 0,
    Set = 1,
    Result = 2,
    IqError = 3,
}

#[derive(Clone, PartialEq, Message)]
pub struct IqStanza {
    #[prost(int64, optional, tag = "1")]
    pub rmq_id: Option<i64>,
    #[prost(enumeration = "IqType", required, tag = "2")]
    pub r#type: i32,
    #[prost(string, required, tag = "3")]
    pub id: String,
    #[prost(string, optional, tag = "4")]
    pub from: Option<String>,
    #[prost(string, optional, tag = "5")]
    pub to: Option<String>,
    #[prost(message, optional, tag = "6")]
    pub error: Option<ErrorInfo>,
    #[prost(message, optional, tag = "7")]
    pub extension: Option<Extension>,
    #[prost(string, optional, tag = "8")]
    pub persistent_id: Option<String>,
    #[prost(int32, optional, tag = "9")]
    pub stream_id: Option<i32>,
    #[prost(int32, optional, tag = "10")]
    pub last_stream_id_received: Option<i32>,
    #[prost(int64, optional, tag = "11")]
    pub account_id: Option<i64>,
    #[prost(int64, optional, tag = "12")]
    pub status: Option<i64>,
}

impl IqStanza {
    /// The stanza both sides use to carry an extension: type SET and an empty id.
    pub fn carrying(id: i32, data: Vec<u8>) -> Self {
        Self { r#type: IqType::Set.into(), extension: Some(Extension { id, data }), ..Self::default() }
    }

    /// The persistent ids of a SelectiveAck; empty for any other extension or unreadable data.
    pub fn selective_ack(&self) -> Vec<String> {
        let Some(extension) = self.extension.as_ref().filter(|e| e.id == SELECTIVE_ACK) else {
            return Vec::new();
        };
        SelectiveAck::decode(extension.data.as_slice()).unwrap_or_default().id
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct SelectiveAck {
    #[prost(string, repeated, tag = "1")]
    pub id: Vec<String>,
}

impl SelectiveAck {
    /// The stanza that carries it.
    pub fn into_iq(self) -> IqStanza {
        IqStanza::carrying(SELECTIVE_ACK, self.encode_to_vec())
    }
}

#[derive(Clone, PartialEq, Message)]
pub struct DataMessageStanza {
    #[prost(int64, optional, tag = "1")]
    pub rmq_id: Option<i64>,
    #[prost(string, optional, tag = "2")]
    pub id: Option<String>,
    #[prost(string, required, tag = "3")]
    pub from: String,
    #[prost(string, optional, tag = "4")]
    pub to: Option<String>,
    #[prost(string, required, tag = "5")]
    pub category: String,
    /// The collapse key.
    #[prost(string, optional, tag = "6")]
    pub token: Option<String>,
    #[prost(message, repeated, tag = "7")]
    pub app_data: Vec<AppData>,
    #[prost(bool, optional, tag = "8")]
    pub from_trusted_server: Option<bool>,
    #[prost(string, optional, tag = "9")]
    pub persistent_id: Option<String>,
    #[prost(int32, optional, tag = "10")]
    pub stream_id: Option<i32>,
    #[prost(int32, optional, tag = "11")]
    pub last_stream_id_received: Option<i32>,
    #[prost(string, optional, tag = "12")]
    pub permission: Option<String>,
    #[prost(string, optional, tag = "13")]
    pub reg_id: Option<String>,
    #[prost(string, optional, tag = "14")]
    pub pkg_signature: Option<String>,
    #[prost(string, optional, tag = "15")]
    pub client_id: Option<String>,
    #[prost(int64, optional, tag = "16")]
    pub device_user_id: Option<i64>,
    /// Seconds, as the sender asked for.
    #[prost(int32, optional, tag = "17")]
    pub ttl: Option<i32>,
    /// Milliseconds since 1970 downstream, seconds upstream.
    #[prost(int64, optional, tag = "18")]
    pub sent: Option<i64>,
    #[prost(int32, optional, tag = "19")]
    pub queued: Option<i32>,
    #[prost(int64, optional, tag = "20")]
    pub status: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "21")]
    pub raw_data: Option<Vec<u8>>,
    #[prost(int32, optional, tag = "22")]
    pub max_delay: Option<i32>,
    #[prost(int32, optional, tag = "23")]
    pub actual_delay: Option<i32>,
    /// Asks for a StreamAck at once.
    #[prost(bool, optional, tag = "24")]
    pub immediate_ack: Option<bool>,
    #[prost(bool, optional, tag = "25")]
    pub delivery_receipt_requested: Option<bool>,
}

impl DataMessageStanza {
    /// The value of an `app_data` key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.app_data.iter().find(|pair| pair.key == key).map(|pair| pair.value.as_str())
    }
}

//! MCS, the protocol of the persistent device connection (`protocol/mcs.md`): its messages, and
//! the frames they travel in. The order of frames is the session's business (`device`).

mod codec;
mod messages;

pub use codec::{
    Decoder, FrameError, Incoming, MAX_PAYLOAD, Role, VERSION, encode, encode_copy, stanza_id, template,
};
pub use messages::{
    AppData, Close, DataMessageStanza, ErrorInfo, Extension, HeartbeatAck, HeartbeatConfig, HeartbeatPing,
    HeartbeatStat, IqStanza, IqType, LoginRequest, LoginResponse, SELECTIVE_ACK, STREAM_ACK, SelectiveAck,
    Setting,
};

/// Everything that may be sent or understood. Sending any other tag makes Chromium, microG and
/// push-receiver drop the connection (`protocol/mcs.md` §3), so no other can be expressed.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    HeartbeatPing(HeartbeatPing),
    HeartbeatAck(HeartbeatAck),
    LoginRequest(Box<LoginRequest>),
    LoginResponse(Box<LoginResponse>),
    Close(Close),
    Iq(Box<IqStanza>),
    Data(Box<DataMessageStanza>),
}

const DATA_TAG: u8 = 8;

impl Frame {
    /// The tag byte (`protocol/mcs.md` §3).
    pub fn tag(&self) -> u8 {
        match self {
            Self::HeartbeatPing(_) => 0,
            Self::HeartbeatAck(_) => 1,
            Self::LoginRequest(_) => 2,
            Self::LoginResponse(_) => 3,
            Self::Close(_) => 4,
            Self::Iq(_) => 7,
            Self::Data(_) => DATA_TAG,
        }
    }

    /// How many of our frames the sender says it has: the piggy-backed acknowledgement of
    /// `protocol/mcs.md` §6. Zero says nothing, as an absent field does.
    pub fn last_stream_id_received(&self) -> u32 {
        let value = match self {
            Self::HeartbeatPing(m) => m.last_stream_id_received,
            Self::HeartbeatAck(m) => m.last_stream_id_received,
            Self::LoginResponse(m) => m.last_stream_id_received,
            Self::Iq(m) => m.last_stream_id_received,
            Self::Data(m) => m.last_stream_id_received,
            Self::LoginRequest(_) | Self::Close(_) => None,
        };
        value.and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
    }
}

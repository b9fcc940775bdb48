//! Frames to bytes and back: `version frame*`, `frame = tag size payload` (`protocol/mcs.md` §2).

use std::io::Write as _;

use cresset_message::MessageId;
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};

use super::{DATA_TAG, DataMessageStanza, Frame};

/// What we send as version, and want to see: @aracna/fcm accepts nothing lower.
pub const VERSION: u8 = 41;
/// What old peers send; nothing differs on the wire.
const OLD_VERSION: u8 = 38;
/// No frame needs more: a message is 4 KiB, a login that lists a thousand received ids 40 KiB.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// A varint32 has no more bytes than this.
const MAX_VARINT: usize = 5;

/// Why a stream cannot be read on. The connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the peer speaks version {0}")]
    Version(u8),
    #[error("a frame's size has more than {MAX_VARINT} bytes")]
    Size,
    #[error("a frame of {0} bytes, more than {MAX_PAYLOAD}")]
    TooLarge(u64),
    #[error("the payload of tag {0} cannot be read")]
    Payload(u8),
}

/// Who reads: versions are checked differently at the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Client,
}

impl Role {
    /// Servers take 41 and 38. Clients take any later version too, as Chromium does.
    fn accepts(self, version: u8) -> bool {
        match self {
            Self::Server => version == VERSION || version == OLD_VERSION,
            Self::Client => version >= VERSION || version == OLD_VERSION,
        }
    }
}

/// One frame as it came.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    Frame(Frame),
    /// A tag without meaning here, skipped by its size. It counts as a frame of the stream.
    Unknown(u8),
}

/// Takes frames off a stream of bytes that arrives in pieces.
///
/// Between frames it holds no memory but itself: a server keeps one per connection, and most
/// connections are silent. A frame that is not complete yet is kept until it is.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    version_seen: bool,
    partial: Vec<u8>,
}

impl Decoder {
    pub fn new(role: Role) -> Self {
        Self { role, version_seen: false, partial: Vec::new() }
    }

    /// Whether a frame has begun and not ended.
    pub fn is_inside_frame(&self) -> bool {
        !self.partial.is_empty()
    }

    /// The bytes kept for an unfinished frame.
    pub fn buffered(&self) -> usize {
        self.partial.capacity()
    }

    /// Takes the next frame off the front of `input`; `None` when all of it is used up.
    /// After an error nothing sensible follows.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, FrameError> {
        if !self.version_seen && !self.take_version(input)? {
            return Ok(None);
        }
        if self.partial.is_empty() {
            return self.next_in_place(input);
        }
        self.next_in_pieces(input)
    }

    fn take_version(&mut self, input: &mut &[u8]) -> Result<bool, FrameError> {
        let Some((&version, rest)) = input.split_first() else { return Ok(false) };
        if !self.role.accepts(version) {
            return Err(FrameError::Version(version));
        }
        *input = rest;
        self.version_seen = true;
        Ok(true)
    }

    /// The common case: a frame that arrived whole is read where it lies.
    fn next_in_place(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, FrameError> {
        skip_stray_versions(input);
        if let Some(header) = Header::parse(input)?
            && let Some(frame) = input.get(..header.total())
        {
            *input = &input[header.total()..];
            return header.read(frame).map(Some);
        }
        self.partial.extend_from_slice(input);
        *input = &[];
        Ok(None)
    }

    fn next_in_pieces(&mut self, input: &mut &[u8]) -> Result<Option<Incoming>, FrameError> {
        loop {
            let header = Header::parse(&self.partial)?;
            let wanted = header.map_or(self.partial.len() + 1, |header| header.total());
            let (taken, rest) = input.split_at(input.len().min(wanted - self.partial.len()));
            self.partial.extend_from_slice(taken);
            *input = rest;
            if self.partial.len() < wanted {
                return Ok(None);
            }
            if let Some(header) = header {
                return header.read(&std::mem::take(&mut self.partial)).map(Some);
            }
        }
    }
}

/// PyPI push_receiver and rustpluspushreceiver put the version before every frame; 41 is no tag.
fn skip_stray_versions(input: &mut &[u8]) {
    while let Some((&VERSION, rest)) = input.split_first() {
        *input = rest;
    }
}

#[derive(Clone, Copy)]
struct Header {
    tag: u8,
    /// Bytes of tag and size together.
    length: usize,
    payload: usize,
}

impl Header {
    /// `None` while its bytes are not all there.
    fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some((&tag, size)) = bytes.split_first() else { return Ok(None) };
        let mut value = 0u64;
        for (i, byte) in size.iter().take(MAX_VARINT).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                let payload = usize::try_from(value).ok().filter(|size| *size <= MAX_PAYLOAD);
                let payload = payload.ok_or(FrameError::TooLarge(value))?;
                return Ok(Some(Self { tag, length: i + 2, payload }));
            }
        }
        if size.len() < MAX_VARINT { Ok(None) } else { Err(FrameError::Size) }
    }

    fn total(self) -> usize {
        self.length + self.payload
    }

    fn read(self, frame: &[u8]) -> Result<Incoming, FrameError> {
        fn message<M: Message + Default>(payload: &[u8]) -> Result<M, prost::DecodeError> {
            M::decode(payload)
        }
        let payload = &frame[self.length..];
        let frame = match self.tag {
            0 => message(payload).map(Frame::HeartbeatPing),
            1 => message(payload).map(Frame::HeartbeatAck),
            2 => message(payload).map(Box::new).map(Frame::LoginRequest),
            3 => message(payload).map(Box::new).map(Frame::LoginResponse),
            4 => message(payload).map(Frame::Close),
            7 => message(payload).map(Box::new).map(Frame::Iq),
            8 => message(payload).map(Box::new).map(Frame::Data),
            unknown => return Ok(Incoming::Unknown(unknown)),
        };
        frame.map(Incoming::Frame).map_err(|_| FrameError::Payload(self.tag))
    }
}

/// Appends a frame. The version byte before the first one is the caller's.
pub fn encode(frame: &Frame, out: &mut Vec<u8>) {
    match frame {
        Frame::HeartbeatPing(message) => append(frame.tag(), message, out),
        Frame::HeartbeatAck(message) => append(frame.tag(), message, out),
        Frame::LoginRequest(message) => append(frame.tag(), message.as_ref(), out),
        Frame::LoginResponse(message) => append(frame.tag(), message.as_ref(), out),
        Frame::Close(message) => append(frame.tag(), message, out),
        Frame::Iq(message) => append(frame.tag(), message.as_ref(), out),
        Frame::Data(message) => append(frame.tag(), message.as_ref(), out),
    }
}

/// The body of a data message without what is another in each copy of it; [`encode_copy`] adds that.
pub fn template(stanza: &DataMessageStanza) -> Vec<u8> {
    let common =
        DataMessageStanza { id: None, persistent_id: None, last_stream_id_received: None, ..stanza.clone() };
    common.encode_to_vec()
}

/// A copy of a data message, encoded once for many: appends its frame to `out`. Fields may stand in
/// any order, so that what is its own follows what all have.
pub fn encode_copy(template: &[u8], id: MessageId, last_stream_id_received: Option<i32>, out: &mut Vec<u8>) {
    // `0:`, the microseconds, `%` and 16 digits.
    let text = 2 + decimal_digits(id.micros) + 1 + 16;
    let count = last_stream_id_received.map(|count| count as u64);
    let own = (2 + 8) + (2 + text) + count.map_or(0, |count| 1 + encoded_len_varint(count));
    let size = template.len() + own;
    out.reserve(1 + encoded_len_varint(size as u64) + size);
    out.push(DATA_TAG);
    encode_varint(size as u64, out);
    out.extend_from_slice(template);
    let end = out.len() + own;
    // A key is `field << 3 | type`; both lengths are below 128.
    out.extend_from_slice(&[2 << 3 | 2, 8]);
    let written = write!(out, "{:08X}", id.unique as u32);
    out.extend_from_slice(&[9 << 3 | 2, text as u8]);
    written.and_then(|()| write!(out, "{id}")).expect("a vector has room");
    if let Some(count) = count {
        out.push(11 << 3);
        encode_varint(count, out);
    }
    debug_assert_eq!(out.len(), end);
}

/// Of a number as it is printed.
fn decimal_digits(number: u64) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// `id` of a data message. Google's has eight upper-case hex digits; nobody reads it.
pub fn stanza_id(id: MessageId) -> String {
    format!("{:08X}", id.unique as u32)
}

fn append(tag: u8, message: &impl Message, out: &mut Vec<u8>) {
    let size = message.encoded_len();
    out.reserve(1 + encoded_len_varint(size as u64) + size);
    out.push(tag);
    encode_varint(size as u64, out);
    message.encode_raw(out);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::*;
    use super::*;

    fn bytes_of(frames: &[Frame]) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        frames.iter().for_each(|frame| encode(frame, &mut bytes));
        bytes
    }

    fn decode_all(role: Role, bytes: &[u8], piece: usize) -> Result<Vec<Incoming>, FrameError> {
        let mut decoder = Decoder::new(role);
        let mut frames = Vec::new();
        for mut piece in bytes.chunks(piece.max(1)) {
            while let Some(frame) = decoder.next(&mut piece)? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn examples() -> Vec<Frame> {
        vec![
            Frame::LoginRequest(Box::new(LoginRequest { id: "chrome-156".into(), ..Default::default() })),
            Frame::HeartbeatPing(HeartbeatPing::default()),
            Frame::HeartbeatAck(HeartbeatAck { last_stream_id_received: Some(3), ..Default::default() }),
            Frame::LoginResponse(Box::new(LoginResponse {
                last_stream_id_received: Some(1),
                ..Default::default()
            })),
            Frame::Iq(Box::new(IqStanza::carrying(SELECTIVE_ACK, Vec::new()))),
            Frame::Data(Box::new(DataMessageStanza {
                from: "1".into(),
                app_data: vec![AppData::new("k", "v".repeat(300))],
                raw_data: Some(vec![7; 200]),
                ..Default::default()
            })),
            Frame::Close(Close {}),
        ]
    }

    /// Bytes written by hand from `protocol/mcs.md` §2 to §5, not by our encoder.
    #[test]
    fn a_copy_says_what_a_stanza_of_its_own_would() {
        let stanza = DataMessageStanza {
            id: Some("other".into()),
            from: "/topics/news".into(),
            category: "com.example.app".into(),
            app_data: vec![AppData::new("k", "v".repeat(200))],
            persistent_id: Some("other".into()),
            ttl: Some(60),
            ..DataMessageStanza::default()
        };
        let template = template(&stanza);
        for (micros, unique, count) in
            [(0, 7, None), (9, 1, Some(1)), (1_711_623_408_410_794, u64::MAX, Some(i32::MAX))]
        {
            let id = MessageId { micros, unique };
            let mut bytes = vec![VERSION];
            encode_copy(&template, id, count, &mut bytes);
            let whole = DataMessageStanza {
                id: Some(stanza_id(id)),
                persistent_id: Some(id.to_string()),
                last_stream_id_received: count,
                ..stanza.clone()
            };
            let read = Decoder::new(Role::Client).next(&mut &bytes[..]).unwrap();
            assert_eq!(read, Some(Incoming::Frame(Frame::Data(Box::new(whole)))));
        }
    }

    #[test]
    fn frames_are_the_bytes_of_the_protocol() {
        let table: [(Frame, &[u8]); 5] = [
            (Frame::HeartbeatPing(HeartbeatPing::default()), &[0, 0]),
            (Frame::Close(Close {}), &[4, 0]),
            // required id is there though empty; last_stream_id_received = 1
            (
                Frame::LoginResponse(Box::new(LoginResponse {
                    last_stream_id_received: Some(1),
                    ..Default::default()
                })),
                &[3, 4, 0x0a, 0, 0x30, 1],
            ),
            // type SET, id "", extension { id 12, data "" }
            (
                Frame::Iq(Box::new(IqStanza::carrying(SELECTIVE_ACK, Vec::new()))),
                &[7, 10, 0x10, 1, 0x1a, 0, 0x3a, 4, 0x08, 12, 0x12, 0],
            ),
            // from and category are required
            (Frame::Data(Box::default()), &[8, 4, 0x1a, 0, 0x2a, 0]),
        ];
        for (frame, bytes) in table {
            let mut out = Vec::new();
            encode(&frame, &mut out);
            assert_eq!(out, bytes, "{frame:?}");
        }
    }

    #[test]
    fn frames_survive_any_splitting() {
        let bytes = bytes_of(&examples());
        let expected: Vec<_> = examples().into_iter().map(Incoming::Frame).collect();
        for piece in [1, 2, 3, 7, 64, 1000, bytes.len()] {
            assert_eq!(decode_all(Role::Server, &bytes, piece).as_ref(), Ok(&expected), "{piece}");
        }
    }

    #[test]
    fn a_decoder_holds_nothing_between_frames() {
        let bytes = bytes_of(&examples());
        let mut decoder = Decoder::new(Role::Server);
        for mut piece in bytes.chunks(5) {
            while decoder.next(&mut piece).unwrap().is_some() {}
        }
        assert!(!decoder.is_inside_frame());
        assert_eq!(decoder.buffered(), 0);
    }

    #[test]
    fn odd_peers_are_understood() {
        let ping = Incoming::Frame(Frame::HeartbeatPing(HeartbeatPing::default()));
        let table: [(Role, &[u8], Vec<Incoming>); 5] = [
            (Role::Server, &[38, 0, 0], vec![ping.clone()]),
            (Role::Client, &[200, 0, 0], vec![ping.clone()]),
            // the version byte before every frame
            (Role::Server, &[41, 41, 0, 0, 41, 41, 0, 0], vec![ping.clone(), ping.clone()]),
            // an unknown tag is skipped by its size, and told
            (Role::Server, &[41, 13, 2, 41, 41, 0, 0], vec![Incoming::Unknown(13), ping.clone()]),
            // a size in more bytes than it needs
            (Role::Server, &[41, 0, 0x80, 0x80, 0x80, 0x80, 0, 0, 0], vec![ping.clone(), ping]),
        ];
        for (role, bytes, expected) in table {
            for piece in 1..=bytes.len() {
                assert_eq!(decode_all(role, bytes, piece).as_ref(), Ok(&expected), "{bytes:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_a_stream_is_an_error() {
        let table: [(Role, &[u8], FrameError); 6] = [
            (Role::Server, b"GET / HTTP/1.1", FrameError::Version(b'G')),
            (Role::Server, &[42], FrameError::Version(42)),
            (Role::Client, &[40], FrameError::Version(40)),
            (Role::Server, &[41, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0], FrameError::Size),
            (Role::Server, &[41, 8, 0x81, 0x80, 0x04], FrameError::TooLarge(65_537)),
            (Role::Server, &[41, 8, 1, 0x0a], FrameError::Payload(8)),
        ];
        for (role, bytes, error) in table {
            for piece in 1..=bytes.len() {
                assert_eq!(decode_all(role, bytes, piece), Err(error), "{bytes:?}");
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_nor_hold_more_than_a_frame(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
            piece in 1usize..50,
        ) {
            let mut decoder = Decoder::new(Role::Server);
            let bytes = [&[VERSION], bytes.as_slice()].concat();
            'stream: for mut piece in bytes.chunks(piece) {
                loop {
                    match decoder.next(&mut piece) {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
                prop_assert!(decoder.buffered() <= 2 * (MAX_PAYLOAD + 6));
            }
        }
    }
}

//! The repair of Node's `:scheme` (`protocol/http-v1.md` §1.1), from the outside: frames in, frames out.

mod properties;
mod repair;
mod server;

use cresset_wire::http2::{Repair, RepairError};

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

type List = Vec<(Vec<u8>, Vec<u8>)>;

/// One client's side of a connection: encodes as Node does, each field put into the dynamic table
/// when it is first sent and named by its index after that.
struct Client {
    encoder: loona_hpack::Encoder<'static>,
    bytes: Vec<u8>,
}

impl Client {
    fn new() -> Self {
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, b""));
        Self { encoder: loona_hpack::Encoder::new(), bytes }
    }

    fn block(&mut self, fields: &List) -> Vec<u8> {
        self.encoder.encode(fields.iter().map(|(name, value)| (&name[..], &value[..])))
    }

    fn request(&mut self, stream: u32, fields: &List, body: &[u8]) {
        let block = self.block(fields);
        self.bytes.extend(frame(HEADERS, END_HEADERS, stream, &block));
        self.bytes.extend(frame(0, END_STREAM, stream, body));
    }
}

fn request(scheme: &str, path: &str) -> List {
    list(&[
        (":method", "POST"),
        (":authority", "fcm.googleapis.com:443"),
        (":scheme", scheme),
        (":path", path),
        ("authorization", "Bearer ya29.example"),
        ("access_token_auth", "true"),
    ])
}

fn list(fields: &[(&str, &str)]) -> List {
    fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Feeds all of it in chunks of the given sizes, over and over.
fn fed(bytes: &[u8], chunks: &[usize]) -> (Vec<u8>, Result<(), RepairError>, bool) {
    let mut repair = Repair::new();
    let mut out = Vec::new();
    let mut rest = bytes;
    for chunk in chunks.iter().cycle() {
        let (now, later) = rest.split_at((*chunk).min(rest.len()));
        if let Err(e) = repair.feed(now, &mut out) {
            return (out, Err(e), false);
        }
        rest = later;
        if rest.is_empty() {
            break;
        }
    }
    let transparent = repair.is_transparent();
    (out, Ok(()), transparent)
}

fn repaired(bytes: &[u8]) -> Vec<u8> {
    let (out, result, _) = fed(bytes, &[usize::MAX]);
    assert_eq!(result, Ok(()));
    out
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

/// The frames after the preface.
fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut rest = &bytes[24..];
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let len = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        frames.push(Frame {
            kind: rest[3],
            flags: rest[4],
            stream: u32::from_be_bytes([rest[5], rest[6], rest[7], rest[8]]),
            payload: rest[9..9 + len].to_vec(),
        });
        rest = &rest[9 + len..];
    }
    frames
}

/// The header lists in there, as a decoder sees them that knows nothing of the client's encoder.
fn lists(bytes: &[u8]) -> Vec<List> {
    let mut decoder = loona_hpack::Decoder::new();
    let mut block = Vec::new();
    let mut lists = Vec::new();
    for frame in frames(bytes).into_iter().filter(|f| f.kind == HEADERS || f.kind == CONTINUATION) {
        assert!(frame.payload.len() <= 16_384);
        block.extend(frame.payload);
        if frame.flags & END_HEADERS != 0 {
            lists.push(decoder.decode(&std::mem::take(&mut block)).unwrap());
        }
    }
    lists
}

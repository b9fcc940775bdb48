//! HPACK repair: Node's Admin SDK sends `:scheme: https:`, with a colon, on HTTP/2. Google takes it;
//! HTTP/2 libraries reset the stream (`protocol/http-v1.md` §1.1). [`Repair`] stands below such a
//! library, on the bytes from client to server, and takes the colon away.
//!
//! The first header block of a connection decides. If its scheme is well formed, as everybody
//! else's is, the connection is transparent from then on and costs nothing. If not, each of its
//! header blocks is decoded, mended and written anew, without use of the dynamic table, so that the
//! library's decoder needs to know nothing of what the client's encoder remembers.

mod hpack;
mod huffman;

use hpack::{Decoder, Field};

/// What every HTTP/2 connection begins with (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

const FRAME_HEADER: usize = 9;

/// The largest payload of a frame: the default of SETTINGS_MAX_FRAME_SIZE, which a server that uses
/// [`Repair`] must not change (RFC 9113 §6.5.2).
const MAX_FRAME: usize = 16_384;

/// The most a header block may take, its frame headers included, so that a flood of empty
/// CONTINUATION frames ends as well. Cresset's own bound; HTTP stacks admit 16 KiB by default.
const MAX_BLOCK: usize = 64 * 1024;

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;

const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Why a connection that is being mended cannot go on; it must be closed. (One that is not yet, or
/// not at all, is never refused here: its bytes go to the library, which has answers of its own.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    #[error("a header block cannot be decoded")]
    HeaderBlock,
    #[error("a header block is larger than {MAX_BLOCK} bytes")]
    TooLarge,
    #[error("frames of a header block are not as RFC 9113 has them")]
    Framing,
}

/// The bytes of one connection from client to server; see the module.
pub struct Repair {
    mode: Mode,
    place: Place,
    /// The header block that is being gathered.
    block: Block,
}

enum Mode {
    /// No header block was seen yet.
    Undecided,
    /// Every header block is written anew. The decoder knows what the client's encoder knows.
    Mending(Decoder),
    Transparent,
}

/// Where in the byte stream we are.
enum Place {
    /// So many bytes of the preface were seen.
    Preface(usize),
    /// Inside a frame's header: its bytes so far.
    Header([u8; FRAME_HEADER], usize),
    /// So many bytes of a frame's payload go on as they are.
    Passing(usize),
    /// Inside a frame of a header block: so many bytes of its payload are still to come.
    Gathering(FrameHeader, usize),
}

#[derive(Clone, Copy)]
struct FrameHeader {
    len: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

/// A header block in parts. `raw` holds its frames as they came, for the library, should the
/// connection turn out to be well formed, or hopeless.
#[derive(Default)]
struct Block {
    raw: Vec<u8>,
    /// Where in `raw` the payload of the current frame begins.
    payload_at: usize,
    fragments: Vec<u8>,
    /// The HEADERS frame it began with; `None` between blocks.
    head: Option<FrameHeader>,
    priority: Vec<u8>,
}

impl FrameHeader {
    fn parse(bytes: [u8; FRAME_HEADER]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        Self {
            len: usize::from(l0) << 16 | usize::from(l1) << 8 | usize::from(l2),
            kind,
            flags,
            stream: u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]),
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&(self.len as u32).to_be_bytes()[1..]);
        out.extend_from_slice(&[self.kind, self.flags]);
        out.extend_from_slice(&self.stream.to_be_bytes());
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

impl Default for Repair {
    fn default() -> Self {
        Self::new()
    }
}

impl Repair {
    pub fn new() -> Self {
        Self { mode: Mode::Undecided, place: Place::Preface(0), block: Block::default() }
    }

    /// Whether input goes on untouched from now on, for ever: no need to call [`feed`](Self::feed) again.
    pub fn is_transparent(&self) -> bool {
        matches!(self.mode, Mode::Transparent)
    }

    /// Takes what came from the client, appends to `out` what the server shall see.
    ///
    /// Nothing but a header block is ever held back. After an error the connection must be closed.
    pub fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), RepairError> {
        while !input.is_empty() {
            let taken = match &mut self.place {
                _ if matches!(self.mode, Mode::Transparent) => {
                    out.extend_from_slice(input);
                    input.len()
                }
                Place::Preface(_) => self.preface(input, out),
                Place::Header(..) => self.header(input, out)?,
                Place::Passing(_) => self.pass(input, out),
                Place::Gathering(..) => self.gather(input, out)?,
            };
            input = &input[taken..];
        }
        Ok(())
    }

    /// Anything but the preface is left to the library.
    fn preface(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let Place::Preface(seen) = &mut self.place else { return 0 };
        let taken = input.len().min(PREFACE.len() - *seen);
        out.extend_from_slice(&input[..taken]);
        if input[..taken] != PREFACE[*seen..*seen + taken] {
            self.mode = Mode::Transparent;
            return taken;
        }
        *seen += taken;
        if *seen == PREFACE.len() {
            self.place = Place::Header([0; FRAME_HEADER], 0);
        }
        taken
    }

    fn header(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, RepairError> {
        let Place::Header(bytes, have) = &mut self.place else { return Ok(0) };
        let taken = input.len().min(FRAME_HEADER - *have);
        bytes[*have..*have + taken].copy_from_slice(&input[..taken]);
        *have += taken;
        if *have == FRAME_HEADER {
            let bytes = *bytes;
            self.begin_frame(bytes, out)?;
        }
        Ok(taken)
    }

    fn begin_frame(&mut self, bytes: [u8; FRAME_HEADER], out: &mut Vec<u8>) -> Result<(), RepairError> {
        let header = FrameHeader::parse(bytes);
        let (starts, continues) = match &self.block.head {
            Some(head) => (false, header.kind == CONTINUATION && header.stream == head.stream),
            None => (header.kind == HEADERS, false),
        };
        if self.block.head.is_none() && !starts {
            out.extend_from_slice(&bytes);
            self.place = next_place(header.len);
            return Ok(());
        }
        self.block.raw.extend_from_slice(&bytes);
        if !(starts || continues) || header.len > MAX_FRAME {
            return self.give_up(RepairError::Framing, out);
        }
        if self.block.raw.len() + header.len > MAX_BLOCK {
            return self.give_up(RepairError::TooLarge, out);
        }
        self.block.payload_at = self.block.raw.len();
        if starts {
            self.block.head = Some(header);
        }
        self.place = Place::Gathering(header, header.len);
        if header.len == 0 { self.end_frame(header, out) } else { Ok(()) }
    }

    fn pass(&mut self, input: &[u8], out: &mut Vec<u8>) -> usize {
        let Place::Passing(left) = self.place else { return 0 };
        let taken = input.len().min(left);
        out.extend_from_slice(&input[..taken]);
        self.place = next_place(left - taken);
        taken
    }

    fn gather(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, RepairError> {
        let Place::Gathering(header, left) = &mut self.place else { return Ok(0) };
        let taken = input.len().min(*left);
        *left -= taken;
        self.block.raw.extend_from_slice(&input[..taken]);
        if *left == 0 {
            let header = *header;
            self.end_frame(header, out)?;
        }
        Ok(taken)
    }

    fn end_frame(&mut self, header: FrameHeader, out: &mut Vec<u8>) -> Result<(), RepairError> {
        self.place = next_place(0);
        if self.block.take_fragment(header).is_none() {
            return self.give_up(RepairError::Framing, out);
        }
        if header.has(END_HEADERS) { self.end_block(out) } else { Ok(()) }
    }

    fn end_block(&mut self, out: &mut Vec<u8>) -> Result<(), RepairError> {
        let block = std::mem::take(&mut self.block);
        let Mode::Mending(decoder) = &mut self.mode else {
            self.mode = decide(&block, out);
            return Ok(());
        };
        let mut fields = decoder.decode(&block.fragments).map_err(|_| RepairError::HeaderBlock)?;
        mend(&mut fields);
        block.rewrite(&hpack::encode(&fields), out);
        Ok(())
    }

    /// While nothing was changed yet, the library may see for itself what is wrong.
    fn give_up(&mut self, error: RepairError, out: &mut Vec<u8>) -> Result<(), RepairError> {
        if !matches!(self.mode, Mode::Undecided) {
            return Err(error);
        }
        out.extend_from_slice(&std::mem::take(&mut self.block).raw);
        self.mode = Mode::Transparent;
        Ok(())
    }
}

/// What the connection's first header block says about it. One that cannot be decoded is for the
/// library to refuse.
fn decide(block: &Block, out: &mut Vec<u8>) -> Mode {
    let mut decoder = Decoder::new();
    if let Ok(mut fields) = decoder.decode(&block.fragments)
        && mend(&mut fields)
    {
        block.rewrite(&hpack::encode(&fields), out);
        return Mode::Mending(decoder);
    }
    out.extend_from_slice(&block.raw);
    Mode::Transparent
}

fn next_place(left: usize) -> Place {
    if left == 0 { Place::Header([0; FRAME_HEADER], 0) } else { Place::Passing(left) }
}

impl Block {
    /// Takes the part of the block out of the frame that just ended; `None` if padding and priority
    /// do not fit into it (RFC 9113 §6.2).
    fn take_fragment(&mut self, header: FrameHeader) -> Option<()> {
        let mut payload = &self.raw[self.payload_at..];
        if header.kind == HEADERS {
            let mut padding = 0;
            if header.has(PADDED) {
                let (first, rest) = payload.split_first()?;
                (padding, payload) = (usize::from(*first), rest);
            }
            if header.has(PRIORITY) {
                let (priority, rest) = payload.split_at_checked(5)?;
                self.priority = priority.to_vec();
                payload = rest;
            }
            payload = payload.get(..payload.len().checked_sub(padding)?)?;
        }
        self.fragments.extend_from_slice(payload);
        Some(())
    }

    /// Writes another block in this one's stead: same stream, end and priority, no padding.
    fn rewrite(&self, block: &[u8], out: &mut Vec<u8>) {
        let Some(head) = self.head else { return };
        let mut rest = block;
        let mut kind = HEADERS;
        loop {
            let prefix: &[u8] = if kind == HEADERS { &self.priority } else { &[] };
            let (part, after) = rest.split_at(rest.len().min(MAX_FRAME - prefix.len()));
            let kept = if kind == HEADERS { head.flags & (END_STREAM | PRIORITY) } else { 0 };
            let end = if after.is_empty() { END_HEADERS } else { 0 };
            let len = prefix.len() + part.len();
            FrameHeader { len, kind, flags: kept | end, stream: head.stream }.write(out);
            out.extend_from_slice(prefix);
            out.extend_from_slice(part);
            if after.is_empty() {
                return;
            }
            (rest, kind) = (after, CONTINUATION);
        }
    }
}

/// Takes one colon off the schemes `http:` and `https:`; says whether there was one. Any other
/// scheme stays as it is.
fn mend(fields: &mut [Field]) -> bool {
    let broken = |field: &&mut Field| {
        field.name == b":scheme" && (field.value == b"https:" || field.value == b"http:")
    };
    let mut mended = false;
    for field in fields.iter_mut().filter(broken) {
        field.value.pop();
        mended = true;
    }
    mended
}

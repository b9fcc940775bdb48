//! Where a piece of a stream ends: a state machine over bytes that goes on wherever the last read
//! stopped. It finds the ends of tags and which of them belong together; whether the piece is good XML is
//! asked of a parser once the whole of it is there. That tags do not match must be noticed sooner, or an
//! app server that does not escape would wait for an answer for ever.

use std::ops::Range;

use super::StreamError;
use super::reader::MAX_DEPTH;

/// What ended at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// White space between stanzas.
    Space,
    Declaration,
    /// The tag that opens the stream.
    Opened,
    Stanza,
    /// The tag that closes the stream.
    Closed,
}

#[derive(Debug)]
pub(super) struct Cutter {
    /// Bytes of the piece that were looked at.
    at: usize,
    /// The name of the stream's tag; empty before it.
    stream: Vec<u8>,
    /// Where in the piece the names of the tags are that are open in it.
    open: Vec<Range<usize>>,
    /// Where the name of the present tag begins.
    name: usize,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Text,
    /// After `<`.
    Markup,
    /// After `<!`: so many bytes of `[CDATA[` have come.
    CDataBegins(usize),
    /// So many of `]]` have come.
    CData(usize),
    /// After `<?`; whether the last byte was a `?`.
    Declaration(bool),
    /// Within a tag that opens; whether the last byte was a `/`.
    Tag(bool),
    Quoted(u8),
    ClosingTag,
}

const CDATA: &[u8] = b"[CDATA[";

impl Cutter {
    pub(super) fn new() -> Self {
        Self { at: 0, stream: Vec::new(), open: Vec::new(), name: 0, state: State::Text }
    }

    /// Goes on in `piece`, which begins where the last one ended. Tells what has ended, and how many
    /// bytes it has; `None` until more come.
    pub(super) fn next(&mut self, piece: &[u8]) -> Result<Option<(Cut, usize)>, StreamError> {
        while let Some(&byte) = piece.get(self.at) {
            // Space ends before the byte that is none.
            if self.at > 0 && self.is_between() && !is_space(byte) {
                return Ok(Some((Cut::Space, std::mem::take(&mut self.at))));
            }
            self.at += 1;
            if let Some(cut) = self.take(byte, piece)? {
                return Ok(Some((cut, std::mem::take(&mut self.at))));
            }
        }
        if self.at > 0 && self.is_between() {
            return Ok(Some((Cut::Space, std::mem::take(&mut self.at))));
        }
        Ok(None)
    }

    /// Whether no piece has begun.
    fn is_between(&self) -> bool {
        self.depth() <= 1 && matches!(self.state, State::Text)
    }

    fn take(&mut self, byte: u8, piece: &[u8]) -> Result<Option<Cut>, StreamError> {
        match self.state {
            State::Text if byte == b'<' => self.state = State::Markup,
            State::Text if self.depth() <= 1 && !is_space(byte) => return Err(StreamError::InvalidXml),
            State::Text => {}
            State::Markup => {
                self.name = if byte == b'/' { self.at } else { self.at - 1 };
                self.state = self.markup(byte)?;
            }
            State::CDataBegins(seen) => {
                match byte {
                    byte if byte == CDATA[seen] => {}
                    // `<!-` begins a comment, `<!D` a document type.
                    _ if seen == 0 => return Err(StreamError::RestrictedXml),
                    _ => return Err(StreamError::InvalidXml),
                }
                self.state =
                    if seen + 1 == CDATA.len() { State::CData(0) } else { State::CDataBegins(seen + 1) };
            }
            State::CData(seen) => {
                self.state = match byte {
                    b']' => State::CData((seen + 1).min(2)),
                    b'>' if seen == 2 => State::Text,
                    _ => State::CData(0),
                };
            }
            State::Declaration(true) if byte == b'>' => {
                self.state = State::Text;
                return Ok(Some(Cut::Declaration));
            }
            State::Declaration(_) => self.state = State::Declaration(byte == b'?'),
            State::Tag(empty) => return self.tag(byte, empty, piece),
            State::Quoted(quote) if byte == quote => self.state = State::Tag(false),
            State::Quoted(_) | State::ClosingTag if byte == b'<' => return Err(StreamError::InvalidXml),
            State::Quoted(_) => {}
            State::ClosingTag if byte == b'>' => return self.closed(piece),
            State::ClosingTag => {}
        }
        Ok(None)
    }

    fn markup(&self, byte: u8) -> Result<State, StreamError> {
        match byte {
            b'/' if self.depth() > 0 => Ok(State::ClosingTag),
            b'!' if self.depth() > 1 => Ok(State::CDataBegins(0)),
            b'?' if self.depth() == 0 => Ok(State::Declaration(false)),
            b'!' | b'?' => Err(StreamError::RestrictedXml),
            b'/' | b'<' | b'>' => Err(StreamError::InvalidXml),
            byte if is_space(byte) => Err(StreamError::InvalidXml),
            _ => Ok(State::Tag(false)),
        }
    }

    fn tag(&mut self, byte: u8, empty: bool, piece: &[u8]) -> Result<Option<Cut>, StreamError> {
        match byte {
            b'<' => return Err(StreamError::InvalidXml),
            b'"' | b'\'' => self.state = State::Quoted(byte),
            b'>' => {
                self.state = State::Text;
                let name = self.present_name(piece);
                // An old page closes the header in itself, by a slip (`protocol/xmpp.md` §2).
                if self.depth() == 0 {
                    self.stream = piece[name].to_vec();
                    return Ok(Some(Cut::Opened));
                }
                if empty {
                    return Ok((self.depth() == 1).then_some(Cut::Stanza));
                }
                if self.depth() > MAX_DEPTH {
                    return Err(StreamError::PolicyViolation);
                }
                self.open.push(name);
            }
            _ => self.state = State::Tag(byte == b'/'),
        }
        Ok(None)
    }

    fn closed(&mut self, piece: &[u8]) -> Result<Option<Cut>, StreamError> {
        self.state = State::Text;
        let name = &piece[self.present_name(piece)];
        let Some(open) = self.open.pop() else {
            return if name == self.stream { Ok(Some(Cut::Closed)) } else { Err(StreamError::InvalidXml) };
        };
        if piece[open] != *name {
            return Err(StreamError::InvalidXml);
        }
        Ok(self.open.is_empty().then_some(Cut::Stanza))
    }

    /// Up to white space, `/` or the end of its tag, which was just read.
    fn present_name(&self, piece: &[u8]) -> Range<usize> {
        let tag = &piece[self.name..self.at];
        let end =
            tag.iter().position(|byte| is_space(*byte) || matches!(byte, b'/' | b'>')).unwrap_or(tag.len());
        self.name..self.name + end
    }

    /// Tags that are open, that of the stream included.
    fn depth(&self) -> usize {
        usize::from(!self.stream.is_empty()) + self.open.len()
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

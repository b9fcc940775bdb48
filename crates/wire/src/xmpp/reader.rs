//! A stream, piece by piece.

use super::cut::{Cut, Cutter};
use super::element::{self, Element, Prefixes};
use super::{StreamError, namespace};

/// Bytes of a stanza, as many as a request over HTTP may have. RFC 6120 §13.12 demands 10,000 at least.
pub const MAX_PIECE: usize = 128 * 1024;
/// Elements inside each other, the stream included; the deepest stanza of this protocol has five.
pub const MAX_DEPTH: usize = 16;
/// Attributes of an element, declarations of namespaces included; the most that is seen is five.
pub const MAX_ATTRIBUTES: usize = 32;

/// Something an app server has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The stream's header, whose `to` is echoed.
    Opened {
        to: Option<String>,
    },
    Stanza(Element),
    /// The stream's end.
    Closed,
}

/// Reads one stream. After [`Reader::restart`] it reads the next one of the same connection.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    /// What of it has been read.
    read: usize,
    cutter: Cutter,
    prefixes: Prefixes,
    declared: bool,
    failed: Option<StreamError>,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    pub fn new() -> Self {
        Self {
            buffer: Vec::new(),
            read: 0,
            cutter: Cutter::new(),
            prefixes: Prefixes::new(),
            declared: false,
            failed: None,
        }
    }

    /// Adds bytes that have come.
    pub fn push(&mut self, bytes: &[u8]) {
        // What has been read is thrown away when it is the larger part: each byte is moved once or so.
        if self.read >= self.buffer.len() - self.read {
            self.buffer.drain(..self.read);
            self.read = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Bytes that have come and are not read yet.
    pub fn buffered(&self) -> usize {
        self.buffer.len() - self.read
    }

    /// The next thing that has come whole. After an error there is nothing more.
    pub fn take(&mut self) -> Result<Option<Incoming>, StreamError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.go_on().inspect_err(|error| self.failed = Some(*error))
    }

    /// The app server opens the stream anew on the same connection (RFC 6120 §6.4.6).
    pub fn restart(&mut self) {
        (self.cutter, self.prefixes, self.declared) = (Cutter::new(), Prefixes::new(), false);
    }

    fn go_on(&mut self) -> Result<Option<Incoming>, StreamError> {
        loop {
            let rest = &self.buffer[self.read..];
            let Some((cut, length)) = self.cutter.next(&rest[..rest.len().min(MAX_PIECE)])? else {
                if rest.len() >= MAX_PIECE {
                    return Err(StreamError::PolicyViolation);
                }
                if rest.is_empty() {
                    // Silent connections keep no memory for what they once read.
                    (self.buffer, self.read) = (Vec::new(), 0);
                }
                return Ok(None);
            };
            let piece = &rest[..length];
            self.read += length;
            let text = str::from_utf8(piece).map_err(|_| StreamError::InvalidXml)?;
            if !element::is_characters(text) {
                return Err(StreamError::InvalidXml);
            }
            match cut {
                Cut::Space => {}
                Cut::Declaration if self.declared => return Err(StreamError::RestrictedXml),
                Cut::Declaration => {
                    element::check_declaration(text)?;
                    self.declared = true;
                }
                Cut::Opened => {
                    let (header, prefixes) = element::parse_header(text)?;
                    if !header.is("stream", namespace::STREAM) {
                        return Err(StreamError::InvalidNamespace);
                    }
                    self.prefixes = prefixes;
                    return Ok(Some(Incoming::Opened { to: header.attribute("to").map(str::to_owned) }));
                }
                Cut::Stanza => return Ok(Some(Incoming::Stanza(element::parse(text, &self.prefixes)?))),
                Cut::Closed => return Ok(Some(Incoming::Closed)),
            }
        }
    }
}

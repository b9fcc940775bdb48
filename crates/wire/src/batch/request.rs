//! Reading a batch. SDKs write it by hand, each in its own way (§1.1, §1.2), so nothing is asked of it
//! that they do not all do: line ends are CRLF or LF, header names come in any case, and no
//! `Content-Length` inside is believed.
//!
//! The body is gone through once, line by line, and parts borrow from it.

use super::MAX_PARTS;

/// Characters of a boundary (RFC 2046 §5.1.1). The longest of an SDK is Java's, with 53.
const MAX_BOUNDARY: usize = 70;

/// Header lines before a part's request, and again in the request; SDKs write at most nine.
const MAX_HEADERS: usize = 32;

/// Bytes of a request line or a header line: an access token has up to 2,048 (`protocol/oauth.md`
/// §2.3), and may stand in either.
const MAX_LINE: usize = 8 * 1_024;

/// Why a whole batch is refused. Parts are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("A batch request must have the content type multipart/mixed.")]
    NotMultipart,
    #[error("The content type has no boundary of 1 to {MAX_BOUNDARY} characters.")]
    Boundary,
    #[error("The batch request has no parts.")]
    NoParts,
    #[error("The batch request has more than {MAX_PARTS} parts.")]
    TooManyParts,
    #[error("The batch request does not end with its closing boundary.")]
    Unclosed,
    #[error("Part {0} of the batch request does not have the content type application/http.")]
    NotHttp(usize),
    #[error("Part {0} of the batch request has a line that is longer than {MAX_LINE} bytes.")]
    LongLine(usize),
    #[error("Part {0} of the batch request has more than {MAX_HEADERS} headers.")]
    TooManyHeaders(usize),
    #[error("Part {0} of the batch request has a header that is not one.")]
    Header(usize),
    #[error("Part {0} of the batch request does not begin with the line of an HTTP request.")]
    RequestLine(usize),
}

/// One request of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Part<'a> {
    pub method: &'a str,
    /// Without scheme and host, which lead nowhere else, and as it was written.
    pub path: &'a str,
    /// What followed a question mark.
    pub query: &'a str,
    /// The value of the header, if the part has one of its own.
    pub authorization: Option<String>,
    pub content_id: Option<String>,
    pub body: &'a [u8],
}

/// What parts the parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary(String);

impl Boundary {
    /// From the value of `Content-Type`.
    pub fn of(content_type: &str) -> Result<Self, BatchError> {
        if !is_multipart(content_type) {
            return Err(BatchError::NotMultipart);
        }
        let boundary = parameter(content_type, "boundary").ok_or(BatchError::Boundary)?;
        let printable = boundary.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        let fits = (1..=MAX_BOUNDARY).contains(&boundary.len());
        if printable && fits { Ok(Self(boundary.to_owned())) } else { Err(BatchError::Boundary) }
    }
}

/// Whether a request is a batch by its `Content-Type`.
pub fn is_multipart(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("multipart/mixed")
}

/// All requests of a batch, in order.
pub fn read<'a>(boundary: &Boundary, body: &'a [u8]) -> Result<Vec<Part<'a>>, BatchError> {
    let mut parts = Vec::new();
    let mut lines = Lines { body, at: 0 };
    let mut begin = None;
    loop {
        let line_at = lines.at;
        let line = lines.next().ok_or(BatchError::Unclosed)?;
        let Some(delimiter) = boundary.delimiter(line) else { continue };
        // What comes before the first is a preamble.
        if let Some(begin) = begin {
            if parts.len() == MAX_PARTS {
                return Err(BatchError::TooManyParts);
            }
            // The line end before a boundary belongs to it; a part may also be empty.
            let text = without_line_end(&body[begin..line_at]);
            parts.push(part(parts.len() + 1, text)?);
        }
        match delimiter {
            Delimiter::Next => begin = Some(lines.at),
            Delimiter::Last if parts.is_empty() => return Err(BatchError::NoParts),
            // What comes now is an epilogue.
            Delimiter::Last => return Ok(parts),
        }
    }
}

enum Delimiter {
    Next,
    Last,
}

impl Boundary {
    fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        match line.strip_prefix(b"--")?.strip_prefix(self.0.as_bytes())?.trim_ascii_end() {
            b"" => Some(Delimiter::Next),
            b"--" => Some(Delimiter::Last),
            _ => None,
        }
    }
}

/// A parameter of a media type. A value without quotes ends at a semicolon; SDKs put `=` and more in it.
fn parameter<'a>(content_type: &'a str, wanted: &str) -> Option<&'a str> {
    let (_, mut rest) = content_type.split_once(';')?;
    loop {
        let (name, value) = rest.split_once('=')?;
        let value = value.trim_start();
        let (value, after) = match value.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => value.split_at(value.find(';').unwrap_or(value.len())),
        };
        // Something without a value may stand before it.
        let name = name.rsplit(';').next().unwrap_or_default();
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(value.trim_end());
        }
        (_, rest) = after.split_once(';')?;
    }
}

fn part(number: usize, text: &[u8]) -> Result<Part<'_>, BatchError> {
    let mut lines = Lines { body: text, at: 0 };
    let headers = headers(number, &mut lines)?;
    let content_type = value_of(&headers, "content-type").unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default();
    if !media_type.trim_end().eq_ignore_ascii_case("application/http") {
        return Err(BatchError::NotHttp(number));
    }
    let line = lines.next().ok_or(BatchError::RequestLine(number))?;
    let line = short_text(number, line, BatchError::RequestLine(number))?;
    let (method, path, query) = request_line(line).ok_or(BatchError::RequestLine(number))?;
    let inner = self::headers(number, &mut lines)?;
    Ok(Part {
        method,
        path,
        query,
        authorization: value_of(&inner, "authorization").map(str::to_owned),
        content_id: value_of(&headers, "content-id").map(str::to_owned),
        body: lines.rest(),
    })
}

/// `POST https://host/path?query HTTP/1.1`, perhaps without host, perhaps without version (§1.2).
fn request_line(line: &str) -> Option<(&str, &str, &str)> {
    let mut words = line.split_ascii_whitespace();
    let (method, target, version) = (words.next()?, words.next()?, words.next());
    if words.next().is_some() || version.is_some_and(|version| !version.starts_with("HTTP/")) {
        return None;
    }
    let target = match target.split_once("://") {
        _ if target.starts_with('/') => target,
        Some((scheme, rest)) if is_http(scheme) => rest.find('/').map_or("/", |path| &rest[path..]),
        _ => return None,
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Some((method, path, query))
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")
}

type Headers<'a> = Vec<(&'a str, String)>;

/// Up to the empty line after them, or the end.
fn headers<'a>(number: usize, lines: &mut Lines<'a>) -> Result<Headers<'a>, BatchError> {
    let mut headers = Headers::new();
    for count in 0.. {
        let line = match lines.next() {
            None | Some(b"") => break,
            Some(_) if count == MAX_HEADERS => return Err(BatchError::TooManyHeaders(number)),
            Some(line) => short_text(number, line, BatchError::Header(number))?,
        };
        if line.starts_with([' ', '\t']) {
            // Python's library folds what is long.
            let (_, value) = headers.last_mut().ok_or(BatchError::Header(number))?;
            value.push(' ');
            value.push_str(line.trim());
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(BatchError::Header(number))?;
        headers.push((name.trim_end(), value.trim().to_owned()));
    }
    Ok(headers)
}

fn value_of<'a>(headers: &'a Headers<'_>, wanted: &str) -> Option<&'a str> {
    headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| &**value)
}

/// A line that may be printed: `otherwise` if it is something else.
fn short_text(number: usize, line: &[u8], otherwise: BatchError) -> Result<&str, BatchError> {
    if line.len() > MAX_LINE {
        return Err(BatchError::LongLine(number));
    }
    let text = str::from_utf8(line).ok();
    text.filter(|text| !text.contains(|c: char| c.is_control() && c != '\t')).ok_or(otherwise)
}

fn without_line_end(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    text.strip_suffix(b"\r").unwrap_or(text)
}

/// Lines without their ends. The last one need not have any.
struct Lines<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest();
        if rest.is_empty() {
            return None;
        }
        let length = rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |end| end + 1);
        self.at += length;
        Some(without_line_end(&rest[..length]))
    }

    fn rest(&self) -> &'a [u8] {
        &self.body[self.at..]
    }
}

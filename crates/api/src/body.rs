//! Reading a request's body, whole and bounded.

use std::io::Read as _;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

/// Time for a body to arrive whole: 4 KB on the worst mobile network take a few seconds.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    TooLarge,
    /// It may come another time.
    TooSlow,
    /// Broken off, or not what its encoding says.
    Unreadable,
}

/// The body, un-gzipped if it says so, at most `limit` bytes before and after.
pub(crate) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let collected = tokio::time::timeout(PATIENCE, Limited::new(body, limit).collect());
    let collected = collected.await.map_err(|_| BodyError::TooSlow)?.map_err(|e| {
        if e.downcast_ref::<LengthLimitError>().is_some() {
            BodyError::TooLarge
        } else {
            BodyError::Unreadable
        }
    })?;
    let bytes = collected.to_bytes();
    if is_gzip(headers) { gunzip(&bytes, limit) } else { Ok(bytes) }
}

pub(crate) fn is_gzip(headers: &HeaderMap) -> bool {
    let encoding = headers.get(header::CONTENT_ENCODING).and_then(|v| v.to_str().ok());
    encoding.is_some_and(|e| e.eq_ignore_ascii_case("gzip") || e.eq_ignore_ascii_case("x-gzip"))
}

fn gunzip(bytes: &[u8], limit: usize) -> Result<Bytes, BodyError> {
    let mut out = Vec::new();
    // One byte more than allowed tells a body that fits from one that does not.
    let reader = flate2::read::MultiGzDecoder::new(bytes);
    reader.take(limit as u64 + 1).read_to_end(&mut out).map_err(|_| BodyError::Unreadable)?;
    if out.len() > limit { Err(BodyError::TooLarge) } else { Ok(out.into()) }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector has room")
}

/// A form field by name; absent is empty.
pub(crate) struct Form(Vec<(String, String)>);

/// Fields of one form: register3 of microG has some forty.
const MAX_FIELDS: usize = 200;

impl Form {
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        Self(form_urlencoded::parse(bytes).into_owned().take(MAX_FIELDS).collect())
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    /// The first of several names that is there and not empty.
    pub(crate) fn first(&self, names: &[&str]) -> &str {
        names.iter().map(|name| self.get(name)).find(|value| !value.is_empty()).unwrap_or("")
    }
}

/// A request header as text; absent is empty.
pub(crate) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip_headers() -> HeaderMap {
        HeaderMap::from_iter([(header::CONTENT_ENCODING, http::HeaderValue::from_static("gzip"))])
    }

    #[tokio::test]
    async fn a_gzip_bomb_is_refused_at_the_limit() {
        let bomb = gzip(&vec![0; 1_000_000]);
        assert!(bomb.len() < 10_000);
        let read = async |limit| read(&gzip_headers(), Body::from(bomb.clone()), limit).await;
        assert_eq!(read(10_000).await, Err(BodyError::TooLarge));
        assert_eq!(read(1_000_000).await.map(|b| b.len()), Ok(1_000_000));
    }

    #[tokio::test]
    async fn what_is_not_gzip_is_unreadable() {
        let result = read(&gzip_headers(), Body::from("plain"), 100).await;
        assert_eq!(result, Err(BodyError::Unreadable));
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_given_up() {
        let (_open, body) = http_body_util::channel::Channel::<Bytes>::new(1);
        let result = read(&HeaderMap::new(), Body::new(body), 100).await;
        assert_eq!(result, Err(BodyError::TooSlow));
    }
}

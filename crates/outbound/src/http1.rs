//! An HTTP/1.1 connection that is kept alive: one request at a time.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HOST};
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;

use crate::exchange::{Answer, Call, Failure, MAX_HEADERS, Start};

/// Header fields of an answer.
const MAX_FIELDS: usize = 64;

#[derive(Clone)]
pub(crate) struct Http1(Arc<Mutex<SendRequest<Full<Bytes>>>>);

/// Opens it; the second part must be polled until it ends.
pub(crate) async fn open<T>(io: T) -> hyper::Result<(Http1, Connection<TokioIo<T>, Full<Bytes>>)>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = Builder::new();
    builder.max_headers(MAX_FIELDS).max_buf_size(MAX_HEADERS).title_case_headers(false);
    let (send, connection) = builder.handshake(TokioIo::new(io)).await?;
    Ok((Http1(Arc::new(Mutex::new(send))), connection))
}

impl Http1 {
    pub(crate) async fn exchange(&self, call: Call) -> Result<Answer, Failure> {
        let mut send = self.0.lock().await;
        send.ready().await.map_err(|e| Failure::NotProcessed(e.to_string()))?;
        let answer = send.send_request(request(call)?).await.map_err(|e| {
            if e.is_canceled() {
                Failure::NotProcessed(e.to_string())
            } else {
                Failure::Broken { why: e.to_string(), whole: true }
            }
        })?;
        let (head, mut body) = answer.into_parts();
        let mut start = Start::default();
        // A body that is not read to its end makes hyper close the connection.
        while let Some(Ok(frame)) = body.frame().await {
            if frame.data_ref().is_some_and(|piece| !start.push(piece)) {
                break;
            }
        }
        Ok(Answer { status: head.status.as_u16(), headers: head.headers, body: start.finish(), lane: 0 })
    }
}

fn request(call: Call) -> Result<Request<Full<Bytes>>, Failure> {
    let unreachable = |e: &dyn std::fmt::Display| Failure::Unreachable(e.to_string());
    let host = HeaderValue::from_str(&call.authority).map_err(|e| unreachable(&e))?;
    let length = HeaderValue::from(call.body.len());
    let request = Request::builder().method(Method::POST).uri(call.path.as_str()).body(Full::new(call.body));
    let mut request = request.map_err(|e| unreachable(&e))?;
    *request.headers_mut() = call.headers;
    request.headers_mut().insert(HOST, host);
    request.headers_mut().insert(CONTENT_LENGTH, length);
    Ok(request)
}

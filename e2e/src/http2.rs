//! A lean HTTP/2 client: h2 itself, over TLS, for tests that count and for load that must not be the
//! bottleneck.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{HeaderMap, Method, Request, StatusCode};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{Outcome, Trust};

/// One connection. Clones share it.
#[derive(Clone)]
pub struct Http2 {
    sender: SendRequest<Bytes>,
    authority: String,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Null, if it is no JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Http2 {
    /// Connects to `address` as if it were `host`, which its certificate must be for.
    pub async fn connect(address: SocketAddr, host: &str, trust: &Trust) -> Outcome<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from(host.to_owned())?;
        let tls = TlsConnector::from(trust.client(&[b"h2"])?).connect(name, socket).await?;
        let (sender, connection) = h2::client::handshake(tls).await?;
        // Its end is seen by whoever uses the sender.
        tokio::spawn(connection);
        Ok(Self { sender, authority: host.to_owned() })
    }

    /// A request but its body, to be sent many times.
    pub fn request(&self, path: &str, headers: &[(&str, &str)]) -> Outcome<Request<()>> {
        let uri = format!("https://{}{path}", self.authority);
        let request = Request::builder().method(Method::POST).uri(uri);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Ok(request.body(())?)
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: Bytes) -> Outcome<Answer> {
        let request = self.request(path, headers)?;
        self.send(request, body).await
    }

    /// Sends a request, waiting first until the connection has room for one more.
    pub async fn send(&self, request: Request<()>, body: Bytes) -> Outcome<Answer> {
        let mut sender = self.sender.clone().ready().await?;
        // Without a body the server may have answered before an empty one could follow.
        let (answer, mut stream) = sender.send_request(request, body.is_empty())?;
        if !body.is_empty() {
            stream.send_data(body, true)?;
        }
        let (head, stream) = answer.await?.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body: take(stream).await? })
    }
}

/// Reads a body to its end, giving back the window that it took.
pub async fn take(mut stream: RecvStream) -> Outcome<Bytes> {
    let mut body = BytesMut::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        stream.flow_control().release_capacity(chunk.len())?;
        if stream.is_end_stream() && body.is_empty() {
            return Ok(chunk);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

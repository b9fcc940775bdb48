//! HTTP/1.1 to one server, over kept-alive connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::Error;

/// Connections kept for the next request.
const KEPT: usize = 16;

/// Far more than any answer of a registration API; what a stranger may make a device keep.
const LONGEST_ANSWER: usize = 256 * 1_024;

/// For one request, from the connection to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Http {
    /// `host:port` to connect to, and the `Host` header.
    authority: String,
    /// The name to verify, where the scheme is https.
    tls: Option<(ServerName<'static>, TlsConnector)>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

pub(crate) struct Body {
    content_type: &'static str,
    bytes: Bytes,
}

impl Body {
    pub(crate) fn new(content_type: &'static str, bytes: impl Into<Bytes>) -> Self {
        Self { content_type, bytes: bytes.into() }
    }

    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::new("application/json", value.to_string())
    }
}

impl Http {
    pub(crate) fn new(base: &str, tls: Arc<ClientConfig>) -> Result<Self, Error> {
        let bad = |what: &str| Error::Endpoint(format!("{base}: {what}"));
        let uri: http::Uri = base.parse().map_err(|_| bad("not a URL"))?;
        let host = uri.host().ok_or_else(|| bad("no host"))?;
        let (port, tls) = match uri.scheme_str() {
            Some("http") => (80, None),
            Some("https") => {
                let name = server_name(host)?;
                (443, Some((name, TlsConnector::from(tls))))
            }
            _ => return Err(bad("not http or https")),
        };
        let authority = format!("{host}:{}", uri.port_u16().unwrap_or(port));
        Ok(Self { authority, tls, idle: Mutex::default() })
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<Bytes, Error> {
        let answered = tokio::time::timeout(PATIENCE, self.ask(path, headers, body)).await;
        answered.unwrap_or_else(|_| Err(Error::Unanswered { path: path.to_owned() }))
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)], body: Body) -> Result<Bytes, Error> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", &self.authority)
            .header("content-type", body.content_type);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.bytes));
        let request = request.map_err(|error| Error::Endpoint(format!("{path}: {error}")))?;
        let mut sender = self.sender().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => Error::Http(*error),
            Err(_) => {
                Error::Answer { path: path.to_owned(), body: format!("more than {LONGEST_ANSWER} bytes") }
            }
        })?;
        let body = body.to_bytes();
        self.keep(sender);
        if status.is_success() {
            return Ok(body);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Err(Error::Refused { path: path.to_owned(), status: status.as_u16(), body })
    }

    async fn sender(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut sender) = kept else { return self.connect().await };
            if sender.ready().await.is_ok() {
                return Ok(sender);
            }
        }
    }

    fn keep(&self, sender: SendRequest<Full<Bytes>>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < KEPT && !sender.is_closed() {
            idle.push(sender);
        }
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, Error> {
        let address = &self.authority;
        let connect = |source| Error::Connect { address: address.clone(), source };
        let socket = TcpStream::connect(address).await.map_err(connect)?;
        socket.set_nodelay(true).map_err(connect)?;
        match &self.tls {
            None => start(socket).await,
            Some((name, tls)) => {
                let secured = tls.connect(name.clone(), socket).await;
                start(secured.map_err(|source| Error::Tls { address: address.clone(), source })?).await
            }
        }
    }
}

async fn start(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> Result<SendRequest<Full<Bytes>>, Error> {
    let (sender, connection) = handshake(TokioIo::new(io)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, Error> {
    let bare = name.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(bare).map_err(|_| Error::Endpoint(format!("{name}: not a name")))
}

/// The host of `host:port`.
pub(crate) fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

//! A connection: resolved, checked, perhaps through a proxy, and under TLS.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::resolve::{Resolve, is_public};

/// Bytes of a proxy's answer to CONNECT.
const MAX_PROXY_ANSWER: usize = 8 * 1_024;

/// An HTTP proxy that is asked to CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    pub host: String,
    pub port: u16,
    /// The whole value of `Proxy-Authorization`.
    pub authorization: Option<String>,
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

/// Where to, and under which conditions.
pub(crate) struct Dialler {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Addresses of private networks are taken as well.
    pub(crate) private: bool,
    pub(crate) proxy: Option<Proxy>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) tls: Arc<ClientConfig>,
    /// For all of it.
    pub(crate) patience: Duration,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error("{0} has no public address")]
    NotPublic(String),
    #[error("cannot connect: {0}")]
    Connect(#[from] io::Error),
    #[error("no connection in time")]
    TooSlow,
    #[error("the proxy refuses: {0}")]
    Proxy(String),
    #[error("TLS: {0}")]
    Tls(io::Error),
}

impl Dialler {
    pub(crate) async fn dial(&self) -> Result<TlsStream<TcpStream>, DialError> {
        tokio::time::timeout(self.patience, self.connect()).await.unwrap_or(Err(DialError::TooSlow))
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, DialError> {
        let socket = match &self.proxy {
            None => self.direct().await?,
            Some(proxy) => self.through(proxy).await?,
        };
        let name = ServerName::try_from(self.host.clone())
            .map_err(|e| DialError::Tls(io::Error::new(io::ErrorKind::InvalidInput, e)))?;
        TlsConnector::from(Arc::clone(&self.tls)).connect(name, socket).await.map_err(DialError::Tls)
    }

    /// What is checked is what is connected to: a name is not resolved twice.
    async fn direct(&self) -> Result<TcpStream, DialError> {
        let addresses = self.resolver.resolve(&self.host, self.port).await?;
        let allowed = addresses.into_iter().filter(|address| self.private || is_public(address.ip()));
        let allowed: Vec<SocketAddr> = allowed.collect();
        if allowed.is_empty() {
            return Err(DialError::NotPublic(self.host.clone()));
        }
        let mut last = None;
        for address in allowed {
            match TcpStream::connect(address).await {
                Ok(socket) => {
                    socket.set_nodelay(true)?;
                    return Ok(socket);
                }
                Err(e) => last = Some(e),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::NotFound.into()).into())
    }

    /// The proxy resolves, and so it is the proxy that must keep private networks apart.
    async fn through(&self, proxy: &Proxy) -> Result<TcpStream, DialError> {
        let addresses = self.resolver.resolve(&proxy.host, proxy.port).await?;
        let mut socket = TcpStream::connect(addresses.as_slice()).await?;
        socket.set_nodelay(true)?;
        let target = format!("{}:{}", self.host, self.port);
        let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        if let Some(authorization) = &proxy.authorization {
            request.push_str(&format!("Proxy-Authorization: {authorization}\r\n"));
        }
        request.push_str("\r\n");
        socket.write_all(request.as_bytes()).await?;
        let head = read_head(&mut socket).await?;
        if is_success(&head) { Ok(socket) } else { Err(DialError::Proxy(first_line(&head))) }
    }
}

/// Byte by byte, as what follows is TLS, which is not ours to take.
async fn read_head(socket: &mut TcpStream) -> Result<Vec<u8>, DialError> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_PROXY_ANSWER {
            return Err(DialError::Proxy("its answer is too long".into()));
        }
        head.push(socket.read_u8().await?);
    }
    Ok(head)
}

/// `HTTP/1.1 200 …`: any 2xx (RFC 9110 §9.3.6).
fn is_success(head: &[u8]) -> bool {
    let line = first_line(head);
    line.starts_with("HTTP/1.") && line.split(' ').nth(1).is_some_and(|s| s.len() == 3 && s.starts_with('2'))
}

fn first_line(head: &[u8]) -> String {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    String::from_utf8_lossy(line).into_owned()
}

//! MCS frame by frame, for what a well-behaved device library neither does nor shows.

use std::net::SocketAddr;
use std::sync::Arc;

use cresset_device_client::Credentials;
use cresset_wire::mcs::{self, Decoder, Frame, Incoming, LoginRequest, Role};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Outcome, Trust};

/// A TLS connection to the device listener on which nothing happens by itself.
pub struct RawMcs {
    stream: TlsStream<TcpStream>,
    decoder: Decoder,
    unread: Vec<u8>,
}

impl RawMcs {
    pub async fn connect(address: SocketAddr, trust: &Trust) -> Outcome<Self> {
        Self::connect_with(address, trust.client(&[])?).await
    }

    async fn connect_with(address: SocketAddr, tls: Arc<ClientConfig>) -> Outcome<Self> {
        Self::over(TcpStream::connect(address).await?, tls).await
    }

    /// Over a socket that is connected.
    pub async fn over(socket: TcpStream, tls: Arc<ClientConfig>) -> Outcome<Self> {
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("mtalk.google.com")?;
        let stream = TlsConnector::from(tls).connect(name, socket).await?;
        Ok(Self { stream, decoder: Decoder::new(Role::Client), unread: Vec::new() })
    }

    /// What is under the TLS, for whoever reads that in its own way.
    pub fn into_socket(self) -> TcpStream {
        self.stream.into_inner().0
    }

    /// Bytes as they are.
    pub async fn write(&mut self, bytes: &[u8]) -> Outcome<()> {
        self.stream.write_all(bytes).await?;
        Ok(self.stream.flush().await?)
    }

    pub async fn send(&mut self, frame: &Frame) -> Outcome<()> {
        let mut bytes = Vec::new();
        mcs::encode(frame, &mut bytes);
        self.write(&bytes).await
    }

    /// Version and login; the answer is the next frame.
    pub async fn log_in(&mut self, device: &Credentials) -> Outcome<()> {
        self.write(&login_bytes(device)).await
    }

    /// The next frame; `None` at the end of the connection, however it ends.
    pub async fn next(&mut self) -> Outcome<Option<Frame>> {
        loop {
            let mut input = self.unread.as_slice();
            let before = input.len();
            let frame = self.decoder.next(&mut input)?;
            let used = before - input.len();
            self.unread.drain(..used);
            match frame {
                Some(Incoming::Frame(frame)) => return Ok(Some(frame)),
                Some(_) => return Err("the server sent a frame that devices do not know".into()),
                None => {}
            }
            let mut chunk = [0; 4_096];
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(read) => self.unread.extend_from_slice(&chunk[..read]),
            }
        }
    }
}

/// Version and login as they go over the wire.
pub fn login_bytes(device: &Credentials) -> Vec<u8> {
    let mut bytes = vec![mcs::VERSION];
    mcs::encode(&Frame::LoginRequest(Box::new(login(device))), &mut bytes);
    bytes
}

fn login(device: &Credentials) -> LoginRequest {
    let Credentials { android_id, security_token } = device;
    LoginRequest {
        id: "chrome-0.0.0".into(),
        domain: "mcs.android.com".into(),
        user: android_id.to_string(),
        resource: android_id.to_string(),
        auth_token: security_token.to_string(),
        device_id: Some(format!("android-{android_id:x}")),
        use_rmq2: Some(true),
        auth_service: Some(2),
        ..LoginRequest::default()
    }
}

//! An app server of old, stanza by stanza.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use cresset_wire::xmpp::{Element, Incoming, Reader, namespace};
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{Outcome, Trust};

/// Read at a time.
const READ: usize = 16 * 1024;

/// A connection on which nothing happens by itself.
pub struct RawXmpp {
    stream: TlsStream<TcpStream>,
    reader: Reader,
    buffer: Vec<u8>,
}

/// What comes from the server.
#[derive(Clone, Debug, PartialEq)]
pub enum FromServer {
    /// An ack, a nack or a control message: no attributes, and JSON.
    Bare(Value),
    /// What a device has sent, or a receipt.
    Upstream(Value),
    /// Anything else.
    Stanza(Element),
    /// The end of the stream.
    Closed,
}

impl RawXmpp {
    /// TLS, and nothing said.
    pub async fn connect(address: SocketAddr, trust: &Trust) -> Outcome<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("gcm.googleapis.com")?;
        let stream = TlsConnector::from(trust.client(&[])?).connect(name, socket).await?;
        Ok(Self { stream, reader: Reader::new(), buffer: vec![0; READ] })
    }

    /// Connected, logged in and bound.
    pub async fn log_in(address: SocketAddr, trust: &Trust, sender: &str, key: &str) -> Outcome<Self> {
        let mut xmpp = Self::connect(address, trust).await?;
        xmpp.open().await?;
        let answer = xmpp.authenticate(&format!("{sender}@gcm.googleapis.com"), key).await?;
        if !answer.is("success", namespace::SASL) {
            return Err(format!("no success: {answer:?}").into());
        }
        xmpp.reader.restart();
        xmpp.open().await?;
        xmpp.write(&format!("<iq type='set' id='b'><bind xmlns='{}'/></iq>", namespace::BIND)).await?;
        let bound = xmpp.element().await?;
        if bound.attribute("type") != Some("result") {
            return Err(format!("not bound: {bound:?}").into());
        }
        Ok(xmpp)
    }

    /// Opens a stream, and reads what is offered in it.
    pub async fn open(&mut self) -> Outcome<Element> {
        let (stream, client) = (namespace::STREAM, namespace::CLIENT);
        self.write(&format!(
            "<?xml version='1.0'?><stream:stream to='gcm.googleapis.com' version='1.0' xmlns='{client}' xmlns:stream='{stream}'>"
        ))
        .await?;
        match self.incoming().await? {
            Some(Incoming::Opened { .. }) => self.element().await,
            other => Err(format!("no stream: {other:?}").into()),
        }
    }

    pub async fn authenticate(&mut self, user: &str, key: &str) -> Outcome<Element> {
        let secret = BASE64_STANDARD.encode(format!("\0{user}\0{key}"));
        self.write(&format!("<auth mechanism='PLAIN' xmlns='{}'>{secret}</auth>", namespace::SASL)).await?;
        self.element().await
    }

    /// Bytes as they are.
    pub async fn write(&mut self, text: &str) -> Outcome<()> {
        self.stream.write_all(text.as_bytes()).await?;
        Ok(self.stream.flush().await?)
    }

    /// A message with this JSON.
    pub async fn send(&mut self, json: &Value) -> Outcome<()> {
        self.write(&message(json)).await
    }

    /// Says that a message of a device, or a receipt, was received.
    pub async fn acknowledge(&mut self, received: &Value) -> Outcome<()> {
        let ack = serde_json::json!({
            "to": received["from"], "message_id": received["message_id"], "message_type": "ack",
        });
        self.send(&ack).await
    }

    /// Sends, and insists that the next thing to come is an ack.
    pub async fn accept(&mut self, json: &Value) -> Outcome<Value> {
        self.send(json).await?;
        match self.next().await? {
            FromServer::Bare(answer) if answer["message_type"] == "ack" => Ok(answer),
            other => Err(format!("no ack: {other:?}").into()),
        }
    }

    /// What comes next.
    pub async fn next(&mut self) -> Outcome<FromServer> {
        Ok(match self.incoming().await? {
            Some(Incoming::Stanza(stanza)) => told(stanza),
            Some(Incoming::Opened { .. }) => return Err("another stream".into()),
            Some(Incoming::Closed) | None => FromServer::Closed,
        })
    }

    /// The same, if it has come already.
    pub fn ready(&mut self) -> Outcome<Option<FromServer>> {
        Ok(match self.reader.take()? {
            Some(Incoming::Stanza(stanza)) => Some(told(stanza)),
            Some(Incoming::Closed) => Some(FromServer::Closed),
            Some(Incoming::Opened { .. }) => return Err("another stream".into()),
            None => None,
        })
    }

    /// The next stanza, as it came.
    pub async fn element(&mut self) -> Outcome<Element> {
        match self.incoming().await? {
            Some(Incoming::Stanza(stanza)) => Ok(stanza),
            other => Err(format!("no stanza: {other:?}").into()),
        }
    }

    /// After a login, a new stream.
    pub fn restart(&mut self) {
        self.reader.restart();
    }

    async fn incoming(&mut self) -> Outcome<Option<Incoming>> {
        loop {
            if let Some(incoming) = self.reader.take()? {
                return Ok(Some(incoming));
            }
            match self.stream.read(&mut self.buffer).await {
                Ok(0) | Err(_) => return Ok(None),
                Ok(read) => self.reader.push(&self.buffer[..read]),
            }
        }
    }
}

/// The stanza of a message, as most clients write it.
pub fn message(json: &Value) -> String {
    let text = json.to_string().replace('&', "&amp;").replace('<', "&lt;");
    format!("<message id=\"\"><gcm xmlns=\"{}\">{text}</gcm></message>", namespace::GCM)
}

fn told(stanza: Element) -> FromServer {
    let json = stanza.child("gcm", namespace::GCM).and_then(|gcm| serde_json::from_str(&gcm.text).ok());
    match (json, stanza.attributes.is_empty(), stanza.attribute("type")) {
        (Some(json), true, _) => FromServer::Bare(json),
        (Some(json), false, Some("normal")) => FromServer::Upstream(json),
        _ => FromServer::Stanza(stanza),
    }
}

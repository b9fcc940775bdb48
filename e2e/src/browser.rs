//! Mozilla's protocol frame by frame: a browser on which nothing happens by itself.

use std::net::SocketAddr;

use cresset_wire::webpush::{KeyPair, aes128gcm, decode_base64};
use futures_util::{SinkExt as _, StreamExt as _};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::{Outcome, Trust};

/// A WebSocket at `/`, as Firefox opens it.
pub struct Browser {
    socket: WebSocketStream<TlsStream<TcpStream>>,
    /// Who it is, once it was told.
    pub uaid: String,
}

/// What a browser heard.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Said(Value),
    Ping,
    /// With the code of the close frame, if there was one.
    Closed(Option<u16>),
}

impl Browser {
    pub async fn connect(address: SocketAddr, trust: &Trust) -> Outcome<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let name = ServerName::try_from("localhost")?;
        let tls = TlsConnector::from(trust.client(&[])?).connect(name, socket).await?;
        let mut request = format!("wss://localhost:{}/", address.port()).into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", "push-notification".parse()?);
        let (socket, answer) = tokio_tungstenite::client_async(request, tls).await?;
        if answer.headers().get("sec-websocket-protocol").is_none_or(|name| name != "push-notification") {
            return Err("another protocol was chosen".into());
        }
        Ok(Self { socket, uaid: String::new() })
    }

    /// Connects and says who it is, if it knows.
    pub async fn hello(address: SocketAddr, trust: &Trust, uaid: &str) -> Outcome<Self> {
        let mut browser = Self::connect(address, trust).await?;
        let mut hello = json!({ "messageType": "hello", "broadcasts": {}, "use_webpush": true });
        if !uaid.is_empty() {
            hello["uaid"] = uaid.into();
        }
        browser.say(&hello).await?;
        let told = browser.next().await?;
        browser.uaid = told["uaid"].as_str().ok_or("no uaid")?.to_owned();
        Ok(browser)
    }

    pub async fn say(&mut self, what: &Value) -> Outcome<()> {
        Ok(self.socket.send(Frame::text(what.to_string())).await?)
    }

    pub async fn send(&mut self, frame: Frame) -> Outcome<()> {
        Ok(self.socket.send(frame).await?)
    }

    pub async fn hear(&mut self) -> Outcome<Heard> {
        match self.socket.next().await {
            Some(Ok(Frame::Text(text))) => Ok(Heard::Said(serde_json::from_str(&text)?)),
            Some(Ok(Frame::Ping(_))) => Ok(Heard::Ping),
            Some(Ok(Frame::Close(frame))) => Ok(Heard::Closed(frame.map(|frame| frame.code.into()))),
            Some(Ok(other)) => Err(format!("{other:?}").into()),
            Some(Err(_)) | None => Ok(Heard::Closed(None)),
        }
    }

    /// The next message of the server's.
    pub async fn next(&mut self) -> Outcome<Value> {
        match self.hear().await? {
            Heard::Said(said) => Ok(said),
            other => Err(format!("{other:?}").into()),
        }
    }

    /// Subscribes a channel: its endpoint.
    pub async fn register(&mut self, channel: &str, key: Option<&str>) -> Outcome<String> {
        let mut register = json!({ "messageType": "register", "channelID": channel });
        if let Some(key) = key {
            register["key"] = key.into();
        }
        self.say(&register).await?;
        let told = self.next().await?;
        if told["status"] != 200 || told["channelID"] != channel {
            return Err(format!("not subscribed: {told}").into());
        }
        Ok(told["pushEndpoint"].as_str().ok_or("no endpoint")?.to_owned())
    }

    pub async fn acknowledge(&mut self, notification: &Value) -> Outcome<()> {
        let update = json!({
            "channelID": notification["channelID"], "version": notification["version"], "code": 100,
        });
        self.say(&json!({ "messageType": "ack", "updates": [update] })).await
    }
}

/// What a notification says to who has the keys of its subscription.
pub fn opened(notification: &Value, pair: &KeyPair, auth: &[u8; 16]) -> Outcome<Vec<u8>> {
    if notification["headers"]["encoding"] != "aes128gcm" {
        return Err(format!("another coding: {notification}").into());
    }
    let data = notification["data"].as_str().and_then(decode_base64).ok_or("no data")?;
    Ok(aes128gcm::open(pair, auth, &data)?)
}

//! What the tests share.

use std::net::SocketAddr;

use cresset_device_client::{Connection, Received};
use cresset_e2e::{Device, Outcome, RawMcs, World, patiently};
use cresset_wire::mcs::{DataMessageStanza, Frame, HeartbeatPing, SelectiveAck};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A message whose content is a word.
pub(crate) fn saying(device: &Device, word: &str) -> Value {
    json!({ "token": device.token, "data": { "word": word } })
}

/// The same, with settings for Android.
pub(crate) fn saying_with(device: &Device, word: &str, android: Value) -> Value {
    json!({ "token": device.token, "data": { "word": word }, "android": android })
}

pub(crate) async fn next(connection: &mut Connection) -> Received {
    let message = patiently("a message", connection.next()).await.unwrap();
    message.expect("the connection should last")
}

/// The words of what comes, up to and with `last`.
pub(crate) async fn words_until(connection: &mut Connection, last: &str) -> Vec<String> {
    let mut words = Vec::new();
    loop {
        let word = next(connection).await.get("word").unwrap_or_default().to_owned();
        words.push(word.clone());
        if word == last {
            return words;
        }
    }
}

pub(crate) async fn logged_in(world: &World, device: &Device) -> RawMcs {
    let mut mcs = RawMcs::connect(world.running.mcs, &world.trust).await.unwrap();
    mcs.log_in(&device.credentials).await.unwrap();
    match next_frame(&mut mcs).await {
        Some(Frame::LoginResponse(response)) => assert_eq!(response.error, None),
        other => panic!("a login was answered with {other:?}"),
    }
    mcs
}

/// The next frame but the server's own acknowledgements, which come after a login.
pub(crate) async fn next_frame(mcs: &mut RawMcs) -> Option<Frame> {
    loop {
        match patiently("a frame", mcs.next()).await.unwrap() {
            Some(Frame::Iq(_)) => {}
            other => return other,
        }
    }
}

pub(crate) async fn next_data(mcs: &mut RawMcs) -> DataMessageStanza {
    match next_frame(mcs).await {
        Some(Frame::Data(stanza)) => *stanza,
        other => panic!("not a message: {other:?}"),
    }
}

/// Acknowledges, and waits until the server has made that durable: what a device asks is answered in
/// order, and a frame is read only when the acknowledgements of the read before it are stored. Two
/// questions, because the first may be read together with the acknowledgement.
pub(crate) async fn acknowledge(mcs: &mut RawMcs, persistent_id: &str) {
    let ack = SelectiveAck { id: vec![persistent_id.to_owned()] };
    mcs.send(&Frame::Iq(Box::new(ack.into_iq()))).await.unwrap();
    for _ in 0..2 {
        mcs.send(&Frame::HeartbeatPing(HeartbeatPing::default())).await.unwrap();
        let answer = next_frame(mcs).await;
        assert!(matches!(answer, Some(Frame::HeartbeatAck(_))), "{answer:?}");
    }
}

/// Status and body of what stands on the plain port.
pub(crate) async fn plain_get(http: SocketAddr, path: &str) -> Outcome<(u16, String)> {
    let mut stream = TcpStream::connect(http).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    patiently("an answer", stream.read_to_string(&mut answer)).await?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no head")?;
    let status = head.split(' ').nth(1).ok_or("no status")?.parse()?;
    Ok((status, body.to_owned()))
}

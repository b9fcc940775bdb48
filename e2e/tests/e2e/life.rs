//! The end of a server, and its next life.

use std::net::SocketAddr;
use std::sync::Arc;

use cresset_e2e::{TestServer, World, patiently};
use cresset_wire::mcs::Frame;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{logged_in, next, next_frame, saying, words_until};

#[tokio::test]
async fn an_end_drains() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let (connected, offline) = (world.device().await.unwrap(), world.device().await.unwrap());
    let mut device = logged_in(&world, &connected).await;
    let mut request = InFlight::begin(&world, &saying(&offline, "in flight")).await;
    let (http, mcs) = (world.running.http, world.running.mcs);

    let stopping = tokio::spawn(server.stop());
    assert!(matches!(next_frame(&mut device).await, Some(Frame::Close(_))));
    assert_eq!(next_frame(&mut device).await, None);
    patiently("no new connections", refused(mcs)).await;
    patiently("no new requests", refused(http)).await;
    assert!(!stopping.is_finished(), "a request is in flight");

    let answer = request.finish().await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let folder = patiently("the end", stopping).await.unwrap().unwrap();

    let server = TestServer::start_in(folder).await.unwrap();
    let mut device = server.world().await.unwrap().connect(&offline).await.unwrap();
    assert_eq!(next(&mut device).await.get("word"), Some("in flight"));
}

#[tokio::test]
async fn a_restart_keeps_who_is_who_and_what_waits() {
    let server = TestServer::start().await.unwrap();
    let before = server.world().await.unwrap();
    let device = before.device().await.unwrap();
    before.accept(&saying(&device, "before")).await.unwrap();
    let server = TestServer::start_in(server.stop().await.unwrap()).await.unwrap();
    let mut after = server.world().await.unwrap();
    assert_eq!(after.sender_id, before.sender_id);
    // What SDKs hold on to: access tokens, registration tokens, the device's identity, the CA.
    after.access = before.access;
    assert_eq!(after.trust.pem, before.trust.pem);
    after.accept(&saying(&device, "after")).await.unwrap();
    assert_eq!(after.devices.check_in(Some(&device.credentials)).await.unwrap(), device.credentials);
    let mut connection = after.connect(&device).await.unwrap();
    assert_eq!(words_until(&mut connection, "after").await, ["before", "after"]);
}

#[tokio::test]
async fn a_device_comes_back_by_itself_to_what_it_missed() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut connection = world.connect(&device).await.unwrap();
    let id = world.accept(&saying(&device, "unacknowledged")).await.unwrap();
    next(&mut connection).await;
    let folder: Arc<_> = server.stop().await.unwrap();
    assert!(patiently("the end of the connection", connection.next()).await.unwrap().is_none());
    let server = TestServer::start_in(folder).await.unwrap();
    let mut connection = server.world().await.unwrap().connect(&device).await.unwrap();
    assert_eq!(next(&mut connection).await.persistent_id(), id);
}

/// Until connections are refused: the listener closes a moment after it was told to.
async fn refused(address: SocketAddr) {
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// A send whose body the server waits for.
struct InFlight {
    stream: TcpStream,
    body: String,
}

impl InFlight {
    /// `100 Continue` says that the server has the head, has let the sender in, and wants the body.
    async fn begin(world: &World, message: &Value) -> Self {
        let body = serde_json::json!({ "message": message }).to_string();
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: fcm.googleapis.com\r\nAuthorization: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n",
            world.send_path(),
            world.authorization(),
            body.len()
        );
        let mut stream = TcpStream::connect(world.running.http).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut heard = [0; 25];
        patiently("100 Continue", stream.read_exact(&mut heard)).await.unwrap();
        assert_eq!(&heard, b"HTTP/1.1 100 Continue\r\n\r\n");
        Self { stream, body }
    }

    /// Everything that is answered, to the end of the connection.
    async fn finish(&mut self) -> String {
        self.stream.write_all(self.body.as_bytes()).await.unwrap();
        let mut answer = String::new();
        patiently("an answer", self.stream.read_to_string(&mut answer)).await.unwrap();
        answer
    }
}

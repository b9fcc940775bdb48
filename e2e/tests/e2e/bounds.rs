//! Reaching a bound has an answer that clients understand.

use std::io::ErrorKind;
use std::net::SocketAddr;

use bytes::Bytes;
use cresset_e2e::{Http2, RawMcs, TestServer, config, patiently};
use http::StatusCode;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::support::{logged_in, plain_get, saying};

#[tokio::test]
async fn a_message_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let answer = world.send(&saying(&device, &"x".repeat(5_000))).await.unwrap();
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text());
    assert_eq!(answer.json()["error"]["status"], "INVALID_ARGUMENT");
    let answer = world.send(&saying(&device, &"x".repeat(1_000_000))).await.unwrap();
    assert!(answer.status.is_client_error(), "{}", answer.text());
    world.accept(&saying(&device, "small")).await.unwrap();
}

#[tokio::test]
async fn a_header_list_that_is_too_large_is_refused() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let http = Http2::connect(world.running.https, "fcm.googleapis.com", &world.trust).await.unwrap();
    let long = "x".repeat(100_000);
    let sent = async {
        let headers = [("authorization", long.as_str())];
        http.post(&world.send_path(), &headers, Bytes::from_static(b"{}")).await
    };
    match patiently("an answer", sent).await {
        Ok(answer) => assert_eq!(answer.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
        Err(reset) => assert!(reset.downcast_ref::<h2::Error>().is_some(), "{reset}"),
    }
    let message = json!({ "token": world.device().await.unwrap().token });
    world.accept(&message).await.unwrap();
}

#[tokio::test]
async fn devices_beyond_the_limit_are_turned_away_and_those_inside_stay() {
    let folder = std::sync::Arc::new(TempDir::new().unwrap());
    let mut config = config(folder.path());
    config.limits.device_connections = 2;
    let server = TestServer::start_with(folder, &config).await.unwrap();
    let world = server.world().await.unwrap();
    let (first, second) = (world.device().await.unwrap(), world.device().await.unwrap());
    let (one, two) = (logged_in(&world, &first).await, logged_in(&world, &second).await);
    let third = patiently("a refusal", RawMcs::connect(world.running.mcs, &world.trust)).await;
    assert!(third.is_err(), "it is closed before TLS");
    drop(two);
    // The place is free when the server has seen the other's end.
    let free = async { while RawMcs::connect(world.running.mcs, &world.trust).await.is_err() {} };
    patiently("room for another", free).await;
    drop(one);
}

#[tokio::test]
async fn hundreds_of_sends_at_once_are_all_answered() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let messages: Vec<_> = (0..1_000).map(|n| saying(&device, &n.to_string())).collect();
    let answers = futures_util::future::join_all(messages.iter().map(|message| world.send(message))).await;
    let accepted = answers.iter().filter(|answer| matches!(answer, Ok(a) if a.status == StatusCode::OK));
    assert_eq!(accepted.count(), 1_000);
}

/// Opens a connection from one of the many addresses of this machine.
async fn from(address: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

async fn is_closed_unread(stream: &mut TcpStream) -> bool {
    matches!(patiently("an end", stream.read_u8()).await, Err(e) if e.kind() == ErrorKind::UnexpectedEof || e.kind() == ErrorKind::ConnectionReset)
}

async fn is_served(stream: &mut TcpStream) -> bool {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 15];
    patiently("an answer", stream.read_exact(&mut answer)).await.is_ok() && answer == *b"HTTP/1.1 200 OK"
}

#[tokio::test]
async fn an_address_has_so_many_http_connections_and_others_have_theirs() {
    let folder = std::sync::Arc::new(TempDir::new().unwrap());
    let mut config = config(folder.path());
    config.limits.count_loopback = true;
    config.limits.http_connections_per_address = 3;
    config.limits.logins_per_address = 2;
    let server = TestServer::start_with(folder, &config).await.unwrap();
    let http = server.running().http;
    let (mut first, mut second) = (from([127, 0, 0, 2], http).await, from([127, 0, 0, 2], http).await);
    assert!(is_closed_unread(&mut from([127, 0, 0, 2], http).await).await, "two ask for nothing");
    assert!(is_served(&mut from([127, 0, 0, 3], http).await).await);
    assert!(is_served(&mut first).await && is_served(&mut second).await);
    let mut third = from([127, 0, 0, 2], http).await;
    assert!(is_served(&mut third).await, "those that ask are others");
    assert!(is_closed_unread(&mut from([127, 0, 0, 2], http).await).await);
    drop(third);
    let free = async { while !is_served_if_open(http).await {} };
    patiently("room for another", free).await;
}

async fn is_served_if_open(http: SocketAddr) -> bool {
    let mut stream = from([127, 0, 0, 2], http).await;
    let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    asked.is_ok() && stream.read_u8().await.is_ok()
}

#[tokio::test]
async fn http_connections_that_ask_for_nothing_give_way() {
    let folder = std::sync::Arc::new(TempDir::new().unwrap());
    let mut config = config(folder.path());
    config.limits.http_connections = 2;
    let server = TestServer::start_with(folder, &config).await.unwrap();
    let running = server.running();
    let mut silent = TcpStream::connect(running.http).await.unwrap();
    let _half_a_handshake = TcpStream::connect(running.https).await.unwrap();
    assert!(is_closed_unread(&mut silent).await);
    let (_, metrics) = plain_get(running.http, "/metrics").await.unwrap();
    let line = "cresset_http_refused_connections_total{reason=\"gave_way\"} ";
    let count = metrics.lines().find_map(|found| found.strip_prefix(line)).unwrap();
    assert!(count.parse::<f64>().unwrap() >= 1.0, "{metrics}");
    assert!(metrics.contains("cresset_http_refused_connections_total{reason=\"silent\"} 0"), "{metrics}");
}

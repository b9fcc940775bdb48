//! How a server begins and ends: with all the files it may open; what is in flight is answered, what is
//! silent is not waited for.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server;

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_flight_is_answered_and_silence_is_not_waited_for() {
    let place = tempfile::tempdir().unwrap();
    let server = server(place.path()).await;
    let (http, https) = (server.running.http, server.running.https);
    let mut request = TcpStream::connect(http).await.unwrap();
    let head = "POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 19\r\n\r\ngrant_type";
    request.write_all(head.as_bytes()).await.unwrap();
    let _silent = TcpStream::connect(http).await.unwrap();
    let _half_a_handshake = TcpStream::connect(https).await.unwrap();
    // It has been accepted once its headers were read, which only an answer to another shows.
    let mut other = TcpStream::connect(http).await.unwrap();
    other.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    other.read_u8().await.unwrap();
    let (folder, stopping) = (server.folder.clone(), tokio::spawn(server.stop()));
    while TcpStream::connect(http).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(folder.running(), None);
    request.write_all(b"=password").await.unwrap();
    let mut answer = String::new();
    request.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.ends_with("Invalid grant_type: password\"}"),
        "{answer}"
    );
    assert!(stopping.await.unwrap(), "all within the time for it");
}

#[test]
fn it_may_open_as_many_files_as_its_hard_limit_says() {
    let place = tempfile::tempdir().unwrap();
    let none = [
        "--exec-address",
        "none",
        "--https-port",
        "0",
        "--http-port",
        "0",
        "--mcs-port",
        "0",
        "--xmpp-port",
        "0",
    ];
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -Sn 200; ulimit -Hn 3000; exec \"$0\" up \"$@\"", env!("CARGO_BIN_EXE_cresset")])
        .args(none)
        .arg("--data")
        .arg(place.path().join("data"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let serves = lines.map_while(Result::ok).any(|line| line.contains("Ctrl-C"));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id()));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(serves);
    let limits = limits.unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[3..5], ["3000", "3000"], "{line}");
}

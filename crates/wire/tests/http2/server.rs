//! With the HTTP/2 library that servers really use.

use cresset_wire::http2::Repair;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Client, END_HEADERS, END_STREAM, HEADERS, frame, list, request};

/// Sends bytes to an `h2` server; the URIs of the requests that it accepts, with their trailers.
async fn accepted(bytes: Vec<u8>, expected: usize) -> Vec<(String, usize)> {
    let (client, server) = tokio::io::duplex(1 << 20);
    let (mut answers, mut sender) = tokio::io::split(client);
    sender.write_all(&bytes).await.unwrap();
    let drain = tokio::spawn(async move {
        let mut sink = Vec::new();
        let _ = answers.read_to_end(&mut sink).await;
    });
    let mut connection = h2::server::handshake(server).await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < expected {
        let Some(Ok((request, mut respond))) = connection.accept().await else { break };
        let uri = request.uri().to_string();
        respond.send_response(http::Response::new(()), true).unwrap();
        let mut body = request.into_body();
        // The connection must be driven for its streams to move.
        let trailers = tokio::select! {
            biased;
            trailers = async {
                while body.data().await.is_some() {}
                body.trailers().await
            } => trailers.unwrap().map_or(0, |t| t.len()),
            _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => 0,
        };
        seen.push((uri, trailers));
    }
    drain.abort();
    seen
}

/// What Node's Admin SDK sends for `sendEach`: one connection, many requests, the scheme named
/// by its index from the second on.
fn node() -> Vec<u8> {
    let mut client = Client::new();
    for stream in [1, 3, 5, 7] {
        client.request(stream, &request("https:", "/v1/projects/demo/messages:send"), b"{}");
    }
    let head = client.block(&request("https:", "/last"));
    client.bytes.extend(frame(HEADERS, END_HEADERS, 9, &head));
    let trailers = client.block(&list(&[("x-checksum", "1")]));
    client.bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 9, &trailers));
    client.bytes
}

#[tokio::test]
async fn h2_accepts_nodes_requests_once_they_are_mended() {
    let mut mended = Vec::new();
    Repair::new().feed(&node(), &mut mended).unwrap();
    let send = ("https://fcm.googleapis.com:443/v1/projects/demo/messages:send".to_owned(), 0);
    let last = ("https://fcm.googleapis.com:443/last".to_owned(), 1);
    let expected = [send.clone(), send.clone(), send.clone(), send, last];
    assert_eq!(accepted(mended, 5).await, expected);
}

/// The day this fails, the repair is no longer needed.
#[tokio::test]
async fn h2_passes_over_nodes_requests_as_they_are() {
    let mut client = Client::new();
    client.request(1, &request("https:", "/node"), b"{}");
    client.request(3, &request("https", "/other"), b"{}");
    let seen = accepted(client.bytes, 1).await;
    assert_eq!(seen, [("https://fcm.googleapis.com:443/other".to_owned(), 0)]);
}

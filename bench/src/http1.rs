//! Sends over HTTP/1.1: one request at a time on each of many connections, as an SDK's pool does.
//! Requests are written as prepared bytes, and of an answer only its status and length are read.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cresset_e2e::{Outcome, World};
use futures_util::future::try_join_all;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::send::Shared;

const HOST: &str = "fcm.googleapis.com";

pub(crate) struct Connection {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
    /// A whole request for each body.
    requests: Arc<[Bytes]>,
}

pub(crate) async fn connect(world: &World, count: usize, bodies: &[Bytes]) -> Outcome<Vec<Connection>> {
    let tls = TlsConnector::from(world.trust.client(&[b"http/1.1"])?);
    let requests: Arc<[Bytes]> = bodies.iter().map(|body| request(world, body)).collect();
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = TcpStream::connect(world.running.https).await?;
        socket.set_nodelay(true)?;
        let stream = tls.connect(ServerName::try_from(HOST)?, socket).await?;
        connections.push(Connection { stream, read: Vec::new(), requests: requests.clone() });
    }
    Ok(connections)
}

pub(crate) fn request(world: &World, body: &Bytes) -> Bytes {
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {HOST}\r\nauthorization: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        world.send_path(),
        world.authorization(),
        body.len(),
    );
    [head.as_bytes(), body].concat().into()
}

pub(crate) async fn send(connections: Vec<Connection>, shared: &Shared<'_>) -> Outcome<()> {
    try_join_all(connections.into_iter().map(|connection| connection.work(shared))).await.map(drop)
}

impl Connection {
    async fn work(mut self, shared: &Shared<'_>) -> Outcome<()> {
        while let Some((at, _)) = shared.next() {
            let begun = Instant::now();
            self.stream.write_all(&self.requests[at]).await?;
            self.stream.flush().await?;
            self.answer().await?;
            shared.acknowledged(begun);
        }
        Ok(())
    }

    /// Reads one answer, which must be a success.
    async fn answer(&mut self) -> Outcome<()> {
        self.read.clear();
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err("the server ended a connection".into());
            }
            if is_whole(&self.read)? {
                break;
            }
        }
        if self.read.starts_with(b"HTTP/1.1 200 ") {
            return Ok(());
        }
        Err(format!("a send was answered {}", String::from_utf8_lossy(&self.read)).into())
    }
}

pub(crate) fn is_whole(read: &[u8]) -> Outcome<bool> {
    let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(false) };
    let head = std::str::from_utf8(&read[..end])?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let length = length.ok_or("an answer has no length")?;
    Ok(read.len() >= end + 4 + length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_body_is() {
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n").unwrap());
        assert!(!is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{").unwrap());
        assert!(is_whole(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").unwrap());
        assert!(is_whole(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
    }
}

//! Sends over HTTP/2: some connections, each with its share of what is in flight.

use std::time::Instant;

use bytes::Bytes;
use cresset_e2e::{Http2, Outcome, World};
use futures_util::future::try_join_all;
use http::{Request, StatusCode};

use crate::send::Shared;

/// A connection, and the head of the one request that it sends.
pub(crate) struct Connection {
    http: Http2,
    request: Request<()>,
}

pub(crate) async fn connect(world: &World, count: usize) -> Outcome<Vec<Connection>> {
    let authorization = world.authorization();
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let mut connections = Vec::with_capacity(count);
    for _ in 0..count {
        let http = world.sender().await?;
        let request = http.request(&world.send_path(), &headers)?;
        connections.push(Connection { http, request });
    }
    Ok(connections)
}

pub(crate) async fn send(connections: &[Connection], in_flight: usize, shared: &Shared<'_>) -> Outcome<()> {
    let workers = (0..in_flight).map(|n| work(&connections[n % connections.len()], shared));
    try_join_all(workers).await.map(drop)
}

async fn work(connection: &Connection, shared: &Shared<'_>) -> Outcome<()> {
    while let Some((_, body)) = shared.next() {
        let begun = Instant::now();
        connection.send(body.clone()).await?;
        shared.acknowledged(begun);
    }
    Ok(())
}

impl Connection {
    /// Sends a body; anything but 200 is an error.
    pub(crate) async fn send(&self, body: Bytes) -> Outcome<()> {
        let answer = self.http.send(self.request.clone(), body).await?;
        if answer.status == StatusCode::OK {
            return Ok(());
        }
        Err(format!("a send was answered {}: {}", answer.status, answer.text()).into())
    }
}

//! Takes connections from the kernel.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How long to leave `accept` alone after it failed: usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The next connection. `failed` is told when there was one that could not be had.
pub async fn accept(socket: &TcpListener, failed: impl Fn(io::Error)) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok(accepted) => return accepted,
            Err(error) => {
                failed(error);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

//! A device whose line goes dead without a word, and which then comes by another.

use std::collections::HashSet;
use std::rc::Rc;
use std::time::Duration;

use cresset_device_client::{Acks, ConnectOptions, Connection};
use cresset_e2e::Outcome;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::{Fault, HALF_OPEN, Scene};
use crate::journal::Arrival;
use crate::load::PAUSE;

/// Messages before the line goes dead, and after it.
const BURST: usize = 20;

/// Those that the device reads before.
const READ: usize = 5;

/// For everything that waits to come by the new line.
const PATIENCE: Duration = Duration::from_secs(30);

/// For a connection, and for each message before the line is dead.
const CONNECT: Duration = Duration::from_secs(10);

pub(super) async fn run(scene: Rc<Scene>) -> Outcome<()> {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let Ok(Ok(dead)) = timeout(CONNECT, go_dead(&scene, &listener)).await else {
            // In a storm, or while there is no room, it cannot come in.
            sleep(PAUSE).await;
            continue;
        };
        let sent = scene.burst(HALF_OPEN, BURST).await?;
        come_back(&scene, &sent).await?;
        if !sent.is_empty() {
            scene.counts.add(Fault::HalfOpen);
        }
        drop(dead);
    }
}

/// Both sockets of the proxy and the device's end: as long as they are kept nobody hears of the end.
type Dead = (TcpStream, TcpStream, Connection);

async fn go_dead(scene: &Scene, listener: &TcpListener) -> Outcome<Dead> {
    let (cut, is_cut) = oneshot::channel();
    let proxy = async {
        let (device, _) = listener.accept().await?;
        let server = TcpStream::connect(scene.world().running.mcs).await?;
        Ok(forward(device, server, is_cut).await)
    };
    let device = async {
        let connection = read_some(scene, listener).await?;
        let _ = cut.send(());
        Outcome::Ok(connection)
    };
    let ((device, server), connection) = tokio::try_join!(proxy, device)?;
    Ok((device, server, connection))
}

/// Until it is cut; then nothing goes either way, and nobody is told.
async fn forward(
    mut device: TcpStream,
    mut server: TcpStream,
    is_cut: oneshot::Receiver<()>,
) -> (TcpStream, TcpStream) {
    tokio::select! {
        _ = copy_bidirectional(&mut device, &mut server) => {}
        _ = is_cut => {}
    }
    (device, server)
}

async fn read_some(scene: &Scene, listener: &TcpListener) -> Outcome<Connection> {
    let devices = scene.world().devices_by(listener.local_addr()?)?;
    let mut connection =
        devices.connect(&scene.device(HALF_OPEN).credentials, ConnectOptions::default()).await?;
    let sent = scene.burst(HALF_OPEN, BURST).await?;
    for _ in 0..sent.len().min(READ) {
        let message = connection.next().await?.ok_or("the connection has ended")?;
        scene.load.journal().arrived(HALF_OPEN, Arrival::of(&message));
        connection.acknowledge(&message).await?;
    }
    Ok(connection)
}

/// What was sent when the line was dead must come by the new one, without waiting for the old one's end.
async fn come_back(scene: &Scene, sent: &[usize]) -> Outcome<()> {
    let mut missing: HashSet<usize> = sent.iter().copied().collect();
    let all = async {
        while !missing.is_empty() {
            // It may be closed, or refused for a moment.
            let _ = receive(scene, &mut missing).await;
            sleep(PAUSE).await;
        }
    };
    let came = timeout(PATIENCE, all).await;
    came.map_err(|_| "a device that came back by another line was not handed what waits for it".into())
}

async fn receive(scene: &Scene, missing: &mut HashSet<usize>) -> Outcome<()> {
    let who = scene.device(HALF_OPEN).credentials;
    let options = ConnectOptions { acks: Acks::Automatic, ..ConnectOptions::default() };
    let mut connection = scene.world().devices.connect(&who, options).await?;
    while !missing.is_empty() {
        let Some(message) = connection.next().await? else { break };
        let arrival = Arrival::of(&message);
        arrival.number.map(|number| missing.remove(&number));
        scene.load.journal().arrived(HALF_OPEN, arrival);
    }
    Ok(())
}

//! What no device and no app server says.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use cresset_e2e::{Outcome, RawMcs, login_bytes};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::slow::is_login;
use super::{Fault, Scene};
use crate::chance::Chance;

pub(super) const KINDS: [Fault; 7] = [
    Fault::NoiseBeforeTls,
    Fault::NoiseBeforeLogin,
    Fault::NoiseAfterLogin,
    Fault::HugeFrame,
    Fault::StrangeVersion,
    Fault::HttpToDevices,
    Fault::McsToHttps,
];

/// Tag of a data message, and the longest length that its five bytes can say.
const HUGE: [u8; 6] = [8, 0xff, 0xff, 0xff, 0xff, 0x07];

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: mtalk.google.com\r\n\r\n";

/// For the server to answer or to close. It may wait for more, as half of a frame may be noise.
const REACTION: Duration = Duration::from_millis(200);

/// For a connection and a login.
const CONNECT: Duration = Duration::from_secs(10);

/// Longer than any frame's head, shorter than a TLS record.
const MOST: usize = 2_000;

pub(super) async fn run(scene: Rc<Scene>, kind: Fault, mut chance: Chance) -> Outcome<()> {
    loop {
        // A connection that is not let in, in a storm say, has said nothing.
        if let Ok(Ok(())) = timeout(CONNECT, say(&scene, kind, &mut chance)).await {
            scene.counts.add(kind);
        }
        sleep(chance.between(Duration::from_millis(20), REACTION)).await;
    }
}

async fn say(scene: &Scene, kind: Fault, chance: &mut Chance) -> Outcome<()> {
    let (world, who) = (scene.world(), scene.anybody(chance)?);
    let length = 1 + chance.below(MOST);
    let noise = chance.bytes(length);
    if kind == Fault::NoiseBeforeTls {
        return say_plainly(world.running.mcs, &noise).await;
    }
    let port = if kind == Fault::McsToHttps { world.running.https } else { world.running.mcs };
    let mut connection = RawMcs::connect(port, &world.trust).await?;
    match kind {
        Fault::NoiseBeforeLogin => connection.write(&noise).await?,
        Fault::StrangeVersion => {
            let mut login = login_bytes(&who);
            login[0] = noise[0];
            connection.write(&login).await?;
        }
        Fault::HttpToDevices => connection.write(HTTP).await?,
        Fault::McsToHttps => connection.log_in(&who).await?,
        _ => {
            connection.log_in(&who).await?;
            if !is_login(connection.next().await?) {
                return Err("not logged in".into());
            }
            connection.write(if kind == Fault::HugeFrame { &HUGE } else { &noise }).await?;
            if kind == Fault::HugeFrame {
                connection.write(&noise).await?;
            }
        }
    }
    // Whatever comes, an answer or the end, in whatever form.
    let _ = timeout(REACTION, connection.next()).await;
    Ok(())
}

async fn say_plainly(address: SocketAddr, noise: &[u8]) -> Outcome<()> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(noise).await?;
    let _ = timeout(REACTION, socket.read(&mut [0; 64])).await;
    Ok(())
}

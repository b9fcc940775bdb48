//! Devices on bad lines.

use std::rc::Rc;
use std::time::Duration;

use cresset_e2e::{Outcome, RawMcs, login_bytes};
use cresset_wire::mcs::Frame;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpSocket;
use tokio::time::{sleep, timeout};

use super::{Fault, SLOW, Scene};
use crate::chance::Chance;
use crate::load::PAUSE;

/// Between two bytes of a login, which has some 150: within what a crowd leaves it.
const BETWEEN_BYTES: Duration = Duration::from_millis(3);

/// For the answer to a login.
const ANSWER: Duration = Duration::from_secs(10);

/// The least that the kernel gives is somewhat more.
const RECEIVE_BUFFER: u32 = 2_048;

/// Messages to the device that does not read them: more than its buffer holds.
const BURST: usize = 100;

const BYTES: usize = 5;

/// Logs in byte by byte, again and again. In a storm the server may take the place away.
pub(super) async fn logins(scene: Rc<Scene>, mut chance: Chance) -> Outcome<()> {
    loop {
        if let Ok(Ok(true)) = timeout(ANSWER, log_in(&scene, &mut chance)).await {
            scene.counts.add(Fault::SlowLogin);
        }
        sleep(PAUSE).await;
    }
}

async fn log_in(scene: &Scene, chance: &mut Chance) -> Outcome<bool> {
    let world = scene.world();
    let who = scene.anybody(chance)?;
    let mut connection = RawMcs::connect(world.running.mcs, &world.trust).await?;
    for byte in login_bytes(&who) {
        connection.write(&[byte]).await?;
        sleep(BETWEEN_BYTES).await;
    }
    Ok(is_login(connection.next().await?))
}

pub(super) fn is_login(frame: Option<Frame>) -> bool {
    matches!(frame, Some(Frame::LoginResponse(response)) if response.error.is_none())
}

/// Is sent to, and reads one byte a second.
pub(super) async fn reader(scene: Rc<Scene>) -> Outcome<()> {
    loop {
        // It may have been refused a connection or a message; then it tries again.
        let _ = read_slowly(&scene).await;
        sleep(PAUSE).await;
    }
}

async fn read_slowly(scene: &Scene) -> Outcome<()> {
    let world = scene.world();
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
    let socket = socket.connect(world.running.mcs).await?;
    let mut connection = RawMcs::over(socket, world.trust.client(&[])?).await?;
    connection.log_in(&scene.device(SLOW).credentials).await?;
    if !is_login(timeout(ANSWER, connection.next()).await??) {
        return Err("not logged in".into());
    }
    let mut socket = connection.into_socket();
    for _ in 0..BYTES {
        scene.burst(SLOW, BURST).await?;
        if socket.read(&mut [0]).await? == 0 {
            return Ok(());
        }
        scene.counts.add(Fault::SlowReader);
        sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

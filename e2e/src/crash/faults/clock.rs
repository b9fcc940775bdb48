//! The server's clock jumps back and forth.

use std::rc::Rc;
use std::time::Duration;

use cresset_e2e::{Outcome, RawMcs};
use cresset_wire::mcs::Frame;
use tokio::time::{sleep, timeout};

use super::{Fault, Scene};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::load::PAUSE;

/// Small against the 28 days that a message lives, and large against the hour of an access token:
/// senders whose token is too old or too new are told so, and get another. Never a day ahead of the time
/// at the restart: a mark of ids further ahead is not believed (`delivery/src/ids.rs`), and with it goes
/// the order of what waits. From the last to the one before it is days either way.
const AHEAD_SECONDS: [i64; 9] = [0, -1, 30, -300, 600, -7_200, 7_200, 80_000, -259_200];

/// Between the clock that was set and what the server says: a busy machine.
const DIFFERENCE: Duration = Duration::from_secs(60);

/// For a login.
const CONNECT: Duration = Duration::from_secs(10);

/// Until the server is seen to have the new time.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn run(scene: Rc<Scene>, clock: Clock, mut chance: Chance) -> Outcome<()> {
    let mut before = 0;
    loop {
        sleep(chance.between(Duration::from_millis(100), Duration::from_millis(700))).await;
        let ahead = AHEAD_SECONDS[chance.below(AHEAD_SECONDS.len())];
        clock.set(ahead)?;
        timeout(PATIENCE, seen(&scene, &clock, &mut chance)).await.map_err(|_| "the clock does not jump")?;
        // Others are too small to be told from none.
        if Duration::from_secs(ahead.abs_diff(before)) > DIFFERENCE {
            scene.counts.add(Fault::ClockJump);
        }
        before = ahead;
    }
}

/// Until the server says the time that was set.
async fn seen(scene: &Scene, clock: &Clock, chance: &mut Chance) {
    loop {
        if let Ok(Ok(Some(millis))) = timeout(CONNECT, time_of(scene, chance)).await
            && (millis / 1_000).abs_diff(clock.now().as_secs()) < DIFFERENCE.as_secs()
        {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// By the answer to a login.
async fn time_of(scene: &Scene, chance: &mut Chance) -> Outcome<Option<u64>> {
    let world = scene.world();
    let mut connection = RawMcs::connect(world.running.mcs, &world.trust).await?;
    connection.log_in(&scene.anybody(chance)?).await?;
    match connection.next().await? {
        Some(Frame::LoginResponse(response)) => {
            Ok(response.server_timestamp.and_then(|time| time.try_into().ok()))
        }
        _ => Ok(None),
    }
}

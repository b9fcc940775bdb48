//! Sends of messages that say when they were sent, to single devices.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cresset_e2e::{Outcome, World};
use futures_util::future::try_join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::{MissedTickBehavior, interval};

use crate::http2::{self, Connection};
use crate::subscriber::{Clock, stamped};

/// Of one sender, as an SDK's pool has them.
const CONNECTIONS: usize = 4;

/// Between two looks at what is due to be sent.
const TICK: Duration = Duration::from_millis(1);

/// Requests that may wait for their answers when sends come evenly.
const MOST_WAITING: usize = 10_000;

/// Whom a send is to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whom {
    Anybody,
    EachInTurn,
}

/// A sender of this project.
pub(crate) struct Sender<'a> {
    connections: Vec<Connection>,
    tokens: &'a [String],
    whom: Whom,
    clock: Clock,
    sent: Cell<usize>,
}

impl<'a> Sender<'a> {
    pub(crate) async fn open(world: &World, tokens: &'a [String], whom: Whom, clock: Clock) -> Outcome<Self> {
        let connections = http2::connect(world, CONNECTIONS).await?;
        Ok(Self { connections, tokens, whom, clock, sent: Cell::new(0) })
    }

    /// So many sends, so many of them at a time.
    pub(crate) async fn at_once(&self, count: usize, in_flight: usize) -> Outcome<()> {
        let until = self.sent.get() + count;
        let work = async || {
            while self.sent.get() < until {
                self.send(Instant::now()).await?;
            }
            Outcome::Ok(())
        };
        try_join_all((0..in_flight).map(|_| work())).await.map(drop)
    }

    /// Sends at an even rate a second, however long the answers take; how many. Each counts from when it
    /// was due.
    pub(crate) async fn evenly(&self, rate: f64, time: Duration) -> Outcome<usize> {
        let begun = Instant::now();
        let (mut count, mut going) = (0, FuturesUnordered::new());
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while begun.elapsed() < time {
            while (count as f64) < begun.elapsed().as_secs_f64() * rate {
                if going.len() == MOST_WAITING {
                    return Err(format!("the server does not keep up with {rate} sends a second").into());
                }
                going.push(self.send(begun + Duration::from_secs_f64(count as f64 / rate)));
                count += 1;
            }
            tokio::select! {
                _ = ticks.tick() => {}
                Some(answer) = going.next() => answer?,
            }
        }
        while let Some(answer) = going.next().await {
            answer?;
        }
        Ok(count)
    }

    async fn send(&self, due: Instant) -> Outcome<()> {
        let n = self.sent.replace(self.sent.get() + 1);
        let connection = &self.connections[n % self.connections.len()];
        connection.send(self.body(n, due)).await
    }

    /// At the priority that asks for no acknowledgement at once.
    fn body(&self, n: usize, due: Instant) -> Bytes {
        let at = match self.whom {
            Whom::Anybody => usize::try_from(scattered(n as u64) % self.tokens.len() as u64).unwrap_or(0),
            Whom::EachInTurn => n % self.tokens.len(),
        };
        let (token, content) = (&self.tokens[at], stamped(self.clock.at(due)));
        format!(
            r#"{{"message":{{"token":"{token}","data":{{"k":"{content}"}},"android":{{"priority":"normal"}}}}}}"#
        )
        .into()
    }
}

/// The same in each run, and like chance (SplitMix64's finaliser).
fn scattered(n: u64) -> u64 {
    let n = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let n = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let n = (n ^ (n >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    n ^ (n >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_leaves_nobody_out_and_prefers_nobody() {
        let mut hits = [0; 100];
        (0..10_000).for_each(|n| hits[(scattered(n) % 100) as usize] += 1);
        assert!(hits.iter().all(|hits| (50..200).contains(hits)), "{hits:?}");
    }
}

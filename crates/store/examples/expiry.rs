//! How soon the space of rows that are over comes back: `expiry FOLDER [HOURS [ROWS_A_SECOND]]`.
//!
//! Writes what became of messages as the server does: kept for an hour after an acknowledgement, which comes
//! at once, a minute later (one in 50) or not at all (one in 100: kept for 28 days), and sweeps at the
//! server's pace. Time is an argument of the store, so that an hour takes a minute or two. Prints what is on
//! the disk beside what lives. Build it with `--release`.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use cresset_message::{MessageId, ProjectNumber, RegistrationId, Timestamp};
use cresset_store::embedded::{EmbeddedEngine, Options};
use cresset_store::tables::events::{self, DeliveryEvents};
use cresset_store::{Batch, Engine, Table};

const START: u64 = 1_700_000_000;
const HOUR: Duration = Duration::from_secs(3_600);
const KEPT: Duration = HOUR;
const LIFE: Duration = Duration::from_secs(28 * 86_400);
const LATE: u64 = 60;

/// The server's: steps of so many rows, so many a second, and a pause after each walk, in seconds.
const STEP: usize = 2_000;
const STEPS: usize = 18;
const PAUSE: u64 = 600;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: expiry FOLDER [HOURS [ROWS_A_SECOND]]")?;
    let hours = args.next().map_or(Ok(4), |hours| hours.parse::<u64>())?;
    let rate = args.next().map_or(Ok(1_500), |rate| rate.parse::<u64>())?.clamp(1, 100_000);
    let path = Path::new(&folder).join("store");
    let store = EmbeddedEngine::open(&path, Options { fsync: false, ..Options::default() })?;
    let mut load = Load { late: VecDeque::new(), lives: VecDeque::new(), for_long: 0 };
    let (mut from, mut wait, mut dropped) = (Bytes::new(), 0, 0);
    for second in 0..hours * HOUR.as_secs() {
        let now = Timestamp::from_secs(START + second);
        load.write(&store, second, rate, now).await?;
        wait = wait.max(1) - 1;
        for _ in 0..if wait == 0 { STEPS } else { 0 } {
            let swept = store.sweep(Table::Events, &from, STEP, now).await?;
            dropped += swept.dropped;
            from = swept.next.unwrap_or_default();
            if from.is_empty() {
                wait = PAUSE;
                break;
            }
        }
        if second % 900 == 899 {
            println!(
                "{:5.2} h: {:6} MB on the disk, {:9} rows live, {dropped:9} dropped by sweeps",
                (second + 1) as f64 / HOUR.as_secs_f64(),
                on_disk(&path)? >> 20,
                load.live()
            );
        }
    }
    store.close().await?;
    Ok(())
}

struct Load {
    /// To be acknowledged, with the second for it.
    late: VecDeque<(u64, MessageId)>,
    /// Rows that are kept for an hour, by the second in which they came.
    lives: VecDeque<u64>,
    for_long: u64,
}

impl Load {
    async fn write(
        &mut self,
        store: &EmbeddedEngine,
        second: u64,
        rate: u64,
        now: Timestamp,
    ) -> Result<(), Failure> {
        let (mut batch, mut ended) = (Batch::default(), 0);
        for n in 0..rate {
            let number = second * rate + n;
            let id = MessageId {
                micros: now.as_micros() + n * 1_000_000 / rate,
                unique: number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            };
            match number {
                _ if number % 100 == 7 => {
                    put(&mut batch, id, 0, now, LIFE + KEPT);
                    self.for_long += 1;
                }
                _ if number % 50 == 3 => {
                    put(&mut batch, id, 0, now, LIFE + KEPT);
                    self.late.push_back((second + LATE, id));
                }
                _ => {
                    put(&mut batch, id, 10, now, KEPT);
                    ended += 1;
                }
            }
        }
        while let Some((_, id)) = self.late.pop_front_if(|(due, _)| *due <= second) {
            put(&mut batch, id, 10, now, KEPT);
            ended += 1;
        }
        self.lives.push_back(ended);
        if self.lives.len() as u64 > KEPT.as_secs() {
            self.lives.pop_front();
        }
        for ops in batch.ops.chunks(1_000) {
            store.write(Batch { ops: ops.to_vec(), condition: None }, now).await?;
        }
        Ok(())
    }

    fn live(&self) -> u64 {
        self.lives.iter().sum::<u64>() + self.late.len() as u64 + self.for_long
    }
}

fn put(batch: &mut Batch, id: MessageId, end: u32, now: Timestamp, kept: Duration) {
    let registration =
        RegistrationId { project: ProjectNumber(100_000_000_001), bucket: 0, slot: id.unique as u16 };
    let record = DeliveryEvents {
        registration: Some(registration.into()),
        device: u64::MAX - id.unique % 3_000,
        expires_millis: (now + LIFE).as_millis(),
        sent_millis: Some(now.as_millis()),
        end,
        ended_millis: if end == 0 { 0 } else { now.as_millis() },
        ..DeliveryEvents::default()
    };
    batch.put(events::delivery_key(id), record.to_bytes(), Some(now + kept));
}

/// What the files of a folder take, sparse ones as much as is written of them.
fn on_disk(path: &Path) -> Result<u64, Failure> {
    let mut sum = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        // A file of the store may go at any time.
        let Ok(metadata) = entry.metadata() else { continue };
        sum += if metadata.is_dir() { on_disk(&entry.path())? } else { metadata.blocks() * 512 };
    }
    Ok(sum)
}

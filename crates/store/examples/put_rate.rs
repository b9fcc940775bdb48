//! How many durable writes the embedded engine takes: `put_rate FOLDER [WRITES]`.
//!
//! Puts 1 KB rows, half noise and half text, into random partitions with 1, 100 and 512 in flight, and
//! prints rate, CPU time of the whole process per write, and latency. Also what one fdatasync costs.
//! Build it with `--release`; rates on a busy machine are lower bounds.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cresset_message::Timestamp;
use cresset_store::embedded::{EmbeddedEngine, Options};
use cresset_store::{Batch, RowKey, Store, Table};

const VALUE_BYTES: usize = 1_024;
const NOW: Timestamp = Timestamp::from_secs(1_000);

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let folder = args.next().ok_or("usage: put_rate FOLDER [WRITES]")?;
    let writes = args.next().map_or(Ok(200_000), |writes| writes.parse())?;
    fs::create_dir_all(&folder)?;
    println!("load: {}", fs::read_to_string("/proc/loadavg")?.trim());
    println!("fdatasync of a 4 KB append: {}", Latencies(sync_costs(Path::new(&folder))?));
    let options = Options { cache_bytes: 512 << 20, ..Options::default() };
    let store: Store = Arc::new(EmbeddedEngine::open(&Path::new(&folder).join("store"), options)?);
    for (in_flight, writes) in [(1, writes / 50), (100, writes), (512, writes)] {
        measure(&store, in_flight, writes).await?;
    }
    store.close().await?;
    println!("load: {}", fs::read_to_string("/proc/loadavg")?.trim());
    Ok(())
}

async fn measure(store: &Store, in_flight: u64, writes: u64) -> Result<(), Failure> {
    let (started, cpu) = (Instant::now(), cpu_time()?);
    let next = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..in_flight)
        .map(|_| tokio::spawn(write_until(store.clone(), next.clone(), writes, in_flight)))
        .collect();
    let mut latencies = Vec::new();
    for writer in writers {
        latencies.extend(writer.await??);
    }
    let rate = latencies.len() as f64 / started.elapsed().as_secs_f64();
    let cpu = (cpu_time()? - cpu).as_secs_f64() * 1e6 / latencies.len() as f64;
    println!(
        "{in_flight:4} in flight: {rate:7.0} writes/s, {cpu:5.1} µs CPU a write, {}",
        Latencies(latencies)
    );
    Ok(())
}

async fn write_until(
    store: Store,
    next: Arc<AtomicU64>,
    writes: u64,
    seed: u64,
) -> Result<Vec<Duration>, Failure> {
    let mut latencies = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= writes {
            return Ok(latencies);
        }
        let mut batch = Batch::default();
        let place = mixed(number ^ (seed << 40));
        batch.put(
            RowKey::new(Table::Inbox, place.to_be_bytes().to_vec(), number.to_be_bytes().to_vec()),
            value(place),
            None,
        );
        let started = Instant::now();
        store.write(batch, NOW).await?;
        latencies.push(started.elapsed());
    }
}

/// What a message looks like to a compressor: half of it noise.
fn value(seed: u64) -> Vec<u8> {
    let mut value = b"{\"notification\":{\"title\":\"hello\",\"body\":\"text\"}}".repeat(11);
    value.truncate(VALUE_BYTES / 2);
    let noise = (0..).flat_map(|step| mixed(seed.wrapping_add(step)).to_le_bytes());
    value.extend(noise.take(VALUE_BYTES / 2));
    value
}

/// splitmix64 (Steele, Lea, Flood 2014): a random-looking number for each number.
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn sync_costs(folder: &Path) -> Result<Vec<Duration>, Failure> {
    let path = folder.join("sync");
    let mut file = File::create(&path)?;
    let mut costs = Vec::new();
    for _ in 0..500 {
        file.write_all(&[7; 4_096])?;
        let started = Instant::now();
        file.sync_data()?;
        costs.push(started.elapsed());
    }
    fs::remove_file(path)?;
    Ok(costs)
}

/// User and system time of this process, from ticks of 10 ms.
fn cpu_time() -> Result<Duration, Failure> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let fields = stat.rsplit(')').next().ok_or("a process has a name")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u64>).sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks * 10))
}

struct Latencies(Vec<Duration>);

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or_default();
        write!(f, "p50 {:.2?}, p99 {:.2?}, max {:.2?}", at(0.5), at(0.99), at(0.999_999))
    }
}

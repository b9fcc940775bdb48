//! What one fdatasync costs on the disk of the data folder, and what a sender gets who waits for
//! each answer: the floor under every durable write.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use cresset_e2e::Outcome;

use crate::Subject;
use crate::figures::Latencies;
use crate::process::load;
use crate::send::{self, Plan, Protocol};

const BLOCK: [u8; 4_096] = [7; 4_096];
const SYNCS: u64 = 1_000;

pub(crate) async fn measure(subject: &Subject) -> Outcome<()> {
    println!("fsync, in {} (load {})", subject.folder.path().display(), load());
    let mut times = syncs(subject.folder.path())?;
    let (p50, p99) = times.p50_p99();
    println!("  fdatasync of 4 KB appended: p50 {p50:.3} ms, p99 {p99:.3} ms, {} times", times.count());
    let tokens = send::register(&subject.world, 10).await?;
    let plan = Plan {
        protocol: Protocol::Http2,
        connections: 1,
        in_flight: 1,
        count: 3_000,
        limit: Duration::from_secs(10),
    };
    let run = send::run(subject, &plan, &send::bodies(&tokens)).await?;
    println!("  one sender, in flight 1: {run}");
    Ok(())
}

fn syncs(folder: &Path) -> Outcome<Latencies> {
    let file = File::create(folder.join("synced"))?;
    let mut times = Latencies::with_room_for(SYNCS as usize);
    for n in 0..SYNCS {
        let begun = Instant::now();
        file.write_all_at(&BLOCK, n * BLOCK.len() as u64)?;
        file.sync_data()?;
        times.add(begun.elapsed());
    }
    Ok(times)
}

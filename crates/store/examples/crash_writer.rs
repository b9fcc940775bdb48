//! The two ends of the crash test, which `cargo xtask crash` drives.
//!
//! ```text
//! crash_writer write FOLDER FIRST [--no-fsync]   writes batches from FIRST on, prints the number of
//!                                                each that was acknowledged, until it is killed
//! crash_writer verify FOLDER                     reads those numbers from its standard input and checks
//!                                                every row they speak of
//! ```
//!
//! A batch is [`IDS`] ids. Each id is a row in two tables; a batch also deletes, in both, the odd ids of
//! the batch [`LAG`] batches before it. So after a crash an acknowledged id is there in both tables with
//! its value whole, or deleted from both by an acknowledged batch; and a batch that nobody acknowledged
//! is there altogether or not at all.

use std::collections::BTreeSet;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cresset_message::Timestamp;
use cresset_store::embedded::{EmbeddedEngine, Options};
use cresset_store::{Batch, Engine, RowKey, StoreError, Table};

/// Ids of one batch.
const IDS: u64 = 8;
/// How many batches later their odd half is deleted; a multiple of [`WRITERS`].
const LAG: u64 = 64;
/// Batches in flight: enough that commits gather, few enough that many commits happen.
const WRITERS: u64 = 32;
const VALUE_BYTES: usize = 1_024;
const NOW: Timestamp = Timestamp::from_secs(1_000);
const TABLES: [Table; 2] = [Table::Inbox, Table::Registrations];

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["write", folder, first] => write(open(folder, true)?, first.parse()?).await,
        ["write", folder, first, "--no-fsync"] => write(open(folder, false)?, first.parse()?).await,
        ["verify", folder] => verify(Path::new(folder)).await,
        _ => Err("usage: crash_writer write FOLDER FIRST [--no-fsync] | verify FOLDER < ACKNOWLEDGED".into()),
    }
}

fn open(folder: &str, fsync: bool) -> Result<EmbeddedEngine, Failure> {
    // The volume of the test is small; its reserve is not what is tested here.
    let options = Options { fsync, reserve_bytes: 16 << 20, ..Options::default() };
    Ok(EmbeddedEngine::open(Path::new(folder), options)?)
}

/// Writes for ever, with [`WRITERS`] batches in flight.
async fn write(store: EmbeddedEngine, first: u64) -> Result<(), Failure> {
    let store = Arc::new(store);
    let writers: Vec<_> =
        (0..WRITERS).map(|writer| tokio::spawn(write_on(store.clone(), first + writer))).collect();
    for writer in writers {
        writer.await??;
    }
    Ok(())
}

/// Every [`WRITERS`]th batch from `first` on. So a batch and the one that deletes from it are the same
/// writer's, and cannot overtake each other.
async fn write_on(store: Arc<EmbeddedEngine>, first: u64) -> Result<(), Failure> {
    for number in (first..).step_by(WRITERS as usize) {
        assert!(store.write(batch(number), NOW).await?);
        // One write(2) a line: what the harness has read was acknowledged, what it lacks may have been.
        let line = format!("{number}\n");
        let mut out = io::stdout().lock();
        out.write_all(line.as_bytes())?;
        out.flush()?;
    }
    Ok(())
}

fn batch(number: u64) -> Batch {
    let mut batch = Batch::default();
    for table in TABLES {
        for id in number * IDS..(number + 1) * IDS {
            batch.put(key(table, id), value(table, id), None);
        }
        if let Some(before) = number.checked_sub(LAG) {
            odd_ids(before).for_each(|id| batch.delete(key(table, id)));
        }
    }
    batch
}

fn odd_ids(number: u64) -> impl Iterator<Item = u64> {
    (number * IDS..(number + 1) * IDS).filter(|id| id % 2 == 1)
}

/// Partitions spread over the table, as devices do.
fn key(table: Table, id: u64) -> RowKey {
    let partition = id.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
    RowKey::new(table, partition.to_vec(), id.to_be_bytes().to_vec())
}

/// Different for each id and table, and as long in one table as a message, in the other as a registration.
fn value(table: Table, id: u64) -> Vec<u8> {
    let length = if table == TABLES[0] { VALUE_BYTES } else { VALUE_BYTES / 8 };
    let words = (id..).flat_map(|word| word.wrapping_mul(0xbf58_476d_1ce4_e5b9).to_le_bytes());
    words.take(length).collect()
}

/// What the checker found, in batches and rows.
#[derive(Default)]
struct Findings {
    acknowledged: u64,
    rows: u64,
    lost: u64,
    undeleted: u64,
    torn: u64,
    wrong: u64,
}

/// Reads the acknowledged batches' numbers, one a line, and looks at every row they speak of, and at
/// as many later ones as could have been in flight.
async fn verify(folder: &Path) -> Result<(), Failure> {
    let acknowledged = io::stdin()
        .lock()
        .lines()
        .map(|line| Ok(line?.parse()?))
        .collect::<Result<BTreeSet<u64>, Failure>>()?;
    let started = Instant::now();
    let store = open(folder.to_str().ok_or("the folder's name is not text")?, true)?;
    let reopened = started.elapsed();
    let findings = check_all(&store, &acknowledged).await?;
    store.close().await?;
    println!(
        "acknowledged={} rows={} lost={} undeleted={} torn={} wrong={} reopen_ms={}",
        findings.acknowledged,
        findings.rows,
        findings.lost,
        findings.undeleted,
        findings.torn,
        findings.wrong,
        reopened.as_millis()
    );
    Ok(())
}

async fn check_all(store: &EmbeddedEngine, acknowledged: &BTreeSet<u64>) -> Result<Findings, StoreError> {
    let mut findings = Findings { acknowledged: acknowledged.len() as u64, ..Findings::default() };
    let end = acknowledged.last().map_or(0, |last| last + 1) + 4 * WRITERS;
    for number in 0..end {
        let deleted = acknowledged.contains(&(number + LAG));
        let sure = acknowledged.contains(&number);
        check_batch(store, number, sure, deleted, &mut findings).await?;
    }
    Ok(findings)
}

/// The even ids of a batch tell whether it was written; the odd ones, whether it was deleted again.
async fn check_batch(
    store: &EmbeddedEngine,
    number: u64,
    acknowledged: bool,
    deleted: bool,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let (mut kept, mut odd) = (0, 0);
    for table in TABLES {
        for id in number * IDS..(number + 1) * IDS {
            findings.rows += 1;
            let Some(row) = store.get(&key(table, id), NOW).await? else { continue };
            findings.wrong += u64::from(row.value != value(table, id));
            *(if id % 2 == 0 { &mut kept } else { &mut odd }) += 1;
        }
    }
    let half = IDS / 2 * TABLES.len() as u64;
    findings.torn += u64::from(kept != 0 && kept != half) + u64::from(odd != 0 && odd != half);
    if acknowledged {
        findings.lost += half - kept;
        let deleter = !deleted && !is_written(store, number + LAG).await?;
        findings.lost += if deleter { half - odd } else { 0 };
    }
    findings.undeleted += if deleted { odd } else { 0 };
    Ok(())
}

/// Whether a batch, acknowledged or not, became durable.
async fn is_written(store: &EmbeddedEngine, number: u64) -> Result<bool, StoreError> {
    Ok(store.get(&key(TABLES[0], number * IDS), NOW).await?.is_some())
}

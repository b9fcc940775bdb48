//! A full disk: writes are refused, nothing acknowledged is lost, service resumes by itself.
//!
//! Needs root, to mount small file systems; says so and passes without it. ext4 beside tmpfs because it
//! allocates late: there the disk is full at the fsync, not at the write.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cresset_store::embedded::{EmbeddedEngine, Options, Writes};
use cresset_store::{Batch, Engine, RowKey, StoreError, Table};
use tempfile::TempDir;

use crate::support::{NOW, modest};

/// The rows of a volume's size: some hundred fill it, and several memtables are flushed on the way.
const VALUE_BYTES: usize = 256 << 10;

/// A full memtable is 32 MiB: the volume holds some of them, with their journals.
const VOLUME: &str = "256M";

/// How long it may take until writes are accepted again.
const PATIENCE: Duration = Duration::from_secs(20);

struct Volume(TempDir);

impl Volume {
    fn tmpfs() -> Option<Self> {
        Self::mount("tmpfs", |folder| {
            ["-t", "tmpfs", "-o", &format!("size={VOLUME}"), "none", folder].map(str::to_owned).to_vec()
        })
    }

    fn ext4() -> Option<Self> {
        let image = tempfile::NamedTempFile::new().unwrap();
        image.as_file().set_len(256 << 20).unwrap();
        let path = image.path().to_str().unwrap().to_owned();
        if !Command::new("mkfs.ext4").args(["-q", "-F", &path]).status().is_ok_and(|status| status.success())
        {
            eprintln!("skipped: no mkfs.ext4");
            return None;
        }
        // The loop device keeps the image after its name is gone, and frees itself when unmounted.
        Self::mount("ext4", |folder| ["-o", "loop", &path, folder].map(str::to_owned).to_vec())
    }

    fn mount(kind: &str, arguments: impl FnOnce(&str) -> Vec<String>) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new("mount").args(arguments(folder.path().to_str().unwrap())).output().unwrap();
        if output.status.success() {
            return Some(Self(folder));
        }
        eprintln!("skipped: cannot mount {kind}: {}", String::from_utf8_lossy(&output.stderr).trim());
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes room away, as another program on the machine would.
    fn occupy(&self, bytes: u64) {
        nix::fcntl::posix_fallocate(File::create(self.path().join("filler")).unwrap(), 0, bytes as i64)
            .unwrap();
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_tmpfs_refuses_writes_until_there_is_room() {
    if let Some(volume) = Volume::tmpfs() {
        fill_and_free(&volume, 32 << 20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_ext4_refuses_writes_until_there_is_room() {
    if let Some(volume) = Volume::ext4() {
        fill_and_free(&volume, 32 << 20).await;
    }
}

/// Without a reserve the engine itself meets the full disk, gives up, and is opened again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_failed_on_a_full_tmpfs_is_opened_again() {
    if let Some(volume) = Volume::tmpfs() {
        fill_and_free(&volume, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_failed_on_a_full_ext4_is_opened_again() {
    if let Some(volume) = Volume::ext4() {
        fill_and_free(&volume, 0).await;
    }
}

async fn fill_and_free(volume: &Volume, reserve_bytes: u64) {
    let options = Options { reserve_bytes, ..modest() };
    let folder = volume.path().join("store");
    let store = EmbeddedEngine::open(&folder, options.clone()).unwrap();
    let mut rows = Rows::default();
    rows.write_some(&store, 40).await;
    volume.occupy(100 << 20);
    let accepted = rows.write_until_refused(&store).await;
    assert!(accepted < 2_000, "the disk was never full");
    rows.check(&store).await;
    if reserve_bytes > 0 {
        rows.delete_one(&store).await.expect("what makes room is still accepted");
        assert_eq!(store.writes(), Writes::DiskFull);
        assert!(store.snapshot().disk_full >= 40);
    }
    volume.make_room();
    if reserve_bytes > 0 {
        assert_eq!(store.writes(), Writes::Taken, "it is known before anybody writes");
    }
    rows.resume(&store).await;
    rows.check(&store).await;
    drop(store);
    rows.check(&EmbeddedEngine::open(&folder, options).unwrap()).await;
}

/// What was acknowledged: row by row, there or deleted.
#[derive(Default)]
struct Rows {
    acknowledged: BTreeMap<u64, bool>,
    next: u64,
}

impl Rows {
    async fn write_one(&mut self, store: &dyn Engine) -> Result<(), StoreError> {
        let number = self.next;
        self.next += 1;
        let mut batch = Batch::default();
        batch.put(key(number), value(number), None);
        store.write(batch, NOW).await?;
        self.acknowledged.insert(number, true);
        Ok(())
    }

    async fn delete_one(&mut self, store: &dyn Engine) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        batch.delete(key(0));
        store.write(batch, NOW).await?;
        self.acknowledged.insert(0, false);
        Ok(())
    }

    async fn write_some(&mut self, store: &dyn Engine, count: usize) {
        for _ in 0..count {
            self.write_one(store).await.unwrap();
        }
    }

    /// Writes on until many writes in a row were refused; how many were accepted.
    async fn write_until_refused(&mut self, store: &dyn Engine) -> usize {
        let (mut accepted, mut refused) = (0, 0);
        while refused < 40 && accepted < 2_000 {
            match self.write_one(store).await {
                Ok(()) => (accepted, refused) = (accepted + 1, 0),
                Err(StoreError::Unavailable(_)) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        accepted
    }

    async fn resume(&mut self, store: &dyn Engine) {
        let started = Instant::now();
        while let Err(error) = self.write_one(store).await {
            assert!(started.elapsed() < PATIENCE, "writes do not resume: {error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.write_some(store, 20).await;
    }

    async fn check(&self, store: &dyn Engine) {
        for (number, there) in &self.acknowledged {
            let row = get(store, *number).await;
            assert_eq!(row.is_some(), *there, "row {number}");
            assert!(row.is_none_or(|bytes| bytes == value(*number)), "row {number} is another");
        }
    }
}

/// Reads, waiting while a failed engine is opened again.
async fn get(store: &dyn Engine, number: u64) -> Option<Vec<u8>> {
    let started = Instant::now();
    loop {
        match store.get(&key(number), NOW).await {
            Ok(row) => return row.map(|row| row.value.to_vec()),
            Err(StoreError::Unavailable(_)) if started.elapsed() < PATIENCE => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("row {number}: {error}"),
        }
    }
}

fn key(number: u64) -> RowKey {
    RowKey::new(Table::Inbox, number.to_be_bytes().to_vec(), b"".to_vec())
}

/// Noise, so that no compression makes room.
fn value(number: u64) -> Vec<u8> {
    let mut state = number + 1;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes()
    });
    words.flatten().take(VALUE_BYTES).collect()
}

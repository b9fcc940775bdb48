//! A small disk that something else fills, and frees again.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use cresset_e2e::Outcome;
use nix::errno::Errno;
use nix::fcntl::posix_fallocate;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tokio::time::{sleep, timeout};

use super::{Fault, Scene};
use crate::chance::Chance;

/// The store's journals and some memtables fit; its reserve is an eighth of it.
const SIZE: &str = "size=256M";

/// By which the filler grows, until there is no room for the smallest.
const STEPS: [i64; 3] = [16 << 20, 256 << 10, 4 << 10];

/// Between two looks.
const POLL: Duration = Duration::from_millis(5);

/// For the first send to be refused, when there is no room any more, and for the first to be
/// accepted, when there is.
const PATIENCE: Duration = Duration::from_secs(30);

/// A tmpfs of its own for the data folder.
pub(super) struct Volume {
    path: PathBuf,
}

impl Volume {
    /// In `folder`, which this process's mount namespace has to itself.
    pub(super) fn mount(folder: &Path) -> Outcome<Self> {
        let path = folder.join("volume");
        fs::create_dir(&path)?;
        mount(Some("none"), &path, Some("tmpfs"), MsFlags::empty(), Some(SIZE))
            .map_err(|e| format!("a small volume cannot be mounted: {e}"))?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }

    /// Takes what is free.
    fn fill(&self) -> Outcome<()> {
        let file = OpenOptions::new().create(true).append(true).open(self.filler())?;
        let mut end = i64::try_from(file.metadata()?.size())?;
        for step in STEPS {
            while grow(&file, end, step)? {
                end += step;
            }
        }
        Ok(())
    }

    pub(super) fn make_room(&self) -> Outcome<()> {
        match fs::remove_file(self.filler()) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e.into()),
            _ => Ok(()),
        }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let _ = umount2(&self.path, MntFlags::MNT_DETACH);
    }
}

/// Whether there was room.
fn grow(file: &File, from: i64, by: i64) -> Outcome<bool> {
    match posix_fallocate(file, from, by) {
        Ok(()) => Ok(true),
        Err(Errno::ENOSPC) => Ok(false),
        Err(Errno::EINTR) => grow(file, from, by),
        Err(e) => Err(e.into()),
    }
}

pub(super) async fn run(scene: Rc<Scene>, volume: Rc<Volume>, mut chance: Chance) -> Outcome<()> {
    let tally = &scene.load.tally;
    loop {
        sleep(chance.between(Duration::from_millis(100), Duration::from_millis(1_500))).await;
        let before = tally.unavailable.get();
        let refused = async {
            while tally.unavailable.get() == before {
                // What the server frees meanwhile is taken as well.
                volume.fill()?;
                sleep(POLL).await;
            }
            Outcome::Ok(())
        };
        timeout(PATIENCE, refused).await.map_err(|_| "a full disk refuses nothing")??;
        sleep(chance.between(POLL, Duration::from_millis(400))).await;
        volume.make_room()?;
        let before = tally.accepted.get();
        let accepted = async {
            while tally.accepted.get() == before {
                sleep(POLL).await;
            }
        };
        timeout(PATIENCE, accepted).await.map_err(|_| "with room on its disk it accepts nothing")?;
        scene.counts.add(Fault::FullDisk);
    }
}

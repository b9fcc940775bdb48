//! Where a receiver keeps what it must not forget.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Keeps the state of one receiver: its identity, its token and keys, and which messages it has had.
/// Some kilobytes, whose content is the receiver's business; they are secret. Saved after every
/// message, on the thread that runs the receiver.
pub trait Store: Send {
    /// What was saved last; `None` when nothing was.
    fn load(&self) -> io::Result<Option<Vec<u8>>>;

    /// Replaces it: whole, or not at all.
    fn save(&self, state: &[u8]) -> io::Result<()>;
}

/// Forgets when the process ends: the device is then another one. Clones share what they keep.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Option<Vec<u8>>>>);

impl Store for MemoryStore {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn save(&self, state: &[u8]) -> io::Result<()> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(state.to_vec());
        Ok(())
    }
}

/// A file that only its owner reads, replaced whole. Another one beside it, with `.lock` after its
/// name, is locked for as long as this lives: two processes with one identity would throw each other
/// out for ever.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    _lock: File,
}

impl FileStore {
    /// The file need not be there; its folder is made.
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let mut folder = DirBuilder::new();
        folder.recursive(true);
        private_folder(&mut folder);
        folder.create(folder_of(&path))?;
        let lock = private(OpenOptions::new().write(true).create(true).truncate(false))
            .open(beside(&path, ".lock"))?;
        lock.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                io::Error::new(ErrorKind::ResourceBusy, "another process receives with it")
            }
            std::fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { path, _lock: lock })
    }
}

impl Store for FileStore {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        match std::fs::read(&self.path) {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save(&self, state: &[u8]) -> io::Result<()> {
        // The lock makes this name ours alone: what lies there was left by a crash.
        let temporary = beside(&self.path, ".tmp");
        let _ = std::fs::remove_file(&temporary);
        let mut file = private(OpenOptions::new().write(true).create_new(true)).open(&temporary)?;
        file.write_all(state)?;
        file.sync_all()?;
        std::fs::rename(&temporary, &self.path)?;
        sync_folder(folder_of(&self.path))
    }
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(ending);
    path.with_file_name(name)
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &OpenOptions {
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &OpenOptions {
    options
}

/// So that the new name survives a power cut.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn private_folder(builder: &mut DirBuilder) {
    std::os::unix::fs::DirBuilderExt::mode(builder, 0o700);
}

#[cfg(not(unix))]
fn private_folder(_: &mut DirBuilder) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_for_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("new").join("device.json");
        let store = FileStore::open(&path).unwrap();
        assert_eq!(store.load().unwrap(), None);
        std::fs::write(beside(&path, ".tmp"), "longer than what comes").unwrap();
        for state in ["one", "another"] {
            store.save(state.as_bytes()).unwrap();
            assert_eq!(store.load().unwrap().as_deref(), Some(state.as_bytes()));
        }
        assert_eq!(FileStore::open(&path).unwrap_err().kind(), ErrorKind::ResourceBusy);
        drop(store);
        assert_eq!(FileStore::open(&path).unwrap().load().unwrap().as_deref(), Some(&b"another"[..]));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }
}

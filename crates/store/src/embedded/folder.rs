//! The data folder: who may use it, which format it has, and how it comes into being.
//!
//! ```text
//! lock      held, by advisory lock, by the process that uses the folder
//! format    the version of everything below; written last, when the folder is first made
//! rows/     fjall's database
//! rows.new/ a database that was never finished; holds nothing that was acknowledged
//! ```

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The version this build writes and reads.
const VERSION: u32 = 1;
const NAME: &str = "cresset-store";

/// Why a data folder could not be opened. One line each, made for an operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    #[error("{} has format {found}, this version of Cresset reads up to {VERSION}: use a newer one", path.display())]
    NewerVersion { path: PathBuf, found: u32 },
    #[error("{} is not a data folder of Cresset: its file `format` cannot be understood", .0.display())]
    Unknown(PathBuf),
    #[error("cannot open {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot open the rows in {}: {reason}", path.display())]
    Engine { path: PathBuf, reason: String },
}

/// A locked folder of a version that we read. The lock ends when this is dropped.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Takes the folder, making it when it is not there. Our lock and our version speak before the
    /// engine looks at anything.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let at = |source| OpenError::Io { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(at)?;
        let lock = take_lock(path)?;
        let folder = Self { path: path.to_owned(), _lock: lock };
        folder.check_version()?;
        if folder.unfinished().exists() {
            fs::remove_dir_all(folder.unfinished()).map_err(at)?;
        }
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn rows(&self) -> PathBuf {
        self.path.join("rows")
    }

    /// Where [`finish`](Self::finish) expects a new database to have been made. A kill in the middle
    /// of making one must not leave a half that no engine opens, so it gets its name when it is whole.
    pub(super) fn unfinished(&self) -> PathBuf {
        self.path.join("rows.new")
    }

    pub(super) fn is_new(&self) -> bool {
        !self.rows().exists()
    }

    /// Gives the new database its name.
    pub(super) fn finish(&self) -> Result<(), OpenError> {
        fs::rename(self.unfinished(), self.rows())
            .and_then(|()| sync_folder(&self.path))
            .map_err(|e| self.io(e))
    }

    /// Writes the version, if it is not there yet: nothing is acknowledged before it stands.
    pub(super) fn mark(&self) -> Result<(), OpenError> {
        let marker = self.path.join("format");
        if marker.exists() {
            return Ok(());
        }
        let draft = self.path.join("format.new");
        let write = || -> io::Result<()> {
            let mut file = File::create(&draft)?;
            writeln!(file, "{NAME} {VERSION}")?;
            file.sync_all()?;
            fs::rename(&draft, &marker)?;
            sync_folder(&self.path)
        };
        write().map_err(|e| self.io(e))
    }

    fn check_version(&self) -> Result<(), OpenError> {
        let text = match fs::read_to_string(self.path.join("format")) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(self.io(e)),
        };
        match parse_version(&text) {
            Some(VERSION) => Ok(()),
            Some(found) if found > VERSION => Err(OpenError::NewerVersion { path: self.path.clone(), found }),
            _ => Err(OpenError::Unknown(self.path.clone())),
        }
    }

    fn io(&self, source: io::Error) -> OpenError {
        OpenError::Io { path: self.path.clone(), source }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

fn parse_version(text: &str) -> Option<u32> {
    text.trim_end().strip_prefix(NAME)?.strip_prefix(' ')?.parse().ok()
}

fn take_lock(path: &Path) -> Result<File, OpenError> {
    let at = |source| OpenError::Io { path: path.to_owned(), source };
    let lock =
        File::options().create(true).write(true).truncate(false).open(path.join("lock")).map_err(at)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(path.to_owned())),
        Err(TryLockError::Error(e)) => Err(at(e)),
    }
}

/// Makes renames and new files in a folder durable.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

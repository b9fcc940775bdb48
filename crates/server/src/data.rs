//! The data folder: what is in it, who may read it, and who is using it now.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Characters of the bearer token; whoever would guess it guesses for ever.
const MIN_ADMIN_TOKEN: usize = 20;

/// Paths inside a data folder.
#[derive(Clone, Debug)]
pub struct DataFolder(PathBuf);

/// What a running server tells the commands that look for it. Gone when it stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Running {
    pub pid: u32,
    pub https: std::net::SocketAddr,
    pub http: std::net::SocketAddr,
    pub mcs: std::net::SocketAddr,
    /// Absent if XMPP is not served.
    #[serde(default)]
    pub xmpp: Option<std::net::SocketAddr>,
    /// Where 443 and 5228 are listened to for `cresset exec`.
    pub exec: Option<std::net::IpAddr>,
    /// Why there is no such address, when one was wanted.
    pub exec_refused: Option<String>,
}

/// Listening on all addresses, the server is reached on loopback.
pub(crate) fn reachable(address: std::net::SocketAddr) -> std::net::SocketAddr {
    if address.ip().is_unspecified() { ([127, 0, 0, 1], address.port()).into() } else { address }
}

impl DataFolder {
    /// Makes the folder, for its owner alone, if it is not there.
    pub fn make(path: &Path) -> Result<Self, Failure> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|e| Failure::new(format!("cannot make the data folder {}: {e}", path.display())))?;
        Self::open(path)
    }

    /// Makes a folder inside for its owner alone, if it is not there.
    pub fn make_private(&self, path: &Path) -> Result<(), Failure> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|e| Failure::new(format!("cannot make {}: {e}", path.display())))
    }

    pub fn open(path: &Path) -> Result<Self, Failure> {
        let absolute = std::fs::canonicalize(path).map_err(|e| {
            Failure::new(match e.kind() {
                ErrorKind::NotFound => {
                    format!("there is no data folder {}; `cresset up` makes one", path.display())
                }
                _ => format!("cannot use the data folder {}: {e}", path.display()),
            })
        })?;
        // It is its owner's alone; who may not look into it hears it here, once for all files.
        std::fs::read_dir(&absolute)
            .map_err(|e| Failure::new(format!("cannot use the data folder {}: {e}", path.display())))?;
        Ok(Self(absolute))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    pub fn ca(&self) -> PathBuf {
        self.0.join(crate::pki::CA_FILE)
    }

    /// The service-account file of a project that `cresset up` and `cresset project` wrote.
    pub fn credentials(&self, project: &str) -> PathBuf {
        self.0.join("credentials").join(format!("{project}.json"))
    }

    /// The projects that have such a file.
    pub fn projects_with_credentials(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join("credentials")).into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut projects: Vec<String> =
            names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect();
        projects.sort();
        projects
    }

    /// The secret under which tokens are sealed.
    pub fn token_secret(&self, random: &dyn Fn(&mut [u8])) -> Result<[u8; 32], Failure> {
        let path = self.0.join("token.key");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let mut secret = [0; 32];
                random(&mut secret);
                write_secret(&path, &secret)?;
                secret.to_vec()
            }
            Err(e) => return Err(Failure::new(format!("cannot read {}: {e}", path.display()))),
        };
        bytes.try_into().map_err(|_| Failure::new(format!("{} does not hold 32 bytes", path.display())))
    }

    /// The bearer token of Cresset's own API.
    pub fn admin_token(&self, random: &dyn Fn(&mut [u8])) -> Result<String, Failure> {
        let path = self.0.join("admin.token");
        match std::fs::read_to_string(&path) {
            Ok(token) if token.trim().len() >= MIN_ADMIN_TOKEN => return Ok(token.trim().to_owned()),
            Ok(_) => {
                return Err(Failure::new(format!(
                    "{} is shorter than {MIN_ADMIN_TOKEN} characters; delete it, and another is made",
                    path.display()
                )));
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(Failure::new(format!("cannot read {}: {e}", path.display()))),
        }
        let mut bytes = [0; 24];
        random(&mut bytes);
        let token = BASE64_URL_SAFE_NO_PAD.encode(bytes);
        write_secret(&path, token.as_bytes())?;
        Ok(token)
    }

    fn running_file(&self) -> PathBuf {
        self.0.join("running.json")
    }

    /// Says where the server is; true for as long as the file that this returns is open.
    pub fn write_running(&self, running: &Running) -> Result<File, Failure> {
        let text = serde_json::to_vec_pretty(running).expect("plain data can be written as JSON");
        write(&self.running_file(), &text, 0o644, File::lock)
    }

    pub fn forget_running(&self) {
        let _ = std::fs::remove_file(self.running_file());
    }

    /// The server that uses this folder now. A file left by one that was killed is locked by nobody,
    /// and does not count; its process id may be another's, or another container's.
    pub fn running(&self) -> Option<Running> {
        let mut file = File::open(self.running_file()).ok()?;
        if file.try_lock_shared().is_ok() {
            return None;
        }
        let mut text = Vec::new();
        file.read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The same, for commands that need it.
    pub(crate) fn must_run(&self) -> Result<Running, Failure> {
        self.running().ok_or_else(|| {
            let path = self.path().display();
            Failure::new(format!("no Cresset is running on {path}; start one with `cresset up`"))
        })
    }
}

/// Writes a file that only its owner reads: whole and durable, or not at all.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write(path, bytes, 0o600, |_| Ok(())).map(drop)
}

pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write(path, bytes, 0o644, |_| Ok(())).map(drop)
}

/// `prepare` is done to the file before it has its name.
fn write(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    prepare: impl FnOnce(&File) -> std::io::Result<()>,
) -> Result<File, Failure> {
    let cannot = |e: std::io::Error| Failure::new(format!("cannot write {}: {e}", path.display()));
    let folder = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
    let temporary = temporary(path);
    let written = || {
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(bytes)?;
        prepare(&file)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)?;
        File::open(folder)?.sync_all()?;
        Ok(file)
    };
    written().map_err(|e| {
        let _ = std::fs::remove_file(&temporary);
        cannot(e)
    })
}

/// A name of its own beside the file: several commands may write the same at once.
fn temporary(path: &Path) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}-{}.tmp", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn folder() -> (tempfile::TempDir, DataFolder) {
        let place = tempfile::tempdir().unwrap();
        let folder = DataFolder::make(&place.path().join("data")).unwrap();
        (place, folder)
    }

    fn dice(bytes: &mut [u8]) {
        bytes.fill(7);
    }

    #[test]
    fn only_a_server_that_runs_is_said_to_run() {
        let (_place, folder) = folder();
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let running = Running {
            // Lives, as a process id that was used again does.
            pid: std::process::id(),
            https: address,
            http: address,
            mcs: address,
            xmpp: Some(address),
            exec: None,
            exec_refused: None,
        };
        assert_eq!(folder.running(), None);
        let held = folder.write_running(&running).unwrap();
        assert_eq!(folder.running(), Some(running));
        drop(held);
        assert_eq!(folder.running(), None, "a file that was left behind");
    }

    #[test]
    fn an_empty_token_opens_nothing() {
        let (_place, folder) = folder();
        let token = folder.admin_token(&dice).unwrap();
        assert_eq!(folder.admin_token(&dice).unwrap(), token);
        let path = folder.path().join("admin.token");
        std::fs::write(&path, "\n").unwrap();
        assert!(folder.admin_token(&dice).unwrap_err().to_string().contains("admin.token"));
    }

    #[test]
    fn secrets_are_their_owners_and_leave_nothing_beside_them() {
        let (_place, folder) = folder();
        folder.token_secret(&dice).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder.path()), 0o700);
        assert_eq!(mode(&folder.path().join("token.key")), 0o600);
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(names, ["token.key"]);
    }

    #[test]
    fn commands_that_write_the_same_file_at_once_leave_a_whole_one() {
        let (_place, folder) = folder();
        let path = folder.path().join("exec").join("hosts");
        let text = "127.83.0.1 fcm.googleapis.com\n".repeat(10_000);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        write_public(&path, text.as_bytes()).unwrap();
                        assert_eq!(std::fs::read(&path).unwrap().len(), text.len());
                    }
                });
            }
        });
    }
}

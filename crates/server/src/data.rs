//! The data folder: what is in it, who may read it, and who is using it now.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

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
    /// Where 443 and 5228 are listened to for `cresset exec`.
    pub exec: Option<std::net::IpAddr>,
    /// Why there is no such address, when one was wanted.
    pub exec_refused: Option<String>,
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

    pub fn open(path: &Path) -> Result<Self, Failure> {
        let absolute = std::fs::canonicalize(path)
            .map_err(|e| Failure::new(format!("there is no data folder {}: {e}", path.display())))?;
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

    /// The secret under which tokens are sealed.
    pub fn token_secret(&self, random: &dyn Fn(&mut [u8])) -> Result<[u8; 32], Failure> {
        let path = self.0.join("token.key");
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
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
        if let Ok(token) = std::fs::read_to_string(&path) {
            return Ok(token.trim().to_owned());
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

    pub fn write_running(&self, running: &Running) -> Result<(), Failure> {
        let text = serde_json::to_vec_pretty(running).expect("plain data can be written as JSON");
        write_public(&self.running_file(), &text)
    }

    pub fn forget_running(&self) {
        let _ = std::fs::remove_file(self.running_file());
    }

    /// The server that uses this folder now. A file left by one that was killed does not count.
    pub fn running(&self) -> Option<Running> {
        let running: Running = serde_json::from_slice(&std::fs::read(self.running_file()).ok()?).ok()?;
        let alive = nix::sys::signal::kill(nix::unistd::Pid::from_raw(running.pid as i32), None);
        matches!(alive, Ok(()) | Err(nix::errno::Errno::EPERM)).then_some(running)
    }
}

/// Writes a file that only its owner reads: whole, or not at all.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write(path, bytes, 0o600)
}

pub(crate) fn write_public(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    write(path, bytes, 0o644)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    let cannot = |e: std::io::Error| Failure::new(format!("cannot write {}: {e}", path.display()));
    let temporary = path.with_extension("tmp");
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(cannot)?;
    }
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&temporary)
        .map_err(cannot)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(cannot)?;
    std::fs::rename(&temporary, path).map_err(cannot)
}

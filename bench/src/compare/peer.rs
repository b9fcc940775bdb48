//! What a server is to the comparison, and how one that is not ours is started.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cresset_e2e::{Outcome, Trust};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use tempfile::TempDir;

use crate::crowd::{Listener, Protocol};

/// Bytes of a message's content.
pub(crate) const PAYLOAD: usize = 256;

/// The name that certificates of peers are for.
const NAME: &str = "localhost";

/// For a start, and for an answer to a publisher.
const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks at a server that starts.
const PAUSE: Duration = Duration::from_millis(20);

/// A server under comparison.
pub(crate) trait Peer {
    /// Name and version.
    fn title(&self) -> String;
    fn pid(&self) -> u32;
    fn listener(&self) -> Listener;
    /// Of a crowd of `count`, each in its turn.
    fn subscribers(&self, count: usize) -> Vec<Box<dyn Protocol>>;
    /// Publishes to exactly a crowd of `count`.
    fn publisher(&self, count: usize) -> Outcome<Box<dyn Publisher>>;
}

pub(crate) trait Publisher {
    /// Publishes once, without waiting for an answer.
    fn publish(&mut self) -> Outcome<()>;
    /// Waits for the answer, if this protocol has one, and insists on success.
    fn confirm(&mut self) -> Outcome<()>;
}

/// A server of others, on a port and in a folder of its own; killed when dropped.
pub(crate) struct Process {
    child: Child,
    folder: TempDir,
    pub(crate) address: SocketAddr,
    trust: Trust,
}

impl Process {
    /// Starts a program with the configuration that `configure` makes of folder and port.
    /// The folder has `cert.pem` and `key.pem`.
    pub(crate) fn start(
        program: &Path,
        arguments: &[&str],
        configure: impl FnOnce(&Path, u16) -> String,
    ) -> Outcome<Self> {
        let folder = TempDir::new()?;
        let path = folder.path();
        let issued = rcgen::generate_simple_self_signed([NAME.to_owned()])?;
        std::fs::write(path.join("cert.pem"), issued.cert.pem())?;
        std::fs::write(path.join("key.pem"), issued.signing_key.serialize_pem())?;
        let address = free_address()?;
        let configuration = path.join("configuration");
        std::fs::write(&configuration, configure(path, address.port()))?;
        let log = File::create(path.join("log"))?;
        let child = Command::new(program)
            .args(arguments)
            .arg(&configuration)
            .current_dir(path)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{} cannot be run: {e}", program.display()))?;
        let mut process = Self { child, folder, address, trust: Trust { pem: issued.cert.pem() } };
        process.wait_until_it_listens()?;
        Ok(process)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn listener(&self) -> Outcome<Listener> {
        Ok(Listener { address: self.address, name: NAME, tls: self.trust.client(&[])? })
    }

    fn wait_until_it_listens(&mut self) -> Outcome<()> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && self.child.try_wait()?.is_none() {
            if TcpStream::connect(self.address).is_ok() {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        Err(format!("a peer did not start; it said: {}", log.trim()).into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that was free a moment ago.
fn free_address() -> Outcome<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A program of a package, also where only an administrator's PATH leads.
#[expect(clippy::disallowed_methods, reason = "a tool, not a part of the server")]
pub(crate) fn find(program: &str) -> Outcome<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    found.ok_or_else(|| {
        format!("there is no {program}: apt-get install redis-server mosquitto, or choose other --peers")
            .into()
    })
}

/// What a program says when asked for its version.
pub(crate) fn ask(program: &Path, argument: &str) -> Outcome<String> {
    let said = Command::new(program).arg(argument).output()?.stdout;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// A publisher's connection, which waits for whatever it does.
pub(crate) struct Line {
    stream: StreamOwned<ClientConnection, TcpStream>,
    read: Vec<u8>,
}

impl Line {
    pub(crate) fn connect(listener: &Listener) -> Outcome<Self> {
        let socket = TcpStream::connect(listener.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let tls = ClientConnection::new(listener.tls.clone(), ServerName::try_from(listener.name)?)?;
        Ok(Self { stream: StreamOwned::new(tls, socket), read: Vec::new() })
    }

    pub(crate) fn say(&mut self, words: &[u8]) -> Outcome<()> {
        self.stream.write_all(words)?;
        Ok(self.stream.flush()?)
    }

    /// Reads until `whole` says that the answer is, which is all that was read.
    pub(crate) fn answer(&mut self, whole: impl Fn(&[u8]) -> Outcome<bool>) -> Outcome<&[u8]> {
        self.read.clear();
        let mut chunk = [0; 4_096];
        while !whole(&self.read)? {
            match self.stream.read(&mut chunk)? {
                0 => return Err("the peer ended the publisher's connection".into()),
                read => self.read.extend_from_slice(&chunk[..read]),
            }
        }
        Ok(&self.read)
    }
}

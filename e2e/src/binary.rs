//! `cresset up` as a child process, on ports that the kernel chooses.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use cresset_server::{DataFolder, Running};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Outcome;

/// For a start: a new folder needs keys and a CA, an old one its journal read; both take less than a
/// second on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks whether it serves.
const POLL: Duration = Duration::from_millis(10);

/// The last line of what `cresset up` prints when it serves.
const SERVES: &str = "Ctrl-C stops it.";

/// What a server process is started with, beside its folder.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub variables: Vec<(OsString, OsString)>,
    /// Where its log goes; where ours goes, without it.
    pub log: Option<PathBuf>,
}

/// A running server process; killed when dropped.
pub struct Binary {
    program: PathBuf,
    child: Child,
    pub folder: PathBuf,
    pub running: Running,
}

impl Binary {
    /// Starts `program` on `folder` and waits until it serves.
    pub fn start(program: &Path, folder: &Path) -> Outcome<Self> {
        Self::start_in(program, folder, &Surroundings::default())
    }

    pub fn start_in(program: &Path, folder: &Path, surroundings: &Surroundings) -> Outcome<Self> {
        let command = [OsStr::new("up"), OsStr::new("--exec-address"), OsStr::new("none")];
        Self::run(program, &command, folder, surroundings)
    }

    /// The same with a configuration; the folder has been served before, and has the demo project.
    pub fn serve(program: &Path, folder: &Path, config: &Path) -> Outcome<Self> {
        Self::serve_in(program, folder, config, &Surroundings::default())
    }

    pub fn serve_in(
        program: &Path,
        folder: &Path,
        config: &Path,
        surroundings: &Surroundings,
    ) -> Outcome<Self> {
        let command = [OsStr::new("serve"), OsStr::new("--config"), config.as_os_str()];
        let mut starting = Starting(Some(spawn(program, &command, folder, surroundings)?));
        let pid = starting.0.as_ref().map(Child::id);
        let until = Instant::now() + PATIENCE;
        // It prints nothing, but says in its folder where it is.
        while Instant::now() < until {
            let running = DataFolder::open(folder).ok().and_then(|data| data.running());
            if let Some(running) = running.filter(|running| Some(running.pid) == pid)
                && let Some(child) = starting.0.take()
            {
                return Ok(Self { program: program.to_owned(), child, folder: folder.to_owned(), running });
            }
            std::thread::sleep(POLL);
        }
        Err("the server did not start".into())
    }

    fn run(program: &Path, command: &[&OsStr], folder: &Path, surroundings: &Surroundings) -> Outcome<Self> {
        let mut child = spawn(program, command, folder, surroundings)?;
        let said = child.stdout.take().ok_or("the server has no output")?;
        // From here on a failure must not leave the process behind.
        let mut starting = Starting(Some(child));
        wait_until_it_serves(said)?;
        let data = DataFolder::open(folder).map_err(|e| e.to_string())?;
        let running = data.running().ok_or("the server serves, but does not say where")?;
        let child = starting.0.take().ok_or("the server is gone")?;
        Ok(Self { program: program.to_owned(), child, folder: folder.to_owned(), running })
    }

    /// Runs a command of the binary's on the same folder, and gives what it prints.
    pub fn ask(&self, arguments: &[&str]) -> Outcome<Vec<u8>> {
        let asked = Command::new(&self.program).args(arguments).env("CRESSET_DATA", &self.folder).output()?;
        if asked.status.success() {
            return Ok(asked.stdout);
        }
        Err(String::from_utf8_lossy(&asked.stderr).into_owned().into())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> Outcome<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// `kill -9`, and waits until it has happened.
    pub fn kill(mut self) -> Outcome<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// SIGTERM; whether the server said that it ended well.
    pub fn stop(mut self) -> Outcome<bool> {
        kill(Pid::from_raw(i32::try_from(self.child.id())?), Signal::SIGTERM)?;
        Ok(self.child.wait()?.success())
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, command: &[&OsStr], folder: &Path, surroundings: &Surroundings) -> Outcome<Child> {
    let log = match &surroundings.log {
        Some(path) => File::create(path)?.into(),
        None => Stdio::inherit(),
    };
    let child = Command::new(program)
        .args(command)
        .envs(surroundings.variables.iter().map(|(name, value)| (name, value)))
        .stderr(log)
        .args(["--https-port", "0", "--http-port", "0", "--mcs-port", "0", "--xmpp-port", "0"])
        .arg("--data")
        .arg(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    child.map_err(|e| format!("{} cannot be run: {e}", program.display()).into())
}

struct Starting(Option<Child>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A thread reads what the server says to its end, so that it never waits for a reader.
fn wait_until_it_serves(said: ChildStdout) -> Outcome<()> {
    let (serves, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(said).lines().map_while(Result::ok) {
            if line == SERVES {
                let _ = serves.send(());
            }
        }
    });
    heard.recv_timeout(PATIENCE).map_err(|e| format!("the server did not start: {e}").into())
}

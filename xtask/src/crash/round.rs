//! One round: a writer, its end, and what is left.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use super::volume::Volume;

/// Numbers of batches that a stopped writer may have had in flight; the next one begins behind them.
const IN_FLIGHT: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Kill,
    Power,
}

impl Kind {
    pub(super) fn parse(word: &str) -> Option<Vec<Self>> {
        match word {
            "kill" => Some(vec![Self::Kill]),
            "power" => Some(vec![Self::Power]),
            "both" => Some(vec![Self::Kill, Self::Power]),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kill => "kill",
            Self::Power => "power",
        })
    }
}

/// Where the rounds happen, and what was acknowledged so far.
pub(super) struct Lab {
    volume: Volume,
    writer: PathBuf,
    fsync: bool,
    acknowledged: BTreeSet<u64>,
    round: u64,
}

impl Lab {
    pub(super) fn new(volume: Volume, writer: &Path, fsync: bool) -> Self {
        Self { volume, writer: writer.to_owned(), fsync, acknowledged: BTreeSet::new(), round: 0 }
    }

    /// Lets a writer live for a while, ends it, and checks everything that was ever acknowledged.
    pub(super) fn round(&mut self, kind: Kind, life: Duration) -> Result<Findings, String> {
        self.round += 1;
        if !self.fsync {
            // What one round lost must not count again in the next.
            self.acknowledged.clear();
        }
        let mut writer = Writer::start(self)?;
        thread::sleep(life);
        let heard = match kind {
            Kind::Kill => writer.kill()?,
            Kind::Power => {
                // What is printed from here on may be a promise that the power cut broke. The control is to
                // break promises: those until the cut are the ones that no flush has saved by chance.
                let before = writer.heard();
                self.volume.cut_power()?;
                let all = writer.kill()?;
                self.volume.power_on()?;
                if self.fsync { before } else { all }
            }
        };
        let new_acknowledged = heard.len() as u64;
        self.acknowledged.extend(heard);
        let mut findings = self.verify()?;
        findings.new_acknowledged = new_acknowledged;
        Ok(findings)
    }

    /// One store for all rounds; without fsync one for each, as the last one may be beyond help.
    fn store(&self) -> PathBuf {
        self.volume.path().join(if self.fsync { "store".into() } else { format!("store-{}", self.round) })
    }

    fn first(&self) -> u64 {
        self.acknowledged.last().map_or(0, |last| last + IN_FLIGHT)
    }

    fn verify(&self) -> Result<Findings, String> {
        let mut checker = Command::new(&self.writer)
            .arg("verify")
            .arg(self.store())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| format!("cannot run the checker: {e}"))?;
        let numbers: String = self.acknowledged.iter().map(|number| format!("{number}\n")).collect();
        if let Some(mut stdin) = checker.stdin.take() {
            // A checker that gives up early says why on its own.
            let _ = stdin.write_all(numbers.as_bytes());
        }
        let output = checker.wait_with_output().map_err(|e| format!("the checker: {e}"))?;
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() {
            Findings::parse(&said).ok_or_else(|| format!("the checker said {said:?}"))
        } else if self.fsync {
            Err(format!("the store does not open again, or cannot be read: {}", complained.trim()))
        } else {
            Ok(Findings { lost: self.acknowledged.len() as u64, ..Findings::default() })
        }
    }
}

/// A writer process, and a thread that hears what it says.
struct Writer {
    process: Child,
    heard: Arc<Mutex<Vec<u64>>>,
    listener: Option<thread::JoinHandle<()>>,
}

impl Writer {
    fn start(lab: &Lab) -> Result<Self, String> {
        let mut command = Command::new(&lab.writer);
        command.arg("write").arg(lab.store()).arg(lab.first().to_string());
        if !lab.fsync {
            command.arg("--no-fsync");
        }
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|e| format!("cannot run the writer: {e}"))?;
        let said = BufReader::new(process.stdout.take().ok_or("the writer has no output")?);
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = thread::spawn({
            let heard = Arc::clone(&heard);
            // A line cut short by the kill is no number, or a shorter one: only whole lines count.
            move || {
                let mut said = said;
                let mut line = String::new();
                while said.read_line(&mut line).is_ok_and(|length| length > 0) {
                    if let Some(number) = line.strip_suffix('\n').and_then(|number| number.parse().ok()) {
                        heard.lock().unwrap_or_else(PoisonError::into_inner).push(number);
                    }
                    line.clear();
                }
            }
        });
        Ok(Self { process, heard, listener: Some(listener) })
    }

    /// What was acknowledged until now.
    fn heard(&self) -> Vec<u64> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// `kill -9`; everything that it had said before.
    fn kill(&mut self) -> Result<Vec<u64>, String> {
        self.process.kill().map_err(|e| format!("cannot kill the writer: {e}"))?;
        self.process.wait().map_err(|e| format!("the writer: {e}"))?;
        if let Some(listener) = self.listener.take() {
            listener.join().map_err(|_| "the listener failed")?;
        }
        Ok(self.heard())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the checker found; rows, but for the batches that were acknowledged.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) new_acknowledged: u64,
    rows: u64,
    lost: u64,
    undeleted: u64,
    torn: u64,
    wrong: u64,
    pub(super) reopen_ms: u64,
}

impl Findings {
    fn parse(line: &str) -> Option<Self> {
        let field = |name: &str| {
            line.split_whitespace().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
        };
        Some(Self {
            new_acknowledged: 0,
            rows: field("rows")?,
            lost: field("lost")?,
            undeleted: field("undeleted")?,
            torn: field("torn")?,
            wrong: field("wrong")?,
            reopen_ms: field("reopen_ms")?,
        })
    }

    pub(super) fn faults(&self) -> u64 {
        self.lost + self.undeleted + self.torn + self.wrong
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} batches acknowledged, {} rows checked: {} lost, {} undeleted, {} torn, {} wrong; reopened in {} ms",
            self.new_acknowledged,
            self.rows,
            self.lost,
            self.undeleted,
            self.torn,
            self.wrong,
            self.reopen_ms
        )
    }
}

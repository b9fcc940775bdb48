//! What the kernel says of a process and of the machine.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use cresset_e2e::Outcome;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// `/proc/<pid>/stat` counts in USER_HZ, which is 100 on every architecture of Linux that we build
/// for (proc_pid_stat(5)).
const TICK: Duration = Duration::from_millis(10);

/// User and system time of a process: fields 14 and 15, of which the 3rd is the first after the name.
pub(crate) fn cpu(pid: u32) -> Outcome<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit_once(')').ok_or("no name in stat")?.1;
    let mut fields = after_name.split_whitespace().skip(14 - 3);
    let mut ticks = || -> Outcome<u32> { Ok(fields.next().ok_or("too few fields in stat")?.parse()?) };
    Ok(TICK * (ticks()? + ticks()?))
}

pub(crate) fn own_cpu() -> Outcome<Duration> {
    cpu(std::process::id())
}

/// Resident memory, in kB.
pub(crate) fn resident(pid: u32) -> Outcome<u64> {
    status(pid, "VmRSS:")
}

/// The most resident memory since [`forget_peak`], in kB.
pub(crate) fn peak(pid: u32) -> Outcome<u64> {
    status(pid, "VmHWM:")
}

/// The peak begins anew at what is resident now (proc_pid_clear_refs(5)).
pub(crate) fn forget_peak(pid: u32) -> Outcome<()> {
    Ok(std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?)
}

fn status(pid: u32, name: &str) -> Outcome<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line =
        status.lines().find(|line| line.starts_with(name)).ok_or_else(|| format!("there is no {name}"))?;
    Ok(line.split_whitespace().nth(1).ok_or_else(|| format!("{name} has no value"))?.parse()?)
}

/// What the kernel holds for sockets, in kB: both ends of each connection, if they are on this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernel {
    /// Data in the buffers of TCP.
    pub(crate) buffers: u64,
    /// Small objects of all kinds, which everything else on the machine moves too.
    pub(crate) slab: u64,
}

impl Kernel {
    pub(crate) fn now() -> Outcome<Self> {
        let sockets = std::fs::read_to_string("/proc/net/sockstat")?;
        let tcp =
            sockets.lines().find(|line| line.starts_with("TCP:")).ok_or("there is no TCP in sockstat")?;
        let pages = number_after(tcp, "mem")?;
        let page = number_after(&std::fs::read_to_string("/proc/self/smaps")?, "KernelPageSize:")?;
        let slab = number_after(&std::fs::read_to_string("/proc/meminfo")?, "Slab:")?;
        Ok(Self { buffers: pages * page, slab })
    }
}

fn number_after(text: &str, name: &str) -> Outcome<u64> {
    let value = text.split_whitespace().skip_while(|word| *word != name).nth(1);
    Ok(value.ok_or_else(|| format!("there is no {name}"))?.parse()?)
}

/// What the files of a folder take on the disk, in bytes; holes are not counted. A file that its server
/// deletes in the meantime takes nothing.
pub(crate) fn on_disk(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(about) if about.is_dir() => bytes += on_disk(&entry.path())?,
            Ok(about) => bytes += about.blocks() * 512,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(bytes)
}

/// The first of the three averages: a minute's.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

/// As many open files as this user may have; children inherit it.
pub(crate) fn allow_many_files() -> Outcome<u64> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(hard)
}

/// So many open files, also beyond the limit that this user was given, where it may be raised.
pub(crate) fn allow_files(wanted: u64) -> Outcome<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if hard >= wanted {
        return allow_many_files().map(drop);
    }
    setrlimit(Resource::RLIMIT_NOFILE, wanted, wanted).map_err(|e| {
        format!("{wanted} files must be open at a time, the limit is {hard}, and raising it fails: {e}")
            .into()
    })
}

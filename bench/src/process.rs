//! What the kernel says of a process and of the machine.

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
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no value of VmRSS")?.parse()?)
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

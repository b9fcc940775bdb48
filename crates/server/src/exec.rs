//! `cresset exec`: a command in a world where Google's messaging hosts are here.
//!
//! The command gets a mount namespace of its own with another `/etc/hosts`: the names lead to a
//! loopback address on which the running server listens at the ports that clients have in their
//! code. Nothing outside the command's process tree changes, and every other name and address
//! means to it what it meant before.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tokio::net::TcpListener;

use crate::data::{DataFolder, Running};
use crate::failure::Failure;
use crate::trust::{self, TrustFiles};
use crate::{http, names};

/// The loopback address that is ours by default: 127.0.0.0/8 needs no set-up, and nobody else is
/// likely to be there (83 is the letter S).
pub const ADDRESS: &str = "127.83.0.1";

const HTTPS_PORT: u16 = 443;
const MCS_PORT: u16 = 5228;

pub struct ExecListeners {
    pub address: IpAddr,
    pub https: TcpListener,
    pub mcs: TcpListener,
}

/// Listens at the ports that clients have in their code, where that is allowed; else says why not.
/// It is a convenience: the server serves without it.
pub fn listen(address: Option<IpAddr>) -> (Option<ExecListeners>, Option<String>) {
    let Some(first) = address else { return (None, None) };
    let mut refused = None;
    for address in neighbours(first) {
        let bind = |port| http::bind(SocketAddr::new(address, port), "--exec-address");
        match (bind(HTTPS_PORT), bind(MCS_PORT)) {
            (Ok(https), Ok(mcs)) => return (Some(ExecListeners { address, https, mcs }), None),
            (Err(e), _) | (_, Err(e)) => refused = refused.or(Some(e.to_string())),
        }
    }
    (None, refused)
}

/// The address and those after it: several servers may run side by side.
fn neighbours(first: IpAddr) -> impl Iterator<Item = IpAddr> {
    const SERVERS: u32 = 8;
    let (v4, v6) = match first {
        IpAddr::V4(address) => (Some(u32::from(address)), None),
        IpAddr::V6(address) => (None, Some(IpAddr::V6(address))),
    };
    let v4 =
        v4.into_iter().flat_map(|start| (start..start.saturating_add(SERVERS)).map(|a| IpAddr::V4(a.into())));
    v4.chain(v6).filter(IpAddr::is_loopback)
}

pub fn run(args: &crate::cli::Exec) -> Failure {
    match DataFolder::open(&args.data.folder) {
        Ok(folder) => exec(&folder, &args.project, &args.command),
        Err(failure) => failure,
    }
}

/// Replaces this process by the command. Returns only when it cannot.
pub(crate) fn exec(folder: &DataFolder, project: &str, command: &[OsString]) -> Failure {
    match prepare(folder, project, command) {
        Ok(mut command) => {
            let name = command.get_program().to_string_lossy().into_owned();
            let e = command.exec();
            // As shells do: 127 not found, 126 not to be executed.
            let code = if e.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
            Failure::with_code(format!("cannot run {name}: {e}"), code)
        }
        Err(failure) => failure,
    }
}

fn prepare(folder: &DataFolder, project: &str, command: &[OsString]) -> Result<Command, Failure> {
    let running = folder.running().ok_or_else(|| {
        Failure::new(format!(
            "no Cresset is running on {}; start one with `cresset up`",
            folder.path().display()
        ))
    })?;
    let address = running.exec.ok_or_else(|| Failure::new(no_address(folder, &running)))?;
    let extra = inherited("SSL_CERT_FILE");
    let files = trust::write(&folder.ca(), &folder.path().join("exec"), extra.as_deref().map(Path::new))?;
    let credentials = folder.credentials(project);
    if !credentials.exists() {
        return Err(Failure::new(format!(
            "{} does not exist; make it with `cresset project service-account {project} --save`",
            credentials.display()
        )));
    }
    lead_names_to(address, folder)?;
    let (program, arguments) = command.split_first().ok_or_else(|| Failure::new("a command is missing"))?;
    let mut child = Command::new(program);
    child.args(arguments);
    for (name, value) in environment(&files, &credentials, project) {
        child.env(name, value);
    }
    Ok(child)
}

/// Why the running server has no address for this, and what to set by hand instead.
fn no_address(folder: &DataFolder, running: &Running) -> String {
    let why = running.exec_refused.as_deref().unwrap_or("listen.exec is empty in its configuration");
    format!(
        "the running Cresset does not listen on an address of its own ({why}).\n{}",
        by_hand(folder, running)
    )
}

/// The settings that do by hand what `exec` does.
pub fn by_hand(folder: &DataFolder, running: &Running) -> String {
    format!(
        "Do by hand, for the program alone (a container, a namespace) or for the machine:\n\
         \x20 names    let {} and the other names of `cresset doctor --names`\n\
         \x20          lead to an address where port 443 is forwarded to {} and 5228 to {}\n\
         \x20 trust    NODE_EXTRA_CA_CERTS, or SSL_CERT_FILE / REQUESTS_CA_BUNDLE, = {}\n\
         \x20 account  GOOGLE_APPLICATION_CREDENTIALS = a file of `cresset project service-account`\n\
         As root (or with the capability to bind port 443), `cresset up` listens on {ADDRESS} by itself.",
        names::HTTPS[0],
        running.https,
        running.mcs,
        folder.ca().display(),
    )
}

/// What the environment says already; this is the part that passes it on.
#[expect(clippy::disallowed_methods, reason = "the command inherits the environment, and exec adds to it")]
fn inherited(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Variables by which runtimes find authorities and accounts (`clients/admin-sdks.md` §0.1).
fn environment(files: &TrustFiles, credentials: &Path, project: &str) -> Vec<(&'static str, OsString)> {
    let bundle = || files.bundle.clone().into_os_string();
    let mut java = inherited("JAVA_TOOL_OPTIONS").unwrap_or_default();
    if !java.is_empty() {
        java.push(" ");
    }
    java.push("-Djavax.net.ssl.trustStore=");
    java.push(&files.java);
    java.push(format!(
        " -Djavax.net.ssl.trustStorePassword={} -Djavax.net.ssl.trustStoreType=JKS",
        trust::JAVA_PASSWORD
    ));
    let mut set = vec![
        ("NODE_EXTRA_CA_CERTS", bundle()),
        ("REQUESTS_CA_BUNDLE", bundle()),
        ("CURL_CA_BUNDLE", bundle()),
        ("SSL_CERT_FILE", bundle()),
        ("HTTPLIB2_CA_CERTS", bundle()),
        ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", bundle()),
        ("JAVA_TOOL_OPTIONS", java),
        ("GOOGLE_APPLICATION_CREDENTIALS", credentials.as_os_str().to_owned()),
        ("GOOGLE_CLOUD_PROJECT", project.into()),
        ("GCLOUD_PROJECT", project.into()),
        ("CRESSET_CA_FILE", files.ca.clone().into_os_string()),
    ];
    // A proxy would be asked for Google's names, and would ask Google.
    for name in ["NO_PROXY", "no_proxy"] {
        let mut value = inherited(name).unwrap_or_default();
        for host in names::all() {
            if !value.is_empty() {
                value.push(",");
            }
            value.push(host);
        }
        set.push((name, value));
    }
    set
}

/// Gives this process, and so the command, a mount namespace in which `/etc/hosts` has our names.
fn lead_names_to(address: IpAddr, folder: &DataFolder) -> Result<(), Failure> {
    let system = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let path = folder.path().join("exec").join("hosts");
    crate::data::write_public(&path, hosts_file(&system, address).as_bytes())?;
    enter_namespace().map_err(|e| {
        Failure::new(format!(
            "the kernel does not let this user have a mount namespace ({e}), so names cannot be led elsewhere for one program alone.\n\
             Run it as root, or allow user namespaces, or put the lines of {} into /etc/hosts.",
            path.display()
        ))
    })?;
    let nothing: Option<&str> = None;
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
        .and_then(|()| mount(Some(&path), "/etc/hosts", nothing, MsFlags::MS_BIND, nothing))
        .map_err(|e| Failure::new(format!("/etc/hosts cannot be replaced in the command's namespace: {e}")))
}

/// As root a mount namespace; else with a user namespace around it, in which this user stays who
/// they are.
fn enter_namespace() -> Result<(), nix::errno::Errno> {
    if unshare(CloneFlags::CLONE_NEWNS).is_ok() {
        return Ok(());
    }
    let (user, group) = (nix::unistd::geteuid(), nix::unistd::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)?;
    let write = |file: &str, text: String| std::fs::write(file, text).map_err(|_| nix::errno::Errno::EPERM);
    write("/proc/self/setgroups", "deny".into())?;
    write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// The system's file without our names, and with them.
fn hosts_file(system: &str, address: IpAddr) -> String {
    let ours = |name: &str| names::all().any(|host| host.eq_ignore_ascii_case(name));
    let keep = |line: &&str| {
        let entry = line.split('#').next().unwrap_or_default();
        !entry.split_whitespace().skip(1).any(ours)
    };
    let mut text: String = system.lines().filter(keep).map(|line| format!("{line}\n")).collect();
    for name in names::all() {
        text.push_str(&format!("{address}\t{name}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_file_keeps_what_is_not_ours() {
        let system =
            "127.0.0.1 localhost db\n10.0.0.1\tFCM.googleapis.com other # old\n# fcm.googleapis.com\n";
        let text = hosts_file(system, ADDRESS.parse().unwrap());
        assert!(text.starts_with("127.0.0.1 localhost db\n# fcm.googleapis.com\n"));
        assert!(!text.contains("10.0.0.1"));
        assert!(
            text.contains("127.83.0.1\tfcm.googleapis.com\n")
                && text.contains("127.83.0.1\tmtalk.google.com\n")
        );
    }
}

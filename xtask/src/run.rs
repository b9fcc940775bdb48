//! Running other programs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask stands in the root").to_owned()
}

/// What cargo builds in; `CARGO_TARGET_DIR` is heeded because this program stands in it.
pub(crate) fn target() -> Result<PathBuf, String> {
    let this = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    this.ancestors().nth(2).map(Path::to_owned).ok_or_else(|| "xtask stands outside a target folder".into())
}

pub(crate) fn cargo(args: &[&str]) -> Result<(), String> {
    quietly(Command::new("cargo").args(args).current_dir(root()))
}

/// Runs a command to its end; what it prints is shown.
pub(crate) fn quietly(command: &mut Command) -> Result<(), String> {
    let name = describe(command);
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("`{name}` failed: {status}")),
        Err(e) => Err(format!("`{name}` cannot be run: {e}")),
    }
}

/// Runs a command unseen; gives what it prints.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let name = describe(command);
    let output = command.output().map_err(|e| format!("`{name}` cannot be run: {e}"))?;
    if !output.status.success() {
        return Err(format!("`{name}` failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("`{name}` does not print text"))
}

/// Whether a command can be run and ends well.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    output(command).is_ok()
}

pub(crate) fn describe(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

pub(crate) fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

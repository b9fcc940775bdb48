//! `cargo xtask tidy`: the absences of ARCHITECTURE.md that a program can see.

mod licences;
mod rooms;
mod sources;

use std::process::Command;

use serde_json::Value;

use crate::run;

/// One thing that is not as it should be.
#[derive(Debug, PartialEq)]
pub(crate) struct Finding {
    /// A file, with its line where there is one, or a crate.
    place: String,
    why: String,
}

impl Finding {
    fn new(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { place: place.into(), why: why.into() }
    }
}

pub(crate) fn run() -> Result<(), String> {
    let metadata = metadata()?;
    let mut findings = rooms::check(&metadata);
    findings.extend(licences::check(&metadata));
    findings.extend(sources::check(&sources::read()?));
    if findings.is_empty() {
        println!("tidy: the house is in order");
        return Ok(());
    }
    let lines: Vec<String> = findings.iter().map(|f| format!("{}: {}", f.place, f.why)).collect();
    Err(format!("{}\ntidy: {} problems", lines.join("\n"), findings.len()))
}

/// What cargo knows of the workspace and of all it depends on.
fn metadata() -> Result<Value, String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["metadata", "--format-version", "1", "--locked"]).current_dir(run::root());
    let text = run::output(&mut cargo)?;
    serde_json::from_str(&text).map_err(|e| format!("cargo's metadata cannot be read: {e}"))
}

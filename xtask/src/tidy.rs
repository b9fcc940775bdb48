//! `cargo xtask tidy`: the order of the house, checked. What ARCHITECTURE.md promises and the compiler
//! does not see.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::run::root;

/// Who may depend on whom. A crate that is not here is an error: say what it is for first.
const MAY_USE: [(&str, &[&str]); 14] = [
    ("cresset-message", &[]),
    ("cresset-wire", &["cresset-message"]),
    ("cresset-store", &["cresset-message"]),
    ("cresset-identity", &["cresset-message", "cresset-wire", "cresset-store"]),
    ("cresset-delivery", &["cresset-message", "cresset-wire", "cresset-store"]),
    ("cresset-api", &["cresset-message", "cresset-wire", "cresset-identity", "cresset-delivery"]),
    ("cresset-device", &["cresset-message", "cresset-wire", "cresset-identity", "cresset-delivery"]),
    ("cresset-admin", &["cresset-message", "cresset-identity"]),
    ("cresset-device-client", &["cresset-message", "cresset-wire"]),
    ("cresset-server", ALL),
    ("cresset-e2e", ALL),
    ("cresset-bench", ALL),
    ("xtask", ALL),
    ("cresset", ALL),
];

const ALL: &[&str] = &["*"];

/// Texts that a folder's sources must not hold, and why. Tests may.
const BANS: [(&str, &[&str], &str); 8] = [
    ("crates/message/src", &["tokio", "std::net", "async fn"], "message is pure: no I/O, no async"),
    ("crates/message/src", &["serde", "prost"], "only wire and store serialise"),
    ("crates/wire/src", &["tokio", "std::net", "async fn"], "wire is pure: no I/O, no async"),
    ("crates/api/src", &["cresset_store"], "listeners never name the store"),
    ("crates/device/src", &["cresset_store"], "carriers never name the store"),
    ("crates/admin/src", &["cresset_store"], "listeners never name the store"),
    (
        "crates/delivery/src",
        &["wire::mcs", "wire::webpush", "wire::v1", "wire::checkin"],
        "delivery never names a protocol",
    ),
    ("crates", &["todo!(", "unimplemented!(", "FIXME", "dbg!("], "nothing half done lands"),
];

/// Licences that dependencies may have; of `OR`, one is enough, of `AND`, all are needed.
const LICENCES: [&str; 14] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "0BSD",
    "Zlib",
    "Unicode-3.0",
    "CC0-1.0",
    "Unlicense",
    "BSL-1.0",
    "OpenSSL",
];

/// A file is one room with one purpose.
const LONGEST_FILE: usize = 700;

pub(crate) fn run() -> Result<(), String> {
    let metadata = metadata()?;
    let mut problems = Vec::new();
    dependencies(&metadata, &mut problems);
    licences(&metadata, &mut problems);
    sources(&mut problems)?;
    match problems.len() {
        0 => {
            println!("tidy: the house is in order");
            Ok(())
        }
        count => Err(format!("{}\ntidy: {count} problems", problems.join("\n"))),
    }
}

fn metadata() -> Result<Value, String> {
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .map_err(|e| format!("cargo metadata: {e}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("cargo metadata: {e}"))
}

fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    metadata["packages"].as_array().into_iter().flatten()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

/// Workspace crates have no source.
fn is_ours(package: &Value) -> bool {
    package["source"].is_null()
}

fn dependencies(metadata: &Value, problems: &mut Vec<String>) {
    for package in packages(metadata).filter(|p| is_ours(p)) {
        let name = text(package, "name");
        if ["common", "util", "utils", "helpers"].iter().any(|bad| name.ends_with(bad)) {
            problems.push(format!("{name}: a crate has a purpose in one line, or is a module"));
        }
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
            problems.push(format!("{name} is not in the dependency table of xtask/src/tidy.rs"));
            continue;
        };
        let used = package["dependencies"].as_array().into_iter().flatten();
        // What tests use is theirs.
        for dependency in used.filter(|d| d["kind"].is_null() && text(d, "name").starts_with("cresset-")) {
            let used = text(dependency, "name");
            if *allowed != ALL && !allowed.contains(&used) {
                problems.push(format!("{name} must not depend on {used}"));
            }
        }
        let manifest = std::fs::read_to_string(text(package, "manifest_path")).unwrap_or_default();
        if !manifest.contains("[lints]\nworkspace = true") {
            problems.push(format!("{name} does not take the workspace's lints, which forbid unsafe code"));
        }
    }
}

fn licences(metadata: &Value, problems: &mut Vec<String>) {
    for package in packages(metadata).filter(|p| !is_ours(p)) {
        let licence = text(package, "license");
        if !is_permissive(licence) {
            problems.push(format!(
                "{} {} has the licence `{licence}`",
                text(package, "name"),
                text(package, "version")
            ));
        }
    }
}

/// Of an SPDX expression, or the older form with a slash.
fn is_permissive(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], " ");
    let known = |licence: &str| LICENCES.contains(&licence.trim());
    // `A AND B OR C` is read strictly: every part of an AND must be fine by itself.
    !expression.trim().is_empty() && expression.split(" AND ").all(|part| part.split(" OR ").any(known))
}

fn sources(problems: &mut Vec<String>) -> Result<(), String> {
    let files = tracked()?;
    let rust = || files.iter().filter(|file| file.ends_with(".rs"));
    for (folder, words, reason) in BANS {
        for file in rust().filter(|file| file.starts_with(folder)) {
            let source = read(file);
            let code = without_tests_and_comments(&source);
            for word in words.iter().filter(|word| code.contains(**word)) {
                problems.push(format!("{file}: `{word}`: {reason}"));
            }
        }
    }
    for file in rust() {
        let lines = read(file).lines().count();
        if lines > LONGEST_FILE {
            problems.push(format!("{file} has {lines} lines; is it still one room with one purpose?"));
        }
        if read(file).contains("#[ignore]") {
            problems.push(format!("{file}: an ignored test says why: #[ignore = \"…\"]"));
        }
    }
    // Spelt so that this file does not hold them.
    let machine = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat()];
    for file in files.iter().filter(|file| !file.ends_with(".lock")) {
        let source = read(file);
        for path in machine.iter().filter(|path| source.contains(path.as_str())) {
            problems.push(format!("{file} names a path of one machine: {path}"));
        }
    }
    Ok(())
}

fn tracked() -> Result<Vec<String>, String> {
    let output = Command::new("git").arg("ls-files").current_dir(root()).output();
    let output = output.map_err(|e| format!("git ls-files: {e}"))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect())
}

fn read(file: &str) -> String {
    let path = root().join(Path::new(file));
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}

/// Unit tests stand at the end of a file, or in a file of their own.
fn without_tests_and_comments(source: &str) -> String {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_read_as_spdx_says() {
        for good in ["MIT", "MIT OR GPL-3.0", "MIT/Apache-2.0", "(MIT OR Apache-2.0) AND Unicode-3.0"] {
            assert!(is_permissive(good), "{good}");
        }
        for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "SSPL-1.0 OR BUSL-1.1"] {
            assert!(!is_permissive(bad), "{bad}");
        }
    }

    #[test]
    fn comments_and_tests_may_say_what_code_may_not() {
        let source = "// tokio\nfn a() {}\n#[cfg(test)]\nmod tests {\n    use tokio;\n}\n";
        assert!(!without_tests_and_comments(source).contains("tokio"));
        assert!(without_tests_and_comments("use tokio;").contains("tokio"));
    }
}

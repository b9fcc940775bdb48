//! What the files themselves must not say.

use std::fs;
use std::process::Command;

use super::Finding;
use crate::run::{output, root};

/// A tracked text file.
pub(super) struct Source {
    /// Relative to the workspace, with slashes.
    path: String,
    text: String,
}

/// A reader holds a file of this length in mind with effort; a longer one has two subjects.
const LONGEST_RUST_FILE: usize = 700;

/// Words that no text file may hold. Written in two parts, as this file is read as well.
const NOWHERE: [(&str, &str); 11] = [
    (concat!("todo", "!("), "unfinished"),
    (concat!("unimplemented", "!("), "unfinished"),
    (concat!("FIX", "ME"), "unfinished"),
    (concat!("dbg", "!("), "left from a search for a bug"),
    (concat!("registry.", "npmjs.org"), "where packages come from is the machine's business"),
    (concat!("pypi", ".org"), "where packages come from is the machine's business"),
    (concat!("files.", "pythonhosted.org"), "where packages come from is the machine's business"),
    (concat!("static.", "crates.io"), "where packages come from is the machine's business"),
    (concat!("index.", "crates.io"), "where packages come from is the machine's business"),
    (concat!("\"/", "work/"), "a path of one machine"),
    (concat!(" /", "work/"), "a path of one machine"),
];

/// Words that the product's own code must not hold, by the start of its path. Tests may.
struct Ban {
    under: &'static [&'static str],
    words: &'static [&'static str],
    why: &'static str,
}

const BANS: [Ban; 4] = [
    Ban {
        under: &["crates/api/src/", "crates/device/src/", "crates/admin/src/"],
        words: &["cresset_store"],
        why: "listeners and carriers never name the store",
    },
    Ban {
        under: &["crates/delivery/src/"],
        words: &[
            "cresset_wire::mcs",
            "cresset_wire::v1",
            "cresset_wire::http2",
            "cresset_wire::webpush",
            "cresset_wire::checkin",
        ],
        why: "delivery never names a protocol",
    },
    Ban {
        under: &["crates/message/src/", "crates/wire/src/"],
        words: &[
            "std::time::Instant",
            "SystemTime",
            "std::net",
            "std::fs",
            "std::env",
            "std::thread",
            "tokio::",
        ],
        why: "no I/O, no async, no clock here",
    },
    Ban {
        under: &[
            "crates/message/",
            "crates/wire/",
            "crates/store/",
            "crates/identity/",
            "crates/delivery/",
            "crates/api/",
            "crates/device/",
            "crates/admin/",
        ],
        words: &["disallowed_methods"],
        why: "nobody below the server reads the environment or the clock",
    },
];

/// What clippy must go on forbidding.
const CLIPPY_BANS: [&str; 3] = ["std::time::SystemTime::now", "std::env::var", "std::env::var_os"];

/// All tracked files that are text, and those not tracked yet that git would not ignore.
pub(super) fn read() -> Result<Vec<Source>, String> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root());
    let names = output(&mut git)?;
    let read = |path: &str| {
        let text = fs::read_to_string(root().join(path)).ok()?;
        Some(Source { path: path.to_owned(), text })
    };
    Ok(names.split('\0').filter(|name| !name.is_empty()).filter_map(read).collect())
}

pub(super) fn check(files: &[Source]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = files.iter().flat_map(check_file).collect();
    findings.extend(check_clippy(files));
    findings
}

fn check_file(file: &Source) -> Vec<Finding> {
    let mut findings = everywhere(file);
    if file.path.ends_with(".rs") {
        findings.extend(length(file));
        findings.extend(reasonless(file));
        findings.extend(bans(file));
    }
    if file.path.ends_with("Cargo.toml") {
        findings.extend(lints(file));
    }
    findings
}

fn everywhere(file: &Source) -> Vec<Finding> {
    let found = |(number, line): (usize, &str)| {
        let (word, why) = NOWHERE.iter().find(|(word, _)| line.contains(word))?;
        Some(Finding::new(format!("{}:{}", file.path, number + 1), format!("`{}`: {why}", word.trim())))
    };
    file.text.lines().enumerate().filter_map(found).collect()
}

fn length(file: &Source) -> Option<Finding> {
    let lines = file.text.lines().count();
    let why = || format!("{lines} lines; the most is {LONGEST_RUST_FILE}");
    (lines > LONGEST_RUST_FILE).then(|| Finding::new(&file.path, why()))
}

/// A test that is not run must say why.
fn reasonless(file: &Source) -> Vec<Finding> {
    let lines = file.text.lines().enumerate().filter(|(_, line)| line.trim() == "#[ignore]");
    let finding = |(number, _)| {
        Finding::new(format!("{}:{}", file.path, number + 1), "an ignored test gives no reason".to_owned())
    };
    lines.map(finding).collect()
}

fn bans(file: &Source) -> Vec<Finding> {
    if is_test(&file.path) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    let applies = |ban: &&Ban| ban.under.iter().any(|start| file.path.starts_with(start));
    for ban in BANS.iter().filter(applies) {
        for (number, line) in product_lines(&file.text) {
            if let Some(word) = ban.words.iter().find(|word| line.contains(**word)) {
                let place = format!("{}:{number}", file.path);
                findings.push(Finding::new(place, format!("`{word}`: {}", ban.why)));
            }
        }
    }
    findings
}

fn is_test(path: &str) -> bool {
    let folder = |name: &str| path.contains(&format!("/{name}/"));
    folder("tests") || folder("examples") || folder("benches") || path.ends_with("/tests.rs")
}

/// The lines that are code of the product: no comments, and nothing of the test module, which stands
/// at the end of a file.
fn product_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let numbered = text.lines().enumerate().map(|(index, line)| (index + 1, line));
    numbered
        .take_while(|(_, line)| !is_test_mark(line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn is_test_mark(line: &str) -> bool {
    line.starts_with("#[cfg(test)]")
}

/// Every crate is under the workspace's lints, which forbid unsafe code. (The fuzz targets are a
/// workspace of their own.)
fn lints(file: &Source) -> Option<Finding> {
    if file.path == "Cargo.toml" {
        let forbids = file.text.lines().any(|line| line.trim() == "unsafe_code = \"forbid\"");
        return (!forbids).then(|| Finding::new(&file.path, "the workspace must forbid unsafe code"));
    }
    let own_workspace = file.text.lines().any(|line| line.trim() == "[workspace]");
    let inherits = file.text.contains("[lints]\nworkspace = true\n");
    (!own_workspace && !inherits).then(|| Finding::new(&file.path, "does not have the workspace's lints"))
}

fn check_clippy(files: &[Source]) -> Vec<Finding> {
    let text = files.iter().find(|file| file.path == "clippy.toml").map_or("", |file| &file.text);
    let missing = CLIPPY_BANS.iter().filter(|method| !text.contains(&format!("\"{method}\"")));
    missing.map(|method| Finding::new("clippy.toml", format!("must forbid {method}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(path: &str, text: &str) -> Vec<String> {
        let file = Source { path: path.into(), text: text.into() };
        check_file(&file).into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn bans_hold_for_the_product_and_not_for_its_tests() {
        let text = "//! cresset_store is below.\nuse cresset_store::Store;\n#[cfg(test)]\nmod tests {\n    use cresset_store::X;\n}\n";
        assert_eq!(places("crates/api/src/send.rs", text), ["crates/api/src/send.rs:2"]);
        assert!(places("crates/api/tests/http/main.rs", text).is_empty());
        assert!(places("crates/device/src/session/tests.rs", text).is_empty());
        assert!(places("crates/delivery/src/inbox.rs", text).is_empty());
        assert_eq!(places("crates/delivery/src/inbox.rs", "use cresset_wire::mcs::Frame;\n").len(), 1);
        assert!(places("crates/delivery/src/inbox.rs", "use cresset_wire::token::TokenKey;\n").is_empty());
    }

    #[test]
    fn words_and_lengths_and_reasons_are_checked() {
        let unfinished = format!("fn a() {{\n    {}\"later\");\n}}\n", concat!("todo", "!("));
        assert_eq!(places("e2e/src/lib.rs", &unfinished), ["e2e/src/lib.rs:2"]);
        assert_eq!(places("README.md", concat!("see /", "work/x\n")), ["README.md:1"]);
        assert!(places("README.md", "see https://example.test/work/x\n").is_empty());
        assert_eq!(places("a.rs", "#[ignore]\nfn a() {}\n"), ["a.rs:1"]);
        assert!(places("a.rs", "#[ignore = \"takes an hour\"]\nfn a() {}\n").is_empty());
        assert_eq!(places("a.rs", &"\n".repeat(LONGEST_RUST_FILE + 1)), ["a.rs"]);
    }

    #[test]
    fn every_crate_is_under_the_lints() {
        assert_eq!(places("crates/x/Cargo.toml", "[package]\nname = \"x\"\n"), ["crates/x/Cargo.toml"]);
        assert!(places("crates/x/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n").is_empty());
        assert!(places("fuzz/Cargo.toml", "[package]\n\n[workspace]\n").is_empty());
        assert_eq!(places("Cargo.toml", "[workspace.lints.rust]\n"), ["Cargo.toml"]);
    }
}

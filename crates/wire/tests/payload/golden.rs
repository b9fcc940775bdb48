//! The files in `cases/`. After a change that is meant, `cargo test -p cresset-wire -- --ignored
//! write_the_cases_anew` writes them, and the reviewer reads the difference.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::render::render;

const FILES: [&str; 7] =
    ["seeds", "common", "android", "android-notification", "android-v2", "webpush", "apns"];
const PLATFORMS: [&str; 3] = ["android", "web", "apns"];

/// A message, and what the platforms get of it: fields `name`, `origin` (where there is one),
/// `message`, and one for each platform.
pub(super) type Case = Map<String, Value>;

#[test]
fn every_platform_gets_what_the_files_say() {
    for file in FILES {
        for case in read(file) {
            let seen = render(&case["message"]);
            for platform in PLATFORMS {
                let expected = case.get(platform).unwrap_or(&Value::Null);
                assert_eq!(&seen[platform], expected, "{platform} in {file}: {}", case["name"]);
            }
        }
    }
}

#[test]
#[ignore = "changes the files that the other test reads"]
fn write_the_cases_anew() {
    for file in FILES {
        let cases = read(file).into_iter().map(|mut case| {
            case.extend(render(&case["message"]));
            printed(&case)
        });
        let text = format!("[\n{}\n]\n", cases.collect::<Vec<_>>().join(",\n"));
        std::fs::write(path(file), text).unwrap();
    }
}

pub(super) fn cases() -> impl Iterator<Item = Case> {
    FILES.iter().flat_map(|file| read(file))
}

fn read(file: &str) -> Vec<Case> {
    let text = std::fs::read_to_string(path(file)).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"))
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/payload/cases").join(format!("{file}.json"))
}

/// One line to each part, so that a difference shows which platform changed.
fn printed(case: &Case) -> String {
    let order = ["name", "origin", "message"].iter().chain(&PLATFORMS);
    let lines = order.filter_map(|part| Some(format!("    \"{part}\": {}", case.get(*part)?)));
    format!("  {{\n{}\n  }}", lines.collect::<Vec<_>>().join(",\n"))
}

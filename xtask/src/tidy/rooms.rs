//! Who may depend on whom (ARCHITECTURE.md, the map), and which rooms stay pure.

use serde_json::Value;

use super::Finding;

/// A crate of the workspace, and the others it may use.
struct Room {
    name: &'static str,
    uses: &'static [&'static str],
    /// And in its tests, benchmarks and examples.
    tests_use: &'static [&'static str],
    /// The formats it may read and write by library: a serialisable type is a promise to somebody.
    formats: &'static [&'static str],
}

/// Tests of an upper room need rows to look at and a device to send to.
const ROOMS: [Room; 18] = [
    Room { name: "cresset-message", uses: &[], tests_use: &[], formats: &[] },
    Room {
        name: "cresset-wire",
        uses: &["cresset-message"],
        tests_use: &[],
        // It is where the formats of others live.
        formats: &["serde", "serde_json", "prost"],
    },
    Room {
        name: "cresset-store",
        uses: &["cresset-message"],
        tests_use: &[],
        // Records on disk.
        formats: &["prost"],
    },
    Room {
        name: "cresset-identity",
        uses: &["cresset-message", "cresset-wire", "cresset-store"],
        tests_use: &[],
        // JWTs and credential files.
        formats: &["serde", "serde_json"],
    },
    Room {
        name: "cresset-delivery",
        uses: &["cresset-message", "cresset-wire", "cresset-store"],
        tests_use: &[],
        formats: &[],
    },
    Room {
        name: "cresset-api",
        uses: &["cresset-message", "cresset-wire", "cresset-identity", "cresset-delivery"],
        tests_use: &["cresset-store", "cresset-device-client"],
        // Small answers in JSON.
        formats: &["serde_json"],
    },
    Room { name: "cresset-admission", uses: &["cresset-message"], tests_use: &[], formats: &[] },
    Room {
        name: "cresset-device",
        uses: &[
            "cresset-admission",
            "cresset-message",
            "cresset-wire",
            "cresset-identity",
            "cresset-delivery",
        ],
        tests_use: &["cresset-store", "cresset-device-client"],
        formats: &[],
    },
    Room {
        name: "cresset-xmpp",
        uses: &[
            "cresset-admission",
            "cresset-message",
            "cresset-wire",
            "cresset-identity",
            "cresset-delivery",
        ],
        tests_use: &["cresset-store", "cresset-device-client"],
        // Messages are JSON within XML.
        formats: &["serde_json"],
    },
    Room {
        name: "cresset-outbound",
        uses: &["cresset-message", "cresset-wire", "cresset-identity", "cresset-delivery"],
        tests_use: &["cresset-store"],
        // Answers of push services.
        formats: &["serde_json"],
    },
    Room {
        name: "cresset-admin",
        uses: &["cresset-message", "cresset-wire", "cresset-identity", "cresset-delivery"],
        tests_use: &["cresset-store"],
        // Cresset's own API.
        formats: &["serde", "serde_json"],
    },
    Room {
        name: "cresset-server",
        uses: &[
            "cresset-admission",
            "cresset-message",
            "cresset-wire",
            "cresset-store",
            "cresset-identity",
            "cresset-delivery",
            "cresset-api",
            "cresset-device",
            "cresset-xmpp",
            "cresset-outbound",
            "cresset-admin",
            "cresset-device-client",
            "cresset-admin-client",
        ],
        tests_use: &[],
        // Its configuration, and what its commands say to the running server.
        formats: &["serde", "serde_json", "toml"],
    },
    Room {
        name: "cresset-device-client",
        uses: &["cresset-message", "cresset-wire"],
        tests_use: &[],
        // The answers of the registration APIs.
        formats: &["serde_json"],
    },
    Room {
        name: "cresset-admin-client",
        uses: &[],
        tests_use: &[],
        // FCM's formats as a sender writes them, and credential files.
        formats: &["serde", "serde_json"],
    },
    Room { name: "cresset-e2e", uses: ANY, tests_use: ANY, formats: ANY },
    Room { name: "cresset-bench", uses: ANY, tests_use: ANY, formats: ANY },
    Room { name: "cresset-simulation", uses: ANY, tests_use: ANY, formats: ANY },
    Room { name: "xtask", uses: &[], tests_use: &[], formats: &["serde_json"] },
];

/// Tools may use what they need: nothing depends on them.
const ANY: &[&str] = &["*"];

/// Libraries by which a format is read or written.
const FORMATS: [&str; 4] = ["serde", "serde_json", "prost", "toml"];

/// Rooms without I/O and without async, and what would bring them.
const PURE: [&str; 2] = ["cresset-message", "cresset-wire"];
const IMPURE: [&str; 9] =
    ["tokio", "futures-util", "hyper", "hyper-util", "axum", "tower", "socket2", "nix", "libc"];

/// Names that say nothing of a purpose collect everything.
const EMPTY_NAMES: [&str; 6] = ["common", "util", "utils", "helpers", "shared", "misc"];

pub(super) fn check(metadata: &Value) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in members(metadata) {
        let name = text(&package["name"]);
        if name.split('-').any(|word| EMPTY_NAMES.contains(&word)) {
            findings.push(Finding::new(name, "the name does not say what it is for"));
        }
        let Some(room) = ROOMS.iter().find(|room| room.name == name) else {
            findings.push(Finding::new(name, "is not in the dependency table (xtask, tidy/rooms.rs)"));
            continue;
        };
        let dependencies = list(&package["dependencies"]);
        findings.extend(dependencies.filter_map(|dependency| judge(room, dependency)));
    }
    findings
}

/// The packages of the workspace itself.
fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    let ids: Vec<&Value> = list(&metadata["workspace_members"]).collect();
    list(&metadata["packages"]).filter(move |package| ids.contains(&&package["id"]))
}

fn judge(room: &Room, dependency: &Value) -> Option<Finding> {
    let used = text(&dependency["name"]);
    let in_tests = dependency["kind"] == "dev";
    let may = |list: &[&str]| list == ANY || list.contains(&used);
    let ours = used.starts_with("cresset-");
    let why = if ours && !may(room.uses) && !(in_tests && may(room.tests_use)) {
        // A crate's tests may use the crate itself, with more features.
        if in_tests && may(&[room.name]) {
            return None;
        }
        format!("may not use {used}: dependencies point down (ARCHITECTURE.md)")
    } else if !in_tests && FORMATS.contains(&used) && !may(room.formats) {
        format!("may not use {used}: serialising belongs to the edges and to the store")
    } else if !in_tests && PURE.contains(&room.name) && IMPURE.contains(&used) {
        format!("may not use {used}: no I/O, no async, no clock here")
    } else {
        return None;
    };
    Some(Finding::new(room.name, why))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(name: &str, used: &str, kind: Value) -> usize {
        let dependency = json!({ "name": used, "kind": kind });
        check(&json!({
            "workspace_members": ["it"],
            "packages": [
                { "id": "it", "name": name, "dependencies": [dependency] },
                { "id": "foreign", "name": "common-util", "dependencies": [] },
            ],
        }))
        .len()
    }

    #[test]
    fn the_table_is_kept() {
        let rows = [
            ("cresset-wire", "cresset-message", json!(null), 0),
            ("cresset-message", "cresset-wire", json!(null), 1),
            ("cresset-api", "cresset-store", json!(null), 1),
            ("cresset-api", "cresset-store", json!("dev"), 0),
            ("cresset-identity", "cresset-delivery", json!("dev"), 1),
            ("cresset-wire", "tokio", json!(null), 1),
            ("cresset-wire", "tokio", json!("dev"), 0),
            ("cresset-delivery", "serde_json", json!(null), 1),
            ("cresset-e2e", "cresset-server", json!(null), 0),
            ("cresset-common", "bytes", json!(null), 2),
        ];
        for (name, used, kind, expected) in rows {
            assert_eq!(findings(name, used, kind), expected, "{name} uses {used}");
        }
    }
}

//! What each platform gets of a legacy message, held against `cases.json`. After a change that is
//! meant, `cargo test -p cresset-wire -- --ignored write_the_legacy_cases_anew` writes it.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Map, Value};

use super::read;
use crate::payload::render::render_message;

const PLATFORMS: [&str; 3] = ["android", "web", "apns"];

type Case = Map<String, Value>;

#[test]
fn every_platform_gets_what_the_file_says() {
    for case in cases() {
        let seen = render_message(&read(&case["message"].to_string()).message);
        for platform in PLATFORMS {
            let expected = case.get(platform).unwrap_or(&Value::Null);
            assert_eq!(&seen[platform], expected, "{platform}: {}", case["name"]);
        }
    }
}

#[test]
fn every_field_is_in_a_case() {
    const FIELDS: &str = "to registration_ids condition notification_key collapse_key priority \
        content_available mutable_content time_to_live restricted_package_name dry_run direct_boot_ok \
        delay_while_idle delivery_receipt_requested fcm_options fcm_options.analytics_label \
        fcm_options.link data notification notification.title notification.body notification.icon \
        notification.sound notification.badge notification.tag notification.color \
        notification.click_action notification.subtitle notification.body_loc_key \
        notification.body_loc_args notification.title_loc_key notification.title_loc_args \
        notification.android_channel_id notification.image";
    let mut seen = BTreeSet::new();
    for case in cases() {
        for (name, value) in case["message"].as_object().unwrap() {
            seen.insert(name.clone());
            let inner = value.as_object().into_iter().flatten();
            seen.extend(inner.map(|(inner, _)| format!("{name}.{inner}")));
        }
    }
    let missing: Vec<&str> = FIELDS.split_whitespace().filter(|field| !seen.contains(*field)).collect();
    assert!(missing.is_empty(), "no case has {missing:?}");
}

#[test]
#[ignore = "changes the file that the other test reads"]
fn write_the_legacy_cases_anew() {
    let cases = cases().into_iter().map(|mut case| {
        case.extend(render_message(&read(&case["message"].to_string()).message));
        let order = ["name", "message"].iter().chain(&PLATFORMS);
        let lines = order.filter_map(|part| Some(format!("    \"{part}\": {}", case.get(*part)?)));
        format!("  {{\n{}\n  }}", lines.collect::<Vec<_>>().join(",\n"))
    });
    std::fs::write(path(), format!("[\n{}\n]\n", cases.collect::<Vec<_>>().join(",\n"))).unwrap();
}

fn cases() -> Vec<Case> {
    serde_json::from_str(&std::fs::read_to_string(path()).unwrap()).unwrap()
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/legacy/cases.json")
}

//! Every field of the schema (`protocol/http-v1.md` §2) is in some case.

use std::collections::BTreeSet;

use serde_json::Value;

use super::golden::cases;

const MESSAGE: &str =
    "name data notification android android_v2 webpush apns fcm_options fid token topic condition";
const NOTIFICATION: &str = "title body image";
const ANDROID: &str = "collapse_key priority ttl restricted_package_name data notification fcm_options \
    direct_boot_ok bandwidth_constrained_ok restricted_satellite_ok";
const ANDROID_NOTIFICATION: &str = "title body icon color sound tag click_action body_loc_key body_loc_args \
    title_loc_key title_loc_args channel_id ticker sticky event_time local_only notification_priority \
    default_sound default_vibrate_timings default_light_settings vibrate_timings visibility \
    notification_count light_settings image proxy bypass_proxy_notification";
const LIGHT: &str = "color light_on_duration light_off_duration";
const COLOR: &str = "red green blue alpha";
const ANDROID_V2: &str = "collapse_key ttl restricted_package_name data fcm_options direct_boot_ok \
    bandwidth_constrained_ok restricted_satellite_ok remote_notification background_sync";
const REMOTE: &str = "notification mutable_content use_as_v1_data_message";
const ANDROID_NOTIFICATION_V2: &str = "title body icon color sound tag id click_action body_loc_key \
    body_loc_args title_loc_key title_loc_args channel_id ticker sticky event_time local_only \
    notification_priority default_sound default_vibrate_timings default_light_settings vibrate_timings \
    visibility notification_count light_settings image";
const WEBPUSH: &str = "headers data notification fcm_options";
const APNS: &str = "headers payload fcm_options live_activity_token";

/// Where each list of names belongs.
const FIELDS: [(&str, &str); 19] = [
    ("", MESSAGE),
    ("notification.", NOTIFICATION),
    ("android.", ANDROID),
    ("android.notification.", ANDROID_NOTIFICATION),
    ("android.notification.light_settings.", LIGHT),
    ("android.notification.light_settings.color.", COLOR),
    ("android.fcm_options.", "analytics_label"),
    ("android_v2.", ANDROID_V2),
    ("android_v2.remote_notification.", REMOTE),
    ("android_v2.remote_notification.notification.", ANDROID_NOTIFICATION_V2),
    ("android_v2.remote_notification.notification.light_settings.", LIGHT),
    ("android_v2.fcm_options.", "analytics_label"),
    ("webpush.", WEBPUSH),
    ("webpush.headers.", "TTL Urgency Topic"),
    ("webpush.fcm_options.", "link analytics_label"),
    ("apns.", APNS),
    ("apns.headers.", "apns-id apns-topic apns-priority apns-expiration apns-collapse-id apns-push-type"),
    ("apns.fcm_options.", "analytics_label image"),
    ("fcm_options.", "analytics_label"),
];

#[test]
fn every_field_of_the_schema_is_in_a_case() {
    let mut seen = BTreeSet::new();
    for case in cases() {
        note(&case["message"], "", &mut seen);
    }
    let all =
        FIELDS.iter().flat_map(|(path, names)| names.split_whitespace().map(move |n| format!("{path}{n}")));
    let missing: Vec<String> = all.filter(|field| !seen.contains(field)).collect();
    assert!(missing.is_empty(), "no case has {missing:?}");
}

fn note(value: &Value, path: &str, seen: &mut BTreeSet<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        let path = format!("{path}{name}");
        note(inner, &format!("{path}."), seen);
        seen.insert(path);
    }
}

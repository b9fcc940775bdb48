//! The raw layout: `app_data` in clear, as Android's SDK and raw receivers read it
//! (`protocol/payload-layout.md` §3).

use std::time::Duration;

use cresset_message::{
    AndroidNotification, Color, LightSettings, Message, Notification, NotificationPriority, Proxy, Recipient,
    Visibility,
};

use super::{project_number, set};
use crate::mcs::AppData;

/// The pairs of `app_data`: the notification's, ours, then the sender's data as it stood in the
/// request. `android.data` takes the place of `data` (`protocol/http-v1.md` §2.2).
///
/// Not told: `direct_boot_ok`, `bandwidth_constrained_ok`, `restricted_satellite_ok` and the
/// priority. How Google's server writes them for its own services on the device is unknown
/// (`protocol/payload-layout.md` §3.3 for the priority), and no client that we know reads them.
pub fn android(message: &Message, recipient: &Recipient) -> Vec<AppData> {
    let android = message.android.as_ref();
    let mut pairs = Pairs::default();
    let own = android.and_then(|a| a.notification.as_ref());
    let shown = message.notifies_android();
    if shown {
        let common = message.notification.clone().unwrap_or_default();
        notification(&common, &own.cloned().unwrap_or_default(), &mut pairs);
    }
    pairs.add("google.c.sender.id", project_number(recipient));
    let own_label = android.and_then(|a| set(&a.fcm_options.analytics_label));
    let label = own_label.or(set(&message.fcm_options.analytics_label));
    // Whether anything is then reported is the app's choice.
    pairs.flag("google.c.a.e", shown || label.is_some());
    pairs.some("google.c.a.m_l", label);
    let data = android.map(|a| &a.data).filter(|data| !data.is_empty()).unwrap_or(&message.data);
    data.iter().for_each(|(key, value)| pairs.add(key, value));
    pairs.0
}

#[derive(Default)]
struct Pairs(Vec<AppData>);

impl Pairs {
    fn add(&mut self, key: &str, value: impl Into<String>) {
        self.0.push(AppData::new(key, value));
    }

    fn some(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(key, value);
        }
    }

    fn number(&mut self, key: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.add(key, value.to_string());
        }
    }

    fn flag(&mut self, key: &str, set: bool) {
        if set {
            self.add(key, "1");
        }
    }

    /// A list is JSON text.
    fn texts(&mut self, key: &str, values: &[String]) {
        if !values.is_empty() {
            self.add(key, serde_json::Value::from(values).to_string());
        }
    }
}

/// The rows of the table in `protocol/payload-layout.md` §3.2, in its order.
fn notification(common: &Notification, own: &AndroidNotification, pairs: &mut Pairs) {
    pairs.flag("gcm.n.e", true);
    pairs.some("gcm.n.title", set(&own.title).or(set(&common.title)));
    pairs.some("gcm.n.body", set(&own.body).or(set(&common.body)));
    pairs.some("gcm.n.title_loc_key", set(&own.title_loc_key));
    pairs.some("gcm.n.body_loc_key", set(&own.body_loc_key));
    pairs.texts("gcm.n.title_loc_args", &own.title_loc_args);
    pairs.texts("gcm.n.body_loc_args", &own.body_loc_args);
    pairs.some("gcm.n.image", set(&own.image).or(set(&common.image)));
    pairs.some("gcm.n.icon", set(&own.icon));
    pairs.some("gcm.n.color", set(&own.color));
    // `sound` alone is what very old SDKs read, and they know the default sound only.
    pairs.some("gcm.n.sound2", set(&own.sound));
    pairs.some("gcm.n.sound", set(&own.sound).map(|_| "default"));
    pairs.flag("gcm.n.default_sound", own.default_sound);
    pairs.some("gcm.n.tag", set(&own.tag));
    pairs.some("gcm.n.click_action", set(&own.click_action));
    pairs.some("gcm.n.android_channel_id", set(&own.channel_id));
    pairs.some("gcm.n.ticker", set(&own.ticker));
    pairs.flag("gcm.n.sticky", own.sticky);
    pairs.number("gcm.n.event_time", own.event_time.map(|time| time.as_millis()));
    pairs.flag("gcm.n.local_only", own.local_only);
    pairs.some("gcm.n.notification_priority", own.notification_priority.map(priority));
    pairs.some("gcm.n.visibility", own.visibility.map(visibility));
    pairs.number("gcm.n.notification_count", own.notification_count);
    vibration(own, pairs);
    lights(own, pairs);
    pairs.flag("gcm.n.dnp", own.bypass_proxy_notification || own.proxy == Some(Proxy::Deny));
}

/// The default wins over timings (`protocol/http-v1.md` §2.2).
fn vibration(own: &AndroidNotification, pairs: &mut Pairs) {
    if own.default_vibrate_timings {
        pairs.flag("gcm.n.default_vibrate_timings", true);
    } else if !own.vibrate_timings.is_empty() {
        let timings: Vec<String> = own.vibrate_timings.iter().map(|t| t.as_millis().to_string()).collect();
        pairs.add("gcm.n.vibrate_timings", format!("[{}]", timings.join(",")));
    }
}

/// Settings win over the default (`protocol/http-v1.md` §2.2).
fn lights(own: &AndroidNotification, pairs: &mut Pairs) {
    match &own.light_settings {
        Some(settings) => pairs.add("gcm.n.light_settings", light(settings)),
        None => pairs.flag("gcm.n.default_light_settings", own.default_light_settings),
    }
}

fn light(settings: &LightSettings) -> String {
    let millis = |duration: Duration| duration.as_millis();
    let (on, off) = (millis(settings.light_on_duration), millis(settings.light_off_duration));
    format!("[\"{}\",{on},{off}]", argb(settings.color))
}

/// `#AARRGGBB`; a colour without alpha is solid (`google.type.Color`).
fn argb(color: Color) -> String {
    let byte = |part: f32| (part.clamp(0.0, 1.0) * 255.0).round() as u8;
    let [a, r, g, b] = [color.alpha.unwrap_or(1.0), color.red, color.green, color.blue].map(byte);
    format!("#{a:02X}{r:02X}{g:02X}{b:02X}")
}

fn priority(priority: NotificationPriority) -> &'static str {
    match priority {
        NotificationPriority::Min => "-2",
        NotificationPriority::Low => "-1",
        NotificationPriority::Default => "0",
        NotificationPriority::High => "1",
        NotificationPriority::Max => "2",
    }
}

fn visibility(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Secret => "-1",
        Visibility::Private => "0",
        Visibility::Public => "1",
    }
}

#[cfg(test)]
mod tests {
    use cresset_message::{AndroidConfig, FcmOptions, Layout, Timestamp};

    use super::super::samples;
    use super::*;

    fn pairs(message: &Message) -> Vec<(String, String)> {
        let recipient = samples::recipient(Layout::Raw { sender: "123456789012".into() });
        android(message, &recipient).into_iter().map(|pair| (pair.key, pair.value)).collect()
    }

    fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    /// What an `AndroidNotification` adds between `gcm.n.e` and `google.c.sender.id`.
    fn added(set: impl FnOnce(&mut AndroidNotification)) -> Vec<(String, String)> {
        let mut own = AndroidNotification::default();
        set(&mut own);
        let android = AndroidConfig { notification: Some(own), ..Default::default() };
        let mut pairs = pairs(&Message { android: Some(android), ..samples::message() });
        assert_eq!(pairs.remove(0), ("gcm.n.e".into(), "1".into()));
        let ours = pairs.split_off(pairs.len() - 2);
        assert_eq!(ours, owned(&[("google.c.sender.id", "123456789012"), ("google.c.a.e", "1")]));
        pairs
    }

    type Row = (fn(&mut AndroidNotification), &'static [(&'static str, &'static str)]);

    #[test]
    fn every_field_has_its_key() {
        let table: &[Row] = &[
            (|n| n.title = Some("x".into()), &[("gcm.n.title", "x")]),
            (|n| n.body = Some("x".into()), &[("gcm.n.body", "x")]),
            (|n| n.title_loc_key = Some("x".into()), &[("gcm.n.title_loc_key", "x")]),
            (|n| n.body_loc_key = Some("x".into()), &[("gcm.n.body_loc_key", "x")]),
            (
                |n| n.title_loc_args = vec!["1".into(), "\"".into()],
                &[("gcm.n.title_loc_args", r#"["1","\""]"#)],
            ),
            (|n| n.body_loc_args = vec!["15".into()], &[("gcm.n.body_loc_args", r#"["15"]"#)]),
            (|n| n.image = Some("x".into()), &[("gcm.n.image", "x")]),
            (|n| n.icon = Some("x".into()), &[("gcm.n.icon", "x")]),
            (|n| n.color = Some("#112233".into()), &[("gcm.n.color", "#112233")]),
            (|n| n.sound = Some("bell".into()), &[("gcm.n.sound2", "bell"), ("gcm.n.sound", "default")]),
            (|n| n.default_sound = true, &[("gcm.n.default_sound", "1")]),
            (|n| n.tag = Some("x".into()), &[("gcm.n.tag", "x")]),
            (|n| n.click_action = Some("x".into()), &[("gcm.n.click_action", "x")]),
            (|n| n.channel_id = Some("x".into()), &[("gcm.n.android_channel_id", "x")]),
            (|n| n.ticker = Some("x".into()), &[("gcm.n.ticker", "x")]),
            (|n| n.sticky = true, &[("gcm.n.sticky", "1")]),
            (|n| n.event_time = Some(Timestamp::from_micros(1_500)), &[("gcm.n.event_time", "1")]),
            (|n| n.local_only = true, &[("gcm.n.local_only", "1")]),
            (
                |n| n.notification_priority = Some(NotificationPriority::Min),
                &[("gcm.n.notification_priority", "-2")],
            ),
            (
                |n| n.notification_priority = Some(NotificationPriority::Max),
                &[("gcm.n.notification_priority", "2")],
            ),
            (|n| n.visibility = Some(Visibility::Secret), &[("gcm.n.visibility", "-1")]),
            (|n| n.visibility = Some(Visibility::Public), &[("gcm.n.visibility", "1")]),
            (|n| n.notification_count = Some(0), &[("gcm.n.notification_count", "0")]),
            (|n| n.default_vibrate_timings = true, &[("gcm.n.default_vibrate_timings", "1")]),
            (
                |n| n.vibrate_timings = vec![Duration::ZERO, Duration::from_millis(1_500)],
                &[("gcm.n.vibrate_timings", "[0,1500]")],
            ),
            (|n| n.default_light_settings = true, &[("gcm.n.default_light_settings", "1")]),
            (
                |n| {
                    n.default_light_settings = true;
                    n.light_settings = Some(LightSettings {
                        color: Color { red: 1.0, green: 0.5, blue: 0.0, alpha: None },
                        light_on_duration: Duration::from_millis(300),
                        light_off_duration: Duration::from_secs(1),
                    });
                },
                &[("gcm.n.light_settings", r##"["#FFFF8000",300,1000]"##)],
            ),
            (|n| n.proxy = Some(Proxy::Deny), &[("gcm.n.dnp", "1")]),
            (|n| n.proxy = Some(Proxy::Allow), &[]),
            (|n| n.bypass_proxy_notification = true, &[("gcm.n.dnp", "1")]),
        ];
        for (set, expected) in table {
            assert_eq!(added(*set), owned(expected));
        }
    }

    #[test]
    fn platform_fields_win_over_common_ones() {
        let notification = Notification {
            title: Some("common title".into()),
            body: Some("common body".into()),
            image: Some("common image".into()),
        };
        let own = AndroidNotification { body: Some("own body".into()), ..Default::default() };
        let android = AndroidConfig {
            notification: Some(own),
            data: vec![("b".into(), "2".into())],
            fcm_options: FcmOptions { analytics_label: Some("own".into()) },
            ..Default::default()
        };
        let message = Message {
            data: vec![("a".into(), "1".into())],
            notification: Some(notification),
            android: Some(android),
            fcm_options: FcmOptions { analytics_label: Some("common".into()) },
            ..samples::message()
        };
        let expected = [
            ("gcm.n.e", "1"),
            ("gcm.n.title", "common title"),
            ("gcm.n.body", "own body"),
            ("gcm.n.image", "common image"),
            ("google.c.sender.id", "123456789012"),
            ("google.c.a.e", "1"),
            ("google.c.a.m_l", "own"),
            ("b", "2"),
        ];
        assert_eq!(pairs(&message), owned(&expected));
    }

    #[test]
    fn plain_data_keeps_its_order() {
        let message = Message {
            data: vec![("z".into(), "1".into()), ("a".into(), String::new())],
            ..samples::message()
        };
        let expected = [("google.c.sender.id", "123456789012"), ("z", "1"), ("a", "")];
        assert_eq!(pairs(&message), owned(&expected));
    }
}

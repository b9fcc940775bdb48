//! Messages as plain JSON, the way a sender writes them. Knows nothing of the parser.

use std::time::Duration;

use cresset_message::{
    AndroidConfig, AndroidNotification, ApnsConfig, Color, LightSettings, Message, Notification,
    NotificationPriority, Priority, Proxy, Struct, Target, Timestamp, Value, Visibility, WebpushConfig,
};
use serde_json::{Map, Value as Json, json};

/// The body of a send. `camel` chooses the spelling of every name.
pub(super) fn body(message: &Message, camel: bool) -> String {
    json(message, camel).to_string()
}

pub(super) fn json(message: &Message, camel: bool) -> Json {
    let mut w = Object { fields: Map::new(), camel };
    match &message.target {
        Target::Token(text) => w.put("token", text.as_str()),
        Target::Fid(text) => w.put("fid", text.as_str()),
        Target::Topic(text) => w.put("topic", text.as_str()),
        Target::Condition(text) => w.put("condition", text.as_str()),
    }
    w.map("data", &message.data);
    w.part("notification", message.notification.as_ref(), notification);
    w.part("android", message.android.as_ref(), android);
    w.part("webpush", message.webpush.as_ref(), webpush);
    w.part("apns", message.apns.as_ref(), apns);
    w.label(&message.fcm_options.analytics_label);
    json!({ "message": w.fields })
}

struct Object {
    fields: Map<String, Json>,
    camel: bool,
}

impl Object {
    fn put(&mut self, name: &str, value: impl Into<Json>) {
        let name = if self.camel { lower_camel(name) } else { name.to_owned() };
        self.fields.insert(name, value.into());
    }

    fn some(&mut self, name: &str, value: Option<impl Into<Json>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn text(&mut self, name: &str, value: &Option<String>) {
        self.some(name, value.as_deref());
    }

    fn flag(&mut self, name: &str, value: bool) {
        self.some(name, value.then_some(true));
    }

    fn map(&mut self, name: &str, entries: &[(String, String)]) {
        let entries: Map<String, Json> =
            entries.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect();
        self.put(name, entries);
    }

    fn part<T>(&mut self, name: &str, part: Option<&T>, write: fn(&mut Self, &T)) {
        if let Some(part) = part {
            let mut inner = Self { fields: Map::new(), camel: self.camel };
            write(&mut inner, part);
            self.put(name, inner.fields);
        }
    }

    fn label(&mut self, label: &Option<String>) {
        self.part("fcm_options", label.as_ref(), |w, label| w.put("analytics_label", label.as_str()));
    }
}

fn lower_camel(name: &str) -> String {
    let mut parts = name.split('_');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + &part[..1].to_ascii_uppercase() + &part[1..])
}

fn notification(w: &mut Object, n: &Notification) {
    w.text("title", &n.title);
    w.text("body", &n.body);
    w.text("image", &n.image);
}

fn android(w: &mut Object, a: &AndroidConfig) {
    w.text("collapse_key", &a.collapse_key);
    w.some(
        "priority",
        a.priority.map(|p| match p {
            Priority::Normal => "normal",
            Priority::High => "HIGH",
        }),
    );
    w.some("ttl", a.ttl.map(seconds));
    w.text("restricted_package_name", &a.restricted_package_name);
    w.map("data", &a.data);
    w.part("notification", a.notification.as_ref(), android_notification);
    w.label(&a.fcm_options.analytics_label);
    w.flag("direct_boot_ok", a.direct_boot_ok);
    w.flag("bandwidth_constrained_ok", a.bandwidth_constrained_ok);
    w.flag("restricted_satellite_ok", a.restricted_satellite_ok);
}

fn android_notification(w: &mut Object, n: &AndroidNotification) {
    for (name, value) in [
        ("title", &n.title),
        ("body", &n.body),
        ("icon", &n.icon),
        ("color", &n.color),
        ("sound", &n.sound),
        ("tag", &n.tag),
        ("click_action", &n.click_action),
        ("body_loc_key", &n.body_loc_key),
        ("title_loc_key", &n.title_loc_key),
        ("channel_id", &n.channel_id),
        ("ticker", &n.ticker),
        ("image", &n.image),
    ] {
        w.text(name, value);
    }
    w.put("body_loc_args", n.body_loc_args.clone());
    w.put("title_loc_args", n.title_loc_args.clone());
    w.put("vibrate_timings", n.vibrate_timings.iter().copied().map(seconds).collect::<Vec<_>>());
    for (name, value) in [
        ("sticky", n.sticky),
        ("local_only", n.local_only),
        ("default_sound", n.default_sound),
        ("default_vibrate_timings", n.default_vibrate_timings),
        ("default_light_settings", n.default_light_settings),
        ("bypass_proxy_notification", n.bypass_proxy_notification),
    ] {
        w.flag(name, value);
    }
    w.some("event_time", n.event_time.map(rfc3339));
    w.some("notification_count", n.notification_count);
    w.some("notification_priority", n.notification_priority.map(priority_name));
    w.some("visibility", n.visibility.map(visibility_name));
    w.some("proxy", n.proxy.map(proxy_name));
    w.part("light_settings", n.light_settings.as_ref(), light);
}

fn priority_name(priority: NotificationPriority) -> &'static str {
    match priority {
        NotificationPriority::Min => "PRIORITY_MIN",
        NotificationPriority::Low => "PRIORITY_LOW",
        NotificationPriority::Default => "priority-default",
        NotificationPriority::High => "PRIORITY_HIGH",
        NotificationPriority::Max => "5",
    }
}

fn visibility_name(visibility: Visibility) -> &'static str {
    match visibility {
        Visibility::Private => "private",
        Visibility::Public => "PUBLIC",
        Visibility::Secret => "SECRET",
    }
}

fn proxy_name(proxy: Proxy) -> &'static str {
    match proxy {
        Proxy::Allow => "ALLOW",
        Proxy::Deny => "deny",
        Proxy::IfPriorityLowered => "if-priority-lowered",
    }
}

fn light(w: &mut Object, l: &LightSettings) {
    w.part("color", Some(&l.color), color);
    w.put("light_on_duration", seconds(l.light_on_duration));
    w.put("light_off_duration", seconds(l.light_off_duration));
}

fn color(w: &mut Object, c: &Color) {
    w.put("red", f64::from(c.red));
    w.put("green", f64::from(c.green));
    w.put("blue", f64::from(c.blue));
    w.some("alpha", c.alpha.map(f64::from));
}

fn webpush(w: &mut Object, p: &WebpushConfig) {
    w.map("headers", &p.headers);
    w.map("data", &p.data);
    w.some("notification", p.notification.as_ref().map(free));
    w.part("fcm_options", Some(&p.fcm_options), |w, options| {
        w.text("link", &options.link);
        w.text("analytics_label", &options.analytics_label);
    });
}

fn apns(w: &mut Object, a: &ApnsConfig) {
    w.map("headers", &a.headers);
    w.some("payload", a.payload.as_ref().map(free));
    w.part("fcm_options", Some(a), |w, a| {
        w.text("analytics_label", &a.analytics_label);
        w.text("image", &a.image);
    });
    w.text("live_activity_token", &a.live_activity_token);
}

fn free(fields: &Struct) -> Json {
    Json::Object(fields.iter().map(|(name, value)| (name.to_owned(), free_value(value))).collect())
}

fn free_value(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => json!(value),
        Value::Number(value) => json!(value),
        Value::String(text) => json!(text),
        Value::List(values) => Json::Array(values.iter().map(free_value).collect()),
        Value::Struct(fields) => free(fields),
    }
}

/// As Node's Admin SDK writes it (`protocol/http-v1.md` §2.7).
fn seconds(duration: Duration) -> String {
    match duration.subsec_nanos() {
        0 => format!("{}s", duration.as_secs()),
        nanos => format!("{}.{nanos:09}s", duration.as_secs()),
    }
}

fn rfc3339(moment: Timestamp) -> String {
    let (mut days, of_day) = (moment.as_secs() / 86_400, moment.as_secs() % 86_400);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    let micros = moment.as_micros() % 1_000_000;
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z", days + 1)
}

//! What the messages of `messages:send` look like: names and kinds of `protocol/http-v1.md` §2, as
//! data. [`read`](super::read) walks it; the lowerCamel spelling of a name is derived from it.

pub(super) struct MessageType {
    /// Full name, as shown after `type.googleapis.com/`.
    pub(super) name: &'static str,
    pub(super) fields: &'static [Field],
}

pub(super) struct Field {
    /// The proto name; paths of violations are made of these.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) repeated: bool,
    /// The oneof it is a member of.
    pub(super) oneof: Option<&'static str>,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    String,
    Bool,
    Int32,
    Float,
    /// `google.protobuf.FloatValue`: a bare number in JSON.
    FloatValue,
    Duration,
    Timestamp,
    Struct,
    /// `map<string, string>`, the only map there is.
    Map,
    Enum(&'static EnumType),
    Message(&'static MessageType),
}

pub(super) struct EnumType {
    /// Full name, as shown after `type.googleapis.com/` (inferred, `protocol/http-v1.md` §3.1).
    pub(super) name: &'static str,
    /// Names by number, from 0 on, in the order of §2. The numbers are inferred: nobody sends them.
    pub(super) values: &'static [&'static str],
}

impl MessageType {
    /// The field of a key as a client wrote it: proto name or lowerCamel, nothing else.
    pub(super) fn find(&self, key: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == key || is_lower_camel_of(key, field.name))
    }
}

fn is_lower_camel_of(key: &str, name: &str) -> bool {
    let mut key = key.bytes();
    let mut raise = false;
    for byte in name.bytes() {
        if byte == b'_' {
            raise = true;
            continue;
        }
        let expected = if std::mem::take(&mut raise) { byte.to_ascii_uppercase() } else { byte };
        if key.next() != Some(expected) {
            return false;
        }
    }
    key.next().is_none()
}

const fn one(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, repeated: false, oneof: None }
}

const fn many(name: &'static str, kind: Kind) -> Field {
    Field { name, kind, repeated: true, oneof: None }
}

const fn member(oneof: &'static str, name: &'static str, kind: Kind) -> Field {
    Field { name, kind, repeated: false, oneof: Some(oneof) }
}

macro_rules! fcm {
    ($name:literal) => {
        concat!("google.firebase.fcm.v1.", $name)
    };
}

pub(super) static SEND_REQUEST: MessageType = MessageType {
    name: fcm!("SendMessageRequest"),
    fields: &[one("message", Kind::Message(&MESSAGE)), one("validate_only", Kind::Bool)],
};

static MESSAGE: MessageType = MessageType {
    name: fcm!("Message"),
    fields: &[
        one("name", Kind::String),
        one("data", Kind::Map),
        one("notification", Kind::Message(&NOTIFICATION)),
        one("android", Kind::Message(&ANDROID_CONFIG)),
        one("android_v2", Kind::Message(&ANDROID_CONFIG_V2)),
        one("webpush", Kind::Message(&WEBPUSH_CONFIG)),
        one("apns", Kind::Message(&APNS_CONFIG)),
        one("fcm_options", Kind::Message(&FCM_OPTIONS)),
        member("target", "fid", Kind::String),
        member("target", "token", Kind::String),
        member("target", "topic", Kind::String),
        member("target", "condition", Kind::String),
    ],
};

static NOTIFICATION: MessageType = MessageType {
    name: fcm!("Notification"),
    fields: &[one("title", Kind::String), one("body", Kind::String), one("image", Kind::String)],
};

static FCM_OPTIONS: MessageType =
    MessageType { name: fcm!("FcmOptions"), fields: &[one("analytics_label", Kind::String)] };

static ANDROID_FCM_OPTIONS: MessageType =
    MessageType { name: fcm!("AndroidFcmOptions"), fields: &[one("analytics_label", Kind::String)] };

static ANDROID_CONFIG: MessageType = MessageType {
    name: fcm!("AndroidConfig"),
    fields: &[
        one("collapse_key", Kind::String),
        one("priority", Kind::Enum(&ANDROID_MESSAGE_PRIORITY)),
        one("ttl", Kind::Duration),
        one("restricted_package_name", Kind::String),
        one("data", Kind::Map),
        one("notification", Kind::Message(&ANDROID_NOTIFICATION)),
        one("fcm_options", Kind::Message(&ANDROID_FCM_OPTIONS)),
        one("direct_boot_ok", Kind::Bool),
        one("bandwidth_constrained_ok", Kind::Bool),
        one("restricted_satellite_ok", Kind::Bool),
    ],
};

static ANDROID_MESSAGE_PRIORITY: EnumType =
    EnumType { name: fcm!("AndroidMessagePriority"), values: &["NORMAL", "HIGH"] };

static ANDROID_NOTIFICATION: MessageType = MessageType {
    name: fcm!("AndroidNotification"),
    fields: &[
        one("title", Kind::String),
        one("body", Kind::String),
        one("icon", Kind::String),
        one("color", Kind::String),
        one("sound", Kind::String),
        one("tag", Kind::String),
        one("click_action", Kind::String),
        one("body_loc_key", Kind::String),
        many("body_loc_args", Kind::String),
        one("title_loc_key", Kind::String),
        many("title_loc_args", Kind::String),
        one("channel_id", Kind::String),
        one("ticker", Kind::String),
        one("sticky", Kind::Bool),
        one("event_time", Kind::Timestamp),
        one("local_only", Kind::Bool),
        one("notification_priority", Kind::Enum(&NOTIFICATION_PRIORITY)),
        one("default_sound", Kind::Bool),
        one("default_vibrate_timings", Kind::Bool),
        one("default_light_settings", Kind::Bool),
        many("vibrate_timings", Kind::Duration),
        one("visibility", Kind::Enum(&VISIBILITY)),
        one("notification_count", Kind::Int32),
        one("light_settings", Kind::Message(&LIGHT_SETTINGS)),
        one("image", Kind::String),
        one("proxy", Kind::Enum(&PROXY)),
        one("bypass_proxy_notification", Kind::Bool),
    ],
};

static NOTIFICATION_PRIORITY: EnumType = EnumType {
    name: fcm!("AndroidNotification.NotificationPriority"),
    values: &[
        "PRIORITY_UNSPECIFIED",
        "PRIORITY_MIN",
        "PRIORITY_LOW",
        "PRIORITY_DEFAULT",
        "PRIORITY_HIGH",
        "PRIORITY_MAX",
    ],
};

static VISIBILITY: EnumType = EnumType {
    name: fcm!("AndroidNotification.Visibility"),
    values: &["VISIBILITY_UNSPECIFIED", "PRIVATE", "PUBLIC", "SECRET"],
};

static PROXY: EnumType = EnumType {
    name: fcm!("AndroidNotification.Proxy"),
    values: &["PROXY_UNSPECIFIED", "ALLOW", "DENY", "IF_PRIORITY_LOWERED"],
};

static LIGHT_SETTINGS: MessageType = MessageType {
    name: fcm!("LightSettings"),
    fields: &[
        one("color", Kind::Message(&COLOR)),
        one("light_on_duration", Kind::Duration),
        one("light_off_duration", Kind::Duration),
    ],
};

static COLOR: MessageType = MessageType {
    name: "google.type.Color",
    fields: &[
        one("red", Kind::Float),
        one("green", Kind::Float),
        one("blue", Kind::Float),
        one("alpha", Kind::FloatValue),
    ],
};

/// The name of this oneof is not published; it is seen in the text about two of its members only.
const V2_KIND: &str = "message_kind";

static ANDROID_CONFIG_V2: MessageType = MessageType {
    name: fcm!("AndroidConfigV2"),
    fields: &[
        one("collapse_key", Kind::String),
        one("ttl", Kind::Duration),
        one("restricted_package_name", Kind::String),
        one("data", Kind::Map),
        one("fcm_options", Kind::Message(&ANDROID_FCM_OPTIONS)),
        one("direct_boot_ok", Kind::Bool),
        one("bandwidth_constrained_ok", Kind::Bool),
        one("restricted_satellite_ok", Kind::Bool),
        member(V2_KIND, "remote_notification", Kind::Message(&REMOTE_NOTIFICATION)),
        member(V2_KIND, "background_sync", Kind::Message(&BACKGROUND_SYNC)),
    ],
};

static REMOTE_NOTIFICATION: MessageType = MessageType {
    name: fcm!("AndroidRemoteNotification"),
    fields: &[
        one("notification", Kind::Message(&ANDROID_NOTIFICATION_V2)),
        one("mutable_content", Kind::Bool),
        one("use_as_v1_data_message", Kind::Bool),
    ],
};

static BACKGROUND_SYNC: MessageType = MessageType { name: fcm!("AndroidBackgroundSyncMessage"), fields: &[] };

static ANDROID_NOTIFICATION_V2: MessageType = MessageType {
    name: fcm!("AndroidNotificationV2"),
    fields: &[
        one("title", Kind::String),
        one("body", Kind::String),
        one("icon", Kind::String),
        one("color", Kind::String),
        one("sound", Kind::String),
        one("tag", Kind::String),
        one("id", Kind::Int32),
        one("click_action", Kind::String),
        one("body_loc_key", Kind::String),
        many("body_loc_args", Kind::String),
        one("title_loc_key", Kind::String),
        many("title_loc_args", Kind::String),
        one("channel_id", Kind::String),
        one("ticker", Kind::String),
        one("sticky", Kind::Bool),
        one("event_time", Kind::Timestamp),
        one("local_only", Kind::Bool),
        one("notification_priority", Kind::Enum(&NOTIFICATION_PRIORITY)),
        one("default_sound", Kind::Bool),
        one("default_vibrate_timings", Kind::Bool),
        one("default_light_settings", Kind::Bool),
        many("vibrate_timings", Kind::Duration),
        one("visibility", Kind::Enum(&VISIBILITY)),
        one("notification_count", Kind::Int32),
        one("light_settings", Kind::Message(&LIGHT_SETTINGS)),
        one("image", Kind::String),
    ],
};

static WEBPUSH_CONFIG: MessageType = MessageType {
    name: fcm!("WebpushConfig"),
    fields: &[
        one("headers", Kind::Map),
        one("data", Kind::Map),
        one("notification", Kind::Struct),
        one("fcm_options", Kind::Message(&WEBPUSH_FCM_OPTIONS)),
    ],
};

static WEBPUSH_FCM_OPTIONS: MessageType = MessageType {
    name: fcm!("WebpushFcmOptions"),
    fields: &[one("link", Kind::String), one("analytics_label", Kind::String)],
};

static APNS_CONFIG: MessageType = MessageType {
    name: fcm!("ApnsConfig"),
    fields: &[
        one("headers", Kind::Map),
        one("payload", Kind::Struct),
        one("fcm_options", Kind::Message(&APNS_FCM_OPTIONS)),
        one("live_activity_token", Kind::String),
    ],
};

static APNS_FCM_OPTIONS: MessageType = MessageType {
    name: fcm!("ApnsFcmOptions"),
    fields: &[one("analytics_label", Kind::String), one("image", Kind::String)],
};

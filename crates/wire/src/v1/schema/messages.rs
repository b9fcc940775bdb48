//! The messages of `messages:send` (`protocol/http-v1.md` §2).

use super::{Choice, EnumType, Field, Kind, MessageType};

const fn one(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, repeated: false, oneof: None, doc }
}

const fn many(name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, repeated: true, oneof: None, doc }
}

const fn member(oneof: &'static str, name: &'static str, kind: Kind, doc: &'static str) -> Field {
    Field { name, kind, repeated: false, oneof: Some(oneof), doc }
}

const fn choice(name: &'static str, doc: &'static str) -> Choice {
    Choice { name, doc }
}

macro_rules! fcm {
    ($name:literal) => {
        concat!("google.firebase.fcm.v1.", $name)
    };
}

pub(in super::super) static SEND_REQUEST: MessageType = MessageType {
    name: fcm!("SendMessageRequest"),
    doc: "What `messages:send` takes.",
    fields: &[
        one("message", Kind::Message(&MESSAGE), "The message to send. Required."),
        one(
            "validate_only",
            Kind::Bool,
            "Go through every check and deliver nothing; the answer is that of a real send.",
        ),
    ],
};

static MESSAGE: MessageType = MessageType {
    name: fcm!("Message"),
    doc: "A message, and whom it is for: exactly one of `fid`, `token`, `topic` and `condition` must be set.",
    fields: &[
        one(
            "name",
            Kind::String,
            "Of answers only: `projects/{project}/messages/{id}`. What a request says here is ignored.",
        ),
        one(
            "data",
            Kind::Map,
            "What the app gets, under keys of its choice; but not `from`, `gcm`, `google`, `message_type`, \
             nor what begins with `google.` or `gcm.notification.`.",
        ),
        one(
            "notification",
            Kind::Message(&NOTIFICATION),
            "What is shown, on each platform whose block says nothing else.",
        ),
        one(
            "android",
            Kind::Message(&ANDROID_CONFIG),
            "What holds for Android only. Not together with `android_v2`.",
        ),
        one(
            "android_v2",
            Kind::Message(&ANDROID_CONFIG_V2),
            "The newer form of `android`: a message is either shown or wakes the app. Not together with `android`.",
        ),
        one("webpush", Kind::Message(&WEBPUSH_CONFIG), "What holds for web apps only."),
        one("apns", Kind::Message(&APNS_CONFIG), "What holds for Apple devices only."),
        one("fcm_options", Kind::Message(&FCM_OPTIONS), "Options for every platform."),
        member("target", "fid", Kind::String, "The Firebase installation ID of one app instance."),
        member(
            "target",
            "token",
            Kind::String,
            "The registration token of one app instance. A Firebase installation ID is understood too.",
        ),
        member(
            "target",
            "topic",
            Kind::String,
            "The name of a topic, without `/topics/`: `[a-zA-Z0-9-_.~%]{1,900}`.",
        ),
        member(
            "target",
            "condition",
            Kind::String,
            "An expression over at most five topics, such as `'a' in topics && !('b' in topics)`: parentheses \
             first, then `&&` and `||` from left to right.",
        ),
    ],
};

static NOTIFICATION: MessageType = MessageType {
    name: fcm!("Notification"),
    doc: "What every platform can show.",
    fields: &[
        one("title", Kind::String, "The title."),
        one("body", Kind::String, "The text."),
        one("image", Kind::String, "URL of an image that the device loads."),
    ],
};

const LABEL: Field = one(
    "analytics_label",
    Kind::String,
    "Label by which analytics tell messages apart: `^[a-zA-Z0-9-_.~%]{1,50}$`. A platform's own goes before the common one.",
);

static FCM_OPTIONS: MessageType =
    MessageType { name: fcm!("FcmOptions"), doc: "Options for every platform.", fields: &[LABEL] };

static ANDROID_FCM_OPTIONS: MessageType =
    MessageType { name: fcm!("AndroidFcmOptions"), doc: "Options for Android.", fields: &[LABEL] };

/// The fields that both forms of the block for Android have, and more.
macro_rules! android_fields {
    ($($more:expr),* $(,)?) => {
        &[
            one(
                "collapse_key",
                Kind::String,
                "Of messages with the same key that wait for an app instance, only the newest is kept.",
            ),
            one(
                "ttl",
                Kind::Duration,
                "How long the message is kept for a device that is not connected: `0s` (now or never) to \
                 `2419200s` (four weeks, which is also the default). A fraction of a second is cut off.",
            ),
            one(
                "restricted_package_name",
                Kind::String,
                "The package name that the app of the registration token must have.",
            ),
            one("data", Kind::Map, "Taken in place of `message.data`, if not empty."),
            one("fcm_options", Kind::Message(&ANDROID_FCM_OPTIONS), "Options for Android."),
            one(
                "direct_boot_ok",
                Kind::Bool,
                "The app may get the message before the device is first unlocked.",
            ),
            one(
                "bandwidth_constrained_ok",
                Kind::Bool,
                "The message may go over a network that is short of bandwidth.",
            ),
            one(
                "restricted_satellite_ok",
                Kind::Bool,
                "The message may go over a satellite network of restricted use.",
            ),
            $($more),*
        ]
    };
}

static ANDROID_CONFIG: MessageType = MessageType {
    name: fcm!("AndroidConfig"),
    doc: "What holds for Android only.",
    fields: android_fields![
        one(
            "priority",
            Kind::Enum(&ANDROID_MESSAGE_PRIORITY),
            "How urgent the message is. By default `HIGH` with a notification, `NORMAL` without.",
        ),
        one(
            "notification",
            Kind::Message(&ANDROID_NOTIFICATION),
            "What Android shows; field by field, it goes before `message.notification`.",
        ),
    ],
};

static ANDROID_MESSAGE_PRIORITY: EnumType = EnumType {
    name: fcm!("AndroidMessagePriority"),
    values: &[choice("NORMAL", "May wait until the device is awake."), choice("HIGH", "Wakes the device.")],
};

/// The fields that both forms of a notification on Android have, and more.
macro_rules! android_notification_fields {
    ($($more:expr),* $(,)?) => {
        &[
            one("title", Kind::String, "The title."),
            one("body", Kind::String, "The text."),
            one("icon", Kind::String, "Name of a drawable resource of the app."),
            one("color", Kind::String, "Colour of the icon, `#rrggbb`."),
            one("sound", Kind::String, "Name of a sound resource of the app, or `default`."),
            one("tag", Kind::String, "What is already shown under the same tag is replaced."),
            one("click_action", Kind::String, "The intent that a tap starts."),
            one("body_loc_key", Kind::String, "Name of a string resource of the app to take the text from."),
            many(
                "body_loc_args",
                Kind::String,
                "What goes into the placeholders of `body_loc_key`, which must be set.",
            ),
            one("title_loc_key", Kind::String, "Name of a string resource of the app to take the title from."),
            many(
                "title_loc_args",
                Kind::String,
                "What goes into the placeholders of `title_loc_key`, which must be set.",
            ),
            one("channel_id", Kind::String, "The notification channel, which the app must have made."),
            one("ticker", Kind::String, "Text for accessibility services."),
            one("sticky", Kind::Bool, "The notification stays when it is tapped."),
            one("event_time", Kind::Timestamp, "When that happened of which it tells; notifications are sorted by it."),
            one("local_only", Kind::Bool, "Not to be shown on the user's other devices."),
            one(
                "notification_priority",
                Kind::Enum(&NOTIFICATION_PRIORITY),
                "How prominently it is shown.",
            ),
            one("default_sound", Kind::Bool, "Use the system's sound."),
            one(
                "default_vibrate_timings",
                Kind::Bool,
                "Use the system's vibration, whatever `vibrate_timings` says.",
            ),
            one(
                "default_light_settings",
                Kind::Bool,
                "Use the system's light, unless `light_settings` are given.",
            ),
            many("vibrate_timings", Kind::Duration, "How to vibrate: off, on, off, and so on."),
            one("visibility", Kind::Enum(&VISIBILITY), "What of it is shown on a locked screen."),
            one("notification_count", Kind::Int32, "How many items it stands for; not negative."),
            one("light_settings", Kind::Message(&LIGHT_SETTINGS), "How the device's light blinks."),
            one("image", Kind::String, "URL of an image that the device loads."),
            $($more),*
        ]
    };
}

static ANDROID_NOTIFICATION: MessageType = MessageType {
    name: fcm!("AndroidNotification"),
    doc: "What is shown on Android.",
    fields: android_notification_fields![
        one("proxy", Kind::Enum(&PROXY), "Whether another app may show it in the app's stead."),
        one("bypass_proxy_notification", Kind::Bool, "As `proxy` with `DENY`. Deprecated."),
    ],
};

static NOTIFICATION_PRIORITY: EnumType = EnumType {
    name: fcm!("AndroidNotification.NotificationPriority"),
    values: &[
        choice("PRIORITY_UNSPECIFIED", "As if it were not set."),
        choice("PRIORITY_MIN", "Hardly noticed."),
        choice("PRIORITY_LOW", "Below others."),
        choice("PRIORITY_DEFAULT", "As usual."),
        choice("PRIORITY_HIGH", "Above others."),
        choice("PRIORITY_MAX", "At once, and first."),
    ],
};

static VISIBILITY: EnumType = EnumType {
    name: fcm!("AndroidNotification.Visibility"),
    values: &[
        choice("VISIBILITY_UNSPECIFIED", "As if it were not set."),
        choice("PRIVATE", "That there is a notification, without its contents. The default."),
        choice("PUBLIC", "All of it."),
        choice("SECRET", "Nothing."),
    ],
};

static PROXY: EnumType = EnumType {
    name: fcm!("AndroidNotification.Proxy"),
    values: &[
        choice("PROXY_UNSPECIFIED", "As if it were not set."),
        choice("ALLOW", "Another app may show it."),
        choice("DENY", "No other app may show it."),
        choice("IF_PRIORITY_LOWERED", "Another app may show it if the priority was lowered. The default."),
    ],
};

static LIGHT_SETTINGS: MessageType = MessageType {
    name: fcm!("LightSettings"),
    doc: "How the device's light blinks. All fields are required.",
    fields: &[
        one("color", Kind::Message(&COLOR), "The colour of the light."),
        one("light_on_duration", Kind::Duration, "How long it is on."),
        one("light_off_duration", Kind::Duration, "How long it is off."),
    ],
};

static COLOR: MessageType = MessageType {
    name: "google.type.Color",
    doc: "A colour. Each part is from 0 to 1.",
    fields: &[
        one("red", Kind::Float, "Red."),
        one("green", Kind::Float, "Green."),
        one("blue", Kind::Float, "Blue."),
        one("alpha", Kind::FloatValue, "How solid it is; 1 by default. A bare number, or null."),
    ],
};

/// The name of this oneof is not published; it is seen in the text about two of its members only.
const V2_KIND: &str = "message_kind";

static ANDROID_CONFIG_V2: MessageType = MessageType {
    name: fcm!("AndroidConfigV2"),
    doc: "The newer form of `AndroidConfig`: exactly one of `remote_notification` and `background_sync` must be set.",
    fields: android_fields![
        member(
            V2_KIND,
            "remote_notification",
            Kind::Message(&REMOTE_NOTIFICATION),
            "The message is urgent and shown.",
        ),
        member(
            V2_KIND,
            "background_sync",
            Kind::Message(&BACKGROUND_SYNC),
            "The message wakes the app, and may wait for a good moment.",
        ),
    ],
};

static REMOTE_NOTIFICATION: MessageType = MessageType {
    name: fcm!("AndroidRemoteNotification"),
    doc: "A message that is urgent and shown.",
    fields: &[
        one("notification", Kind::Message(&ANDROID_NOTIFICATION_V2), "What Android shows."),
        one("mutable_content", Kind::Bool, "The app may change it before it is shown."),
        one(
            "use_as_v1_data_message",
            Kind::Bool,
            "Apps that know only the older form get the message as data.",
        ),
    ],
};

static BACKGROUND_SYNC: MessageType = MessageType {
    name: fcm!("AndroidBackgroundSyncMessage"),
    doc: "A message that wakes the app. It has no fields.",
    fields: &[],
};

static ANDROID_NOTIFICATION_V2: MessageType = MessageType {
    name: fcm!("AndroidNotificationV2"),
    doc: "What is shown on Android, in the newer form.",
    fields: android_notification_fields![one(
        "id",
        Kind::Int32,
        "Together with `tag`: what is already shown under both is replaced.",
    )],
};

static WEBPUSH_CONFIG: MessageType = MessageType {
    name: fcm!("WebpushConfig"),
    doc: "What holds for web apps only.",
    fields: &[
        one(
            "headers",
            Kind::Map,
            "Headers of Web Push (RFC 8030): `TTL` in seconds, `Urgency` (`very-low`, `low`, `normal`, `high`), \
             `Topic` (up to 32 characters of base64url), by which waiting messages are replaced.",
        ),
        one("data", Kind::Map, "Taken in place of `message.data`, if not empty."),
        one(
            "notification",
            Kind::Struct,
            "Options of the Web Notifications API, of any JSON type, laid over `message.notification`.",
        ),
        one("fcm_options", Kind::Message(&WEBPUSH_FCM_OPTIONS), "Options for web apps."),
    ],
};

static WEBPUSH_FCM_OPTIONS: MessageType = MessageType {
    name: fcm!("WebpushFcmOptions"),
    doc: "Options for web apps.",
    fields: &[one("link", Kind::String, "What a click on the notification opens."), LABEL],
};

static APNS_CONFIG: MessageType = MessageType {
    name: fcm!("ApnsConfig"),
    doc: "What holds for Apple devices only.",
    fields: &[
        one("headers", Kind::Map, "Headers of the request to APNs, such as `apns-priority`."),
        one(
            "payload",
            Kind::Struct,
            "The payload of APNs: `aps`, and keys of the app's own, of any JSON type. Its alert goes before \
             `message.notification`.",
        ),
        one("fcm_options", Kind::Message(&APNS_FCM_OPTIONS), "Options for Apple devices."),
        one(
            "live_activity_token",
            Kind::String,
            "The token of a live activity, or the one by which live activities are started.",
        ),
    ],
};

static APNS_FCM_OPTIONS: MessageType = MessageType {
    name: fcm!("ApnsFcmOptions"),
    doc: "Options for Apple devices.",
    fields: &[
        LABEL,
        one("image", Kind::String, "URL of an image, in place of `message.notification.image`."),
    ],
};

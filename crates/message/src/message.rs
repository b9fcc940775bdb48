//! A message as a sender gave it: validated in shape, immutable from then on.
//! Fields and their meaning: `protocol/http-v1.md` §2.

use std::time::Duration;

use crate::{Struct, Timestamp};

#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    pub target: Target,
    pub data: Vec<(String, String)>,
    pub notification: Option<Notification>,
    pub android: Option<AndroidConfig>,
    pub webpush: Option<WebpushConfig>,
    pub apns: Option<ApnsConfig>,
    pub fcm_options: FcmOptions,
    /// The sender wants to be told when the device has it, by this id of its own (`protocol/xmpp.md` §6).
    pub receipt_id: Option<String>,
}

/// Whom a message is for, as text of the request; who that is, `delivery` finds out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A registration token, or a FID in its place.
    Token(String),
    /// A Firebase installation id.
    Fid(String),
    Topic(String),
    Condition(String),
}

impl Target {
    /// As the request had it.
    pub fn text(&self) -> &str {
        let (Self::Token(text) | Self::Fid(text) | Self::Topic(text) | Self::Condition(text)) = self;
        text
    }

    /// Whether it may be any number of registrations.
    pub fn is_set(&self) -> bool {
        matches!(self, Self::Topic(_) | Self::Condition(_))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Notification {
    pub title: Option<String>,
    pub body: Option<String>,
    pub image: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FcmOptions {
    pub analytics_label: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Normal,
    High,
}

/// `android`, and `android_v2` told in the same words.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct AndroidConfig {
    pub collapse_key: Option<String>,
    pub priority: Option<Priority>,
    /// Whole seconds; the request's fraction is cut off.
    pub ttl: Option<Duration>,
    pub restricted_package_name: Option<String>,
    pub data: Vec<(String, String)>,
    pub notification: Option<AndroidNotification>,
    /// Nothing is shown, whatever notification there is: only `android_v2` can say so.
    pub data_only: bool,
    pub fcm_options: FcmOptions,
    pub direct_boot_ok: bool,
    pub bandwidth_constrained_ok: bool,
    pub restricted_satellite_ok: bool,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct AndroidNotification {
    pub title: Option<String>,
    pub body: Option<String>,
    pub icon: Option<String>,
    pub color: Option<String>,
    pub sound: Option<String>,
    pub tag: Option<String>,
    pub click_action: Option<String>,
    pub body_loc_key: Option<String>,
    pub body_loc_args: Vec<String>,
    pub title_loc_key: Option<String>,
    pub title_loc_args: Vec<String>,
    pub channel_id: Option<String>,
    pub ticker: Option<String>,
    pub sticky: bool,
    pub event_time: Option<Timestamp>,
    pub local_only: bool,
    pub notification_priority: Option<NotificationPriority>,
    pub default_sound: bool,
    pub default_vibrate_timings: bool,
    pub default_light_settings: bool,
    pub vibrate_timings: Vec<Duration>,
    pub visibility: Option<Visibility>,
    pub notification_count: Option<i32>,
    pub light_settings: Option<LightSettings>,
    pub image: Option<String>,
    pub proxy: Option<Proxy>,
    pub bypass_proxy_notification: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationPriority {
    Min,
    Low,
    Default,
    High,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    Private,
    Public,
    Secret,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proxy {
    Allow,
    Deny,
    IfPriorityLowered,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LightSettings {
    pub color: Color,
    pub light_on_duration: Duration,
    pub light_off_duration: Duration,
}

/// `google.type.Color`: each part from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Color {
    pub red: f32,
    pub green: f32,
    pub blue: f32,
    pub alpha: Option<f32>,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct WebpushConfig {
    /// Web Push headers (RFC 8030 §5): `TTL`, `Urgency`, `Topic` steer the queue.
    pub headers: Vec<(String, String)>,
    pub data: Vec<(String, String)>,
    pub notification: Option<Struct>,
    pub fcm_options: WebpushFcmOptions,
}

#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct WebpushFcmOptions {
    pub link: Option<String>,
    pub analytics_label: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Default)]
pub struct ApnsConfig {
    pub headers: Vec<(String, String)>,
    pub payload: Option<Struct>,
    pub analytics_label: Option<String>,
    pub image: Option<String>,
    pub live_activity_token: Option<String>,
}

impl WebpushConfig {
    /// A header's value; names are compared as HTTP compares them.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl ApnsConfig {
    /// A header's value; names are compared as HTTP compares them.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Message {
    /// Whether a notification is part of what an Android device gets.
    pub fn notifies_android(&self) -> bool {
        let own = self.android.as_ref();
        own.is_none_or(|a| !a.data_only)
            && (self.notification.is_some() || own.is_some_and(|a| a.notification.is_some()))
    }

    /// The priority toward Android: as asked, else high for notifications, normal for data
    /// (`protocol/http-v1.md` §2.2).
    pub fn android_priority(&self) -> Priority {
        let asked = self.android.as_ref().and_then(|a| a.priority);
        asked.unwrap_or(if self.notifies_android() { Priority::High } else { Priority::Normal })
    }
}

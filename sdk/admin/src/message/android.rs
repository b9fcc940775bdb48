//! What Android gets (`protocol/http-v1.md` §2.2 to §2.4).

use serde::Serialize;

use super::values::{Span, Time};
use super::{FcmOptions, wire_type};

wire_type! {
    /// Options of a message for Android.
    AndroidConfig {
        /// The message replaces a stored one with the same key. A device keeps four keys.
        collapse_key: String,
        priority: AndroidPriority,
        /// How long it is stored for a device that is away: up to four weeks, which is the default;
        /// zero is now or never. Fractions of a second do not count.
        ttl: Span,
        /// Only for a registration of this package.
        restricted_package_name: String,
        notification: AndroidNotification,
        fcm_options: FcmOptions,
        /// Delivered before the device is unlocked for the first time.
        direct_boot_ok: bool,
        /// Delivered over a network of little bandwidth too.
        bandwidth_constrained_ok: bool,
        /// Delivered over a satellite network too.
        restricted_satellite_ok: bool,
    } maps {
        /// For the app, instead of the message's own data.
        data,
    }
}

/// How urgent a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AndroidPriority {
    /// May wait until the device is awake. The default of messages without a notification.
    Normal,
    /// Wakes the device. The default of messages with a notification.
    High,
}

wire_type! {
    /// What Android shows.
    AndroidNotification {
        title: String,
        body: String,
        icon: String,
        /// `#rrggbb`.
        color: String,
        sound: String,
        /// A notification with the same tag is replaced.
        tag: String,
        click_action: String,
        /// The body's key in the app's texts, and what stands for its blanks.
        body_loc_key: String,
        body_loc_args: Vec<String>,
        /// The title's key in the app's texts, and what stands for its blanks.
        title_loc_key: String,
        title_loc_args: Vec<String>,
        channel_id: String,
        /// Said by screen readers.
        ticker: String,
        /// Stays when it is clicked.
        sticky: bool,
        /// When what is told about happened.
        event_time: Time,
        /// Not shown on the user's other devices.
        local_only: bool,
        notification_priority: NotificationPriority,
        default_sound: bool,
        default_vibrate_timings: bool,
        default_light_settings: bool,
        /// Off, on, off, and so on.
        vibrate_timings: Vec<Span>,
        visibility: Visibility,
        notification_count: i32,
        light_settings: LightSettings,
        /// The URL of a picture.
        image: String,
        /// Whether another app may show it.
        proxy: Proxy,
        /// Superseded by `proxy`.
        bypass_proxy_notification: bool,
    }
}

/// How much a notification wants to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum NotificationPriority {
    #[serde(rename = "PRIORITY_MIN")]
    Min,
    #[serde(rename = "PRIORITY_LOW")]
    Low,
    #[serde(rename = "PRIORITY_DEFAULT")]
    Default,
    #[serde(rename = "PRIORITY_HIGH")]
    High,
    #[serde(rename = "PRIORITY_MAX")]
    Max,
}

/// What a locked screen shows of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Visibility {
    Private,
    Public,
    Secret,
}

/// Whether another app may show the notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Proxy {
    Allow,
    Deny,
    IfPriorityLowered,
}

/// How the device's light blinks.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LightSettings {
    pub color: Color,
    pub light_on_duration: Span,
    pub light_off_duration: Span,
}

/// A colour; each part between 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Color {
    pub red: f32,
    pub green: f32,
    pub blue: f32,
    /// Opaque if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f32>,
}

impl Color {
    /// Each part between 0 and 255.
    pub fn rgb(red: u8, green: u8, blue: u8) -> Self {
        let part = |byte: u8| f32::from(byte) / 255.0;
        Self { red: part(red), green: part(green), blue: part(blue), alpha: None }
    }
}

/// A message for Android in the second form: what it is says how urgent it is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AndroidConfigV2 {
    #[serde(flatten)]
    pub content: AndroidContentV2,
    #[serde(flatten)]
    pub options: AndroidOptionsV2,
}

wire_type! {
    /// Options of a message for Android in the second form.
    AndroidOptionsV2 {
        collapse_key: String,
        ttl: Span,
        restricted_package_name: String,
        fcm_options: FcmOptions,
        direct_boot_ok: bool,
        bandwidth_constrained_ok: bool,
        restricted_satellite_ok: bool,
    } maps {
        data,
    }
}

/// What a message of the second form is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AndroidContentV2 {
    /// For the user, at once.
    RemoteNotification(AndroidRemoteNotification),
    /// For the app, when it suits the device.
    BackgroundSync {},
}

impl AndroidConfigV2 {
    /// For the user, at once.
    pub fn remote_notification(notification: AndroidRemoteNotification) -> Self {
        let content = AndroidContentV2::RemoteNotification(notification);
        Self { content, options: AndroidOptionsV2::default() }
    }

    /// For the app, when it suits the device.
    pub fn background_sync() -> Self {
        Self { content: AndroidContentV2::BackgroundSync {}, options: AndroidOptionsV2::default() }
    }

    /// With these options.
    #[must_use]
    pub fn options(mut self, options: AndroidOptionsV2) -> Self {
        self.options = options;
        self
    }
}

wire_type! {
    /// A notification of the second form.
    AndroidRemoteNotification {
        notification: AndroidNotificationV2,
        /// The app may change it before it is shown.
        mutable_content: bool,
        /// To apps that know only the first form, it comes as data.
        use_as_v1_data_message: bool,
    }
}

wire_type! {
    /// What Android shows, in the second form.
    AndroidNotificationV2 {
        title: String,
        body: String,
        icon: String,
        color: String,
        sound: String,
        /// With `id`, says which notification is replaced.
        tag: String,
        id: i32,
        click_action: String,
        body_loc_key: String,
        body_loc_args: Vec<String>,
        title_loc_key: String,
        title_loc_args: Vec<String>,
        channel_id: String,
        ticker: String,
        sticky: bool,
        event_time: Time,
        local_only: bool,
        notification_priority: NotificationPriority,
        default_sound: bool,
        default_vibrate_timings: bool,
        default_light_settings: bool,
        vibrate_timings: Vec<Span>,
        visibility: Visibility,
        notification_count: i32,
        light_settings: LightSettings,
        image: String,
    }
}

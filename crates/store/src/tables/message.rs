//! The record of a message, as inbox rows hold it and bodies will. A mirror of
//! `cresset_message::Message`: what a sender left out costs no bytes.

mod free;

use std::time::Duration;

use cresset_message::{
    AndroidConfig, AndroidNotification, ApnsConfig, Color, FcmOptions, LightSettings, Message, Notification,
    NotificationPriority, Priority, Proxy, Target, Timestamp, Visibility, WebpushConfig, WebpushFcmOptions,
};

use self::free::StructRecord;
use crate::StoreError;

pub fn encode(message: &Message) -> Vec<u8> {
    super::encode(&MessageRecord::from(message))
}

pub fn decode(bytes: &[u8]) -> Result<Message, StoreError> {
    super::decode::<MessageRecord>("message", bytes)?.into_message()
}

#[derive(Clone, PartialEq, prost::Message)]
struct MessageRecord {
    #[prost(oneof = "TargetRecord", tags = "1, 2, 3, 4")]
    target: Option<TargetRecord>,
    #[prost(message, repeated, tag = "5")]
    data: Vec<Pair>,
    #[prost(message, optional, tag = "6")]
    notification: Option<NotificationRecord>,
    #[prost(message, optional, tag = "7")]
    android: Option<AndroidRecord>,
    #[prost(message, optional, tag = "8")]
    webpush: Option<WebpushRecord>,
    #[prost(message, optional, tag = "9")]
    apns: Option<ApnsRecord>,
    #[prost(string, optional, tag = "10")]
    analytics_label: Option<String>,
    #[prost(string, optional, tag = "11")]
    receipt_id: Option<String>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum TargetRecord {
    #[prost(string, tag = "1")]
    Token(String),
    #[prost(string, tag = "2")]
    Fid(String),
    #[prost(string, tag = "3")]
    Topic(String),
    #[prost(string, tag = "4")]
    Condition(String),
}

/// An entry of a map; a list of these, because a map's order is kept.
#[derive(Clone, PartialEq, prost::Message)]
struct Pair {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct NotificationRecord {
    #[prost(string, optional, tag = "1")]
    title: Option<String>,
    #[prost(string, optional, tag = "2")]
    body: Option<String>,
    #[prost(string, optional, tag = "3")]
    image: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AndroidRecord {
    #[prost(string, optional, tag = "1")]
    collapse_key: Option<String>,
    /// 0 not given, 1 normal, 2 high.
    #[prost(uint32, tag = "2")]
    priority: u32,
    #[prost(message, optional, tag = "3")]
    ttl: Option<Span>,
    #[prost(string, optional, tag = "4")]
    restricted_package_name: Option<String>,
    #[prost(message, repeated, tag = "5")]
    data: Vec<Pair>,
    #[prost(message, optional, boxed, tag = "6")]
    notification: Option<Box<AndroidNotificationRecord>>,
    #[prost(string, optional, tag = "7")]
    analytics_label: Option<String>,
    #[prost(bool, tag = "8")]
    direct_boot_ok: bool,
    #[prost(bool, tag = "9")]
    bandwidth_constrained_ok: bool,
    #[prost(bool, tag = "10")]
    restricted_satellite_ok: bool,
    #[prost(bool, tag = "11")]
    data_only: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AndroidNotificationRecord {
    #[prost(string, optional, tag = "1")]
    title: Option<String>,
    #[prost(string, optional, tag = "2")]
    body: Option<String>,
    #[prost(string, optional, tag = "3")]
    icon: Option<String>,
    #[prost(string, optional, tag = "4")]
    color: Option<String>,
    #[prost(string, optional, tag = "5")]
    sound: Option<String>,
    #[prost(string, optional, tag = "6")]
    tag: Option<String>,
    #[prost(string, optional, tag = "7")]
    click_action: Option<String>,
    #[prost(string, optional, tag = "8")]
    body_loc_key: Option<String>,
    #[prost(string, repeated, tag = "9")]
    body_loc_args: Vec<String>,
    #[prost(string, optional, tag = "10")]
    title_loc_key: Option<String>,
    #[prost(string, repeated, tag = "11")]
    title_loc_args: Vec<String>,
    #[prost(string, optional, tag = "12")]
    channel_id: Option<String>,
    #[prost(string, optional, tag = "13")]
    ticker: Option<String>,
    #[prost(bool, tag = "14")]
    sticky: bool,
    #[prost(uint64, optional, tag = "15")]
    event_time_micros: Option<u64>,
    #[prost(bool, tag = "16")]
    local_only: bool,
    /// 0 not given, 1 min to 5 max.
    #[prost(uint32, tag = "17")]
    notification_priority: u32,
    #[prost(bool, tag = "18")]
    default_sound: bool,
    #[prost(bool, tag = "19")]
    default_vibrate_timings: bool,
    #[prost(bool, tag = "20")]
    default_light_settings: bool,
    #[prost(message, repeated, tag = "21")]
    vibrate_timings: Vec<Span>,
    /// 0 not given, 1 private, 2 public, 3 secret.
    #[prost(uint32, tag = "22")]
    visibility: u32,
    #[prost(sint32, optional, tag = "23")]
    notification_count: Option<i32>,
    #[prost(message, optional, tag = "24")]
    light_settings: Option<LightRecord>,
    #[prost(string, optional, tag = "25")]
    image: Option<String>,
    /// 0 not given, 1 allow, 2 deny, 3 if the priority was lowered.
    #[prost(uint32, tag = "26")]
    proxy: u32,
    #[prost(bool, tag = "27")]
    bypass_proxy_notification: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct Span {
    #[prost(uint64, tag = "1")]
    seconds: u64,
    #[prost(uint32, tag = "2")]
    nanos: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LightRecord {
    #[prost(float, tag = "1")]
    red: f32,
    #[prost(float, tag = "2")]
    green: f32,
    #[prost(float, tag = "3")]
    blue: f32,
    #[prost(float, optional, tag = "4")]
    alpha: Option<f32>,
    #[prost(message, optional, tag = "5")]
    on: Option<Span>,
    #[prost(message, optional, tag = "6")]
    off: Option<Span>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WebpushRecord {
    #[prost(message, repeated, tag = "1")]
    headers: Vec<Pair>,
    #[prost(message, repeated, tag = "2")]
    data: Vec<Pair>,
    #[prost(message, optional, tag = "3")]
    notification: Option<StructRecord>,
    #[prost(string, optional, tag = "4")]
    link: Option<String>,
    #[prost(string, optional, tag = "5")]
    analytics_label: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ApnsRecord {
    #[prost(message, repeated, tag = "1")]
    headers: Vec<Pair>,
    #[prost(message, optional, tag = "2")]
    payload: Option<StructRecord>,
    #[prost(string, optional, tag = "3")]
    analytics_label: Option<String>,
    #[prost(string, optional, tag = "4")]
    image: Option<String>,
    #[prost(string, optional, tag = "5")]
    live_activity_token: Option<String>,
}

impl From<&Message> for MessageRecord {
    fn from(message: &Message) -> Self {
        let target = match message.target.clone() {
            Target::Token(text) => TargetRecord::Token(text),
            Target::Fid(text) => TargetRecord::Fid(text),
            Target::Topic(text) => TargetRecord::Topic(text),
            Target::Condition(text) => TargetRecord::Condition(text),
        };
        Self {
            target: Some(target),
            data: pairs(&message.data),
            notification: message.notification.as_ref().map(NotificationRecord::from),
            android: message.android.as_ref().map(AndroidRecord::from),
            webpush: message.webpush.as_ref().map(WebpushRecord::from),
            apns: message.apns.as_ref().map(ApnsRecord::from),
            analytics_label: message.fcm_options.analytics_label.clone(),
            receipt_id: message.receipt_id.clone(),
        }
    }
}

impl MessageRecord {
    fn into_message(self) -> Result<Message, StoreError> {
        let target = match self.target.ok_or_else(|| damaged("has no target"))? {
            TargetRecord::Token(text) => Target::Token(text),
            TargetRecord::Fid(text) => Target::Fid(text),
            TargetRecord::Topic(text) => Target::Topic(text),
            TargetRecord::Condition(text) => Target::Condition(text),
        };
        Ok(Message {
            target,
            data: unpaired(self.data),
            notification: self.notification.map(|n| Notification {
                title: n.title,
                body: n.body,
                image: n.image,
            }),
            android: self.android.map(AndroidRecord::into_config).transpose()?,
            webpush: self.webpush.map(WebpushRecord::into_config).transpose()?,
            apns: self.apns.map(ApnsRecord::into_config).transpose()?,
            fcm_options: FcmOptions { analytics_label: self.analytics_label },
            receipt_id: self.receipt_id,
        })
    }
}

impl From<&Notification> for NotificationRecord {
    fn from(n: &Notification) -> Self {
        Self { title: n.title.clone(), body: n.body.clone(), image: n.image.clone() }
    }
}

const PRIORITIES: [Priority; 2] = [Priority::Normal, Priority::High];
const NOTIFICATION_PRIORITIES: [NotificationPriority; 5] = [
    NotificationPriority::Min,
    NotificationPriority::Low,
    NotificationPriority::Default,
    NotificationPriority::High,
    NotificationPriority::Max,
];
const VISIBILITIES: [Visibility; 3] = [Visibility::Private, Visibility::Public, Visibility::Secret];
const PROXIES: [Proxy; 3] = [Proxy::Allow, Proxy::Deny, Proxy::IfPriorityLowered];

impl From<&AndroidConfig> for AndroidRecord {
    fn from(a: &AndroidConfig) -> Self {
        Self {
            collapse_key: a.collapse_key.clone(),
            priority: number_of(&PRIORITIES, a.priority),
            ttl: a.ttl.map(Span::from),
            restricted_package_name: a.restricted_package_name.clone(),
            data: pairs(&a.data),
            notification: a.notification.as_ref().map(|n| Box::new(n.into())),
            analytics_label: a.fcm_options.analytics_label.clone(),
            direct_boot_ok: a.direct_boot_ok,
            bandwidth_constrained_ok: a.bandwidth_constrained_ok,
            restricted_satellite_ok: a.restricted_satellite_ok,
            data_only: a.data_only,
        }
    }
}

impl AndroidRecord {
    fn into_config(self) -> Result<AndroidConfig, StoreError> {
        Ok(AndroidConfig {
            collapse_key: self.collapse_key,
            priority: named(&PRIORITIES, self.priority)?,
            ttl: self.ttl.map(Duration::from),
            restricted_package_name: self.restricted_package_name,
            data: unpaired(self.data),
            notification: self.notification.map(|n| n.into_notification()).transpose()?,
            fcm_options: FcmOptions { analytics_label: self.analytics_label },
            direct_boot_ok: self.direct_boot_ok,
            bandwidth_constrained_ok: self.bandwidth_constrained_ok,
            restricted_satellite_ok: self.restricted_satellite_ok,
            data_only: self.data_only,
        })
    }
}

impl From<&AndroidNotification> for AndroidNotificationRecord {
    fn from(n: &AndroidNotification) -> Self {
        let n = n.clone();
        Self {
            title: n.title,
            body: n.body,
            icon: n.icon,
            color: n.color,
            sound: n.sound,
            tag: n.tag,
            click_action: n.click_action,
            body_loc_key: n.body_loc_key,
            body_loc_args: n.body_loc_args,
            title_loc_key: n.title_loc_key,
            title_loc_args: n.title_loc_args,
            channel_id: n.channel_id,
            ticker: n.ticker,
            sticky: n.sticky,
            event_time_micros: n.event_time.map(Timestamp::as_micros),
            local_only: n.local_only,
            notification_priority: number_of(&NOTIFICATION_PRIORITIES, n.notification_priority),
            default_sound: n.default_sound,
            default_vibrate_timings: n.default_vibrate_timings,
            default_light_settings: n.default_light_settings,
            vibrate_timings: n.vibrate_timings.into_iter().map(Span::from).collect(),
            visibility: number_of(&VISIBILITIES, n.visibility),
            notification_count: n.notification_count,
            light_settings: n.light_settings.as_ref().map(LightRecord::from),
            image: n.image,
            proxy: number_of(&PROXIES, n.proxy),
            bypass_proxy_notification: n.bypass_proxy_notification,
        }
    }
}

impl AndroidNotificationRecord {
    fn into_notification(self) -> Result<AndroidNotification, StoreError> {
        Ok(AndroidNotification {
            title: self.title,
            body: self.body,
            icon: self.icon,
            color: self.color,
            sound: self.sound,
            tag: self.tag,
            click_action: self.click_action,
            body_loc_key: self.body_loc_key,
            body_loc_args: self.body_loc_args,
            title_loc_key: self.title_loc_key,
            title_loc_args: self.title_loc_args,
            channel_id: self.channel_id,
            ticker: self.ticker,
            sticky: self.sticky,
            event_time: self.event_time_micros.map(Timestamp::from_micros),
            local_only: self.local_only,
            notification_priority: named(&NOTIFICATION_PRIORITIES, self.notification_priority)?,
            default_sound: self.default_sound,
            default_vibrate_timings: self.default_vibrate_timings,
            default_light_settings: self.default_light_settings,
            vibrate_timings: self.vibrate_timings.into_iter().map(Duration::from).collect(),
            visibility: named(&VISIBILITIES, self.visibility)?,
            notification_count: self.notification_count,
            light_settings: self.light_settings.map(LightSettings::from),
            image: self.image,
            proxy: named(&PROXIES, self.proxy)?,
            bypass_proxy_notification: self.bypass_proxy_notification,
        })
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self { seconds: duration.as_secs(), nanos: duration.subsec_nanos() }
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_secs(span.seconds).saturating_add(Self::from_nanos(span.nanos.into()))
    }
}

impl From<&LightSettings> for LightRecord {
    fn from(light: &LightSettings) -> Self {
        Self {
            red: light.color.red,
            green: light.color.green,
            blue: light.color.blue,
            alpha: light.color.alpha,
            on: Some(light.light_on_duration.into()),
            off: Some(light.light_off_duration.into()),
        }
    }
}

impl From<LightRecord> for LightSettings {
    fn from(light: LightRecord) -> Self {
        Self {
            color: Color { red: light.red, green: light.green, blue: light.blue, alpha: light.alpha },
            light_on_duration: light.on.unwrap_or_default().into(),
            light_off_duration: light.off.unwrap_or_default().into(),
        }
    }
}

impl From<&WebpushConfig> for WebpushRecord {
    fn from(webpush: &WebpushConfig) -> Self {
        Self {
            headers: pairs(&webpush.headers),
            data: pairs(&webpush.data),
            notification: webpush.notification.as_ref().map(StructRecord::from),
            link: webpush.fcm_options.link.clone(),
            analytics_label: webpush.fcm_options.analytics_label.clone(),
        }
    }
}

impl WebpushRecord {
    fn into_config(self) -> Result<WebpushConfig, StoreError> {
        Ok(WebpushConfig {
            headers: unpaired(self.headers),
            data: unpaired(self.data),
            notification: self.notification.map(StructRecord::into_struct).transpose()?,
            fcm_options: WebpushFcmOptions { link: self.link, analytics_label: self.analytics_label },
        })
    }
}

impl From<&ApnsConfig> for ApnsRecord {
    fn from(apns: &ApnsConfig) -> Self {
        Self {
            headers: pairs(&apns.headers),
            payload: apns.payload.as_ref().map(StructRecord::from),
            analytics_label: apns.analytics_label.clone(),
            image: apns.image.clone(),
            live_activity_token: apns.live_activity_token.clone(),
        }
    }
}

impl ApnsRecord {
    fn into_config(self) -> Result<ApnsConfig, StoreError> {
        Ok(ApnsConfig {
            headers: unpaired(self.headers),
            payload: self.payload.map(StructRecord::into_struct).transpose()?,
            analytics_label: self.analytics_label,
            image: self.image,
            live_activity_token: self.live_activity_token,
        })
    }
}

fn pairs(entries: &[(String, String)]) -> Vec<Pair> {
    entries.iter().map(|(key, value)| Pair { key: key.clone(), value: value.clone() }).collect()
}

fn unpaired(pairs: Vec<Pair>) -> Vec<(String, String)> {
    pairs.into_iter().map(|pair| (pair.key, pair.value)).collect()
}

/// The number of a name, from 1 on; 0 for none.
fn number_of<T: Copy + PartialEq>(names: &[T], name: Option<T>) -> u32 {
    let place = name.and_then(|name| names.iter().position(|n| *n == name));
    place.and_then(|place| u32::try_from(place + 1).ok()).unwrap_or(0)
}

fn named<T: Copy>(names: &[T], number: u32) -> Result<Option<T>, StoreError> {
    let Some(place) = number.checked_sub(1) else { return Ok(None) };
    let name = usize::try_from(place).ok().and_then(|place| names.get(place));
    name.copied().map(Some).ok_or_else(|| damaged("has an unknown enum value"))
}

fn damaged(what: &str) -> StoreError {
    StoreError::Damaged(format!("the record of a message {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_message::{Value, strategy};
    use proptest::prelude::*;

    fn nested(depth: usize) -> Value {
        (0..depth).fold(Value::Null, |inner, _| Value::List(vec![inner]))
    }

    fn to_topic() -> Message {
        Message {
            target: Target::Topic("t".to_owned()),
            data: Vec::new(),
            notification: None,
            android: None,
            webpush: None,
            apns: None,
            fcm_options: FcmOptions::default(),
            receipt_id: None,
        }
    }

    #[test]
    fn what_was_not_given_costs_nothing() {
        assert_eq!(encode(&to_topic()), [1, 0x1a, 1, b't']);
    }

    #[test]
    fn json_as_deep_as_a_request_may_be_is_kept() {
        let payload = [("k", nested(100))].into_iter().collect();
        let apns = ApnsConfig { payload: Some(payload), ..ApnsConfig::default() };
        let message = Message { apns: Some(apns), ..to_topic() };
        assert_eq!(decode(&encode(&message)), Ok(message));
    }

    #[test]
    fn damage_is_told_not_met_with_a_panic() {
        for bytes in [&[][..], &[2], &[1], &[1, 0xff], &[1, 0x1a, 9, b't']] {
            assert!(matches!(decode(bytes), Err(StoreError::Damaged(_))), "{bytes:?}");
        }
        let payload = [("k", nested(1_000))].into_iter().collect();
        let apns = ApnsConfig { payload: Some(payload), ..ApnsConfig::default() };
        let too_deep = Message { apns: Some(apns), ..to_topic() };
        assert!(matches!(decode(&encode(&too_deep)), Err(StoreError::Damaged(_))));
    }

    proptest! {
        #[test]
        fn every_message_survives_its_record(message in strategy::message(), receipt_id: Option<String>) {
            let message = Message { receipt_id, ..message };
            prop_assert_eq!(decode(&encode(&message)), Ok(message));
        }

        #[test]
        fn any_bytes_are_decoded_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&[&[1][..], &bytes].concat());
        }
    }
}

//! Values that JSON has no type for, as protobuf writes them (`protocol/http-v1.md` §3).

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use time::OffsetDateTime;

/// A length of time: `3.5s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span(pub Duration);

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (seconds, nanos) = (self.0.as_secs(), self.0.subsec_nanos());
        match nanos {
            0 => serializer.collect_str(&format_args!("{seconds}s")),
            _ => serializer.collect_str(&format_args!("{seconds}.{nanos:09}s")),
        }
    }
}

/// A moment: `2026-01-01T00:00:00Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub SystemTime);

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Self {
        Self(time)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let t = OffsetDateTime::from(self.0);
        let (year, month, day) = (t.year(), u8::from(t.month()), t.day());
        let (hour, minute, second) = t.to_hms();
        let fraction = match t.nanosecond() {
            0 => String::new(),
            nanos => format!(".{nanos:09}"),
        };
        serializer.collect_str(&format_args!(
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}Z"
        ))
    }
}

/// A JSON object of somebody else's format: what a browser shows, what APNs is given.
///
/// ```
/// use cresset_admin_client::{ApnsConfig, Object};
/// use serde_json::json;
///
/// let apns = ApnsConfig::default().payload([("aps", json!({ "badge": 3 })), ("game", json!("chess"))]);
/// assert_eq!(json!(apns), json!({ "payload": { "aps": { "badge": 3 }, "game": "chess" } }));
/// # let _: Object = [("a", 1)].into();
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Object(pub Map<String, Value>);

impl From<Map<String, Value>> for Object {
    fn from(map: Map<String, Value>) -> Self {
        Self(map)
    }
}

impl<K: Into<String>, V: Into<Value>, const N: usize> From<[(K, V); N]> for Object {
    fn from(entries: [(K, V); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Object {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

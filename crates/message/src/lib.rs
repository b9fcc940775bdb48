//! What a push message is: targets, limits, priorities, rejections.
//!
//! Pure values: no I/O, no async, no clock, no serialisation. Everything else in Cresset speaks
//! in the words of this crate; where FCM names a thing on the wire, its word is used.

pub mod condition;
mod ids;
pub mod limits;
mod message;
mod push;
mod registration;
mod rejection;
mod slots;
#[cfg(feature = "proptest")]
pub mod strategy;
mod time;
mod topic;
mod value;

pub use condition::Condition;
pub use ids::{AppId, DeviceId, Fid, GroupId, IdError, MessageId, ProjectId, ProjectNumber, RegistrationId};
pub use message::{
    AndroidConfig, AndroidNotification, ApnsConfig, Color, FcmOptions, LightSettings, Message, Notification,
    NotificationPriority, Priority, Proxy, Target, Visibility, WebpushConfig, WebpushFcmOptions,
};
pub use push::RawPush;
pub use registration::{Layout, Platform, Recipient, WebCoding, WebKeys};
pub use rejection::{ApnsError, DeviceQuota, FieldViolation, Rejection};
pub use slots::{SLOTS, SlotSet, Slots};
pub use time::Timestamp;
pub use topic::Topic;
pub use value::{Struct, Value, last_wins};

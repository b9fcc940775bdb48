//! What a message looks like, as data: names and kinds (`protocol/legacy-http.md` §4). What is not
//! here is ignored, since old clients add fields of their own.

use super::error::Expected;

pub(super) struct ObjectType {
    pub(super) fields: &'static [Field],
}

pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
}

#[derive(Clone, Copy)]
pub(super) enum Kind {
    String,
    Bool,
    /// `time_to_live`.
    Seconds,
    /// `normal` or `high`; what APNs calls them (5, 10) too, as a number or as its digits.
    Priority,
    /// A number, or its digits (§4.4, `badge`).
    Count,
    /// `registration_ids`.
    Recipients,
    /// A list of strings, or a string that holds one (§4.4).
    Args,
    /// A string, or an object for iOS (§4.4).
    Sound,
    /// Names and values, which become strings (§4.3).
    Data,
    /// A string; anything else is none: HTTP has no such field.
    OfXmpp,
    Object(&'static ObjectType),
}

impl Kind {
    /// How texts about a value of another type call it.
    pub(super) const fn expected(self) -> Expected {
        match self {
            Self::String | Self::Priority | Self::Sound | Self::OfXmpp => Expected::String,
            Self::Bool => Expected::Boolean,
            Self::Seconds | Self::Count => Expected::Number,
            Self::Recipients | Self::Args | Self::Data | Self::Object(_) => Expected::Array,
        }
    }
}

const fn field(name: &'static str, kind: Kind) -> Field {
    Field { name, kind }
}

/// §4.1 and §4.2, and what XMPP adds (`protocol/xmpp.md` §4).
pub(super) static MESSAGE: ObjectType = ObjectType {
    fields: &[
        field("to", Kind::String),
        field("registration_ids", Kind::Recipients),
        field("condition", Kind::String),
        field("notification_key", Kind::String),
        field("collapse_key", Kind::String),
        field("priority", Kind::Priority),
        field("content_available", Kind::Bool),
        field("mutable_content", Kind::Bool),
        field("time_to_live", Kind::Seconds),
        field("restricted_package_name", Kind::String),
        field("dry_run", Kind::Bool),
        field("direct_boot_ok", Kind::Bool),
        // Of no effect since 2016.
        field("delay_while_idle", Kind::Bool),
        field("delivery_receipt_requested", Kind::Bool),
        field("fcm_options", Kind::Object(&FCM_OPTIONS)),
        field("data", Kind::Data),
        field("notification", Kind::Object(&NOTIFICATION)),
        field("message_id", Kind::OfXmpp),
        field("message_type", Kind::OfXmpp),
    ],
};

static FCM_OPTIONS: ObjectType =
    ObjectType { fields: &[field("analytics_label", Kind::String), field("link", Kind::String)] };

/// §4.4.
static NOTIFICATION: ObjectType = ObjectType {
    fields: &[
        field("title", Kind::String),
        field("body", Kind::String),
        field("icon", Kind::String),
        field("sound", Kind::Sound),
        field("badge", Kind::Count),
        field("tag", Kind::String),
        field("color", Kind::String),
        field("click_action", Kind::String),
        field("subtitle", Kind::String),
        field("body_loc_key", Kind::String),
        field("body_loc_args", Kind::Args),
        field("title_loc_key", Kind::String),
        field("title_loc_args", Kind::Args),
        field("android_channel_id", Kind::String),
        field("image", Kind::String),
    ],
};

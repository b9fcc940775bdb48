//! How a refusal is told by the legacy protocols: a text of 400, a word in `results`, a nack of XMPP
//! (`protocol/legacy-http.md` §6.2, §7; `protocol/xmpp.md` §4).

use std::time::Duration;

use cresset_message::{Rejection, limits::MAX_TTL};

/// Why a request, or one of its recipients, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LegacyError {
    // --- the request: 400 and a text over HTTP ---
    /// It is not JSON. `found` is what stands at `at`, in characters; `None` at the end.
    Syntax {
        found: Option<char>,
        at: usize,
    },
    /// A field holds something of another type: `given`, as JSON.
    Type {
        field: &'static str,
        expected: Expected,
        given: String,
    },
    /// A field that the protocol requires (XMPP's `message_id`).
    MissingField(&'static str),
    /// Two fields that name recipients.
    TwoTargets(&'static str, &'static str),
    NoTarget,
    NoRecipients,
    RecipientsNotArray,
    TooManyRecipients(usize),
    /// `data.from`.
    ReservedFrom,
    /// `time_to_live` as it was given.
    Ttl(String),
    /// `priority` as it was given.
    Priority(String),
    Unauthorized,

    // --- a recipient: 200 and a word ---
    MissingRegistration,
    InvalidRegistration,
    NotRegistered,
    InvalidPackageName,
    MismatchSenderId,
    /// What is wrong; HTTP tells the word alone, as SDKs compare it (§6.3).
    InvalidParameters(String),
    /// Not a topic, or not a condition.
    BadTopic,
    MessageTooBig,
    InvalidDataKey(String),
    DeviceMessageRateExceeded,
    TopicsMessageRateExceeded,
    InvalidApnsCredential,

    // --- ours: 5xx if nothing was accepted ---
    Unavailable {
        retry_after: Duration,
    },
    InternalServerError,
}

/// What a field must hold, in the words of the texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    String,
    Boolean,
    Number,
    /// A list; and an object, which the real texts call so too.
    Array,
}

/// A refusal over XMPP. There is always a description: clients index it (`protocol/xmpp.md` §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nack {
    pub code: &'static str,
    pub description: String,
}

/// The most of a value that a text shows. Cresset's own bound.
const SHOWN: usize = 200;

impl LegacyError {
    /// A field of another type; the value is cut if it is long.
    pub(super) fn wrong_type(field: &'static str, expected: Expected, mut given: String) -> Self {
        if given.len() > SHOWN {
            given.truncate(given.floor_char_boundary(SHOWN));
            given.push('…');
        }
        Self::Type { field, expected, given }
    }

    /// The line of text with which HTTP refuses the request as a whole (400); `None`: it is told by its
    /// [`word`](Self::word).
    pub fn text(&self) -> Option<String> {
        Some(match self {
            Self::Syntax { .. } => format!("JSON_PARSING_ERROR: {}", self.detail()),
            // Observed for strings and lists; the others as XMPP documents them.
            Self::Type { expected: Expected::String | Expected::Array, .. } => self.detail(),
            Self::Type { .. } => format!("JSON_TYPE_ERROR: {}", self.detail()),
            Self::MissingField(_) => format!("JSON_PARSING_ERROR: {}", self.detail()),
            Self::TwoTargets(..)
            | Self::NoTarget
            | Self::NoRecipients
            | Self::RecipientsNotArray
            | Self::TooManyRecipients(_)
            | Self::ReservedFrom
            | Self::Ttl(_)
            | Self::Priority(_)
            | Self::Unauthorized => self.detail(),
            _ => return None,
        })
    }

    /// `error` of a result, of a topic's answer and of plain text. None has a `:` after it but that of a
    /// bad topic, since SDKs know the exact words only (§6.3).
    pub fn word(&self) -> &'static str {
        match self {
            Self::Syntax { .. }
            | Self::Type { .. }
            | Self::MissingField(_)
            | Self::TwoTargets(..)
            | Self::RecipientsNotArray
            | Self::TooManyRecipients(_)
            | Self::Priority(_)
            | Self::Unauthorized
            | Self::InvalidParameters(_) => "InvalidParameters",
            Self::BadTopic => "InvalidParameters: Bad topic or filter provided",
            Self::NoTarget | Self::NoRecipients | Self::MissingRegistration => "MissingRegistration",
            Self::InvalidRegistration => "InvalidRegistration",
            Self::NotRegistered => "NotRegistered",
            Self::InvalidPackageName => "InvalidPackageName",
            Self::MismatchSenderId => "MismatchSenderId",
            Self::MessageTooBig => "MessageTooBig",
            Self::ReservedFrom | Self::InvalidDataKey(_) => "InvalidDataKey",
            Self::Ttl(_) => "InvalidTtl",
            Self::DeviceMessageRateExceeded => "DeviceMessageRateExceeded",
            Self::TopicsMessageRateExceeded => "TopicsMessageRateExceeded",
            Self::InvalidApnsCredential => "InvalidApnsCredential",
            Self::Unavailable { .. } => "Unavailable",
            Self::InternalServerError => "InternalServerError",
        }
    }

    /// The status if the request as a whole is refused with this; 200: its word says it.
    pub fn status(&self) -> u16 {
        match self {
            Self::Unauthorized => 401,
            Self::Unavailable { .. } => 503,
            Self::InternalServerError => 500,
            _ if self.text().is_some() => 400,
            _ => 200,
        }
    }

    /// Seconds for `Retry-After`: only of a 503, and never 0 (§7).
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Unavailable { retry_after } => {
                Some((retry_after.as_secs() + u64::from(retry_after.subsec_nanos() > 0)).max(1))
            }
            _ => None,
        }
    }

    /// How XMPP tells it of a message to `to` (`protocol/xmpp.md` §4, nack).
    pub fn nack(&self, to: &str) -> Nack {
        let (code, description) = match self {
            Self::Syntax { .. } | Self::MissingField(_) => {
                ("INVALID_JSON", format!("InvalidJson: JSON_PARSING_ERROR : {}", self.detail()))
            }
            Self::Type { .. } => {
                ("INVALID_JSON", format!("InvalidJson: JSON_TYPE_ERROR : {}", self.detail()))
            }
            Self::Ttl(given) => {
                let range = format!("must be between 0 and \"{}\"", MAX_TTL.as_secs());
                let text = format!("Invalid value ({given}) for \"time_to_live\": {range}");
                ("INVALID_JSON", format!("InvalidJson : INVALID_TTL : {text}"))
            }
            Self::InvalidRegistration => {
                ("BAD_REGISTRATION", format!("Invalid token on 'to' field: {}", cut(to)))
            }
            Self::NotRegistered => ("DEVICE_UNREGISTERED", self.detail()),
            Self::MismatchSenderId => ("SENDER_ID_MISMATCH", self.detail()),
            Self::DeviceMessageRateExceeded => ("DEVICE_MESSAGE_RATE_EXCEEDED", self.detail()),
            Self::TopicsMessageRateExceeded => ("TOPICS_MESSAGE_RATE_EXCEEDED", self.detail()),
            Self::InvalidApnsCredential => ("INVALID_APNS_CREDENTIAL", self.detail()),
            Self::Unavailable { .. } => ("SERVICE_UNAVAILABLE", self.detail()),
            Self::InternalServerError => ("INTERNAL_SERVER_ERROR", self.detail()),
            Self::Unauthorized => ("AUTHENTICATION_FAILED", self.detail()),
            _ => ("INVALID_JSON", format!("InvalidJson: {} : {}", self.word(), self.detail())),
        };
        Nack { code, description }
    }

    /// One sentence, without the code before it. Where Google's is not known (§7), it is ours.
    fn detail(&self) -> String {
        match self {
            Self::Syntax { found: Some(found), at } => {
                format!("Unexpected character ({found}) at position {at}.")
            }
            Self::Syntax { found: None, at } => format!("Unexpected token END OF FILE at position {at}."),
            Self::Type { field, expected, given } => {
                format!("Field \"{field}\" must be a JSON {}: {given}", expected.name())
            }
            Self::MissingField(name) => format!("Missing Required Field: {name}"),
            Self::TwoTargets(one, other) => {
                format!("Must use either \"{one}\" field or \"{other}\", not both")
            }
            Self::NoTarget => "Missing \"registration_ids\" field".to_owned(),
            Self::NoRecipients => "\"registration_ids\" field cannot be empty".to_owned(),
            Self::RecipientsNotArray => "\"registration_ids\" field is not a JSON array".to_owned(),
            Self::TooManyRecipients(count) => {
                let most = super::MAX_RECIPIENTS;
                format!("Number of messages on bulk ({count}) exceeds maximum allowed ({most})")
            }
            Self::ReservedFrom => "\"data\" key \"from\" is a reserved keyword".to_owned(),
            Self::Ttl(given) => {
                let most = MAX_TTL.as_secs();
                format!("Invalid value ({given}) for \"time_to_live\": must be between 0 and {most}")
            }
            Self::Priority(given) => {
                format!("Invalid value ({given}) for \"priority\": must be \"normal\" or \"high\"")
            }
            Self::Unauthorized => "Unauthorized".to_owned(),
            Self::MissingRegistration => "Missing \"to\" field".to_owned(),
            Self::InvalidRegistration => "Invalid registration token".to_owned(),
            Self::NotRegistered => "The registration token is not, or no longer, registered".to_owned(),
            Self::InvalidPackageName => {
                "The registration token does not belong to the package in \"restricted_package_name\""
                    .to_owned()
            }
            Self::MismatchSenderId => "The registration token belongs to another sender ID".to_owned(),
            Self::InvalidParameters(detail) => detail.clone(),
            Self::BadTopic => "Bad topic or filter provided".to_owned(),
            Self::MessageTooBig => "The message is larger than 4096 bytes".to_owned(),
            Self::InvalidDataKey(key) => format!("\"data\" key \"{}\" is a reserved keyword", cut(key)),
            Self::DeviceMessageRateExceeded => {
                "Downstream message rate exceeded for this registration id".to_owned()
            }
            Self::TopicsMessageRateExceeded => "Message rate to topics exceeded".to_owned(),
            Self::InvalidApnsCredential => "The APNs credential of the app is missing or expired".to_owned(),
            Self::Unavailable { .. } => "The service is currently unavailable".to_owned(),
            Self::InternalServerError => "Internal error".to_owned(),
        }
    }
}

impl Expected {
    /// Strings and lists as they were observed over HTTP, the others as Java calls them
    /// (`protocol/xmpp.md` §4).
    const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Boolean => "java.lang.Boolean",
            Self::Number => "java.lang.Number",
            Self::Array => "array",
        }
    }
}

/// Of a value that somebody sent, what a text shows.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN)]
}

impl From<&Rejection> for LegacyError {
    fn from(rejection: &Rejection) -> Self {
        match rejection {
            Rejection::CredentialsMissing
            | Rejection::CredentialsInvalid
            | Rejection::CredentialsExpired
            | Rejection::ScopeInsufficient
            | Rejection::PermissionDenied { .. } => Self::Unauthorized,

            // Of v1's JSON, which nobody reads here.
            Rejection::Unparsable(violations) => Self::InvalidParameters(
                violations.first().map_or_else(String::new, |v| v.description.clone()),
            ),
            Rejection::BodyTooLarge { .. } | Rejection::TooLarge | Rejection::AndroidTooLarge => {
                Self::MessageTooBig
            }

            Rejection::NoTarget => Self::MissingRegistration,
            Rejection::MalformedToken => Self::InvalidRegistration,
            Rejection::TopicName | Rejection::Condition => Self::BadTopic,
            Rejection::ReservedDataKey(key) if key == "from" => Self::ReservedFrom,
            Rejection::ReservedDataKey(key) => Self::InvalidDataKey(key.clone()),
            Rejection::InvalidField(violation) => match violation.field.as_str() {
                "message.android.restricted_package_name" => Self::InvalidPackageName,
                _ => Self::InvalidParameters(violation.description.clone()),
            },

            Rejection::Unregistered => Self::NotRegistered,
            Rejection::SenderIdMismatch => Self::MismatchSenderId,
            Rejection::ThirdPartyAuth(_) => Self::InvalidApnsCredential,

            Rejection::DeviceQuota { .. } => Self::DeviceMessageRateExceeded,
            Rejection::FanOutQuota { .. } => Self::TopicsMessageRateExceeded,
            // The protocols have no word for it that is still sent (§6.2); back-off is what helps.
            Rejection::ProjectQuota { retry_after, .. }
            | Rejection::SubscriptionQuota { retry_after, .. }
            | Rejection::Unavailable { retry_after } => Self::Unavailable { retry_after: *retry_after },
            Rejection::TooManyTopics { limit } => {
                Self::InvalidParameters(format!("The app instance has {limit} topics, which is the limit."))
            }
            Rejection::NotTraced => Self::InvalidParameters("Nothing is known of this message.".to_owned()),
            Rejection::Internal => Self::InternalServerError,
        }
    }
}

//! From values read by the schema to a [`Downstream`]: whom it is for, and what it brings.

use std::time::Duration;

use cresset_message::{Message, Target, Timestamp};

use super::error::LegacyError;
use super::platforms::{self, Options};
use super::read::{Outcome, Record, Value};
use super::{Downstream, MAX_RECIPIENTS, Refused, Targets};

/// What begins the name of a topic in `to` (§4.1).
const TOPICS: &str = "/topics/";

pub(super) fn downstream(outcome: Outcome<'_>, now: Timestamp) -> Result<Downstream, Refused> {
    let Outcome { mut record, wrong } = outcome;
    let (message_id, message_type) = (record.string("message_id"), record.string("message_type"));
    let (targets, targets_wrong) = match targets(&mut record) {
        Ok(targets) => (Some(targets), None),
        Err((error, targets)) => (targets, Some(error)),
    };
    let data = record.pairs("data");
    let refused = wrong.or(targets_wrong).or_else(|| reserved(&data));
    match (targets, refused) {
        (Some(targets), None) => {
            let dry_run = record.bool("dry_run");
            let delivery_receipt_requested = record.bool("delivery_receipt_requested");
            let message = message(record, &targets, data, now);
            Ok(Downstream { targets, message, dry_run, delivery_receipt_requested, message_id, message_type })
        }
        (targets, refused) => {
            let error = refused.unwrap_or(LegacyError::NoTarget);
            Err(Refused { error, targets, message_id, message_type })
        }
    }
}

/// Exactly one way to name recipients. With an error comes what is known of them.
fn targets(record: &mut Record<'_>) -> Result<Targets, (LegacyError, Option<Targets>)> {
    const FIELDS: [&str; 4] = ["registration_ids", "condition", "notification_key", "to"];
    let mut given = FIELDS.into_iter().filter(|name| record.has(name));
    match (given.next(), given.next()) {
        (None, _) => Err((LegacyError::NoTarget, None)),
        (Some(one), Some(other)) => {
            let to = record.string("to").map(to);
            Err((LegacyError::TwoTargets(one, other), to))
        }
        (Some("registration_ids"), None) => tokens(record.strings("registration_ids")),
        (Some("condition"), None) => Ok(Targets::Condition(record.string("condition").unwrap_or_default())),
        // The old spelling of a group in `to` (§4.1).
        (Some(name), None) => match record.string(name).map(to) {
            Some(Targets::To(text)) if text.is_empty() => {
                Err((LegacyError::MissingRegistration, Some(Targets::To(text))))
            }
            Some(targets) => Ok(targets),
            None => Err((LegacyError::NoTarget, None)),
        },
    }
}

pub(super) fn to(text: String) -> Targets {
    match text.strip_prefix(TOPICS) {
        Some(name) => Targets::Topic(name.to_owned()),
        None => Targets::To(text),
    }
}

fn tokens(tokens: Vec<String>) -> Result<Targets, (LegacyError, Option<Targets>)> {
    match tokens.len() {
        0 => Err((LegacyError::NoRecipients, None)),
        1..=MAX_RECIPIENTS => Ok(Targets::Tokens(tokens)),
        count => Err((LegacyError::TooManyRecipients(count), None)),
    }
}

/// Keys that `data` must not have (§4.3). They are more than v1's, which are checked in any case.
pub(super) fn reserved(data: &[(String, String)]) -> Option<LegacyError> {
    data.iter().find_map(|(key, _)| match key.as_str() {
        "from" => Some(LegacyError::ReservedFrom),
        key if key.starts_with("google") || key.starts_with("gcm") => {
            Some(LegacyError::InvalidDataKey(key.to_owned()))
        }
        _ => None,
    })
}

fn message(
    mut record: Record<'_>,
    targets: &Targets,
    data: Vec<(String, String)>,
    now: Timestamp,
) -> Message {
    let mut fcm_options = record.record("fcm_options");
    let mut fcm_option = |name| fcm_options.as_mut().and_then(|options| options.string(name));
    let options = Options {
        analytics_label: fcm_option("analytics_label"),
        link: fcm_option("link"),
        collapse_key: record.string("collapse_key"),
        high_priority: record.flag("priority"),
        content_available: record.bool("content_available"),
        mutable_content: record.bool("mutable_content"),
        time_to_live: record.number("time_to_live").map(Duration::from_secs),
        restricted_package_name: record.string("restricted_package_name"),
        direct_boot_ok: record.bool("direct_boot_ok"),
    };
    let notification = record.record("notification");
    platforms::message(target(targets), data, notification, options, now)
}

pub(super) fn target(targets: &Targets) -> Target {
    match targets {
        Targets::To(text) => Target::Token(text.clone()),
        Targets::Tokens(_) => Target::Token(String::new()),
        Targets::Topic(name) => Target::Topic(name.clone()),
        Targets::Condition(text) => Target::Condition(text.clone()),
    }
}

/// Typed access: the reader has checked that a field's value is of its kind.
impl<'a> Record<'a> {
    pub(super) fn string(&mut self, name: &str) -> Option<String> {
        match self.take(name)? {
            Value::String(text) => Some(text.into_owned()),
            _ => None,
        }
    }

    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        match self.take(name)? {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }

    fn bool(&mut self, name: &str) -> bool {
        self.flag(name).unwrap_or_default()
    }

    pub(super) fn number(&mut self, name: &str) -> Option<u64> {
        match self.take(name)? {
            Value::Number(value) => Some(value),
            _ => None,
        }
    }

    pub(super) fn strings(&mut self, name: &str) -> Vec<String> {
        match self.take(name) {
            Some(Value::Strings(strings)) => strings,
            _ => Vec::new(),
        }
    }

    fn pairs(&mut self, name: &str) -> Vec<(String, String)> {
        match self.take(name) {
            Some(Value::Pairs(pairs)) => pairs,
            _ => Vec::new(),
        }
    }

    fn record(&mut self, name: &str) -> Option<Record<'a>> {
        match self.take(name)? {
            Value::Record(record) => Some(record),
            _ => None,
        }
    }
}

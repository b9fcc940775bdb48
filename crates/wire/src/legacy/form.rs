//! A message as a form: one recipient, data, a few options (`protocol/legacy-http.md` §5).

use std::time::Duration;

use cresset_message::{Timestamp, limits::MAX_TTL};

use super::convert::{reserved, target, to};
use super::error::{LegacyError, cut};
use super::platforms::{self, Options};
use super::read::priority;
use super::{Downstream, Refused, Targets};
use cresset_message::last_wins;

const DATA: &str = "data.";

/// Reads decoded fields, in the order of the form; of a name given twice the first counts.
pub fn read_form(fields: &[(String, String)], now: Timestamp) -> Result<Downstream, Refused> {
    let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str());
    let text = |name: &str| field(name).filter(|value| !value.is_empty()).map(str::to_owned);
    let flag = |name: &str| field(name).is_some_and(|value| matches!(value, "1" | "true"));
    let data = data(fields);
    // That `to` may name it is inferred.
    let targets = text("registration_id").map(Targets::To).or_else(|| text("to").map(to));
    let refuse =
        |error| Err(Refused { error, targets: targets.clone(), message_id: None, message_type: None });
    let Some(known) = &targets else { return refuse(LegacyError::MissingRegistration) };
    if let Some(error) = reserved(&data) {
        return refuse(error);
    }
    let time_to_live = match text("time_to_live").map(seconds).transpose() {
        Ok(time_to_live) => time_to_live,
        Err(error) => return refuse(error),
    };
    let high_priority = match text("priority").map(|text| priority(&text).ok_or(text)).transpose() {
        Ok(high_priority) => high_priority,
        Err(text) => return refuse(LegacyError::Priority(cut(&text).to_owned())),
    };
    let options = Options {
        collapse_key: text("collapse_key"),
        high_priority,
        content_available: flag("content_available"),
        time_to_live,
        restricted_package_name: text("restricted_package_name"),
        ..Options::default()
    };
    Ok(Downstream {
        message: platforms::message(target(known), data, None, options, now),
        targets: known.clone(),
        dry_run: flag("dry_run"),
        delivery_receipt_requested: false,
        message_id: None,
        message_type: None,
    })
}

fn data(fields: &[(String, String)]) -> Vec<(String, String)> {
    let pairs = fields
        .iter()
        .filter_map(|(name, value)| name.strip_prefix(DATA).map(|key| (key.to_owned(), value.clone())));
    last_wins(pairs.collect())
}

fn seconds(text: String) -> Result<Duration, LegacyError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u64>() {
        Ok(seconds) if digits && seconds <= MAX_TTL.as_secs() => Ok(Duration::from_secs(seconds)),
        _ => Err(LegacyError::Ttl(cut(&text).to_owned())),
    }
}

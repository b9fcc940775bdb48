//! What old app servers send: a JSON object, or a form.

use cresset_message::{Timestamp, limits};
use cresset_wire::legacy::answer::{TokenResult, plain, set_failed, tokens};
use cresset_wire::legacy::{Downstream, MAX_RECIPIENTS, Refused, Targets, read_form, read_json};

/// Any body is read, or refused in words that clients take: one line of text, one word, a nack that
/// describes. What is read has a recipient, and not more than may be.
pub(crate) fn legacy(input: &[u8]) {
    let now = Timestamp::from_secs(1_700_000_000);
    check(read_json(input, now));
    let fields = String::from_utf8_lossy(input);
    let fields: Vec<(String, String)> = fields
        .split('&')
        .map(|field| field.split_once('=').unwrap_or((field, "")))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    check(read_form(&fields, now));
}

fn check(read: Result<Downstream, Refused>) {
    match read {
        Ok(read) => {
            if let Targets::Tokens(tokens) = &read.targets {
                assert!((1..=MAX_RECIPIENTS).contains(&tokens.len()));
            }
            drop(limits::check(&read.message));
        }
        Err(Refused { error, .. }) => {
            assert!([200, 400].contains(&error.status()));
            assert!(error.text().is_none_or(|text| !text.is_empty() && text.len() < 2_000));
            assert!(!error.nack("t").description.is_empty());
            assert!(set_failed(&error).starts_with("{\"error\":\""));
            let failed = TokenResult::Failed(error);
            assert!(plain(&failed).starts_with("Error="));
            assert!(tokens(1, &[failed]).contains("\"failure\":1"));
        }
    }
}

mod answers;
mod bent;
mod json;
mod messages;
mod properties;
mod reference;
mod violations;
mod writer;

use cresset_message::{Message, Rejection};
use cresset_wire::v1::parse_send_request;

/// What is wrong with a body, as `field | text` lines.
fn violations(body: &str) -> Vec<String> {
    match parse_send_request(body.as_bytes()) {
        Err(Rejection::Unparsable(violations)) => {
            violations.iter().map(|v| format!("{} | {}", v.field, v.description)).collect()
        }
        other => panic!("expected violations, got {other:?} for {body}"),
    }
}

fn parsed(body: &str) -> Message {
    match parse_send_request(body.as_bytes()) {
        Ok(request) => request.message,
        Err(e) => panic!("{e:?} for {body}"),
    }
}

//! What holds of every body.

use cresset_message::{limits, strategy};
use cresset_wire::v1::{parse_send_request, render};
use proptest::prelude::*;

use super::{parsed, writer};

/// Field order of JSON objects is not kept by the writer; compare without it.
pub(super) fn sorted(mut message: cresset_message::Message) -> cresset_message::Message {
    message.data.sort();
    if let Some(android) = &mut message.android {
        android.data.sort();
    }
    if let Some(webpush) = &mut message.webpush {
        webpush.data.sort();
        webpush.headers.sort();
        webpush.notification = webpush.notification.take().map(sorted_struct);
    }
    if let Some(apns) = &mut message.apns {
        apns.headers.sort();
        apns.payload = apns.payload.take().map(sorted_struct);
    }
    message
}

fn sorted_struct(fields: cresset_message::Struct) -> cresset_message::Struct {
    let mut fields: Vec<_> = fields.iter().map(|(n, v)| (n.to_owned(), sorted_value(v.clone()))).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    fields.into_iter().collect()
}

fn sorted_value(value: cresset_message::Value) -> cresset_message::Value {
    use cresset_message::Value;
    match value {
        Value::List(values) => Value::List(values.into_iter().map(sorted_value).collect()),
        Value::Struct(fields) => Value::Struct(sorted_struct(fields)),
        other => other,
    }
}

proptest! {
    #[test]
    fn a_message_written_as_json_is_read_back(message in strategy::message(), camel: bool) {
        prop_assert_eq!(sorted(parsed(&writer::body(&message, camel))), sorted(message));
    }

    #[test]
    fn any_bytes_are_read_and_answered_without_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        read_and_answer(&body);
    }

    #[test]
    fn nearly_json_is_read_and_answered_without_panic(body in "[ {}\\[\\]:,\"'a\\\\u0-9.eE+\\-x_$tnfé]{0,60}") {
        read_and_answer(body.as_bytes());
    }

    #[test]
    fn damaged_messages_are_read_and_answered_without_panic(
        message in strategy::message(),
        at: prop::sample::Index,
        byte: u8,
    ) {
        let mut body = writer::body(&message, false).into_bytes();
        let at = at.index(body.len());
        body[at] = byte;
        read_and_answer(&body);
        read_and_answer(&body[..at]);
    }
}

fn read_and_answer(body: &[u8]) {
    match parse_send_request(body) {
        Ok(request) => drop(limits::check(&request.message)),
        Err(rejection) => assert_eq!(render(&rejection).status, 400),
    }
}

//! What holds of every body.

use cresset_message::limits;
use cresset_wire::legacy::{read_form, read_json};
use proptest::prelude::*;

use crate::payload::render::NOW;

/// As a JSON object's text: names that are known, values that may fit.
fn body() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec![
        "to",
        "registration_ids",
        "condition",
        "collapse_key",
        "priority",
        "time_to_live",
        "dry_run",
        "data",
        "notification",
        "badge",
        "sound",
        "body_loc_args",
        "fcm_options",
        "message_id",
        "unknown",
    ]);
    let value = prop::sample::select(vec![
        "\"a\"",
        "\"/topics/n\"",
        "[\"a\",\"b\"]",
        "\"[1]\"",
        "{}",
        "{\"title\":\"x\"}",
        "{\"badge\":\"7\"}",
        "1",
        "-1",
        "1e400",
        "600",
        "true",
        "null",
        "\"high\"",
        "[{}]",
        "{\"k\":{\"a\":[1]}}",
        "\"'a' in topics\"",
    ]);
    prop::collection::vec((name, value), 0..6).prop_map(|fields| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", fields.join(","))
    })
}

/// Read or refused; a refusal has a word, a text that is one line, and a nack.
fn read_and_answer(body: &[u8]) {
    match read_json(body, NOW) {
        Ok(read) => drop(limits::check(&read.message)),
        Err(refused) => {
            assert!(!refused.error.word().is_empty());
            assert!([200, 400].contains(&refused.error.status()));
            assert!(!refused.error.nack("t").description.is_empty());
            assert!(refused.error.text().is_none_or(|text| text.len() < 1_000));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
        read_and_answer(&body);
    }

    #[test]
    fn any_object_is_read_or_refused(body in body(), at: prop::sample::Index, byte: u8) {
        read_and_answer(body.as_bytes());
        let mut damaged = body.into_bytes();
        let at = at.index(damaged.len());
        damaged[at] = byte;
        read_and_answer(&damaged);
        read_and_answer(&damaged[..at]);
    }

    /// A form and an object that say the same are the same.
    #[test]
    fn a_form_is_read_as_its_object(
        data in prop::collection::vec(("[a-f]{1,4}", ".{0,8}"), 0..4),
        ttl in prop::option::of(0..=2_419_200u64),
        key in prop::option::of("[a-z]{1,40}"),
        high in prop::option::of(any::<bool>()),
    ) {
        let mut fields = vec![("registration_id".to_owned(), "tok".to_owned())];
        let mut object = serde_json::json!({ "to": "tok" });
        fields.extend(data.iter().map(|(name, value)| (format!("data.{name}"), value.clone())));
        let mut pairs = serde_json::Map::new();
        data.iter().for_each(|(name, value)| drop(pairs.insert(name.clone(), value.as_str().into())));
        object["data"] = pairs.into();
        if let Some(ttl) = ttl {
            fields.push(("time_to_live".into(), ttl.to_string()));
            object["time_to_live"] = ttl.into();
        }
        if let Some(key) = key {
            fields.push(("collapse_key".into(), key.clone()));
            object["collapse_key"] = key.into();
        }
        if let Some(high) = high {
            let word = if high { "high" } else { "normal" };
            fields.push(("priority".into(), word.into()));
            object["priority"] = word.into();
        }
        let mut of_form = read_form(&fields, NOW).unwrap();
        let mut of_object = read_json(object.to_string().as_bytes(), NOW).unwrap();
        of_form.message.data.sort();
        of_object.message.data.sort();
        prop_assert_eq!(of_form, of_object);
    }
}

//! Whatever the types can hold is written in a form that the platform can read.

use cresset_message::{Priority, strategy};
use cresset_wire::payload::{android, apns, web_app};
use http::{HeaderName, HeaderValue};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::render::{APNS_ID, ID, NOW, iphone};

proptest! {
    #[test]
    fn apns_gets_json_and_headers_of_any_message_that_is_let_through(message in strategy::message()) {
        let request = apns::request(&message, &iphone(), ID, APNS_ID, NOW);
        let payload: Value = serde_json::from_slice(&request.payload).unwrap();
        prop_assert!(payload["aps"].is_object());
        prop_assert_eq!(&payload["gcm.message_id"], &json!(ID.to_string()));
        if apns::check(&message).is_ok() {
            for (name, value) in &request.headers {
                prop_assert!(HeaderName::from_bytes(name.as_bytes()).is_ok(), "{}", name);
                prop_assert!(HeaderValue::from_str(value).is_ok(), "{}: {}", name, value);
            }
        }
    }

    #[test]
    fn the_web_gets_json_of_any_message(message in strategy::message()) {
        let plaintext = web_app(&message, &iphone(), ID, Priority::High);
        let json: Value = serde_json::from_slice(&plaintext).unwrap();
        prop_assert!(json["from"].is_string());
    }

    #[test]
    fn an_android_app_is_always_told_whose_message_it_is(message in strategy::message()) {
        let pairs = android(&message, &iphone());
        prop_assert!(pairs.iter().any(|pair| pair.key == "google.c.sender.id"));
    }
}

//! The JSON that the Firebase JS SDK finds in a push event (`protocol/payload-layout.md` §5).

use cresset_message::{Message, MessageId, Priority, Recipient, WebCoding, WebpushConfig};

use super::json::Object;
use super::{project_number, set, topic_or};
use crate::webpush::{aes128gcm, aesgcm};

/// The plaintext for a web app.
pub fn web_app(message: &Message, recipient: &Recipient, id: MessageId, priority: Priority) -> Vec<u8> {
    let webpush = message.webpush.as_ref();
    let mut json = Object::new();
    json.text("from", &topic_or(message, || project_number(recipient)));
    json.text("fcmMessageId", &id.to_string());
    // What SDKs from before January 2022 read instead.
    json.text("fcm_message_id", &id.to_string());
    json.text("priority", if priority == Priority::High { "high" } else { "normal" });
    // The collapse key of Web Push is its Topic header (RFC 8030 §5.4).
    if let Some(key) = webpush.and_then(|w| w.header("Topic")) {
        json.text("collapse_key", key);
    }
    if let Some(notification) = notification(message, webpush) {
        json.object("notification", notification);
    }
    some(&mut json, "data", data(message, webpush));
    some(&mut json, "fcmOptions", options(message, webpush));
    json.finish()
}

/// Whether a web app can get this message: its plaintext must fit into one sealed record.
pub fn web_plaintext_fits(
    message: &Message,
    recipient: &Recipient,
    coding: WebCoding,
    id: MessageId,
    priority: Priority,
) -> bool {
    let most = match coding {
        WebCoding::Aesgcm => aesgcm::MAX_PLAINTEXT,
        WebCoding::Aes128gcm => aes128gcm::MAX_PLAINTEXT,
    };
    web_app(message, recipient, id, priority).len() <= most
}

fn some(json: &mut Object, name: &str, content: Object) {
    if !content.is_empty() {
        json.object(name, content);
    }
}

/// `notification` with the fields of `webpush.notification` over it.
fn notification(message: &Message, webpush: Option<&WebpushConfig>) -> Option<Object> {
    let own = webpush.and_then(|w| w.notification.as_ref());
    let common = message.notification.as_ref();
    if own.is_none() && common.is_none() {
        return None;
    }
    let is_own = |name: &str| own.is_some_and(|own| own.get(name).is_some());
    let mut json = Object::new();
    if let Some(common) = common {
        for (name, value) in [("title", &common.title), ("body", &common.body), ("image", &common.image)] {
            if let Some(value) = set(value).filter(|_| !is_own(name)) {
                json.text(name, value);
            }
        }
    }
    if let Some(own) = own {
        own.iter().for_each(|(name, value)| json.value(name, value));
    }
    // Older SDKs open this instead of `fcmOptions.link`.
    if let Some(link) = link(webpush).filter(|_| !is_own("click_action")) {
        json.text("click_action", link);
    }
    Some(json)
}

/// `webpush.data` takes the place of `data` (`docs/decisions/006-a-platforms-data-replaces-the-common.md`).
fn data(message: &Message, webpush: Option<&WebpushConfig>) -> Object {
    let own = webpush.map(|w| &w.data).filter(|data| !data.is_empty());
    let mut json = Object::new();
    own.unwrap_or(&message.data).iter().for_each(|(key, value)| json.text(key, value));
    json
}

fn options(message: &Message, webpush: Option<&WebpushConfig>) -> Object {
    let own = webpush.and_then(|w| set(&w.fcm_options.analytics_label));
    let mut json = Object::new();
    if let Some(link) = link(webpush) {
        json.text("link", link);
    }
    if let Some(label) = own.or(set(&message.fcm_options.analytics_label)) {
        json.text("analytics_label", label);
    }
    json
}

fn link(webpush: Option<&WebpushConfig>) -> Option<&str> {
    set(&webpush?.fcm_options.link)
}

#[cfg(test)]
mod tests {
    use cresset_message::{FcmOptions, Layout, Notification, Struct, Target, Value, WebpushFcmOptions};

    use super::super::samples;
    use super::*;

    const ID: MessageId = MessageId { micros: 1, unique: 2 };

    fn json(message: &Message) -> String {
        let recipient = samples::recipient(Layout::Raw { sender: String::new() });
        String::from_utf8(web_app(message, &recipient, ID, Priority::Normal)).unwrap()
    }

    /// What a message adds after the fields that are always there.
    fn added(message: Message) -> String {
        let always = r#"{"from":"123456789012","fcmMessageId":"0:1%0000000000000002","fcm_message_id":"0:1%0000000000000002","priority":"normal""#;
        json(&message).strip_prefix(always).unwrap().to_owned()
    }

    fn webpush(set: impl FnOnce(&mut WebpushConfig)) -> Message {
        let mut config = WebpushConfig::default();
        set(&mut config);
        Message { webpush: Some(config), ..samples::message() }
    }

    #[test]
    fn every_field_has_its_place() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let label = |label: &str| Some(label.to_owned());
        let options: Struct =
            [("title", Value::from("t")), ("vibrate", Value::List(vec![Value::Number(100.0)]))]
                .into_iter()
                .collect();
        let table = [
            (samples::message(), "}"),
            (
                Message { data: vec![pair("z", "1"), pair("a", "2")], ..samples::message() },
                r#","data":{"z":"1","a":"2"}}"#,
            ),
            (
                Message {
                    notification: Some(Notification {
                        title: label("t"),
                        body: label("b"),
                        image: label("i"),
                    }),
                    ..samples::message()
                },
                r#","notification":{"title":"t","body":"b","image":"i"}}"#,
            ),
            (
                Message { fcm_options: FcmOptions { analytics_label: label("l") }, ..samples::message() },
                r#","fcmOptions":{"analytics_label":"l"}}"#,
            ),
            (webpush(|w| w.headers = vec![pair("topic", "score")]), r#","collapse_key":"score"}"#),
            (webpush(|w| w.data = vec![pair("k", "v")]), r#","data":{"k":"v"}}"#),
            (
                webpush(|w| w.notification = Some(options)),
                r#","notification":{"title":"t","vibrate":[100]}}"#,
            ),
            (webpush(|w| w.notification = Some(Struct::default())), r#","notification":{}}"#),
            (
                webpush(|w| {
                    w.fcm_options = WebpushFcmOptions { link: label("L"), analytics_label: label("l") }
                }),
                r#","fcmOptions":{"link":"L","analytics_label":"l"}}"#,
            ),
        ];
        for (message, expected) in table {
            assert_eq!(added(message), expected);
        }
    }

    #[test]
    fn web_fields_win_over_common_ones() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let mut message = webpush(|w| {
            w.data = vec![pair("b", "own")];
            w.notification =
                Some([("body", Value::from("own")), ("tag", Value::from("t"))].into_iter().collect());
            w.fcm_options.link = Some("https://app.test/".into());
        });
        message.data = vec![pair("a", "common"), pair("b", "common")];
        message.notification =
            Some(Notification { title: Some("common".into()), body: Some("common".into()), image: None });
        assert_eq!(
            added(message),
            r#","notification":{"title":"common","body":"own","tag":"t","click_action":"https://app.test/"},"#
                .to_owned() + r#""data":{"b":"own"},"fcmOptions":{"link":"https://app.test/"}}"#
        );
    }

    #[test]
    fn a_topic_message_comes_from_its_topic() {
        let message = Message { target: Target::Topic("news".into()), ..samples::message() };
        assert!(json(&message).starts_with(r#"{"from":"/topics/news","#));
    }

    #[test]
    fn the_plaintext_is_what_is_measured() {
        let fits = |coding, size: usize| {
            let message = Message { data: vec![("k".into(), "v".repeat(size))], ..samples::message() };
            let recipient = samples::recipient(Layout::Raw { sender: String::new() });
            web_plaintext_fits(&message, &recipient, coding, ID, Priority::High)
        };
        let overhead = added(Message { data: vec![("k".into(), String::new())], ..samples::message() }).len()
            + r#"{"from":"123456789012","fcmMessageId":"0:1%0000000000000002","fcm_message_id":"0:1%0000000000000002","priority":"high""#.len();
        for (coding, most) in
            [(WebCoding::Aesgcm, aesgcm::MAX_PLAINTEXT), (WebCoding::Aes128gcm, aes128gcm::MAX_PLAINTEXT)]
        {
            assert!(fits(coding, most - overhead));
            assert!(!fits(coding, most - overhead + 1));
        }
    }
}

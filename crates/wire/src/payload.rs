//! What a message looks like to each kind of client (`protocol/payload-layout.md`), and the
//! stanza that carries it.

mod android;
pub mod apns;
mod json;
mod notification;
mod stanza;
mod web;

pub use android::android;
pub use notification::notification;
pub use stanza::{Envelope, Payload, deleted_messages, stanza};
pub use web::{web_app, web_plaintext_fits};

use cresset_message::{Message, Recipient, Target};

/// `from` as an app reads it: the topic a message came by, else `sender`.
fn topic_or(message: &Message, sender: impl FnOnce() -> String) -> String {
    match &message.target {
        Target::Topic(name) => format!("/topics/{name}"),
        Target::Token(_) | Target::Fid(_) | Target::Condition(_) => sender(),
    }
}

/// A text that says something: in proto3 an empty one is one that was not given.
fn set(text: &Option<String>) -> Option<&str> {
    text.as_deref().filter(|text| !text.is_empty())
}

fn project_number(recipient: &Recipient) -> String {
    recipient.registration.project.to_string()
}

#[cfg(test)]
mod samples {
    use cresset_message::{
        DeviceId, FcmOptions, Layout, Message, Platform, ProjectNumber, Recipient, RegistrationId, Target,
    };

    pub(super) fn message() -> Message {
        Message {
            target: Target::Token("token".into()),
            data: Vec::new(),
            notification: None,
            android: None,
            webpush: None,
            apns: None,
            fcm_options: FcmOptions::default(),
            receipt_id: None,
        }
    }

    pub(super) fn recipient(layout: Layout) -> Recipient {
        Recipient {
            registration: RegistrationId { project: ProjectNumber(123_456_789_012), bucket: 0, slot: 7 },
            device: DeviceId::new(42).unwrap(),
            platform: Platform::Android,
            fid: None,
            app_id: None,
            category: "com.example.app".into(),
            layout,
            successor: None,
        }
    }
}

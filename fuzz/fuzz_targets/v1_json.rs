//! Any body of `messages:send` is read, checked and answered without panic, and what passes every rule
//! has a form for each platform.
#![no_main]

use cresset_message::{
    DeviceId, Layout, MessageId, Platform, Priority, ProjectNumber, Recipient, RegistrationId, Timestamp,
    limits,
};
use cresset_wire::payload::{android, apns, web_app};
use cresset_wire::v1::{parse_send_request, render};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| match parse_send_request(body) {
    Ok(request) => {
        let message = &request.message;
        if limits::check(message).and_then(|()| apns::check(message)).is_ok() {
            let id = MessageId { micros: 1, unique: 2 };
            let recipient = recipient();
            drop(android(message, &recipient));
            drop(web_app(message, &recipient, id, Priority::High));
            drop(apns::request(message, &recipient, id, "", Timestamp::from_secs(1)));
        }
    }
    Err(rejection) => assert_eq!(render(&rejection).status, 400),
});

fn recipient() -> Recipient {
    Recipient {
        registration: RegistrationId { project: ProjectNumber(1), bucket: 0, slot: 0 },
        device: DeviceId::new(1).unwrap(),
        platform: Platform::Android,
        fid: None,
        app_id: None,
        category: "com.example.app".into(),
        layout: Layout::Raw { sender: "1".into() },
    }
}

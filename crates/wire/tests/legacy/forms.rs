//! §5: a message as a form.

use std::time::Duration;

use cresset_message::{Priority, Target};
use cresset_wire::legacy::{Downstream, LegacyError, Refused, Targets, read_form};

use crate::payload::render::NOW;

fn form(fields: &[(&str, &str)]) -> Result<Downstream, Refused> {
    let fields: Vec<_> = fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    read_form(&fields, NOW)
}

#[test]
fn every_field_of_a_form_is_read() {
    let read = form(&[
        ("registration_id", "tok-1"),
        ("collapse_key", "sync"),
        ("data.room", "7"),
        ("data.", "empty key"),
        ("time_to_live", "60"),
        ("delay_while_idle", "1"),
        ("restricted_package_name", "com.example.app"),
        ("priority", "high"),
        ("dry_run", "true"),
        ("unknown", "x"),
    ])
    .unwrap();
    assert_eq!(read.targets, Targets::To("tok-1".into()));
    assert_eq!(read.message.target, Target::Token("tok-1".into()));
    assert_eq!(read.message.data, [("room".into(), "7".into()), (String::new(), "empty key".into())]);
    assert!(read.dry_run && read.message.notification.is_none());
    let android = read.message.android.unwrap();
    assert_eq!(android.collapse_key.as_deref(), Some("sync"));
    assert_eq!(android.ttl, Some(Duration::from_secs(60)));
    assert_eq!(android.restricted_package_name.as_deref(), Some("com.example.app"));
    assert_eq!(android.priority, Some(Priority::High));
    // `to` may name the recipient too, a topic among them.
    assert_eq!(form(&[("to", "/topics/a")]).unwrap().targets, Targets::Topic("a".into()));
    assert!(!form(&[("to", "t"), ("dry_run", "yes")]).unwrap().dry_run);
}

#[test]
fn what_is_wrong_with_a_form_is_a_word() {
    let token = ("registration_id", "t");
    let rows: [(&[(&str, &str)], &str); 8] = [
        (&[], "MissingRegistration"),
        (&[("registration_id", "")], "MissingRegistration"),
        // A JSON body under another type (§3).
        (&[("{\"to\":\"t\"}", "")], "MissingRegistration"),
        (&[token, ("time_to_live", "soon")], "InvalidTtl"),
        (&[token, ("time_to_live", "2419201")], "InvalidTtl"),
        (&[token, ("time_to_live", "+1")], "InvalidTtl"),
        (&[token, ("data.from", "x")], "InvalidDataKey"),
        (&[token, ("data.google.x", "x")], "InvalidDataKey"),
    ];
    for (fields, word) in rows {
        assert_eq!(form(fields).unwrap_err().error.word(), word, "{fields:?}");
    }
    let refused = form(&[token, ("priority", "urgent")]).unwrap_err();
    assert_eq!(refused.error, LegacyError::Priority("urgent".into()));
}

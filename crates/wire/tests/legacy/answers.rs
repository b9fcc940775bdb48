//! §5, §6: answers, to the byte.

use cresset_wire::legacy::LegacyError;
use cresset_wire::legacy::answer::{TokenResult, group, plain, set, set_failed, tokens};

fn sent(message_id: &str, canonical: Option<&str>) -> TokenResult {
    TokenResult::Sent { message_id: message_id.into(), canonical: canonical.map(Into::into) }
}

#[test]
fn tokens_are_answered_one_by_one() {
    let results = [
        sent("0:1%a", None),
        TokenResult::Failed(LegacyError::NotRegistered),
        sent("0:2%a", Some("new-token")),
    ];
    assert_eq!(
        tokens(i64::MAX, &results),
        r#"{"multicast_id":9223372036854775807,"success":2,"failure":1,"canonical_ids":1,"results":[{"message_id":"0:1%a"},{"error":"NotRegistered"},{"message_id":"0:2%a","registration_id":"new-token"}]}"#
    );
}

#[test]
fn sets_and_groups_have_shapes_of_their_own() {
    assert_eq!(set(6_177_433_633_397_011), r#"{"message_id":6177433633397011}"#);
    assert_eq!(
        set_failed(&LegacyError::TopicsMessageRateExceeded),
        r#"{"error":"TopicsMessageRateExceeded"}"#
    );
    assert_eq!(
        set_failed(&LegacyError::BadTopic),
        r#"{"error":"InvalidParameters: Bad topic or filter provided"}"#
    );
    assert_eq!(group(2, &[]), r#"{"success":2,"failure":0}"#);
    assert_eq!(
        group(1, &["a".into(), "b".into()]),
        r#"{"success":1,"failure":2,"failed_registration_ids":["a","b"]}"#
    );
}

#[test]
fn forms_are_answered_in_lines() {
    assert_eq!(plain(&sent("0:1%a", None)), "id=0:1%a");
    assert_eq!(plain(&sent("0:1%a", Some("new"))), "id=0:1%a\nregistration_id=new");
    assert_eq!(plain(&TokenResult::Failed(LegacyError::NotRegistered)), "Error=NotRegistered");
}

//! Answers of push services. The first two bytes are the status, a line is `Retry-After`, the rest is the body.

use cresset_message::Timestamp;
use cresset_outbound::{Blame, Outcome, Told, apns, webpush};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

/// Any answer means something. Only the statuses that say so end a registration, and nothing that is told
/// is longer than its bound or holds a line's end.
pub(crate) fn push_answer(input: &[u8]) {
    let Some((status, rest)) = input.split_first_chunk::<2>() else { return };
    let status = u16::from_be_bytes(*status) % 1_000;
    let (retry_after, body) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&rest[..end], &rest[end + 1..]),
        None => (&[][..], rest),
    };
    let retry_after = String::from_utf8_lossy(retry_after);
    for outcome in [webpush::judge(status, Some(&retry_after), body, NOW), apns::judge(status, body)] {
        match &outcome {
            Outcome::Accepted { .. } => assert!((200..300).contains(&status)),
            Outcome::Gone { told, .. } => {
                assert!(matches!(status, 404 | 410));
                bounded(told);
            }
            Outcome::Rejected { blame, told } => {
                assert!(*blame != Blame::Token || (400..=403).contains(&status));
                bounded(told);
            }
            Outcome::Later { after, told, .. } => {
                assert!(after.as_secs() <= 3_600);
                bounded(told);
            }
        }
    }
}

fn bounded(told: &Told) {
    assert!(told.reason.len() <= Told::MAX_REASON);
    assert!(!told.reason.chars().any(char::is_control));
}

//! What senders put where a token belongs.

use cresset_wire::token::{Presented, TokenKey, group_key, open_group_key, present, registration_token};

/// Any text is told apart without panic. Nothing passes for ours but what was sealed here; the text of
/// a token says all of it, so that what passes is written the same again.
pub(crate) fn token(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    let (ours, other) = (TokenKey::new(&[7; 32]), TokenKey::new(&[8; 32]));
    match present(&ours, text) {
        Presented::Registration(id) => {
            let (prefix, _) = text.split_once(':').expect("a token has a colon");
            assert_eq!(registration_token(&ours, prefix, id), text);
            assert_eq!(present(&other, text), Presented::Foreign);
        }
        Presented::Group(group) => {
            assert_eq!(group_key(&ours, group), text);
            assert_eq!(open_group_key(&other, text), None);
        }
        Presented::Fid(fid) => assert_eq!(fid.as_str(), text),
        Presented::Foreign | Presented::Malformed => {}
    }
    drop(ours.open("any", text));
}

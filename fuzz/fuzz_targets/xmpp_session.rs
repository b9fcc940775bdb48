//! The body, and what must hold, is `bodies/xmpp_session.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/xmpp_session.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::xmpp_session(input));

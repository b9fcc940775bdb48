//! The body, and what must hold, is `bodies/xmpp.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/xmpp.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::xmpp(input));

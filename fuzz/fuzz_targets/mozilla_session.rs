//! The body, and what must hold, is `bodies/mozilla_session.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/mozilla_session.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::mozilla_session(input));

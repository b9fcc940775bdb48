//! The body, and what must hold, is `bodies/mcs_session.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/mcs_session.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::mcs_session(input));

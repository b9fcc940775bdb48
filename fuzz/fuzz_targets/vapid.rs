//! The body, and what must hold, is `bodies/vapid.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/vapid.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::vapid(input));

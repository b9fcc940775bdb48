//! The body, and what must hold, is `bodies/webpush.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/webpush.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::webpush(input));

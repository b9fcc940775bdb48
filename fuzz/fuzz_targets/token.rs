//! The body, and what must hold, is `bodies/token.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/token.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::token(input));

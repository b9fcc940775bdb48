//! The body, and what must hold, is in `bodies/legacy.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/legacy.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::legacy(input));

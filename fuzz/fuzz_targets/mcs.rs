//! The body, and what must hold, is `bodies/mcs.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/mcs.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::mcs(input));

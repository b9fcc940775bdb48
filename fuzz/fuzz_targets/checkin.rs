//! The body, and what must hold, is `bodies/checkin.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/checkin.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::checkin(input));

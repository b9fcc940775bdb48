//! The body, and what must hold, is `bodies/endpoint.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/endpoint.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::endpoint(input));

//! The body, and what must hold, is `bodies/push_answer.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/push_answer.rs"]
mod body;

fuzz_target!(|input: &[u8]| body::push_answer(input));

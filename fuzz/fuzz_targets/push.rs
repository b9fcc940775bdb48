//! The body, and what must hold, is in `bodies/http.rs`.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../bodies/stage.rs"]
mod stage;

use stage::{engine, world};

fuzz_target!(|input: &[u8]| stage::run("push", input));

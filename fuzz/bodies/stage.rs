//! The stage of `http.rs` for a fuzz target: another one from time to time, as inputs leave rows behind.

use std::cell::RefCell;

// Only some of what tests use is used here.
#[path = "http.rs"]
pub mod bodies;
#[allow(dead_code)]
#[path = "../../crates/api/tests/http/engine.rs"]
pub mod engine;
#[allow(dead_code)]
#[path = "../../crates/api/tests/http/world.rs"]
pub mod world;

/// Inputs that one stage takes.
const INPUTS: u32 = 10_000;

thread_local! {
    static STAGE: RefCell<(u32, bodies::Stage)> = RefCell::new((0, bodies::Stage::new()));
}

pub fn run(target: &str, input: &[u8]) {
    let (_, body) = bodies::TARGETS.iter().find(|(name, _)| *name == target).expect("a target of http.rs");
    STAGE.with_borrow_mut(|(inputs, stage)| {
        *inputs += 1;
        if *inputs > INPUTS {
            (*inputs, *stage) = (0, bodies::Stage::new());
        }
        body(stage, input);
    });
}

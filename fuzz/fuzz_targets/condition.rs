//! Any text is read as a condition or refused, and what is read can be evaluated.
#![no_main]

use cresset_message::Condition;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(condition) = text.parse::<Condition>() {
        let nobody = condition.holds(&|_| false);
        assert_eq!(Condition::Not(Box::new(condition)).holds(&|_| false), !nobody);
    }
});

//! The bodies of the fuzz targets of sessions (fuzz/README.md), on their seeds, on damaged ones and on
//! anything.

use std::path::Path;

use proptest::prelude::*;

use mcs::mcs_session;
use mozilla::mozilla_session;

#[path = "../../../../fuzz/bodies/mcs_session.rs"]
mod mcs;
#[path = "../../../../fuzz/bodies/mozilla_session.rs"]
mod mozilla;

const TARGETS: [(&str, fn(&[u8])); 2] = [("mcs_session", mcs_session), ("mozilla_session", mozilla_session)];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn every_seed_holds() {
    for (target, body) in TARGETS {
        assert!(!seeds(target).is_empty());
        seeds(target).iter().for_each(|seed| body(seed));
    }
}

proptest! {
    #[test]
    fn damaged_seeds_hold(
        which: prop::sample::Index,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        after in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        for (target, body) in TARGETS {
            let mut script = which.get(&seeds(target)).clone();
            for (at, byte) in &damage {
                let at = at.index(script.len());
                script[at] = *byte;
            }
            script.extend(&after);
            body(&script);
        }
    }

    #[test]
    fn anything_holds(script in proptest::collection::vec(any::<u8>(), 0..300)) {
        TARGETS.iter().for_each(|(_, body)| body(&script));
    }

    #[test]
    fn pushes_and_acknowledgements_in_any_order_hold(steps in "[dnapTw-]{0,400}") {
        mozilla_session(format!("t{{\"messageType\":\"hello\"}}\n{steps}").as_bytes());
    }
}

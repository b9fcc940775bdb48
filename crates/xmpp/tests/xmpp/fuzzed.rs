//! The body of the fuzz target `xmpp_session` (fuzz/README.md), on its seeds, on damaged ones and on
//! anything.

use std::path::Path;

use proptest::prelude::*;

use body::xmpp_session;

#[path = "../../../../fuzz/bodies/xmpp_session.rs"]
mod body;

fn seeds() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/xmpp_session");
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect()
}

#[test]
fn every_seed_holds() {
    assert!(!seeds().is_empty());
    seeds().iter().for_each(|seed| xmpp_session(seed));
}

proptest! {
    #[test]
    fn damaged_seeds_hold(
        which: prop::sample::Index,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        after in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut script = which.get(&seeds()).clone();
        for (at, byte) in damage {
            let at = at.index(script.len());
            script[at] = byte;
        }
        script.extend(after);
        xmpp_session(&script);
    }

    #[test]
    fn anything_holds(script in proptest::collection::vec(any::<u8>(), 0..300)) {
        xmpp_session(&script);
    }
}

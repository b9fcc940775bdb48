//! The bodies of the fuzz targets (fuzz/README.md), on their seeds, on damaged ones and on anything.

use std::path::Path;

use proptest::prelude::*;

#[path = "../../../../fuzz/bodies/endpoint.rs"]
mod endpoint;
#[path = "../../../../fuzz/bodies/push_answer.rs"]
mod push_answer;

type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 2] =
    [("endpoint", endpoint::endpoint), ("push_answer", push_answer::push_answer)];

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let seeds: Vec<_> = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(!seeds.is_empty(), "{target}");
    seeds
}

#[test]
fn every_seed_holds() {
    for (target, body) in TARGETS {
        seeds(target).iter().for_each(|seed| body(seed));
    }
}

proptest! {
    #[test]
    fn damaged_seeds_hold(which: prop::sample::Index, at: prop::sample::Index, byte: u8) {
        for (target, body) in TARGETS {
            let mut seed = which.get(&seeds(target)).clone();
            let at = at.index(seed.len());
            seed[at] = byte;
            body(&seed);
            body(&seed[..at]);
        }
    }

    #[test]
    fn anything_holds(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        TARGETS.iter().for_each(|(_, body)| body(&input));
    }
}

//! The bodies of the fuzz targets (fuzz/README.md), on their seeds, on damaged ones and on anything.

use std::path::Path;

use proptest::prelude::*;

use bodies::{Stage, TARGETS};

#[path = "../../../../fuzz/bodies/http.rs"]
mod bodies;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let seeds: Vec<_> = entries.map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(!seeds.is_empty(), "{target}");
    seeds
}

thread_local! {
    static STAGE: Stage = Stage::new();
}

#[test]
fn every_seed_holds() {
    for (target, body) in TARGETS {
        STAGE.with(|stage| seeds(target).iter().for_each(|seed| body(stage, seed)));
    }
}

proptest! {
    #[test]
    fn damaged_seeds_hold(which: prop::sample::Index, at: prop::sample::Index, byte: u8) {
        for (target, body) in TARGETS {
            let mut seed = which.get(&seeds(target)).clone();
            let at = at.index(seed.len());
            seed[at] = byte;
            STAGE.with(|stage| {
                body(stage, &seed);
                body(stage, &seed[..at]);
            });
        }
    }

    #[test]
    fn anything_holds(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        STAGE.with(|stage| TARGETS.iter().for_each(|(_, body)| body(stage, &input)));
    }

    #[test]
    fn nearly_json_holds(
        input in "[01]?(\\{|\\}|\\[|\\]|:|,|\"(to|operation|create|add|registration_tokens|registration_ids|web|endpoint|auth|fid|appId|\\$TOKEN|\\$KEY|\\$FID|\\$APP|/topics/a)\"|null|1|[a-z=&%$]){0,40}",
    ) {
        STAGE.with(|stage| TARGETS.iter().for_each(|(_, body)| body(stage, input.as_bytes())));
    }
}

//! The bodies of the fuzz targets (fuzz/README.md), on their seeds, on damaged ones and on anything.

use std::path::Path;

use proptest::prelude::*;

#[path = "../../../../fuzz/bodies/checkin.rs"]
mod checkin;
#[path = "../../../../fuzz/bodies/legacy.rs"]
mod legacy;
#[path = "../../../../fuzz/bodies/mcs.rs"]
mod mcs;
#[path = "../../../../fuzz/bodies/token.rs"]
mod token;
#[path = "../../../../fuzz/bodies/vapid.rs"]
mod vapid;
#[path = "../../../../fuzz/bodies/webpush.rs"]
mod webpush;
#[path = "../../../../fuzz/bodies/xmpp.rs"]
mod xmpp;

type Body = fn(&[u8]);

const TARGETS: [(&str, Body); 7] = [
    ("legacy", legacy::legacy),
    ("mcs", mcs::mcs),
    ("checkin", checkin::checkin),
    ("token", token::token),
    ("webpush", webpush::webpush),
    ("vapid", vapid::vapid),
    ("xmpp", xmpp::xmpp),
];

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

/// What the other seeds of a target are made from.
fn damaged(seed: &[u8], at: prop::sample::Index, byte: u8) -> Vec<u8> {
    let mut damaged = seed.to_vec();
    if !damaged.is_empty() {
        let at = at.index(damaged.len());
        damaged[at] = byte;
    }
    damaged
}

proptest! {
    #[test]
    fn damaged_seeds_hold(which: prop::sample::Index, at: prop::sample::Index, byte: u8) {
        for (target, body) in TARGETS {
            let seeds = seeds(target);
            let seed = which.get(&seeds);
            let damaged = damaged(seed, at, byte);
            body(&damaged);
            body(&damaged[..at.index(damaged.len().max(1)).min(damaged.len())]);
        }
    }

    #[test]
    fn anything_holds(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (_, body) in TARGETS {
            body(&input);
        }
    }
}

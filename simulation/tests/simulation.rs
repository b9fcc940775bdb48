//! Seeds that must hold, seeds that must repeat, and faults that must be found.

#![allow(clippy::disallowed_methods, reason = "a test may draw a new seed from the clock")]

use std::time::{SystemTime, UNIX_EPOCH};

use cresset_simulation::{Broken, Options, Sabotage, run};

fn holds(seeds: impl Iterator<Item = u64>) {
    holds_with(seeds, &Options::default());
}

fn holds_with(seeds: impl Iterator<Item = u64>, options: &Options) {
    for seed in seeds {
        let outcome = run(seed, options);
        if let Some(story) = outcome.story {
            let outside = if options.outside { " --outside" } else { "" };
            let torn = if options.torn { " --torn" } else { "" };
            panic!("cresset-simulate --seed {seed} --log{outside}{torn}\n{story}");
        }
    }
}

const TORN: Options = Options { log: false, torn: true, outside: false, sabotage: None };

const OUTSIDE: Options = Options { log: false, torn: false, outside: true, sabotage: None };

#[test]
fn the_first_seeds_hold() {
    holds(0..150);
}

#[test]
fn the_first_seeds_hold_with_push_services() {
    holds_with(0..75, &OUTSIDE);
}

/// Each of them once found what is mended since.
#[test]
fn seeds_that_once_failed_hold() {
    holds(
        [
            105, 124, 147, 150, 171, 191, 228, 271, 279, 290, 306, 361, 372, 397, 429, 465, 1_011_615,
            2_427_341, 3_082_929, 3_137_164, 3_225_645, 6_077_306, 6_077_387, 6_179_254, 6_291_560,
            6_307_424, 6_332_092, 8_958_273, 8_967_082,
        ]
        .into_iter(),
    );
}

/// The same, of stores whose batches may come apart.
#[test]
fn torn_seeds_that_once_failed_hold() {
    holds_with([9_016_686, 9_094_864].into_iter(), &TORN);
}

#[test]
fn new_seeds_hold() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    let base = now.as_millis() as u64;
    println!("seeds from {base}");
    holds(base..base + 10);
    holds_with(base..base + 5, &OUTSIDE);
}

#[test]
fn a_seed_repeats() {
    let mut said = 0;
    for seed in 0..50 {
        // Every other with push services.
        let options = Options { log: true, outside: seed % 2 == 1, ..Options::default() };
        let (one, other) = (run(seed / 2, &options), run(seed / 2, &options));
        said += one.log.len();
        assert_eq!(one.log, other.log, "seed {seed}");
        assert_eq!(one.figures, other.figures, "seed {seed}");
    }
    assert!(said > 50 * 100, "{said} lines are little");
}

/// What a fault must be found as, within so few seeds.
#[test]
fn what_is_done_wrong_is_found() {
    for kind in Sabotage::ALL {
        let expected: &[Broken] = match kind {
            Sabotage::DropRow | Sabotage::DropSet => &[Broken::Lost],
            Sabotage::AckFirst | Sabotage::ForgetCall => &[Broken::Lost],
            Sabotage::PassBy => &[Broken::OutOfOrder],
            Sabotage::NotGone => &[Broken::Disturbed],
            Sabotage::KeepRow => &[Broken::Again],
            Sabotage::Swap => &[Broken::OutOfOrder],
            Sabotage::ChangeId => &[Broken::OtherId],
            Sabotage::Late => &[Broken::Late],
            Sabotage::Twice => &[Broken::Doubled],
            Sabotage::Astray => &[Broken::Astray],
            Sabotage::KeepFleeting => &[Broken::Kept],
        };
        let options = Options { sabotage: Some(kind), outside: kind.is_outside(), ..Options::default() };
        let found = (0..100).any(|seed| {
            run(seed, &options).violations.iter().any(|violation| expected.contains(&violation.broken))
        });
        assert!(found, "{kind} is not found");
    }
}

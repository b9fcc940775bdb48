//! The clients against push services that check everything, and do everything wrong that they are told to.

/// As the tests of the whole server use it; included, so that this crate needs no server to be tested.
#[allow(dead_code, unreachable_pub, unused_imports)]
#[path = "../../../../e2e/src/fakes/mod.rs"]
mod fakes;
mod world;

mod apns_answers;
mod apns_connections;
mod flapping;
mod fuzzed;

mod proxy;
mod webpush_answers;
mod webpush_connections;

//! Sessions as plain values, and every stanza of FCM's own guides.

mod fuzzed;
mod seeds;
mod session;

//! One binary for all tests of `wire` that go through its front door.

mod batch;
mod fuzzed;
mod http2;
mod legacy;
mod payload;
mod v1;
mod xmpp;

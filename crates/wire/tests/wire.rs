//! One binary for all tests of `wire` that go through its front door.

mod v1;

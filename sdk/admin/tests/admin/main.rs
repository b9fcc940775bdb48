//! The SDK against a server that answers as the tests say. No test waits: time is an argument.

mod batch;
mod errors;
mod fake;
mod messages;
mod retries;
mod tokens;
mod topics;
mod wire;

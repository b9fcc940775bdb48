//! The APIs through their router, on the memory engine, with a clock that tests move.

mod batch;
mod discovery;
mod engine;
mod fuzzed;
mod groups;
mod legacy;
mod membership;
mod oauth;
mod outside;
mod push;
mod registration;
mod seeds;
mod send;
mod together;
mod topics;
mod world;

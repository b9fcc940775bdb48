//! The journey of a message over the memory engine: who is meant, what waits for a device, and in
//! which order.

mod arrival;
mod fanout;
mod found;
mod groups;
mod inbox;
mod many;
mod merge;
mod outside;
mod push;
mod quotas;
mod sending;
mod stored;
mod topics;
mod torn;
mod trace;
mod turns;
mod upstream;
mod world;

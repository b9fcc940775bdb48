//! The journey of a message over the memory engine: what waits for a device, and in which order.

mod inbox;
mod quotas;
mod sending;
mod stored;
mod world;

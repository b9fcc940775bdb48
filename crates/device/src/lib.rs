//! The TLS listener that devices stay connected to.

pub mod session;

//! Web Push out (RFC 8030): one message for one subscription, to whichever service keeps it.

mod answer;
mod client;
mod endpoint;
mod origins;
mod request;
mod tokens;

pub use answer::{ROWS, Row, Service, Verdict, judge};
pub use client::{Client, Config};
pub use endpoint::{Endpoint, EndpointError};
pub use request::{Headers, MAX_TTL, Push, Urgency};

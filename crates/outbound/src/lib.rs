//! Deliveries over the push services of others: Web Push, APNs.
//!
//! One call is one attempt: a delivery that is ready goes to its service, and what became of it is told
//! exactly. Trying again over time, the order of a registration's messages and what is durable are the
//! caller's.

pub mod apns;
pub mod webpush;

mod courier;
mod outcome;
pub use courier::{Clock, Courier, Limits, Parts, Snapshot, TOLD};
pub use outcome::{Blame, Outcome, Scope, Told};

// From the request down to the socket.
mod dial;
mod exchange;
mod http1;
mod http2;
mod lanes;
mod pool;
mod resolve;
pub mod tls;

pub use dial::Proxy;
pub use resolve::{HostPattern, Resolve, SystemResolver, is_public};

/// Where salts, key pairs and jitter come from.
pub type Randomness = std::sync::Arc<dyn aws_lc_rs::rand::SecureRandom + Send + Sync>;

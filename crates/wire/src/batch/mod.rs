//! `POST /batch`: many requests in one, as multipart/mixed (`protocol/topics-and-batch.md` §1).
//!
//! [`request`] reads what any of the SDKs writes, [`response`] writes what all of them read.

mod request;
mod response;

pub use request::{BatchError, Boundary, Part, is_multipart, read};
pub use response::{Answer, Response, write};

/// Requests in one batch: FCM's own limit (§1.2).
pub const MAX_PARTS: usize = 500;

//! The formats others fixed. Pure: bytes in, values out, and back; no I/O, no async, no clock.

pub mod batch;
pub mod checkin;
pub mod es256;
pub mod http2;
pub mod legacy;
pub mod mcs;
pub mod mozilla;
pub mod payload;
pub mod token;
pub mod v1;
pub mod webpush;
pub mod xmpp;

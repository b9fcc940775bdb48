//! The clock and the dice: the only place where the server reads them. Everything else is given them.

use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use cresset_message::Timestamp;

#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}

pub(crate) fn clock() -> Arc<dyn Fn() -> Timestamp + Send + Sync> {
    Arc::new(now)
}

pub(crate) fn random() -> Arc<dyn Fn(&mut [u8]) + Send + Sync> {
    let source = SystemRandom::new();
    Arc::new(move |bytes| source.fill(bytes).expect("the system's random generator works"))
}

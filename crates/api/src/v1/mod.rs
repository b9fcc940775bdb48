//! HTTP v1.

pub(crate) mod discovery;
pub(crate) mod send;
pub(crate) mod subscriptions;

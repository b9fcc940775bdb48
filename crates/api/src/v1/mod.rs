//! HTTP v1.

pub(crate) mod send;

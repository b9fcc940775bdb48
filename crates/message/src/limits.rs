//! The rules a message must keep after its shape is right. Each names its source.

use std::time::Duration;

/// Longest life of a stored message, and the default: four weeks (`protocol/http-v1.md` §6).
pub const MAX_TTL: Duration = Duration::from_secs(2_419_200);

/// Stored non-collapsible messages per app instance; one more drops them all (`protocol/http-v1.md` §6).
pub const MAX_STORED: usize = 100;

/// Distinct collapse keys stored per app instance (`protocol/http-v1.md` §6).
pub const MAX_COLLAPSE_KEYS: usize = 4;

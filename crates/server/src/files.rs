//! Open files: every connection is one, and the usual soft limit of 1,024 is for programs that call
//! `select`, which this one does not.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// What the store, the log and the listeners need besides connections.
const OWN: u64 = 512;

/// With so many an operator is told nothing: the default of `limits.device_connections` is for the
/// largest.
const MANY: u64 = 1 << 16;

/// Raises the soft limit to the hard one; gives what it is then.
pub(crate) fn allow_many() -> Option<u64> {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => Some(hard),
            Err(e) => {
                tracing::warn!("the limit of open files stays at {soft}: {e}");
                Some(soft)
            }
        },
        Ok((_, hard)) => Some(hard),
        Err(e) => {
            tracing::warn!("the limit of open files cannot be read: {e}");
            None
        }
    }
}

/// The same, and says where it is less than the configuration promises.
pub(crate) fn allow_as_configured(config: &Config) {
    let Some(limit) = allow_many() else { return };
    let promised = (config.limits.http_connections + config.limits.device_connections) as u64 + OWN;
    if limit < promised.min(MANY) {
        tracing::info!(
            limit,
            promised,
            "fewer files may be open than the connections of limits.* need; raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
}

//! Open files: every connection is one, and the usual soft limit of 1,024 is for programs that call
//! `select`, which this one does not.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::Config;

/// What the store, the log and the listeners need besides connections.
const OWN: u64 = 512;

/// With so many nobody is told anything: the default of `limits.device_connections` is for the largest.
const MANY: u64 = 1 << 16;

/// Raises the soft limit to the hard one, and says where that is less than the configuration promises.
pub(crate) fn allow_many(config: &Config) {
    let hard = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if soft < hard => match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
            Ok(()) => hard,
            Err(e) => return tracing::warn!("the limit of open files stays at {soft}: {e}"),
        },
        Ok((_, hard)) => hard,
        Err(e) => return tracing::warn!("the limit of open files cannot be read: {e}"),
    };
    let promised = (config.limits.http_connections + config.limits.device_connections) as u64 + OWN;
    if hard < promised.min(MANY) {
        tracing::info!(
            limit = hard,
            promised,
            "fewer files may be open than the connections of limits.* need; raise the hard limit (ulimit -Hn, LimitNOFILE=)"
        );
    }
}

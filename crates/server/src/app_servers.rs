//! Joins the XMPP listener, by which app servers of old send, and get what devices have to say.

use std::sync::Arc;
use std::time::Duration;

use cresset_delivery::Dispatcher;
use cresset_xmpp::{Limits, Listener, Parts};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::failure::Failure;
use crate::server::{Core, stopped};
use crate::{clock, pki};

/// Of the time that a shutdown may take, what is left for the last words to app servers and the store.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Serves nobody where there are no sockets.
pub(crate) fn spawn(
    listeners: &mut JoinSet<()>,
    config: &Config,
    certificate: &pki::Identity,
    core: &Core,
    dispatcher: &Arc<Dispatcher>,
    sockets: Vec<TcpListener>,
    mut stop: watch::Receiver<bool>,
) -> Result<Listener, Failure> {
    let listener = Listener::new(Parts {
        tls: pki::xmpp_config(certificate)?,
        identity: core.identity.clone(),
        dispatcher: dispatcher.clone(),
        clock: clock::clock(),
        randomness: Arc::new(aws_lc_rs::rand::SystemRandom::new()),
        limits: limits(config),
    });
    let serving = listener.clone();
    listeners.spawn(async move { serving.serve(sockets, stopped(&mut stop)).await });
    Ok(listener)
}

fn limits(config: &Config) -> Limits {
    Limits {
        connections: config.limits.xmpp_connections,
        per_sender: config.limits.xmpp_connections_per_sender,
        per_address: config.limits.connections_per_address,
        logins_per_address: config.limits.logins_per_address,
        loopback: config.limits.count_loopback,
        drain: Duration::from_secs(config.shutdown.drain_seconds).saturating_sub(LAST_WORDS),
        ..Limits::default()
    }
}

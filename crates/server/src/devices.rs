//! Joins the listeners that devices and browsers stay connected to: they ask `delivery` and `identity` what
//! waits and who comes.

use std::sync::Arc;

use cresset_api::PushService;
use cresset_delivery::Dispatcher;
use cresset_device::mozilla::{self, Browsers};
use cresset_device::{Limits, Listener, Parts};
use rustls::crypto::aws_lc_rs::Ticketer;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::failure::Failure;
use crate::server::{Core, stopped};
use crate::{clock, pki};

pub(crate) fn spawn(
    listeners: &mut JoinSet<()>,
    config: &Config,
    certificate: &pki::Identity,
    core: &Core,
    dispatcher: &Arc<Dispatcher>,
    sockets: Vec<TcpListener>,
    mut stop: watch::Receiver<bool>,
) -> Result<Listener, Failure> {
    let tickets = Ticketer::new()
        .map_err(|e| Failure::new(format!("keys for the sessions of devices cannot be made: {e}")))?;
    let tls = cresset_device::server_config(pki::resolver(certificate)?, Some(tickets))
        .map_err(|e| Failure::new(format!("the certificate and its key do not serve devices: {e}")))?;
    let listener = Listener::new(Parts {
        tls,
        logins: core.identity.clone(),
        inbox: dispatcher.clone(),
        clock: clock::clock(),
        randomness: Arc::new(aws_lc_rs::rand::SystemRandom::new()),
        limits: limits(config),
    });
    let serving = listener.clone();
    listeners.spawn(async move { serving.serve(sockets, stopped(&mut stop)).await });
    Ok(listener)
}

/// Browsers that speak Mozilla's protocol, at `/` of the HTTP listeners.
pub(crate) fn browsers(
    config: &Config,
    core: &Core,
    dispatcher: &Arc<Dispatcher>,
    push: Arc<PushService>,
) -> Browsers {
    Browsers::new(mozilla::Parts {
        channels: core.identity.clone(),
        inbox: dispatcher.clone(),
        origin: Arc::new(move |host, secure| push.origins.for_host(host, secure).to_owned()),
        clock: clock::clock(),
        randomness: Arc::new(aws_lc_rs::rand::SystemRandom::new()),
        limits: mozilla::Limits {
            connections: config.limits.device_connections,
            per_address: config.limits.connections_per_address,
            hellos_per_address: config.limits.logins_per_address,
            loopback: config.limits.count_loopback,
        },
    })
}

/// Sends browsers away when the server ends.
pub(crate) fn send_away(listeners: &mut JoinSet<()>, browsers: &Browsers, mut stop: watch::Receiver<bool>) {
    let serving = browsers.clone();
    listeners.spawn(async move { serving.serve(stopped(&mut stop)).await });
}

fn limits(config: &Config) -> Limits {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Limits {
        connections: config.limits.device_connections,
        per_address: config.limits.connections_per_address,
        logins_per_address: config.limits.logins_per_address,
        loopback: config.limits.count_loopback,
        // While one waits for the store, another has the processor.
        handshakes: 2 * processors,
        ..Limits::default()
    }
}

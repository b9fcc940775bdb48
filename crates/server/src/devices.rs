//! Joins the device listener: it is a carrier for `delivery`, and asks it and `identity` what waits
//! and who comes.

use std::sync::Arc;

use cresset_delivery::Dispatcher;
use cresset_device::{Limits, Listener, Parts};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::failure::Failure;
use crate::server::Core;
use crate::{clock, pki};

pub(crate) fn spawn(
    listeners: &mut JoinSet<()>,
    config: &Config,
    certificate: &pki::Identity,
    core: &Core,
    dispatcher: &Arc<Dispatcher>,
    sockets: Vec<TcpListener>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let tls = cresset_device::server_config(pki::resolver(certificate)?)
        .map_err(|e| Failure::new(format!("the certificate and its key do not serve devices: {e}")))?;
    let listener = Listener::new(Parts {
        tls,
        logins: core.identity.clone(),
        inbox: dispatcher.clone(),
        clock: clock::clock(),
        randomness: Arc::new(aws_lc_rs::rand::SystemRandom::new()),
        limits: Limits { connections: config.limits.device_connections, ..Limits::default() },
    });
    dispatcher.set_carrier(Arc::new(listener.clone()));
    listeners.spawn(async move {
        let stopped = async move {
            let _ = stop.wait_for(|stop| *stop).await;
        };
        listener.serve(sockets, stopped).await;
    });
    Ok(())
}

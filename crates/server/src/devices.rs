//! Joins the device listener.

use std::sync::Arc;

use cresset_delivery::Dispatcher;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::failure::Failure;
use crate::pki;
use crate::server::Core;

pub(crate) fn spawn(
    _listeners: &mut JoinSet<()>,
    _config: &Config,
    _certificate: &pki::Identity,
    _core: &Core,
    _dispatcher: &Arc<Dispatcher>,
    _mcs: Vec<TcpListener>,
    _stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    Ok(())
}

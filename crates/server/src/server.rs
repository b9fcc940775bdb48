//! Builds the parts, joins them, and takes them down again in order.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use cresset_admin::{Admin, TopicsApi};
use cresset_api::{Api, PushService};
use cresset_delivery::Dispatcher;
use cresset_identity::Identity;
use cresset_store::Store;
use cresset_store::embedded::EmbeddedEngine;
use cresset_wire::token::TokenKey;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::config::Config;
use crate::data::{DataFolder, Running};
use crate::failure::Failure;
use crate::http::door::Door;
use crate::http::front::Front;
use crate::http::{self, Http};
use crate::metrics::{self, Sources};
use crate::{background, clock, health, pki, spans};

/// A server that serves.
pub struct Server {
    pub identity: Arc<Identity>,
    pub folder: DataFolder,
    pub running: Running,
    /// Open for as long as the server runs: by its lock the others know that it does.
    _said: File,
    pub admin_token: Arc<str>,
    store: Store,
    stop: watch::Sender<bool>,
    listeners: JoinSet<()>,
    dispatcher: Arc<Dispatcher>,
    background: JoinSet<()>,
    drain: Duration,
}

/// What stands behind the listeners, also for commands that look at a folder at rest.
pub struct Core {
    pub store: Store,
    /// The same, for what only this engine can tell.
    pub engine: Arc<EmbeddedEngine>,
    pub tokens: TokenKey,
    pub identity: Arc<Identity>,
}

/// Opens a data folder: fails in one line when another process has it, or a newer version made it.
pub async fn open_core(folder: &DataFolder, config: &Config) -> Result<Core, Failure> {
    let random = clock::random();
    let options = cresset_store::embedded::Options {
        cache_bytes: config.limits.store_cache_mb << 20,
        max_waiting: config.limits.waiting_writes,
        ..Default::default()
    };
    // Messages are nobody else's, though the data folder may have been made by others and be open.
    folder.make_private(&folder.store())?;
    let engine = EmbeddedEngine::open(&folder.store(), options).map_err(|e| Failure::new(e.to_string()))?;
    let engine = Arc::new(engine);
    let store: Store = engine.clone();
    let tokens = TokenKey::new(&folder.token_secret(&*random)?);
    let identity = Identity::open(store.clone(), tokens.clone(), random, clock::now()).await;
    let identity = identity.map_err(|e| Failure::new(format!("the store cannot be read: {e}")))?;
    let identity = identity.with_device_life(config.limits.device_life());
    Ok(Core { store, engine, tokens, identity: Arc::new(identity) })
}

impl Server {
    pub async fn start(config: &Config) -> Result<Self, Failure> {
        let folder = DataFolder::make(&config.data)?;
        let core = open_core(&folder, config).await?;
        let admin_token: Arc<str> = folder.admin_token(&*clock::random())?.into();
        let certificate = match (&config.tls.certificate, &config.tls.key) {
            (Some(certificate), Some(key)) => pki::read_own(certificate, key)?,
            _ => pki::private(folder.path(), &config.tls.names, clock::now())?,
        };
        let tls = TlsAcceptor::from(pki::https_config(&certificate)?);

        let https = http::bind(config.listen.https, "--https-port")?;
        let plain = http::bind(config.listen.http, "--http-port")?;
        let mcs = http::bind(config.listen.mcs, "--mcs-port")?;
        let xmpp_addresses = config.xmpp_addresses()?;
        let bind_xmpp = |address: &SocketAddr| http::bind(*address, "--xmpp-port");
        let mut xmpp_sockets = xmpp_addresses.iter().map(bind_xmpp).collect::<Result<Vec<_>, _>>()?;
        if !config.listen.http.ip().is_loopback() {
            tracing::warn!(
                "listen.http is not on loopback: what goes through it, keys too, is not encrypted"
            );
        }
        let (exec_listeners, exec_refused) =
            crate::exec::listen(config.exec_address()?, !xmpp_addresses.is_empty());

        let dispatcher =
            Dispatcher::open(core.store.clone(), core.tokens.clone(), clock::random(), clock::now()).await;
        let dispatcher = dispatcher.map_err(|e| Failure::new(format!("the store cannot be read: {e}")))?;
        let fan_outs = cresset_delivery::Limits {
            live_fanouts: config.limits.live_fanouts,
            live_bytes: config.limits.fanout_memory_mb << 20,
        };
        let dispatcher = dispatcher.with_quotas(config.quotas.quotas()).with_limits(fan_outs);
        let dispatcher = dispatcher.with_member_memory(config.limits.topic_memory_mb << 20);
        let dispatcher = dispatcher.with_trace(config.trace.keep());
        let dispatcher = Arc::new(dispatcher);
        core.identity.set_watch(Arc::new(background::Telling(dispatcher.clone())));
        let (stop, stopping) = watch::channel(false);
        let sends = Arc::<cresset_api::Sends>::default();
        let requests = Arc::<metrics::requests::Requests>::default();
        let origins =
            crate::push::origins(config, &certificate, local_address(&https)?, local_address(&plain)?);
        let push = PushService::new(origins);
        let api = Api {
            identity: core.identity.clone(),
            dispatcher: dispatcher.clone(),
            clock: clock::clock(),
            sends: sends.clone(),
            push: push.clone(),
        };
        let admin =
            Admin { identity: core.identity.clone(), clock: clock::clock(), token: admin_token.clone() };
        let topics = TopicsApi {
            identity: core.identity.clone(),
            dispatcher: dispatcher.clone(),
            clock: clock::clock(),
            operator: None,
        };
        let browsers = crate::devices::browsers(config, &core, &dispatcher, push.clone());
        let fcm = cresset_api::router(api.clone()).merge(browsers.router());
        let local = fcm.clone().layer(axum::Extension(cresset_api::Plain));
        let local = local.merge(cresset_admin::topics_router(TopicsApi {
            operator: Some(admin_token.clone()),
            ..topics.clone()
        }));
        let local = local.merge(cresset_admin::router(admin));
        let fcm = fcm.merge(cresset_admin::topics_router(topics));
        let door = Door::new(&config.limits);
        let mut listeners = JoinSet::new();
        let span_counters = Arc::<spans::Counters>::default();
        let traces = config.telemetry.endpoint().map_err(Failure::new)?.map(|endpoint| {
            let ratio = config.telemetry.sample_ratio;
            let (traces, telling) = spans::start(endpoint, ratio, span_counters.clone(), stopping.clone());
            listeners.spawn(telling);
            traces
        });
        let listener = |router: Router| {
            let router = router.layer(from_fn_with_state(requests.clone(), metrics::requests::count));
            let router = match &traces {
                Some(traces) => router.layer(from_fn_with_state(traces.clone(), spans::record)),
                None => router,
            };
            // A span of a send is its route's.
            let sends = traces.is_none().then(|| (api.clone(), requests.clone()));
            Http { front: Front::new(router, sends), door: door.clone(), stop: stopping.clone() }
        };

        let running = Running {
            pid: std::process::id(),
            https: local_address(&https)?,
            http: local_address(&plain)?,
            mcs: local_address(&mcs)?,
            xmpp: xmpp_sockets.first().map(local_address).transpose()?,
            exec: exec_listeners.as_ref().map(|listeners| listeners.address),
            exec_refused,
        };
        let mut mcs_listeners = vec![mcs];
        let mut http_listeners = vec![(listener(fcm.clone()), https, Some(tls.clone()))];
        if let Some(exec) = exec_listeners {
            http_listeners.push((listener(fcm), exec.https, Some(tls)));
            mcs_listeners.push(exec.mcs);
            xmpp_sockets.extend(exec.xmpp);
        }
        let devices = crate::devices::spawn(
            &mut listeners,
            config,
            &certificate,
            &core,
            &dispatcher,
            mcs_listeners,
            stopping.clone(),
        )?;
        crate::devices::send_away(&mut listeners, &browsers, stopping.clone());
        let courier = crate::outgoing::spawn(
            &mut listeners,
            &config.outgoing,
            &core,
            &dispatcher,
            push.clone(),
            stopping.clone(),
        )?;
        let app_servers = crate::app_servers::spawn(
            &mut listeners,
            config,
            &certificate,
            &core,
            &dispatcher,
            xmpp_sockets,
            stopping.clone(),
        )?;
        let sources = Sources {
            courier,
            engine: core.engine.clone(),
            dispatcher: dispatcher.clone(),
            devices,
            app_servers,
            browsers,
            door: door.clone(),
            sends,
            push,
            requests: requests.clone(),
            spans: span_counters,
            started_seconds: clock::now().as_micros() as f64 / 1e6,
        };
        let local = local.merge(health::router(stopping.clone(), core.engine.clone()));
        http_listeners.push((listener(local.merge(metrics::router(sources))), plain, None));
        for (http, socket, tls) in http_listeners {
            listeners.spawn(http.serve(socket, tls));
        }
        let said = folder.write_running(&running)?;
        let background = background::spawn(
            &core.store,
            &core.identity,
            &dispatcher,
            !config.limits.device_life().is_zero(),
        );
        let drain = Duration::from_secs(config.shutdown.drain_seconds);
        let store = core.store;
        Ok(Self {
            identity: core.identity,
            folder,
            running,
            _said: said,
            admin_token,
            store,
            stop,
            listeners,
            dispatcher,
            background,
            drain,
        })
    }

    /// No new connections, a Close to each device, requests in flight answered; then the store is
    /// closed. Says whether all of it was done within the time for it, and before a second signal.
    pub async fn stop(mut self) -> bool {
        self.folder.forget_running();
        let _ = self.stop.send(true);
        self.background.abort_all();
        let all_done = async { while self.listeners.join_next().await.is_some() {} };
        let in_time = tokio::select! {
            done = tokio::time::timeout(self.drain, all_done) => done.is_ok(),
            _ = asked_to_stop() => false,
        };
        self.listeners.abort_all();
        if let Err(e) = self.dispatcher.tidy_for_good(clock::now()).await {
            tracing::warn!("some acknowledgements are not stored, and their messages will come again: {e}");
        }
        if let Err(e) = self.store.close().await {
            tracing::error!("the store did not close well: {e}");
        }
        in_time
    }
}

fn local_address(listener: &tokio::net::TcpListener) -> Result<SocketAddr, Failure> {
    listener.local_addr().map_err(|e| Failure::new(format!("a listener has no address: {e}")))
}

/// Resolves when the server is to end.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the server is gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Resolves at SIGTERM or SIGINT.
pub async fn asked_to_stop() -> Result<&'static str, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let listen = |kind| signal(kind).map_err(|e| Failure::new(format!("signals cannot be awaited: {e}")));
    let (mut term, mut interrupt) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    })
}

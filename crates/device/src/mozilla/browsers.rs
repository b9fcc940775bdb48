//! Lets browsers in, knows who is connected, and carries deliveries to them.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::SecureRandom;
use axum::Router;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use cresset_message::DeviceId;
use cresset_wire::mozilla::MAX_FRAME;
use http::{HeaderMap, HeaderName, StatusCode, header};
use tokio::time::{sleep, timeout};

use super::backend::Channels;
use super::connection::Connection;
use super::counters::{Counters, Snapshot};
use super::session::Reason;
use crate::backend::Inbox;
use crate::listener::Clock;
use cresset_admission::{Addresses, OpenConnections, Places, RareLog};

/// What Firefox asks for, and is told (RFC 6455 §1.9).
const PROTOCOL: &str = "push-notification";

/// The buffers of a WebSocket: a browser says little, and what it is told goes out at once.
const READ_BUFFER: usize = 2 * 1_024;
const WRITE_BUFFER: usize = 0;
/// Bytes that a socket would not take yet. A frame has 6 KB at most, and one is written at a time.
const MAX_WRITE_BUFFER: usize = 64 * 1_024;

/// All are sent away within this time, one after the other: they come back as they went.
const SENT_AWAY_WITHIN: Duration = Duration::from_secs(3);
const SENT_AWAY_TOGETHER: Duration = Duration::from_millis(50);
/// How long connections may take to end after that.
const SHUTDOWN: Duration = Duration::from_secs(3);

/// When to try again who is too many.
const RETRY_AFTER: &str = "60";

/// The bounds of all browsers.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Of one address, and those of them that have not said who they are; 0 is no limit.
    pub per_address: usize,
    pub hellos_per_address: usize,
    /// Whether this machine's own addresses are limited too.
    pub loopback: bool,
}

/// The origin of the endpoints of a browser, by the host that it came by and whether over TLS.
pub type Origin = Arc<dyn Fn(&str, bool) -> String + Send + Sync>;

/// What browsers are joined with.
pub struct Parts {
    pub channels: Arc<dyn Channels>,
    pub inbox: Arc<dyn Inbox>,
    pub origin: Origin,
    pub clock: Clock,
    pub randomness: Arc<dyn SecureRandom + Send + Sync>,
    pub limits: Limits,
}

/// An extension of requests: who asks, and how.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    pub address: IpAddr,
    pub secure: bool,
}

/// The server side of Mozilla's protocol. Each browser that says hello is a
/// [`Carrier`](cresset_delivery::Carrier).
#[derive(Clone)]
pub struct Browsers {
    context: Arc<Context>,
}

/// What every connection can reach.
pub(crate) struct Context {
    pub(crate) channels: Arc<dyn Channels>,
    pub(crate) inbox: Arc<dyn Inbox>,
    pub(crate) origin: Origin,
    pub(crate) clock: Clock,
    pub(crate) randomness: Arc<dyn SecureRandom + Send + Sync>,
    pub(crate) counters: Counters,
    /// What the store would not do.
    pub(crate) complaints: RareLog,
    limits: Limits,
    open: OpenConnections<Connection>,
    addresses: Addresses,
    refusals: RareLog,
    stopping: AtomicBool,
}

impl Browsers {
    pub fn new(parts: Parts) -> Self {
        let Parts { channels, inbox, origin, clock, randomness, limits } = parts;
        let context = Context {
            channels,
            inbox,
            origin,
            clock,
            randomness,
            counters: Counters::default(),
            complaints: RareLog::default(),
            open: OpenConnections::default(),
            addresses: Addresses::new(limits.per_address, limits.hellos_per_address, limits.loopback),
            limits,
            refusals: RareLog::default(),
            stopping: AtomicBool::new(false),
        };
        Self { context: Arc::new(context) }
    }

    /// `/`, which Firefox connects to. HTTP/1.1 only: it asks for nothing else there.
    pub fn router(&self) -> Router {
        Router::new().route("/", any(upgrade)).with_state(self.clone())
    }

    /// Waits for `shutdown`, then sends every browser away and waits for that, but not for long.
    pub async fn serve(&self, shutdown: impl Future<Output = ()>) {
        shutdown.await;
        self.context.stopping.store(true, Ordering::Relaxed);
        let all = self.context.open.all();
        let steps = (SENT_AWAY_WITHIN.as_millis() / SENT_AWAY_TOGETHER.as_millis()) as usize;
        for some in all.chunks(all.len().div_ceil(steps).max(1)) {
            some.iter().for_each(|connection| connection.end(Reason::Shutdown));
            sleep(SENT_AWAY_TOGETHER).await;
        }
        let _ = timeout(SHUTDOWN, self.context.open.all_ended()).await;
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.context.counters.snapshot()
    }
}

async fn upgrade(
    State(browsers): State<Browsers>,
    peer: Option<Extension<Peer>>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let Ok(upgrade) = upgrade else { return nothing_else_here() };
    let context = browsers.context;
    let unknown = Peer { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), secure: true };
    let Peer { address, secure } = peer.map_or(unknown, |Extension(peer)| peer);
    let places = match context.places(address) {
        Ok(places) => places,
        Err(status) => return refused(status),
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let origin = (context.origin)(host, secure);
    upgrade
        .protocols([PROTOCOL])
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(WRITE_BUFFER)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(MAX_FRAME)
        .max_frame_size(MAX_FRAME)
        .on_upgrade(move |socket| async move {
            let connection = Connection::new(places.open, (context.clock)());
            context.enter(&connection);
            connection.run(socket, origin, places.newcomer, context).await;
        })
}

/// As any other path that is none.
fn nothing_else_here() -> Response {
    let message = "The requested URL / was not found on this server.";
    let body = cresset_wire::v1::error::google_error(404, "NOT_FOUND", message);
    let kind = [(header::CONTENT_TYPE, "application/json; charset=UTF-8")];
    (StatusCode::NOT_FOUND, kind, body).into_response()
}

fn refused(status: StatusCode) -> Response {
    let after: [(HeaderName, &str); 1] = [(header::RETRY_AFTER, RETRY_AFTER)];
    (status, after, "There are too many connections.\n").into_response()
}

impl Context {
    fn places(&self, address: IpAddr) -> Result<Places, StatusCode> {
        let now = (self.clock)();
        let limit = self.limits.connections;
        if self.stopping.load(Ordering::Relaxed) || self.counters.snapshot().connections >= limit as u64 {
            self.counters.over_capacity.add(1);
            self.refusals.warn(now, || format!("more than {limit} browsers want to connect"));
            return Err(StatusCode::SERVICE_UNAVAILABLE);
        }
        self.addresses.enter(address).map_err(|_| {
            self.counters.over_address.add(1);
            self.refusals
                .warn(now, || format!("{address} wants more connections of browsers than it may have"));
            StatusCode::TOO_MANY_REQUESTS
        })
    }

    fn enter(&self, connection: &Arc<Connection>) {
        self.open.add(connection);
        self.counters.accepted.add(1);
        if self.stopping.load(Ordering::Relaxed) {
            connection.end(Reason::Shutdown);
        }
    }

    pub(crate) fn ended(&self, connection: &Arc<Connection>, device: Option<DeviceId>, reason: Reason) {
        self.counters.left.add(usize::from(device.is_some()));
        tracing::debug!(?device, ?reason, "a browser's connection ended");
        self.open.remove(connection);
        self.counters.ended(reason);
    }
}

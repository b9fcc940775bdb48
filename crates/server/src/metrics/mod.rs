//! What an operator sees: `/metrics`, in OpenMetrics 1.0. Each part counts what it does; here it is
//! read and written down when it is asked for.

mod families;
mod family;
mod page;
mod process;
pub(crate) mod requests;

use std::sync::Arc;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use cresset_api::{PushService, Sends, SendsSnapshot};
use cresset_delivery::Dispatcher;
use cresset_device::Listener;
use cresset_device::mozilla::Browsers;
use cresset_store::embedded::EmbeddedEngine;
use http::{StatusCode, header};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Registry;

use crate::http::door::{self, Door};
use crate::spans;
use family::{Family, Histogram, Labels};
pub use page::metrics_page;
use process::Process;
use requests::Requests;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Who is asked.
pub(crate) struct Sources {
    pub(crate) engine: Arc<EmbeddedEngine>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) devices: Listener,
    pub(crate) browsers: Browsers,
    pub(crate) courier: cresset_outbound::Courier,
    pub(crate) app_servers: cresset_xmpp::Listener,
    pub(crate) door: Arc<Door>,
    pub(crate) sends: Arc<Sends>,
    pub(crate) push: Arc<PushService>,
    pub(crate) requests: Arc<Requests>,
    pub(crate) spans: Arc<spans::Counters>,
    pub(crate) started_seconds: f64,
}

/// What all of them said.
#[derive(Clone, Debug, Default)]
struct Readings {
    store: cresset_store::embedded::Snapshot,
    delivery: cresset_delivery::Snapshot,
    devices: cresset_device::Snapshot,
    browsers: cresset_device::mozilla::Snapshot,
    courier: cresset_outbound::Snapshot,
    app_servers: cresset_xmpp::Snapshot,
    upstream: cresset_delivery::UpstreamSnapshot,
    door: door::Snapshot,
    sends: SendsSnapshot,
    pushes: Vec<(&'static str, u64)>,
    answers: Vec<(Labels, f64)>,
    durations: Vec<(Labels, Histogram)>,
    spans: spans::Snapshot,
    process: Process,
}

impl Sources {
    fn read(&self) -> Readings {
        Readings {
            store: self.engine.snapshot(),
            delivery: self.dispatcher.snapshot(),
            devices: self.devices.snapshot(),
            browsers: self.browsers.snapshot(),
            courier: self.courier.snapshot(),
            app_servers: self.app_servers.snapshot(),
            upstream: self.dispatcher.upstream_snapshot(),
            door: self.door.snapshot(),
            sends: self.sends.snapshot(),
            pushes: self.push.pushes.snapshot(),
            answers: self.requests.answers(),
            durations: self.requests.durations(),
            spans: self.spans.snapshot(),
            process: Process::now(self.started_seconds),
        }
    }
}

pub(crate) fn router(sources: Sources) -> Router {
    let sources = Arc::new(sources);
    Router::new().route("/metrics", get(move || async move { scrape(&sources) }))
}

fn scrape(sources: &Sources) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Reading(families::families(&sources.read()))));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        // Nothing writes into a string in vain.
        Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")).into_response(),
    }
}

/// What is written down at one scrape.
#[derive(Debug)]
struct Reading(Vec<Family>);

impl Collector for Reading {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

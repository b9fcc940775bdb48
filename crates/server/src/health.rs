//! `/healthz`: the process runs. `/readyz`: it takes messages, which it does not while it ends, nor
//! while the store cannot write.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use cresset_store::embedded::{EmbeddedEngine, Writes};
use http::StatusCode;
use tokio::sync::watch;

pub(crate) fn router(stop: watch::Receiver<bool>, engine: Arc<EmbeddedEngine>) -> Router {
    let ready = move || async move { readiness(*stop.borrow(), engine.writes()) };
    Router::new().route("/healthz", get(|| async { "ok\n" })).route("/readyz", get(ready))
}

fn readiness(stopping: bool, writes: Writes) -> (StatusCode, &'static str) {
    let why_not = match (stopping, writes) {
        (true, _) => "stopping\n",
        (false, Writes::DiskFull) => "the disk is full: writes are refused until there is room\n",
        (false, Writes::Failed) => "the store failed and is being opened again\n",
        (false, Writes::Taken) => return (StatusCode::OK, "ok\n"),
    };
    (StatusCode::SERVICE_UNAVAILABLE, why_not)
}

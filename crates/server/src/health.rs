//! `/healthz`: the process runs. `/readyz`: it takes messages, which it does not while it ends.

use axum::Router;
use axum::routing::get;
use http::StatusCode;
use tokio::sync::watch;

pub(crate) fn router(stop: watch::Receiver<bool>) -> Router {
    Router::new().route("/healthz", get(|| async { "ok\n" })).route(
        "/readyz",
        get(move || async move {
            if *stop.borrow() {
                (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
            } else {
                (StatusCode::OK, "ok\n")
            }
        }),
    )
}

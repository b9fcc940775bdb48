//! Who answers a request.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use cresset_api::{Api, send_now};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use crate::metrics::requests::{Requests, SEND};

/// Sends are answered by themselves, everything else by its route.
#[derive(Clone)]
pub(crate) struct Front {
    router: TowerToHyperService<Router>,
    /// `None`: by their route, too.
    sends: Option<(Api, Arc<Requests>)>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

impl Front {
    pub(crate) fn new(router: Router, sends: Option<(Api, Arc<Requests>)>) -> Self {
        Self { router: TowerToHyperService::new(router), sends }
    }

    /// One box for all of it: the library would move it about otherwise.
    pub(crate) fn answer(&self, request: hyper::Request<Incoming>) -> Answer {
        let request = request.map(Body::new);
        let Some((api, requests)) = &self.sends else { return Box::pin(self.router.call(request)) };
        match send_now(api, request) {
            Ok(answer) => {
                let requests = requests.clone();
                Box::pin(async move { Ok(requests.timed(SEND, answer).await) })
            }
            Err(request) => Box::pin(self.router.call(request)),
        }
    }
}

//! Who answers a request.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use cresset_api::{Api, project_of_send, send_now};
use hyper::body::Incoming;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use crate::metrics::requests::Requests;

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
        match &self.sends {
            Some((api, requests)) if project_of_send(request.method(), request.uri()).is_some() => {
                let (api, requests) = (api.clone(), requests.clone());
                Box::pin(async move { Ok(requests.count_send(send_now(api, request)).await) })
            }
            _ => Box::pin(self.router.call(request)),
        }
    }
}

//! Requests by what they ask for, from a closed list: a path may hold a token.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;

use super::family::{Histogram, Labels};

/// Upper bounds of the classes of requests by how long their answer took, in microseconds.
const BOUNDS: [u64; 12] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 2_500_000, 10_000_000];

/// The answers there are; what is none of them is counted as `other`.
const STATUSES: [(u16, &str); 19] = [
    (101, "101"),
    (200, "200"),
    (201, "201"),
    (204, "204"),
    (302, "302"),
    (400, "400"),
    (401, "401"),
    (403, "403"),
    (404, "404"),
    (405, "405"),
    (408, "408"),
    (409, "409"),
    (410, "410"),
    (413, "413"),
    (415, "415"),
    (429, "429"),
    (500, "500"),
    (501, "501"),
    (503, "503"),
];

pub(crate) const SEND: &str = "messages.send";

/// Methods by the templates of their paths, the first that fits; an empty HTTP method is any.
const METHODS: [(&str, &str, &str); 43] = [
    ("", "/v1/projects/{project}/{method}", SEND),
    ("", "/projects/{project}/{method}", SEND),
    ("", "//v1/projects/{project}/{method}", SEND),
    ("", "/batch", "batch"),
    ("", "/v1", "batch"),
    ("", "/v1/", "batch"),
    ("", "/$discovery/rest", "discovery"),
    ("", "/discovery/v1/apis/{api}/{version}/rest", "discovery"),
    ("", "/token", "token"),
    ("", "/o/oauth2/token", "token"),
    ("", "/oauth2/v4/token", "token"),
    ("", "/fcm/send", "legacy.send"),
    ("", "/gcm/send", "legacy.send"),
    ("", "/fcm/send/{token}", "webpush.push"),
    ("", "/wp/{token}", "webpush.push"),
    ("", "/preprod/wp/{token}", "webpush.push"),
    ("", "/wpush/v1/{token}", "webpush.push"),
    ("", "/wpush/v2/{token}", "webpush.push"),
    ("", "/m/{handle}", "webpush.cancel"),
    ("", "/", "mozilla.connect"),
    ("", "/fcm/notification", "groups"),
    ("", "/gcm/notification", "groups"),
    ("", "/fcm/googlenotification", "groups.client"),
    ("", "/gcm/googlenotification", "groups.client"),
    ("", "/iid/{method}", "iid.batch"),
    ("", "/iid/v1/{token}/rel/topics/{topic}", "iid.topics"),
    ("", "/iid/info/{token}", "iid.info"),
    ("", "/v1/projects/{project}/registrations/{name}/topicSubscriptions", "topicSubscriptions"),
    ("", "/v1/projects/{project}/registrations/{name}/topicSubscriptions/{topic}", "topicSubscriptions"),
    ("", "/checkin", "checkin"),
    ("", "/c2dm/register3", "register3"),
    ("", "/v1/projects/{project}/installations", "installations.create"),
    ("", "/v1/projects/{project}/installations/{fid}", "installations.delete"),
    ("", "/v1/projects/{project}/installations/{fid}/{method}", "installations.generate"),
    ("", "/v1/projects/{project}/registrations", "registrations.create"),
    ("DELETE", "/v1/projects/{project}/registrations/{name}", "registrations.delete"),
    ("", "/v1/projects/{project}/registrations/{name}", "registrations.update"),
    ("", "/fcm/connect/subscribe", "connect.subscribe"),
    ("", "/fcm/connect/unsubscribe", "connect.unsubscribe"),
    ("", "/healthz", "healthz"),
    ("", "/readyz", "readyz"),
    ("", "/metrics", "metrics"),
    // Cresset's own API.
    ("", "/cresset/", "cresset"),
];

/// What has no template of the list, and what has none at all: nothing is served there.
const OTHER: &str = "other";

/// A line of the table of counters: the methods by name, each once.
#[derive(Debug)]
struct Line {
    method: &'static str,
    statuses: [AtomicU64; STATUSES.len() + 1],
    classes: [AtomicU64; BOUNDS.len() + 1],
    micros: AtomicU64,
}

impl Line {
    fn new(method: &'static str) -> Self {
        let zero = |_| AtomicU64::new(0);
        Self {
            method,
            statuses: std::array::from_fn(zero),
            classes: std::array::from_fn(zero),
            micros: AtomicU64::new(0),
        }
    }
}

/// A table of a fixed size.
#[derive(Debug)]
pub(crate) struct Requests(Vec<Line>);

impl Default for Requests {
    fn default() -> Self {
        let mut lines: Vec<Line> = Vec::new();
        for method in METHODS.iter().map(|(_, _, name)| *name).chain([OTHER]) {
            if lines.iter().all(|line| line.method != method) {
                lines.push(Line::new(method));
            }
        }
        Self(lines)
    }
}

impl Requests {
    fn count(&self, method: &str, status: u16, took: Duration) {
        let Some(line) = self.0.iter().find(|line| line.method == method) else { return };
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = STATUSES.iter().position(|(code, _)| *code == status).unwrap_or(STATUSES.len());
        line.statuses[at].fetch_add(1, Ordering::Relaxed);
        line.classes[BOUNDS.partition_point(|bound| *bound < micros)].fetch_add(1, Ordering::Relaxed);
        line.micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts an answer, and how long it took.
    pub(crate) async fn timed(&self, method: &str, answer: impl Future<Output = Response>) -> Response {
        let begun = Instant::now();
        let response = answer.await;
        self.count(method, response.status().as_u16(), begun.elapsed());
        response
    }

    /// Answers by method and status; those that were never given are left out.
    pub(crate) fn answers(&self) -> Vec<(Labels, f64)> {
        let names = || STATUSES.iter().map(|(_, name)| *name).chain([OTHER]);
        let of_line = |line: &'static str, name, count: u64| {
            (count > 0).then(|| (vec![("method", line), ("status", name)], count as f64))
        };
        let all = self.0.iter().flat_map(|line| {
            names()
                .zip(&line.statuses)
                .filter_map(move |(name, count)| of_line(line.method, name, count.load(Ordering::Relaxed)))
        });
        all.collect()
    }

    /// How long the answers of each method took that has given any.
    pub(crate) fn durations(&self) -> Vec<(Labels, Histogram)> {
        let all = self.0.iter().filter_map(|line| {
            let counts: Vec<u64> = line.classes.iter().map(|count| count.load(Ordering::Relaxed)).collect();
            let histogram = Histogram::of(&BOUNDS, &counts, line.micros.load(Ordering::Relaxed));
            counts.iter().any(|count| *count > 0).then(|| (vec![("method", line.method)], histogram))
        });
        all.collect()
    }

    /// The methods, in the order of their table.
    pub(crate) fn methods(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|line| line.method)
    }
}

/// The name of what a request asks for.
pub(crate) fn name_of(method: &Method, template: &str) -> &'static str {
    let fits = |(by, path, _): &&(&str, &str, &str)| {
        (by.is_empty() || *by == method.as_str())
            && (*path == template || (*path == "/cresset/" && template.starts_with("/cresset/")))
    };
    METHODS.iter().find(fits).map_or(OTHER, |(_, _, name)| name)
}

/// Counts what passes; a layer of every router.
pub(crate) async fn count(
    State(requests): State<std::sync::Arc<Requests>>,
    request: Request,
    next: Next,
) -> Response {
    let template = request.extensions().get::<MatchedPath>();
    let method = template.map_or(OTHER, |template| name_of(request.method(), template.as_str()));
    requests.timed(method, next.run(request)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The router does not tell its routes; its source does.
    #[test]
    fn every_route_of_the_api_has_a_name() {
        let sources = [
            include_str!("../../../api/src/lib.rs"),
            include_str!("../../../api/src/webpush/mod.rs"),
            include_str!("../../../device/src/mozilla/browsers.rs"),
        ];
        let routes = sources.concat();
        let routes = routes.split(".route(").skip(1).filter_map(|rest| rest.split('"').nth(1));
        let mut count = 0;
        for route in routes {
            assert_ne!(name_of(&Method::POST, route), OTHER, "{route} is not in METHODS");
            count += 1;
        }
        assert!(count > 35, "{count}");
        assert_eq!(name_of(&Method::GET, "/cresset/v1/projects/{project}"), "cresset");
        assert_eq!(name_of(&Method::GET, "/favicon.ico"), OTHER);
    }

    #[test]
    fn a_table_of_a_fixed_size_counts_everything() {
        let requests = Requests::default();
        requests.count("batch", 200, Duration::from_micros(500));
        requests.count("batch", 299, Duration::from_secs(60));
        assert_eq!(
            requests.answers(),
            [
                (vec![("method", "batch"), ("status", "200")], 1.0),
                (vec![("method", "batch"), ("status", "other")], 1.0)
            ]
        );
        let durations = requests.durations();
        let (labels, histogram) = &durations[0];
        assert_eq!((durations.len(), labels), (1, &vec![("method", "batch")]));
        assert_eq!(histogram.classes[0], (0.0005, 1));
        assert_eq!(histogram.classes[BOUNDS.len()], (f64::INFINITY, 1));
    }
}

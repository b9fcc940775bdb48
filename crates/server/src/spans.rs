//! Traces of requests, told to an OpenTelemetry collector by OTLP over HTTP, in JSON. Off unless
//! `telemetry.otlp_endpoint` is set: by itself the server opens no connection to anybody.
//!
//! One span a request. Written by hand, because that is all there is to tell, and the libraries for
//! it are a dozen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use cresset_admission::RareLog;
use cresset_message::Timestamp;
use http::{HeaderMap, Method, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::clock;
use crate::metrics::requests::name_of;
use crate::server::stopped;

/// Spans that wait to be sent; more are dropped, and counted.
const WAITING: usize = 4_096;
/// Spans of one request to the collector: some 200 kB.
const TOGETHER: usize = 512;
/// How long a span may wait for others to go with.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take to answer; after that its spans are given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same, when the server is about to end.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
/// Bytes read of an answer, so that its connection ends in order.
const MAX_ANSWER: usize = 64 << 10;

/// What is sampled of the requests whose senders decide nothing.
const WHOLE: f64 = u32::MAX as f64;

type Random = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// A request that was answered.
#[derive(Debug)]
struct Span {
    context: SpanContext,
    id: [u8; 8],
    name: &'static str,
    method: &'static str,
    route: Option<String>,
    status: u16,
    began: Timestamp,
    ended: Timestamp,
}

/// Which trace it is of, and which span of it asked for this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SpanContext {
    trace: [u8; 16],
    parent: Option<[u8; 8]>,
}

/// Where spans go.
pub(crate) struct Traces {
    queue: mpsc::Sender<Span>,
    random: Random,
    /// Of 2^32 requests without a trace of their own, so many begin one.
    share: u32,
    counters: Arc<Counters>,
}

/// What became of spans.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sent: AtomicU64,
    /// There was no room for them.
    dropped: AtomicU64,
    /// The collector did not take them.
    failed: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) sent: u64,
    pub(crate) dropped: u64,
    pub(crate) failed: u64,
}

impl Counters {
    pub(crate) fn snapshot(&self) -> Snapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot { sent: get(&self.sent), dropped: get(&self.dropped), failed: get(&self.failed) }
    }
}

/// Where the collector listens: `http://host:port`, to which `/v1/traces` is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    host: String,
    port: u16,
    path: String,
}

impl Endpoint {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| format!("`{text}` is not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(format!("`{text}` is not http://; have a collector on this machine speak TLS"));
        }
        let host = uri.host().ok_or_else(|| format!("`{text}` has no host"))?.to_owned();
        let path = format!("{}/v1/traces", uri.path().trim_end_matches('/'));
        // The port of OTLP over HTTP.
        Ok(Self { host, port: uri.port_u16().unwrap_or(4318), path })
    }
}

/// The queue, and the task that empties it until `stop` is true.
pub(crate) fn start(
    endpoint: Endpoint,
    ratio: f64,
    counters: Arc<Counters>,
    stop: watch::Receiver<bool>,
) -> (Arc<Traces>, impl Future<Output = ()> + Send + 'static) {
    let (queue, spans) = mpsc::channel(WAITING);
    let share = (ratio.clamp(0.0, 1.0) * WHOLE) as u32;
    let traces = Traces { queue, random: clock::random(), share, counters: counters.clone() };
    let sender = Sender { endpoint, spans, counters, log: RareLog::default() };
    (Arc::new(traces), sender.run(stop))
}

/// A layer of every router: a span for each request that is to have one.
pub(crate) async fn record(State(traces): State<Arc<Traces>>, request: Request, next: Next) -> Response {
    let Some(context) = traces.context_of(request.headers()) else { return next.run(request).await };
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let name = name_of(request.method(), route.as_deref().unwrap_or_default());
    let method = known(request.method());
    let began = clock::now();
    let response = next.run(request).await;
    let (status, ended) = (response.status().as_u16(), clock::now());
    let mut id = [0; 8];
    (traces.random)(&mut id);
    let span = Span { context, id, name, method, route, status, began, ended };
    if traces.queue.try_send(span).is_err() {
        traces.counters.dropped.fetch_add(1, Ordering::Relaxed);
    }
    response
}

impl Traces {
    /// The trace a request belongs to, unless it is not to be told: whoever began it has decided, or
    /// chance does.
    fn context_of(&self, headers: &HeaderMap) -> Option<SpanContext> {
        if let Some((context, sampled)) =
            headers.get("traceparent").and_then(|value| parent(value.as_bytes()))
        {
            return sampled.then_some(context);
        }
        let mut random = [0; 20];
        (self.random)(&mut random);
        let (chance, trace) = random.split_first_chunk().expect("it is longer");
        let taken = self.share == u32::MAX || u32::from_be_bytes(*chance) < self.share;
        let trace = trace.try_into().expect("16 bytes are left");
        taken.then_some(SpanContext { trace, parent: None })
    }
}

/// W3C Trace Context §3.2: `version-trace-parent-flags` in lower-case hexadecimal digits. What is not
/// well formed is no parent.
fn parent(value: &[u8]) -> Option<(SpanContext, bool)> {
    let text = std::str::from_utf8(value).ok()?;
    let mut fields = text.split('-');
    let (version, trace, parent, flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let [version] = digits(version)?;
    // Version 0 has these four fields; a later one may have more.
    if version == 0xff || (version == 0 && fields.next().is_some()) {
        return None;
    }
    let (trace, parent, [flags]) = (digits::<16>(trace)?, digits::<8>(parent)?, digits(flags)?);
    let all_zero = trace == [0; 16] || parent == [0; 8];
    (!all_zero).then_some((SpanContext { trace, parent: Some(parent) }, flags & 1 == 1))
}

fn digits<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != 2 * N || !lower {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Any other word of a client is not told.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

/// Takes spans to the collector.
struct Sender {
    endpoint: Endpoint,
    spans: mpsc::Receiver<Span>,
    counters: Arc<Counters>,
    log: RareLog,
}

impl Sender {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                () = gather(&mut self.spans, &mut batch) => {}
                () = stopped(&mut stop) => return self.finish(batch).await,
            }
            // Nobody can ask any more.
            if batch.is_empty() {
                return;
            }
            self.tell(&batch, PATIENCE).await;
        }
    }

    /// What is there is told; what comes later is not.
    async fn finish(mut self, mut batch: Vec<Span>) {
        while batch.len() < TOGETHER
            && let Ok(span) = self.spans.try_recv()
        {
            batch.push(span);
        }
        if !batch.is_empty() {
            self.tell(&batch, LAST_PATIENCE).await;
        }
    }

    async fn tell(&self, batch: &[Span], patience: Duration) {
        let outcome = match timeout(patience, post(&self.endpoint, document(batch).to_string())).await {
            Ok(outcome) => outcome,
            Err(_) => Err("no answer in time".to_owned()),
        };
        let counter = match &outcome {
            Ok(()) => &self.counters.sent,
            Err(why) => {
                self.log.warn(clock::now(), || format!("the collector of traces does not take them: {why}"));
                &self.counters.failed
            }
        };
        counter.fetch_add(batch.len() as u64, Ordering::Relaxed);
    }
}

/// Waits for a span, and a little for more. Spans already gathered stay in `batch` if it is given up.
async fn gather(spans: &mut mpsc::Receiver<Span>, batch: &mut Vec<Span>) {
    batch.extend(spans.recv().await);
    let until = Instant::now() + GATHER;
    while !batch.is_empty() && batch.len() < TOGETHER {
        match timeout_at(until, spans.recv()).await {
            Ok(Some(span)) => batch.push(span),
            Ok(None) | Err(_) => return,
        }
    }
}

async fn post(endpoint: &Endpoint, body: String) -> Result<(), String> {
    let host = endpoint.host.trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, endpoint.port)).await.map_err(|e| e.to_string())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    let request = http::Request::post(&endpoint.path)
        .header(http::header::HOST, format!("{}:{}", endpoint.host, endpoint.port))
        .header(http::header::CONTENT_TYPE, "application/json")
        .header(http::header::CONNECTION, "close")
        .body(Full::new(bytes::Bytes::from(body)))
        .map_err(|e| e.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|e| e.to_string())?;
        let status = answer.status();
        // An answer that is cut off says as much as a whole one.
        let _ = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        if status.is_success() { Ok(()) } else { Err(format!("it answers {status}")) }
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // What came before its end is still to be read.
        _ = connection => answer.await,
    }
}

/// `ExportTraceServiceRequest` as OTLP 1.0 writes it in JSON: ids in hexadecimal digits, 64-bit
/// numbers as texts.
fn document(batch: &[Span]) -> Value {
    let spans: Vec<Value> = batch.iter().map(span).collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            attribute("service.name", "cresset"),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
        ]},
        "scopeSpans": [{ "scope": { "name": "cresset" }, "spans": spans }],
    }]})
}

fn span(span: &Span) -> Value {
    let nanos = |moment: Timestamp| (u128::from(moment.as_micros()) * 1_000).to_string();
    let status = json!({ "intValue": span.status.to_string() });
    let mut attributes = vec![
        attribute("http.request.method", span.method),
        json!({ "key": "http.response.status_code", "value": status }),
    ];
    attributes.extend(span.route.as_deref().map(|route| attribute("http.route", route)));
    json!({
        "traceId": hexadecimal(&span.context.trace),
        "spanId": hexadecimal(&span.id),
        "parentSpanId": span.context.parent.map_or_else(String::new, |parent| hexadecimal(&parent)),
        "name": span.name,
        // A server's.
        "kind": 2,
        "startTimeUnixNano": nanos(span.began),
        "endTimeUnixNano": nanos(span.ended),
        "attributes": attributes,
        // An error only where it is the server's.
        "status": if span.status >= 500 { json!({ "code": 2 }) } else { json!({}) },
    })
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_as_w3c_writes_it() {
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let (context, sampled) = parent(good.as_bytes()).unwrap();
        assert_eq!(hexadecimal(&context.trace), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.parent.map(|parent| hexadecimal(&parent)).as_deref(), Some("b7ad6b7169203331"));
        assert!(sampled);
        assert!(!parent(good.replace("-01", "-00").as_bytes()).unwrap().1);
        assert!(parent(good.replacen("00", "cc", 1).as_bytes()).is_some(), "a later version");
        for bad in [
            "",
            "00",
            &good.to_uppercase(),
            &good.replacen("00", "ff", 1),
            &format!("{good}-00"),
            &good.replace("b7ad6b7169203331", "0000000000000000"),
            &good.replace("0af7651916cd43dd8448eb211c80319c", "00000000000000000000000000000000"),
            &good.replace("0af7", "+af7"),
            "00-0af7651916cd43dd8448eb211c80319\u{e9}-b7ad6b7169203331-01",
        ] {
            assert_eq!(parent(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn an_endpoint_is_a_plain_url() {
        let at = |host: &str, port, path: &str| Ok(Endpoint { host: host.into(), port, path: path.into() });
        assert_eq!(Endpoint::parse("http://127.0.0.1:4318"), at("127.0.0.1", 4318, "/v1/traces"));
        assert_eq!(Endpoint::parse("http://otel/x/"), at("otel", 4318, "/x/v1/traces"));
        assert_eq!(Endpoint::parse("http://[::1]:1"), at("[::1]", 1, "/v1/traces"));
        for bad in ["https://otel:4318", "otel:4318", "grpc://otel", "/v1"] {
            assert!(Endpoint::parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn whoever_began_a_trace_decides_or_chance_does() {
        let (_stop, stopped) = watch::channel(false);
        let endpoint = Endpoint::parse("http://127.0.0.1:1").unwrap();
        let none = start(endpoint.clone(), 0.0, Arc::default(), stopped.clone()).0;
        let all = start(endpoint, 1.0, Arc::default(), stopped).0;
        let mut headers = HeaderMap::new();
        assert!(none.context_of(&headers).is_none() && all.context_of(&headers).is_some());
        let parent = |flags| format!("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-{flags}");
        headers.insert("traceparent", parent("00").parse().unwrap());
        assert!(all.context_of(&headers).is_none());
        headers.insert("traceparent", parent("01").parse().unwrap());
        assert!(none.context_of(&headers).is_some());
    }
}

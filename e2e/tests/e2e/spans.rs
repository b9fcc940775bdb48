//! A collector is told of requests, and what it does to us harms nobody.

use std::sync::Arc;

use cresset_e2e::{TestServer, config, patiently};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{plain_get, saying};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

async fn server(collector: &TcpListener, ratio: f64) -> TestServer {
    let folder = Arc::new(TempDir::new().unwrap());
    let mut config = config(folder.path());
    config.telemetry.otlp_endpoint = format!("http://{}", collector.local_addr().unwrap());
    config.telemetry.sample_ratio = ratio;
    TestServer::start_with(folder, &config).await.unwrap()
}

/// One request of OTLP: its head, and its spans.
async fn take(collector: &TcpListener, answer: &str) -> (String, Value) {
    let (mut stream, _) = patiently("the spans", collector.accept()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    stream.read_exact(&mut body).await.unwrap();
    let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{}}");
    stream.write_all(answer.as_bytes()).await.unwrap();
    (head, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn a_request_with_a_trace_is_told_as_a_span_of_it() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // Only what comes with a trace is told.
    let server = server(&collector, 0.0).await;
    let http = server.running().http;
    plain_get(http, "/healthz").await.unwrap();
    let mut stream = TcpStream::connect(http).await.unwrap();
    let request = format!(
        "GET /readyz HTTP/1.1\r\nHost: localhost\r\ntraceparent: 00-{TRACE}-{PARENT}-01\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let (head, told) = take(&collector, "200 OK").await;
    assert!(
        head.starts_with("post /v1/traces http/1.1\r\n") && head.contains("content-type: application/json")
    );
    let of = &told["resourceSpans"][0];
    assert_eq!(of["resource"]["attributes"][0]["value"]["stringValue"], "cresset");
    let spans = of["scopeSpans"][0]["spans"].as_array().unwrap();
    let span = &spans[0];
    assert_eq!(spans.len(), 1, "{told}");
    assert_eq!((span["traceId"].as_str(), span["parentSpanId"].as_str()), (Some(TRACE), Some(PARENT)));
    assert_eq!((span["name"].as_str(), span["kind"].as_i64()), (Some("readyz"), Some(2)));
    assert_eq!(span["spanId"].as_str().map(str::len), Some(16));
    let nanos = |field: &str| span[field].as_str().unwrap().parse::<u64>().unwrap();
    assert!(nanos("startTimeUnixNano") <= nanos("endTimeUnixNano") && nanos("startTimeUnixNano") > 1 << 60);
    let attributes = span["attributes"].as_array().unwrap();
    let status = attributes.iter().find(|one| one["key"] == "http.response.status_code").unwrap();
    assert_eq!(status["value"]["intValue"], "200");
}

#[tokio::test]
async fn a_collector_that_refuses_or_is_gone_costs_its_spans_and_no_message() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = server(&collector, 1.0).await;
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    world.accept(&saying(&device, "hello")).await.unwrap();
    take(&collector, "503 Service Unavailable").await;
    drop(collector);
    world.accept(&saying(&device, "again")).await.unwrap();
    let lost = async {
        loop {
            let (_, metrics) = plain_get(world.running.http, "/metrics").await.unwrap();
            let count = metrics.lines().find_map(|line| {
                line.strip_prefix("cresset_traces_dropped_spans_total{reason=\"not_taken\"} ")
            });
            if count.unwrap().parse::<f64>().unwrap() > 0.0 {
                return;
            }
        }
    };
    patiently("the loss to be counted", lost).await;
    server.stop().await.unwrap();
}

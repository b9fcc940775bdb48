//! What an operator sees, held to OpenMetrics 1.0 by a reader of our own that forgives nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use cresset_e2e::{TestServer, patiently};

use crate::support::{logged_in, plain_get, saying};

/// Yes or no has no unit.
const WITHOUT_UNIT: [&str; 2] = ["cresset_store_read_only", "cresset_build"];

#[derive(Default)]
struct Family {
    name: String,
    kind: String,
    unit: Option<String>,
    helped: bool,
}

/// The samples of a scrape, by name and labels as they are written.
type Samples = BTreeMap<String, f64>;

fn read(text: &str) -> Samples {
    let body = text.strip_suffix("# EOF\n").expect("the end is marked");
    let mut samples = Samples::new();
    let (mut seen, mut family) = (BTreeSet::new(), Family::default());
    for line in body.lines() {
        match line.strip_prefix("# ") {
            Some(meta) => {
                let mut parts = meta.splitn(3, ' ');
                let (what, name, said) =
                    (parts.next().unwrap(), parts.next().unwrap(), parts.next().expect(line));
                if name != family.name {
                    check(&family);
                    assert!(seen.insert(name.to_owned()), "{name} is in two places");
                    family = Family { name: name.to_owned(), ..Family::default() };
                }
                note(&mut family, what, said);
            }
            None => {
                let (sample, value) = line.rsplit_once(' ').expect(line);
                check_sample(&family, sample, value);
                assert!(
                    samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(),
                    "{sample} is there twice"
                );
            }
        }
    }
    check(&family);
    check_histograms(&samples);
    samples
}

fn note(family: &mut Family, what: &str, said: &str) {
    match what {
        "HELP" => family.helped = said.ends_with('.') && !said.contains('\\'),
        "TYPE" => family.kind = said.to_owned(),
        "UNIT" => family.unit = Some(said.to_owned()),
        other => panic!("{other} is no metadata"),
    }
}

fn check(family: &Family) {
    let name = &family.name;
    if name.is_empty() {
        return;
    }
    assert!(family.helped, "{name} has no HELP, or no sentence");
    assert!(["counter", "gauge", "histogram", "info"].contains(&family.kind.as_str()), "{name}");
    match &family.unit {
        Some(unit) => {
            assert!(name.ends_with(&format!("_{unit}")) && family.kind != "info", "{name} in {unit}")
        }
        None => assert!(WITHOUT_UNIT.contains(&name.as_str()), "{name} has no unit"),
    }
    assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
}

fn check_sample(family: &Family, sample: &str, value: &str) {
    let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
    let suffix =
        name.strip_prefix(&family.name).unwrap_or_else(|| panic!("{name} is not of {}", family.name));
    let may: &[&str] = match family.kind.as_str() {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_sum", "_count"],
        "info" => &["_info"],
        kind => panic!("{kind} comes after its samples"),
    };
    assert!(may.contains(&suffix), "{sample} of a {}", family.kind);
    let number: f64 = value.parse().unwrap_or_else(|_| panic!("{value} is no number"));
    assert!(number.is_finite() && number >= 0.0, "{sample} is {value}");
    assert!(family.kind != "info" || number == 1.0);
    check_labels(labels.strip_suffix('}').expect(sample));
}

fn check_labels(labels: &str) {
    let mut names = BTreeSet::new();
    for label in labels.split(',').filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once('=').expect(label);
        let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).expect(label);
        assert!(names.insert(name) && !name.is_empty() && !value.is_empty(), "{labels}");
        assert!(!value.contains(['"', '\\', '\n']), "{labels}");
    }
}

/// Classes grow, and the last has all.
fn check_histograms(samples: &Samples) {
    let mut classes: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (sample, count) in samples {
        let Some((name, labels)) = sample.split_once("_bucket{") else { continue };
        let (bounds, others): (Vec<_>, Vec<_>) =
            labels.trim_end_matches('}').split(',').partition(|label| label.starts_with("le="));
        assert_eq!(bounds.len(), 1, "{sample}");
        let bound = bounds[0]["le=".len()..].trim_matches('"').parse().unwrap();
        let others = others.join(",");
        let count_name = match others.is_empty() {
            true => format!("{name}_count"),
            false => format!("{name}_count{{{others}}}"),
        };
        classes.entry(count_name).or_default().push((bound, *count));
    }
    assert!(!classes.is_empty());
    for (count_name, mut classes) in classes {
        classes.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(classes.is_sorted_by(|a, b| a.1 <= b.1), "{count_name}: {classes:?}");
        let (bound, count) = classes.last().unwrap();
        assert!(bound.is_infinite() && samples.get(&count_name) == Some(count), "{count_name}");
    }
}

async fn scrape(http: SocketAddr) -> Samples {
    let (status, text) = plain_get(http, "/metrics").await.unwrap();
    assert_eq!(status, 200);
    read(&text)
}

#[tokio::test]
async fn what_happens_shows_in_the_metrics() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let http = world.running.http;
    let before = scrape(http).await;
    let device = world.device().await.unwrap();
    let connection = logged_in(&world, &device).await;
    world.accept(&saying(&device, "hello")).await.unwrap();
    let refused = world.send(&serde_json::json!({ "token": "nobody's" })).await.unwrap();
    assert_eq!(refused.status, 400);
    let after = scrape(http).await;
    let grown = |sample: &str| {
        let value = |samples: &Samples| samples.get(sample).copied().unwrap_or(0.0);
        value(&after) - value(&before)
    };
    for (sample, by) in [
        ("cresset_connected_devices", 1.0),
        ("cresset_device_connections", 1.0),
        ("cresset_device_logins_total", 1.0),
        ("cresset_device_waiting_connections", 0.0),
        ("cresset_device_written_messages_total", 1.0),
        ("cresset_sends_accepted_messages_total", 1.0),
        ("cresset_sends_rejected_messages_total{code=\"INVALID_ARGUMENT\"}", 1.0),
        ("cresset_http_requests_total{method=\"messages.send\",status=\"200\"}", 1.0),
        ("cresset_http_requests_total{method=\"messages.send\",status=\"400\"}", 1.0),
        ("cresset_http_requests_total{method=\"checkin\",status=\"200\"}", 1.0),
        ("cresset_http_request_duration_seconds_count{method=\"messages.send\"}", 2.0),
        ("cresset_store_read_only", 0.0),
    ] {
        assert_eq!(grown(sample), by, "{sample} in {after:#?}");
    }
    for sample in [
        "cresset_store_writes_total",
        "cresset_store_changed_rows_total",
        "cresset_store_commit_duration_seconds_count",
    ] {
        assert!(grown(sample) >= 1.0, "{sample}");
    }
    for sample in ["process_resident_memory_bytes", "process_open_fds", "cresset_store_disk_free_bytes"] {
        assert!(after[sample] > 0.0, "{sample}");
    }
    assert!(!after.keys().any(|sample| sample.contains("demo") || sample.contains(&device.token)));
    assert!(
        after
            .keys()
            .all(|sample| !sample.contains("status=\"other\"") && !sample.contains("method=\"other\""))
    );
    drop(connection);
    let gone = async { while scrape(http).await["cresset_connected_devices"] > 0.0 {} };
    patiently("the device's end", gone).await;
}

#[tokio::test]
async fn what_is_refused_is_counted_by_its_reason() {
    let server = TestServer::start().await.unwrap();
    let running = server.running();
    for address in [running.https, running.http, running.mcs] {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"\x05\x01\x00 rubbish\r\n\r\n").await.unwrap();
        let mut rest = Vec::new();
        let _ = patiently("an end", tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest)).await;
    }
    let counted = async {
        loop {
            let now = scrape(running.http).await;
            let count = |sample: &str| now[sample];
            if count("cresset_http_refused_connections_total{reason=\"tls_failed\"}") == 1.0
                && count("cresset_http_refused_connections_total{reason=\"unreadable\"}") == 1.0
                && count("cresset_device_refused_connections_total{reason=\"unreadable\"}") == 1.0
            {
                return;
            }
        }
    };
    patiently("each to be counted", counted).await;
}

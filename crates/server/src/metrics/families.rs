//! Every metric there is. Its names and texts are what docs/reference/metrics.md is made of.

use cresset_delivery::{End, UpstreamSnapshot as Upstream, Why};
use cresset_device::Snapshot as Devices;
use cresset_device::mozilla::Snapshot as Browsers;
use cresset_outbound::TOLD;
use cresset_store::embedded::{COMMIT_MICROS, Snapshot as Store, Writes};
use cresset_xmpp::{NACKS, Snapshot as AppServers};

use super::Readings;
use super::family::{Family, Labels, Values};
use crate::http::door::Snapshot as Door;

pub(super) fn families(readings: &Readings) -> Vec<Family> {
    [
        devices(&readings.devices),
        browsers(&readings.browsers),
        app_servers(&readings.app_servers),
        upstream(&readings.upstream),
        http(&readings.door),
        requests(readings),
        sends(&readings.sends),
        pushes(readings),
        store(&readings.store),
        delivery(&readings.delivery),
        outbound(&readings.courier),
        spans(readings),
        process(readings),
    ]
    .concat()
}

fn devices(seen: &Devices) -> Vec<Family> {
    let refused = [
        ("capacity", seen.over_capacity),
        ("address", seen.over_address),
        ("address_silent", seen.over_address_logins),
        ("gave_way", seen.gave_way),
        ("unreadable", seen.unreadable),
        ("login_refused", seen.logins_refused),
        ("login_missing", seen.logins_missing),
    ];
    let closed =
        [("replaced", seen.replaced), ("stalled", seen.stalled), ("heartbeat", seen.heartbeats_missed)];
    vec![
        Family::gauge(
            "cresset_device",
            "connections",
            "Open connections of devices, logged in or not.",
            seen.connections,
        ),
        Family::gauge(
            "cresset_device_waiting",
            "connections",
            "Those of them that have not logged in yet.",
            seen.newcomers,
        ),
        Family::gauge(
            "cresset_connected",
            "devices",
            "Devices that are connected and logged in.",
            seen.devices,
        ),
        Family::counter(
            "cresset_device_accepted",
            "connections",
            "Connections of devices that were let in.",
            seen.accepted,
        ),
        Family::counter("cresset_device", "logins", "Logins of devices.", seen.logins),
        Family::counter(
            "cresset_device_resumed",
            "logins",
            "Logins over a TLS session that was taken up again.",
            seen.resumed,
        ),
        Family::counters_by(
            "cresset_device_refused",
            "connections",
            "Connections of devices that were refused or ended before a login: for being too many in all or of one \
             address, for not logging in, for bytes that are no TLS or no MCS, for a login that is not known.",
            &["reason"],
            refused,
        ),
        Family::counters_by(
            "cresset_device_closed",
            "connections",
            "Connections of devices that had logged in and that the server closed.",
            &["reason"],
            closed,
        ),
        Family::counter(
            "cresset_device_written",
            "messages",
            "Messages written to devices; one may be written again.",
            seen.written,
        ),
        Family::counter(
            "cresset_device_acknowledged",
            "messages",
            "Messages that devices said they have.",
            seen.acknowledged,
        ),
        Family::counter(
            "cresset_device_undeliverable",
            "messages",
            "Messages that have no form for their device.",
            seen.undeliverable,
        ),
    ]
}

fn browsers(seen: &Browsers) -> Vec<Family> {
    let refused = [("capacity", seen.over_capacity), ("address", seen.over_address), ("silent", seen.silent)];
    let closed = [
        ("protocol", seen.protocol),
        ("pinged_too_often", seen.pinged_too_often),
        ("vanished", seen.vanished),
        ("replaced", seen.replaced),
    ];
    vec![
        Family::gauge(
            "cresset_mozilla",
            "connections",
            "Open connections of browsers that speak Mozilla's protocol.",
            seen.connections,
        ),
        Family::gauge(
            "cresset_mozilla_connected",
            "browsers",
            "Those of them that have said who they are.",
            seen.browsers,
        ),
        Family::counter(
            "cresset_mozilla_accepted",
            "connections",
            "Connections of such browsers that were let in.",
            seen.accepted,
        ),
        Family::counter(
            "cresset_mozilla_new",
            "browsers",
            "Browsers that were given a new identity; one without subscriptions is, each time.",
            seen.new,
        ),
        Family::counters_by(
            "cresset_mozilla_refused",
            "connections",
            "Connections of such browsers that were refused, or did not say in time who they are.",
            &["reason"],
            refused,
        ),
        Family::counters_by(
            "cresset_mozilla_closed",
            "connections",
            "Connections of such browsers that the server closed.",
            &["reason"],
            closed,
        ),
        Family::counter(
            "cresset_mozilla_written",
            "messages",
            "Messages written to such browsers; one may be written again.",
            seen.written,
        ),
        Family::counter(
            "cresset_mozilla_acknowledged",
            "messages",
            "Messages that they need not be sent again.",
            seen.acknowledged,
        ),
        Family::counter(
            "cresset_mozilla_failed",
            "messages",
            "Messages that they could not decrypt, deliver or handle.",
            seen.failed,
        ),
        Family::counter(
            "cresset_mozilla_undeliverable",
            "messages",
            "Messages that have no form for them.",
            seen.undeliverable,
        ),
    ]
}

fn app_servers(seen: &AppServers) -> Vec<Family> {
    let refused = [
        ("capacity", seen.over_capacity),
        ("address", seen.over_address),
        ("address_silent", seen.over_address_logins),
        ("sender", seen.too_many),
        ("gave_way", seen.gave_way),
        ("login_refused", seen.logins_refused),
        ("login_missing", seen.logins_missing),
    ];
    let closed = [
        ("unreadable", seen.unreadable),
        ("idle", seen.idle),
        ("stalled", seen.stalled),
        ("drained", seen.drained),
    ];
    let answers = [("ack", seen.acks), ("stanza_error", seen.stanza_errors)];
    let answers = answers.into_iter().chain(NACKS.into_iter().zip(seen.nacks));
    vec![
        Family::gauge(
            "cresset_xmpp",
            "connections",
            "Open connections of app servers, logged in or not.",
            seen.connections,
        ),
        Family::gauge(
            "cresset_xmpp_waiting",
            "connections",
            "Those of them that have not logged in yet.",
            seen.newcomers,
        ),
        Family::gauge(
            "cresset_xmpp_connected",
            "app_servers",
            "App servers that are connected and logged in.",
            seen.app_servers,
        ),
        Family::counter(
            "cresset_xmpp_accepted",
            "connections",
            "Connections of app servers that were let in.",
            seen.accepted,
        ),
        Family::counter("cresset_xmpp", "logins", "Logins of app servers.", seen.logins),
        Family::counters_by(
            "cresset_xmpp_refused",
            "connections",
            "Connections of app servers that were refused or ended before a login: for being too many in all, of one \
             address or of one sender, for not logging in, for a server key that is not the sender's.",
            &["reason"],
            refused,
        ),
        Family::counters_by(
            "cresset_xmpp_closed",
            "connections",
            "Connections of app servers that the server closed: for what is no XMPP, for saying or reading nothing, \
             or because the server stops.",
            &["reason"],
            closed,
        ),
        Family::counter(
            "cresset_xmpp_received",
            "messages",
            "Messages of app servers that were given on to be delivered.",
            seen.received,
        ),
        Family::counters_by(
            "cresset_xmpp",
            "answers",
            "Answers to messages of app servers: acks, nacks by their code, and stanzas that were sent back.",
            &["answer"],
            answers,
        ),
    ]
}

fn upstream(seen: &Upstream) -> Vec<Family> {
    let taken = [("durable", seen.taken), ("duplicate", seen.duplicates), ("refused", seen.refused)];
    vec![
        Family::counters_by(
            "cresset_upstream_taken",
            "messages",
            "Messages of devices for app servers: made durable, there before, or not taken for now.",
            &["outcome"],
            taken,
        ),
        Family::counters_by(
            "cresset_upstream_dropped",
            "messages",
            "Messages of devices that no app server will get, by the reason.",
            &["reason"],
            Why::ALL.into_iter().map(Why::name).zip(seen.dropped),
        ),
        Family::counter(
            "cresset_upstream",
            "receipts",
            "Receipts for messages that reached their devices.",
            seen.receipts,
        ),
        Family::counter(
            "cresset_upstream_sent",
            "messages",
            "Messages of devices and receipts that were given to app servers; one may be given to another later.",
            seen.sent,
        ),
        Family::counter(
            "cresset_upstream_resent",
            "messages",
            "Those that were given to the same connection again, for want of an ack.",
            seen.resent,
        ),
        Family::counter(
            "cresset_upstream_acknowledged",
            "messages",
            "Those that app servers said they have.",
            seen.acknowledged,
        ),
    ]
}

fn http(seen: &Door) -> Vec<Family> {
    vec![
        Family::gauge("cresset_http", "connections", "Open HTTP connections, of all listeners.", seen.open),
        Family::gauge(
            "cresset_http_waiting",
            "connections",
            "Those of them that have not asked for anything yet, TLS handshakes among them.",
            seen.silent,
        ),
        Family::counter(
            "cresset_http_accepted",
            "connections",
            "HTTP connections that were let in.",
            seen.accepted,
        ),
        Family::counter(
            "cresset_http_held_up",
            "connections",
            "HTTP connections that had to wait until another ended.",
            seen.held_up,
        ),
        Family::counters_by(
            "cresset_http_refused",
            "connections",
            "HTTP connections that were refused, or ended without being answered.",
            &["reason"],
            seen.refused.iter().copied(),
        ),
    ]
}

fn requests(readings: &Readings) -> Vec<Family> {
    vec![
        Family {
            name: "cresset_http",
            unit: Some("requests"),
            help: "Requests that were answered. Parts of a batch are sends, and no requests.",
            labels: &["method", "status"],
            values: Values::Counter(readings.answers.clone()),
        },
        Family {
            name: "cresset_http_request_duration",
            unit: Some("seconds"),
            help: "Time from the head of a request to the head of its answer.",
            labels: &["method"],
            values: Values::Histogram(readings.durations.clone()),
        },
    ]
}

fn sends(seen: &cresset_api::SendsSnapshot) -> Vec<Family> {
    vec![
        Family::counter(
            "cresset_sends_accepted",
            "messages",
            "Messages that were accepted, alone or as part of a batch, dry runs too.",
            seen.accepted,
        ),
        Family::counters_by(
            "cresset_sends_rejected",
            "messages",
            "Messages that were rejected, by the code that the sender was told.",
            &["code"],
            seen.rejected.iter().copied(),
        ),
    ]
}

fn pushes(readings: &Readings) -> Vec<Family> {
    vec![Family::counters_by(
        "cresset_pushes",
        "messages",
        "Web Pushes of application servers to subscriptions of ours, by how they were answered.",
        &["outcome"],
        readings.pushes.iter().copied(),
    )]
}

fn store(seen: &Store) -> Vec<Family> {
    let refused = [("overloaded", seen.overloaded), ("disk_full", seen.disk_full), ("failed", seen.failed)];
    let durations = super::family::Histogram::of(&COMMIT_MICROS, &seen.commits, seen.commit_micros);
    vec![
        Family::counter(
            "cresset_store",
            "writes",
            "Batches of rows that were answered as durable.",
            seen.writes,
        ),
        Family::counter("cresset_store_changed", "rows", "Rows that were put or deleted.", seen.rows),
        Family {
            name: "cresset_store_commit_duration",
            unit: Some("seconds"),
            help: "Time of a commit with its fsync, which all batches share that wait at the time.",
            labels: &[],
            values: Values::Histogram(vec![(Labels::new(), durations)]),
        },
        Family::gauge("cresset_store_waiting", "writes", "Batches that wait to be committed.", seen.waiting),
        Family::gauge("cresset_store_waiting", "bytes", "Their bytes.", seen.waiting_bytes),
        Family::counters_by(
            "cresset_store_refused",
            "writes",
            "Batches that were refused: too many wait, the disk is full, the engine failed.",
            &["reason"],
            refused,
        ),
        Family::gauge(
            "cresset_store_disk_free",
            "bytes",
            "Room on the volume of the data folder; 0 if the file system does not tell.",
            seen.free_bytes.unwrap_or(0),
        ),
        Family::flag(
            "cresset_store_read_only",
            "1 while writes are refused because the disk is full or the engine is being opened again.",
            seen.state != Writes::Taken,
        ),
    ]
}

fn delivery(seen: &cresset_delivery::Snapshot) -> Vec<Family> {
    vec![
        Family::counter(
            "cresset_accepted",
            "deliveries",
            "Deliveries that were accepted: one a message and registration; of topics and conditions, when they \
             are spread.",
            seen.accepted,
        ),
        Family::counters_by(
            "cresset_ended",
            "deliveries",
            "Deliveries that have ended, by how. What expires while nobody asks for it is not counted.",
            &["end"],
            End::ALL.map(End::name).into_iter().zip(seen.ended),
        ),
        Family::gauge(
            "cresset_open",
            "fanouts",
            "Messages to topics and conditions that are still being spread.",
            seen.fanouts,
        ),
        Family::gauge(
            "cresset_live",
            "sets",
            "Sets of those who still want such a message: one a message and 65,536 registrations.",
            seen.sets,
        ),
        Family::gauge(
            "cresset_live_set",
            "bytes",
            "Memory of those sets and their messages, about.",
            seen.set_bytes,
        ),
        Family::gauge(
            "cresset_loaded",
            "buckets",
            "Lots of 65,536 registrations that are in memory.",
            seen.buckets,
        ),
        Family::gauge(
            "cresset_member",
            "sets",
            "Sets of the members of topics that are kept in memory.",
            seen.member_sets,
        ),
        Family::gauge("cresset_member_set", "bytes", "Memory of those sets.", seen.member_bytes),
    ]
}

fn outbound(seen: &cresset_outbound::Snapshot) -> Vec<Family> {
    let attempts = |name: &'static str, help: &'static str, counts: [u64; TOLD.len()]| {
        Family::counters_by(name, "attempts", help, &["outcome"], TOLD.into_iter().zip(counts))
    };
    vec![
        attempts(
            "cresset_webpush",
            "Attempts to hand a message to another's Web Push service, by how they ended.",
            seen.webpush,
        ),
        attempts("cresset_apns", "Attempts to hand a message to APNs, by how they ended.", seen.apns),
        Family::gauge(
            "cresset_outbound",
            "visits",
            "Registrations behind push services that are being served, or wait to be tried again.",
            seen.visits as u64,
        ),
        Family::gauge(
            "cresset_outbound_in_flight",
            "visits",
            "Those of them with a request on its way.",
            seen.in_flight as u64,
        ),
        Family::gauge(
            "cresset_outbound_paused",
            "lanes",
            "Push services, or apps at APNs, to which nothing goes for a while.",
            seen.paused as u64,
        ),
        Family::gauge(
            "cresset_outbound_aside",
            "registrations",
            "Registrations behind push services that are busy or gone: they are served when there is a place.",
            seen.aside as u64,
        ),
    ]
}

fn spans(readings: &Readings) -> Vec<Family> {
    let seen = &readings.spans;
    let lost = [("queue_full", seen.dropped), ("not_taken", seen.failed)];
    vec![
        Family::counter(
            "cresset_traces_sent",
            "spans",
            "Requests that the collector of traces was told of.",
            seen.sent,
        ),
        Family::counters_by(
            "cresset_traces_dropped",
            "spans",
            "Requests that it was to be told of, and was not: too many waited, or it did not take them.",
            &["reason"],
            lost,
        ),
    ]
}

fn process(readings: &Readings) -> Vec<Family> {
    let seen = &readings.process;
    vec![
        Family::gauge(
            "process_resident_memory",
            "bytes",
            "Memory of the process that is in RAM.",
            seen.resident_bytes,
        ),
        Family::counter(
            "process_cpu",
            "seconds",
            "Processor time of the process, user and system.",
            seen.cpu_seconds,
        ),
        Family::gauge("process_open", "fds", "Open files, sockets among them.", seen.open_files),
        Family::gauge("process_max", "fds", "Files that may be open.", seen.most_files),
        Family::gauge(
            "process_start_time",
            "seconds",
            "When the server started, in seconds since 1970.",
            seen.started_seconds,
        ),
        Family {
            name: "cresset_build",
            unit: None,
            help: "The version that runs.",
            labels: &["version"],
            values: Values::Info(vec![("version", env!("CARGO_PKG_VERSION"))]),
        },
    ]
}

//! Who may connect, and that bad company harms nobody.

use cresset_device_client::{ConnectOptions, Credentials, Error};
use cresset_e2e::{RawMcs, TestServer, World, patiently};
use cresset_wire::mcs::{self, Frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::{logged_in, next, next_data, next_frame, saying};

#[tokio::test]
async fn a_device_that_logs_in_twice_keeps_the_newer_connection() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut older = logged_in(&world, &device).await;
    let mut newer = logged_in(&world, &device).await;
    while next_frame(&mut older).await.is_some() {}
    let id = world.accept(&saying(&device, "hello")).await.unwrap();
    assert_eq!(next_data(&mut newer).await.persistent_id, Some(id));
}

#[tokio::test]
async fn a_wrong_security_token_is_refused_and_harms_not_its_victim() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut connection = world.connect(&device).await.unwrap();
    let thief = Credentials { security_token: 1, ..device.credentials };
    let unknown = Credentials { android_id: 4_711, security_token: 1 };
    for stranger in [thief, unknown] {
        let refused = world.devices.connect(&stranger, ConnectOptions::default()).await;
        assert!(matches!(refused, Err(Error::LoginRefused { .. })), "{:?}", refused.err());
    }
    world.accept(&saying(&device, "mine")).await.unwrap();
    assert_eq!(next(&mut connection).await.get("word"), Some("mine"));
}

#[tokio::test]
async fn nonsense_is_cut_off_and_harms_nobody_else() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut healthy = world.connect(&device).await.unwrap();

    let mut plain = TcpStream::connect(world.running.mcs).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: mtalk.google.com\r\n\r\n").await.unwrap();
    patiently("the end of a connection without TLS", ended(&mut plain)).await;
    // A login of a version that there is not; a frame without a login; a length without end; a
    // frame larger than any.
    let ping = [mcs::VERSION, 0, 0];
    let endless = [mcs::VERSION, 2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    let huge = [mcs::VERSION, 2, 0xff, 0xff, 0xff, 0x7f];
    let garbage = [&[0x3f; 600][..], &ping, &endless, &huge];
    for bytes in garbage {
        let mut mcs = RawMcs::connect(world.running.mcs, &world.trust).await.unwrap();
        mcs.write(bytes).await.unwrap();
        patiently("the end of a babbling connection", closed(&mut mcs)).await;
    }
    let mut babbler = logged_in(&world, &world.device().await.unwrap()).await;
    babbler.write(&[8, 3, 0xff, 0xff, 0xff]).await.unwrap();
    patiently("the end of a device that babbles", closed(&mut babbler)).await;

    world.accept(&saying(&device, "still there")).await.unwrap();
    assert_eq!(next(&mut healthy).await.get("word"), Some("still there"));
}

#[tokio::test]
async fn those_who_say_nothing_or_read_nothing_harm_nobody_else() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let device = world.device().await.unwrap();
    let mut healthy = world.connect(&device).await.unwrap();
    let silent = TcpStream::connect(world.running.mcs).await.unwrap();
    let half = RawMcs::connect(world.running.mcs, &world.trust).await.unwrap();
    let deaf = world.device().await.unwrap();
    let unread = logged_in(&world, &deaf).await;
    // More than may be unacknowledged, and 4 MB: more than a socket takes that nobody reads from.
    let long = "x".repeat(3_900);
    for n in 0..1_200 {
        world.accept(&saying(&deaf, &long)).await.unwrap();
        if n % 100 == 0 {
            let word = n.to_string();
            world.accept(&saying(&device, &word)).await.unwrap();
            assert_eq!(next(&mut healthy).await.get("word"), Some(&*word));
        }
    }
    drop((silent, half, unread));
    let mut cured = logged_in(&world, &deaf).await;
    assert_eq!(next_data(&mut cured).await.get("word"), Some(&*long), "nothing was lost meanwhile");
}

/// A vanished peer and a polite one look the same from here.
async fn ended(stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
}

/// Whatever is said before it; but no message.
async fn closed(mcs: &mut RawMcs) {
    while let Ok(Some(frame)) = mcs.next().await {
        assert!(!matches!(frame, Frame::Data(_)), "{frame:?}");
    }
}

#[tokio::test]
async fn many_devices_come_at_once() {
    let server = TestServer::start().await.unwrap();
    let world = server.world().await.unwrap();
    let arrivals = (0..100).map(|n| arrive(&world, n));
    futures_util::future::join_all(arrivals).await;
}

async fn arrive(world: &World, n: usize) {
    let device = world.device().await.unwrap();
    let mut connection = world.connect(&device).await.unwrap();
    world.accept(&saying(&device, &n.to_string())).await.unwrap();
    assert_eq!(next(&mut connection).await.get("word"), Some(&*n.to_string()));
}

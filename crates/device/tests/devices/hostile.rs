//! Clients that harm, by intent or by accident.

use std::sync::Arc;
use std::time::Duration;

use cresset_delivery::Handoff;
use cresset_device::Limits;
use cresset_device_client::Credentials;
use cresset_wire::mcs::{self, Frame, HeartbeatPing, LoginRequest};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::house::{House, SOON, TOKEN, eventually, next, texts};

/// A TLS 1.2 connection without SNI, as Node's receivers make it.
async fn raw(house: &House, address: &str) -> TlsStream<TcpStream> {
    tls(&client_config(house, &rustls::version::TLS12), address).await
}

fn client_config(house: &House, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(house.ca.as_bytes()).unwrap()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.enable_sni = false;
    Arc::new(config)
}

async fn tls(config: &Arc<ClientConfig>, address: &str) -> TlsStream<TcpStream> {
    let socket = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config.clone()).connect(name, socket).await.unwrap()
}

/// A connection from an address of this machine, of which it has many.
async fn from(address: [u8; 4], house: &House) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((address, 0).into()).unwrap();
    socket.connect(house.address.parse().unwrap()).await.unwrap()
}

/// The other side ends it, and has said nothing.
async fn assert_refused(stream: &mut TcpStream) {
    let mut rest = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the server ends it");
    assert!(rest.is_empty());
}

fn login(device: u64) -> Vec<u8> {
    let request =
        LoginRequest { user: device.to_string(), auth_token: TOKEN.to_string(), ..LoginRequest::default() };
    let mut bytes = vec![mcs::VERSION];
    mcs::encode(&Frame::LoginRequest(Box::new(request)), &mut bytes);
    bytes
}

async fn assert_ended(stream: &mut TlsStream<TcpStream>) {
    let mut rest = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut rest)).await.expect("the server ends it");
}

#[tokio::test]
async fn rubbish_ends_the_connection() {
    let house = House::start().await;
    let mut plain = TcpStream::connect(&house.address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(SOON, plain.read_to_end(&mut rest)).await.unwrap();
    for rubbish in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), &[41, 0, 0], &[41, 2, 0xff, 0xff, 0xff, 0x7f]] {
        let mut stream = raw(&house, &house.address).await;
        stream.write_all(rubbish).await.unwrap();
        assert_ended(&mut stream).await;
    }
    eventually(|| house.listener.snapshot().connections == 0).await;
    let snapshot = house.listener.snapshot();
    assert_eq!((snapshot.unreadable, snapshot.logins_missing), (3, 1));
}

#[tokio::test]
async fn bytes_may_trickle_in() {
    let house = House::start().await;
    let mut stream = raw(&house, &house.address).await;
    for byte in login(1) {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    eventually(|| house.listener.snapshot().devices == 1).await;
}

#[tokio::test]
async fn frames_behind_a_login_are_served_after_it() {
    let house = House::start().await;
    let mut stream = raw(&house, &house.address).await;
    let mut bytes = login(1);
    mcs::encode(&Frame::HeartbeatPing(HeartbeatPing::default()), &mut bytes);
    stream.write_all(&bytes).await.unwrap();
    let mut decoder = mcs::Decoder::new(mcs::Role::Client);
    let mut tags = Vec::new();
    while tags.len() < 3 {
        let mut buffer = [0; 1000];
        let read = timeout(SOON, stream.read(&mut buffer)).await.unwrap().unwrap();
        let mut input = &buffer[..read];
        while let Some(mcs::Incoming::Frame(frame)) = decoder.next(&mut input).unwrap() {
            tags.push(frame.tag());
        }
    }
    assert_eq!(tags, [3, 7, 1]);
}

/// @aracna/fcm takes whatever one read returns for one message. Seen from outside: as many
/// records of application data as there are frames.
#[tokio::test]
async fn every_frame_is_a_record() {
    let house = House::start().await;
    for n in 0..10 {
        house.send(1, &n.to_string());
    }
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap().to_string();
    let upstream = TcpStream::connect(&house.address).await.unwrap();
    let records = tokio::spawn(async move {
        let (mut down, _) = proxy.accept().await.unwrap();
        let (mut up_read, mut up_write) = upstream.into_split();
        let (mut down_read, mut down_write) = down.split();
        let requests = tokio::io::copy(&mut down_read, &mut up_write);
        let responses = async {
            let mut sizes = Vec::new();
            // LoginResponse, IqStanza, ten messages.
            while sizes.len() < 12 {
                let mut header = [0; 5];
                up_read.read_exact(&mut header).await.unwrap();
                let mut record = vec![0; usize::from(u16::from_be_bytes([header[3], header[4]]))];
                up_read.read_exact(&mut record).await.unwrap();
                down_write.write_all(&[&header[..], &record].concat()).await.unwrap();
                if header[0] == 23 {
                    sizes.push(record.len());
                }
            }
            sizes
        };
        tokio::select! {
            sizes = responses => sizes,
            _ = requests => panic!("the client left"),
        }
    });
    let mut stream = raw(&house, &address).await;
    stream.write_all(&login(1)).await.unwrap();
    let sizes = timeout(SOON, records).await.unwrap().unwrap();
    assert!(sizes[2..].iter().all(|size| *size == sizes[2]), "{sizes:?}");
}

#[tokio::test]
async fn a_device_that_does_not_read_is_left_alone_and_harms_nobody() {
    let house = House::start().await;
    let mut stream = raw(&house, &house.address).await;
    stream.write_all(&login(1)).await.unwrap();
    let mut other = house.connect(2).await;
    eventually(|| house.listener.snapshot().devices == 2).await;
    // Large enough to fill the kernel's buffers, and ours, before the window of messages is full.
    let large = "x".repeat(40_000);
    let mut accepted = 0;
    while house.push(&house.message(1, &large, Duration::ZERO)) == Handoff::Accepted {
        accepted += 1;
        assert!(accepted < 900, "no bound was reached");
        tokio::task::yield_now().await;
    }
    house.send(2, "hello");
    assert_eq!(texts(&mut other, 1).await, ["hello"]);
    // It reads again, and finds that nothing of its stream is missing.
    let mut decoder = mcs::Decoder::new(mcs::Role::Client);
    let mut frames = 0;
    let mut buffer = vec![0; 65_536];
    while let Ok(Ok(read @ 1..)) = timeout(Duration::from_millis(300), stream.read(&mut buffer)).await {
        let mut input = &buffer[..read];
        while decoder.next(&mut input).unwrap().is_some() {
            frames += 1;
        }
    }
    assert!(frames > 20 && frames <= accepted + 2, "{frames} of {accepted}");
    house.send(1, "again");
    let read = timeout(SOON, stream.read(&mut buffer)).await.unwrap().unwrap();
    assert!(read > 0);
}

#[tokio::test]
async fn a_flood_of_pings_is_bounded_by_what_the_client_reads() {
    let house = House::start().await;
    let mut stream = raw(&house, &house.address).await;
    stream.write_all(&login(1)).await.unwrap();
    let pings = vec![0u8; 16_384];
    let flood = async {
        loop {
            stream.write_all(&pings).await.unwrap();
        }
    };
    // The server stops reading, so that at last the flood finds no more room in any buffer.
    let _ = timeout(Duration::from_secs(2), flood).await;
    let mut other = house.connect(2).await;
    house.send(2, "hello");
    assert!(next(&mut other).await.is_some());
}

#[tokio::test]
async fn too_many_connections_are_refused_and_those_there_stay() {
    let house = House::with(Limits { connections: 3, logins: 2, ..Limits::default() }).await;
    let mut devices = Vec::new();
    for device in 1..=3 {
        devices.push(house.connect(device).await);
    }
    assert_refused(&mut TcpStream::connect(&house.address).await.unwrap()).await;
    eventually(|| house.listener.snapshot().over_capacity == 1).await;
    house.send(3, "hello");
    assert_eq!(texts(&mut devices[2], 1).await, ["hello"]);
    devices.pop();
    eventually(|| house.listener.snapshot().connections == 2).await;
    house.connect(4).await;
}

#[tokio::test]
async fn whoever_waits_to_log_in_holds_up_no_more_than_the_bound() {
    let house = House::with(Limits { connections: 100, logins: 2, ..Limits::default() }).await;
    let idle = [TcpStream::connect(&house.address).await, TcpStream::connect(&house.address).await];
    sleep(Duration::from_millis(50)).await;
    let client = house.client();
    let credentials = Credentials { android_id: 1, security_token: TOKEN };
    let waiting = timeout(Duration::from_millis(200), client.connect(&credentials, Default::default()));
    assert!(waiting.await.is_err());
    drop(idle);
    house.connect(1).await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_others_have_theirs() {
    let house = House::with(Limits { per_address: 2, loopback: true, ..Limits::default() }).await;
    let mut devices = [house.connect(1).await, house.connect(2).await];
    assert_refused(&mut TcpStream::connect(&house.address).await.unwrap()).await;
    assert_eq!(house.listener.snapshot().over_address, 1);
    let _elsewhere = from([127, 0, 0, 2], &house).await;
    eventually(|| house.listener.snapshot().connections == 3).await;
    house.send(1, "hello");
    assert_eq!(texts(&mut devices[0], 1).await, ["hello"]);
    drop(devices);
    eventually(|| house.listener.snapshot().connections == 1).await;
    house.connect(3).await;
}

#[tokio::test]
async fn an_address_that_never_logs_in_leaves_room_for_the_others() {
    let limits = Limits { logins: 4, logins_per_address: 2, loopback: true, ..Limits::default() };
    let house = House::with(limits).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(from([127, 0, 0, 2], &house).await);
    }
    eventually(|| house.listener.snapshot().over_address_logins == 18).await;
    assert_eq!(house.listener.snapshot().newcomers, 2);
    // Who logged in is no newcomer any more, and leaves its place to the next.
    let devices = [house.connect(1).await, house.connect(2).await, house.connect(3).await];
    assert_eq!(house.listener.snapshot().devices as usize, devices.len());
}

#[tokio::test]
async fn those_that_never_log_in_give_way_to_those_that_do() {
    let limits = Limits { logins: 2, patience: Duration::from_millis(20), ..Limits::default() };
    let house = House::with(limits).await;
    let mut silent = Vec::new();
    for _ in 0..10 {
        silent.push(TcpStream::connect(&house.address).await.unwrap());
    }
    // One that has begun its handshake has no more right to its place.
    silent.push(TcpStream::connect(&house.address).await.unwrap());
    silent[10].write_all(&[22, 3, 1, 0, 200, 1]).await.unwrap();
    house.connect(1).await;
    // As many as there are places may stay: nobody waits for them any more.
    assert!((9..=10).contains(&house.listener.snapshot().gave_way), "{:?}", house.listener.snapshot());
    assert_refused(&mut silent[0]).await;
}

#[tokio::test]
async fn all_who_come_at_once_are_let_in_by_turns() {
    let limits = Limits { handshakes: 1, logins: 8, ..Limits::default() };
    let house = Arc::new(House::with(limits).await);
    let logins: Vec<_> = (1..=40)
        .map(|device| {
            let house = house.clone();
            tokio::spawn(async move { house.connect(device).await })
        })
        .collect();
    let mut devices = Vec::new();
    for login in logins {
        devices.push(login.await.unwrap());
    }
    assert_eq!(house.listener.snapshot().devices, 40);
}

#[tokio::test]
async fn a_device_that_comes_back_takes_up_its_tls_session() {
    let house = House::start().await;
    for (versions, version) in [&rustls::version::TLS12, &rustls::version::TLS13].into_iter().enumerate() {
        let config = client_config(&house, version);
        for (times, kind) in
            [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed].into_iter().enumerate()
        {
            let mut stream = tls(&config, &house.address).await;
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(kind), "{version:?}");
            stream.write_all(&login(1)).await.unwrap();
            // The ticket of TLS 1.3 comes before what is read here.
            let mut answer = [0; 2];
            timeout(SOON, stream.read_exact(&mut answer)).await.unwrap().unwrap();
            assert_eq!(answer, [mcs::VERSION, 3]);
            let snapshot = house.listener.snapshot();
            assert_eq!(snapshot.resumed, (versions * 2 + times) as u64, "{version:?}");
            assert_eq!(snapshot.logins, (versions * 3 + times + 1) as u64);
        }
    }
}

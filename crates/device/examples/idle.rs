//! What an idle connection costs the server, and what its handshake does.
//!
//! `idle [CONNECTIONS]` starts the listener with a house of fakes, and itself once more as the
//! client that holds the connections, each logged in. Prints the growth of resident memory per
//! connection and the server's CPU time per connection, then what a push to each one costs.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SystemRandom;
use cresset_delivery::{Carrier, Content, Delivery};
use cresset_device::{Answer, Inbox, Limits, Listener, Logins, Parts, server_config};
use cresset_device_client::{Client, ConnectOptions, Credentials, Endpoints, Trust};
use cresset_message::{
    DeviceId, FcmOptions, Layout, Message, MessageId, Platform, Priority, ProjectNumber, Recipient,
    RegistrationId, Target, Timestamp,
};
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// One address has ports for some 28,000 connections.
const ADDRESSES: usize = 4;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["client", count, port] => runtime.block_on(hold(count.parse()?, port)),
        [] => runtime.block_on(measure(10_000)),
        [count] => runtime.block_on(measure(count.parse()?)),
        _ => Err("idle [CONNECTIONS]".into()),
    }
}

async fn measure(count: usize) -> Outcome<()> {
    let house = Arc::new(Nobody::default());
    let (listener, port, ca) = serve(house.clone()).await?;
    let mut client = Holder::start(count, port, &ca)?;
    // The first connections pay for what all share.
    client.open(100)?;
    let (before, cpu_before) = (resident_kb()?, cpu()?);
    client.open(count - 100)?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (after, cpu_after) = (resident_kb()?, cpu()?);
    let opened = (count - 100) as f64;
    println!("connections            {}", listener.snapshot().devices);
    println!("resident per one       {:.2} kB", (after - before) as f64 / opened);
    println!("CPU per login          {:.0} us", (cpu_after - cpu_before).as_secs_f64() * 1e6 / opened);
    push_to_all(&house, count)?;
    println!("resident after pushes  {:.2} kB", (resident_kb()? - before) as f64 / opened);
    client.end()
}

fn push_to_all(house: &Nobody, count: usize) -> Outcome<()> {
    let (message, lines) = (Arc::new(message()), house.lines());
    let (begun, before) = (Instant::now(), cpu()?);
    for n in 0..count as u64 {
        let delivery = delivery(n, message.clone());
        if let Some(line) = lines.get(&delivery.recipient.device) {
            line.push(&delivery);
        }
    }
    let elapsed = begun.elapsed();
    println!("CPU per push of 500 B  {:.2} us", (cpu()? - before).as_secs_f64() * 1e6 / count as f64);
    println!("wall for all pushes    {} ms", elapsed.as_millis());
    Ok(())
}

#[derive(Default)]
struct Nobody {
    lines: Mutex<HashMap<DeviceId, Arc<dyn Carrier>>>,
}

impl Nobody {
    fn lines(&self) -> MutexGuard<'_, HashMap<DeviceId, Arc<dyn Carrier>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Logins for Nobody {
    fn authenticate(&self, _: DeviceId, _: u64, _: Timestamp) -> Answer<'_, bool> {
        Box::pin(async { Ok(true) })
    }
}

impl Inbox for Nobody {
    fn pending<'a>(
        &'a self,
        _: DeviceId,
        _: usize,
        _: &'a (dyn Fn(MessageId) -> bool + Sync),
        _: Timestamp,
    ) -> Answer<'a, Vec<Arc<Delivery>>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn acknowledge<'a>(&'a self, _: DeviceId, _: &'a [MessageId], _: Timestamp) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn arrived(&self, device: DeviceId, line: Arc<dyn Carrier>, _: Timestamp) -> Answer<'_, bool> {
        self.lines().insert(device, line);
        Box::pin(async { Ok(true) })
    }

    fn left(&self, device: DeviceId, _: &Arc<dyn Carrier>) {
        self.lines().remove(&device);
    }
}

async fn serve(house: Arc<Nobody>) -> Outcome<(Listener, u16, String)> {
    let issued = rcgen::generate_simple_self_signed(["localhost".into()])?;
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der())?;
    let key = CertifiedKey::new(vec![issued.cert.der().clone()], any_supported_type(&key)?);
    let begun = Instant::now();
    let listener = Listener::new(Parts {
        tls: server_config(Arc::new(SingleCertAndKey::from(key)), Some(Ticketer::new()?))?,
        logins: house.clone(),
        inbox: house,
        clock: Arc::new(move || Timestamp::from_secs(1_700_000_000) + begun.elapsed()),
        randomness: Arc::new(SystemRandom::new()),
        limits: Limits::default(),
    });
    let first = TcpListener::bind("127.0.0.1:0").await?;
    let port = first.local_addr()?.port();
    let mut sockets = vec![first];
    for address in 2..=ADDRESSES {
        sockets.push(TcpListener::bind(format!("127.0.0.{address}:{port}")).await?);
    }
    let serving = listener.clone();
    tokio::spawn(async move { serving.serve(sockets, std::future::pending()).await });
    Ok((listener, port, issued.cert.pem()))
}

/// The client process: opens as many as it is told, line by line, and holds them.
async fn hold(count: usize, port: &str) -> Outcome<()> {
    let mut lines = std::io::stdin().lock().lines();
    let ca = lines.by_ref().map_while(Result::ok).take_while(|line| !line.is_empty());
    let ca = ca.collect::<Vec<_>>().join("\n");
    let clients: Vec<Client> = (1..=ADDRESSES)
        .map(|address| {
            let endpoints = Endpoints {
                http_base: "http://127.0.0.1:1".into(),
                mcs: format!("127.0.0.{address}:{port}"),
                server_name: Some("localhost".into()),
            };
            Client::new(endpoints, Trust::pem(&ca)?)
        })
        .collect::<Result<_, _>>()?;
    let opening = Arc::new(Semaphore::new(64));
    let mut next = 0;
    let mut held = JoinSet::new();
    for line in lines {
        let more: usize = line?.parse()?;
        let mut connecting = JoinSet::new();
        for n in next..(next + more).min(count) {
            let permit = opening.clone().acquire_owned().await?;
            let client = clients[n % ADDRESSES].clone();
            connecting.spawn(async move {
                let device = Credentials { android_id: n as u64 + 1, security_token: 1 };
                let connection = client.connect(&device, ConnectOptions::default()).await;
                drop(permit);
                connection
            });
        }
        next += more;
        while let Some(connection) = connecting.join_next().await {
            let mut connection = connection??;
            held.spawn(async move { while let Ok(Some(_)) = connection.next().await {} });
        }
        println!("open");
    }
    Ok(())
}

struct Holder {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    fn start(count: usize, port: u16, ca: &str) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["client", &count.to_string(), &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        writeln!(input, "{}\n", ca.replace("\r", "").trim())?;
        Ok(Self { child, input, output })
    }

    fn open(&mut self, count: usize) -> Outcome<()> {
        writeln!(self.input, "{count}")?;
        let mut line = String::new();
        // Blocks this thread; the listener has others.
        tokio::task::block_in_place(|| self.output.read_line(&mut line))?;
        if line.trim() == "open" { Ok(()) } else { Err("the client failed".into()) }
    }

    fn end(mut self) -> Outcome<()> {
        drop(self.input);
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

fn message() -> Message {
    Message {
        target: Target::Token(String::new()),
        data: vec![("text".into(), "x".repeat(370))],
        notification: None,
        android: None,
        webpush: None,
        apns: None,
        fcm_options: FcmOptions::default(),
        receipt_id: None,
    }
}

fn delivery(n: u64, message: Arc<Message>) -> Delivery {
    Delivery {
        id: MessageId { micros: 1_700_000_000_000_000, unique: n },
        recipient: Arc::new(Recipient {
            registration: RegistrationId { project: ProjectNumber(1), bucket: 0, slot: 0 },
            device: DeviceId::new(n + 1).expect("it is small and not zero"),
            platform: Platform::Android,
            fid: None,
            app_id: None,
            category: "com.example.app".into(),
            layout: Layout::Raw { sender: "123456789012".into() },
            successor: None,
        }),
        content: Content::Message(message),
        priority: Priority::Normal,
        collapse_key: None,
        ttl: Duration::from_secs(3600),
        expires: Timestamp::from_secs(1_700_000_000) + Duration::from_secs(3600),
    }
}

fn resident_kb() -> Outcome<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no value")?.parse()?)
}

/// User and system time of this process: the 14th and 15th field, in hundredths of a second.
fn cpu() -> Outcome<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no name")?.1.split_whitespace().collect();
    let ticks = |n: usize| -> Outcome<u64> { Ok(fields.get(n).ok_or("no field")?.parse()?) };
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}

//! What a connected, silent device costs the server. The connections are held by a process of their
//! own, so that the files and the memory of the two sides do not mix.

use std::process::Stdio;

use cresset_device_client::{Client, ConnectOptions, Credentials, Endpoints, Trust};
use cresset_e2e::{Outcome, World};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::Subject;
use crate::process::{allow_many_files, cpu, load, resident};

/// Connections unless said otherwise: two processes of them fit the usual limit of open files.
pub(crate) const COUNT: usize = 10_000;

/// The first ones pay for what all share.
const FIRST: usize = 200;

/// Handshakes at a time.
const TOGETHER: usize = 64;

pub(crate) async fn measure(subject: &Subject, count: usize) -> Outcome<()> {
    let limit = allow_many_files()?;
    if limit < count as u64 + 200 {
        return Err(format!("{count} connections need more than the {limit} open files allowed").into());
    }
    let before_load = load();
    let devices = check_in(&subject.world, count).await?;
    let mut holder = Holder::start(&subject.world, &devices).await?;
    let pid = subject.binary.pid();
    holder.open(FIRST).await?;
    let (memory, time) = (resident(pid)?, cpu(pid)?);
    holder.open(count - FIRST).await?;
    let opened = (count - FIRST) as f64;
    let per_login = (cpu(pid)? - time).as_secs_f64() * 1e6 / opened;
    let per_connection = resident(pid)?.saturating_sub(memory) as f64 / opened;
    println!("idle: {count} devices logged in over TLS   (load {before_load} -> {})", load());
    println!("  resident memory of the server: {per_connection:.1} kB a connection");
    println!("  CPU of the server: {per_login:.0} us a login (TLS handshake included)");
    holder.end().await
}

async fn check_in(world: &World, count: usize) -> Outcome<Vec<Credentials>> {
    let one = |_| async { Ok::<_, cresset_e2e::Failure>(world.devices.check_in(None).await?) };
    stream::iter(0..count).map(one).buffer_unordered(TOGETHER).try_collect().await
}

/// The process that holds the connections, seen from here.
struct Holder {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Holder {
    async fn start(world: &World, devices: &[Credentials]) -> Outcome<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().ok_or("no input")?;
        let output = BufReader::new(child.stdout.take().ok_or("no output")?);
        let mut holder = Self { child, input, output };
        let devices: Vec<_> =
            devices.iter().map(|device| json!([device.android_id, device.security_token])).collect();
        let task = json!({ "mcs": world.running.mcs.to_string(), "ca": world.trust.pem, "devices": devices });
        holder.say(&task.to_string()).await?;
        Ok(holder)
    }

    /// Opens some more, and waits until all are logged in.
    async fn open(&mut self, count: usize) -> Outcome<()> {
        self.say(&count.to_string()).await?;
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        if line.trim() == "open" { Ok(()) } else { Err("the connections cannot be opened".into()) }
    }

    async fn say(&mut self, line: &str) -> Outcome<()> {
        self.input.write_all(line.as_bytes()).await?;
        Ok(self.input.write_all(b"\n").await?)
    }

    async fn end(mut self) -> Outcome<()> {
        Ok(self.child.kill().await?)
    }
}

/// The holding process: the first line says where and who, each other one how many more to open.
pub(crate) async fn hold() -> Outcome<()> {
    allow_many_files()?;
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let task: Value = serde_json::from_str(&lines.next_line().await?.ok_or("nothing to do")?)?;
    let text = |name: &str| task[name].as_str().unwrap_or_default();
    let endpoints = Endpoints {
        http_base: "http://unused.invalid".into(),
        mcs: text("mcs").into(),
        server_name: Some("mtalk.google.com".into()),
    };
    let client = Client::new(endpoints, Trust::pem(text("ca"))?)?;
    let mut devices = task["devices"].as_array().cloned().unwrap_or_default().into_iter();
    while let Some(line) = lines.next_line().await? {
        let more: Vec<Value> = devices.by_ref().take(line.parse()?).collect();
        for batch in more.chunks(TOGETHER) {
            try_join_all(batch.iter().map(|device| connect(&client, device))).await?;
        }
        println!("open");
    }
    Ok(())
}

/// Connects a device, and leaves a task to answer what the server asks.
async fn connect(client: &Client, device: &Value) -> Outcome<()> {
    let number = |at: usize| device[at].as_u64().ok_or("a device is two numbers");
    let device = Credentials { android_id: number(0)?, security_token: number(1)? };
    let mut connection = client.connect(&device, ConnectOptions::default()).await?;
    tokio::spawn(async move { while let Ok(Some(_)) = connection.next().await {} });
    Ok(())
}

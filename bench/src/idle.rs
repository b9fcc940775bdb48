//! What a connected, silent device costs the server. The connections are held by a process of their
//! own, so that the files and the memory of the two sides do not mix.

use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Args;
use cresset_device_client::Credentials;
use cresset_e2e::{Outcome, Trust, World};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::crowd::Listener;
use crate::devices::{self, Devices};
use crate::direct::OTHER_FILES;
use crate::process::{Kernel, allow_files, cpu, load, resident};
use crate::subscriber::Clock;
use crate::{Cli, Subject};

/// The first ones pay for what all share.
const FIRST: usize = 200;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Connections; two processes of the default fit the usual limit of open files
    #[arg(long, default_value_t = 10_000)]
    count: usize,
    /// Seconds between two heartbeats of a device
    #[arg(long, default_value_t = 300.0)]
    heartbeat: f64,
    /// Seconds that the server is watched for, at the rate of heartbeats that this gives; 0: not at all
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { count: 10_000, heartbeat: 300.0, seconds: 60 }
    }
}

pub(crate) async fn measure(cli: &Cli, options: &Options) -> Outcome<()> {
    let count = options.count;
    if count <= FIRST || options.heartbeat.is_nan() || options.heartbeat < 1.0 {
        return Err(format!("more than {FIRST} connections, and a second or more between heartbeats").into());
    }
    allow_files(count as u64 + OTHER_FILES)?;
    let subject = Subject::start(cli).await?;
    let before_load = load();
    let devices = devices::check_in(&subject.world, count).await?;
    let mut holder = Holder::start(&subject.world, &devices).await?;
    let pid = subject.binary.pid();
    holder.open(0..FIRST).await?;
    let (memory, kernel, time) = (resident(pid)?, Kernel::now()?, cpu(pid)?);
    holder.open(FIRST..count).await?;
    let opened = (count - FIRST) as f64;
    let per_login = (cpu(pid)? - time).as_secs_f64() * 1e6 / opened;
    let each = |now: u64, before: u64| (now as f64 - before as f64) / opened;
    let (now, per_connection) = (Kernel::now()?, each(resident(pid)?, memory));
    println!("idle: {count} devices logged in over TLS   (load {before_load} -> {})", load());
    println!("  resident memory of the server: {per_connection:.1} kB a connection");
    println!(
        "  memory of the kernel, for both ends of a connection: {:.1} kB slab, {:.1} kB in buffers of TCP",
        each(now.slab, kernel.slab),
        each(now.buffers, kernel.buffers)
    );
    println!("  CPU of the server: {per_login:.0} us a login (TLS handshake included)");
    if options.seconds > 0 {
        watch(&subject, &mut holder, options).await?;
    }
    holder.end().await
}

/// The server's share of a core while all devices ping it in turn.
async fn watch(subject: &Subject, holder: &mut Holder, options: &Options) -> Outcome<()> {
    let (pid, other) = (subject.binary.pid(), holder.pid()?);
    let (before, rate) = (load(), options.count as f64 / options.heartbeat);
    let time = Duration::from_secs(options.seconds);
    let beats = (rate * time.as_secs_f64()).ceil();
    let (server, generator, begun) = (cpu(pid)?, cpu(other)?, Instant::now());
    holder.beat(beats as usize, time).await?;
    let took = begun.elapsed().as_secs_f64();
    let share = |now: Duration, before: Duration| (now - before).as_secs_f64() * 100.0 / took;
    println!(
        "  a heartbeat of each every {:.0} s, {:.1}/s for {took:.0} s: {:.2} % of a core (generator {:.2} %)   (load {before} -> {})",
        options.heartbeat,
        beats / took,
        share(cpu(pid)?, server),
        share(cpu(other)?, generator),
        load()
    );
    println!("  resident memory of the server after that: {} MB", resident(pid)? >> 10);
    Ok(())
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

    fn pid(&self) -> Outcome<u32> {
        Ok(self.child.id().ok_or("the connections are gone")?)
    }

    /// Opens some, and waits until all are logged in.
    async fn open(&mut self, some: std::ops::Range<usize>) -> Outcome<()> {
        self.ask(&json!({ "open": [some.start, some.end] })).await
    }

    /// So many heartbeats in so much time.
    async fn beat(&mut self, count: usize, time: Duration) -> Outcome<()> {
        self.ask(&json!({ "beat": [count, time.as_secs()] })).await
    }

    async fn ask(&mut self, order: &Value) -> Outcome<()> {
        self.say(&order.to_string()).await?;
        let mut line = String::new();
        self.output.read_line(&mut line).await?;
        if line.trim() == DONE { Ok(()) } else { Err("the process with the connections has failed".into()) }
    }

    async fn say(&mut self, line: &str) -> Outcome<()> {
        self.input.write_all(line.as_bytes()).await?;
        Ok(self.input.write_all(b"\n").await?)
    }

    async fn end(mut self) -> Outcome<()> {
        Ok(self.child.kill().await?)
    }
}

const DONE: &str = "done";

/// The holding process: the first line says where and who, each other one what to do.
pub(crate) async fn hold() -> Outcome<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let task: Value = serde_json::from_str(&lines.next_line().await?.ok_or("nothing to do")?)?;
    let text = |name: &str| task[name].as_str().unwrap_or_default();
    let tls = Trust { pem: text("ca").to_owned() }.client(&[])?;
    let listener = Listener { address: text("mcs").parse()?, name: "mtalk.google.com", tls };
    let devices = task["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let devices = devices.iter().map(device).collect::<Outcome<_>>()?;
    let devices = Devices::start(devices, listener, Clock::start());
    while let Some(line) = lines.next_line().await? {
        let order: Value = serde_json::from_str(&line)?;
        let number = |name: &str, at: usize| order[name][at].as_u64().unwrap_or_default();
        if order["open"].is_array() {
            let some = number("open", 0) as usize..number("open", 1) as usize;
            devices.ask(move |room| room.come(some)).await?;
        } else {
            let (count, time) = (number("beat", 0) as usize, Duration::from_secs(number("beat", 1)));
            devices.ask(move |room| room.beat(count, time)).await?;
        }
        println!("{DONE}");
    }
    Ok(())
}

fn device(numbers: &Value) -> Outcome<Credentials> {
    let number = |at: usize| numbers[at].as_u64().ok_or("a device is two numbers");
    Ok(Credentials { android_id: number(0)?, security_token: number(1)? })
}

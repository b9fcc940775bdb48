//! A steady load for as long as one likes: sends to devices that come and go and acknowledge, and a topic
//! now and then. Does memory grow, does the data folder, do messages take longer?

mod chart;

use std::collections::VecDeque;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use cresset_e2e::{Device, Outcome, World, access_token};
use futures_util::future::{try_join, try_join3};
use serde_json::{Value, json};
use tokio::time::{sleep, sleep_until};

use self::chart::{Line, Panel};
use crate::compare::PAYLOAD;
use crate::devices::{self, Devices};
use crate::direct::{NO_RATE, OTHER_FILES, at_least_one};
use crate::figures::{median, slope};
use crate::process::{allow_files, cpu, load, on_disk, own_cpu, resident};
use crate::stamped::{Sender, Whom};
use crate::subscriber::Clock;
use crate::{Cli, Subject, topics};

const TOPIC: &str = "everybody";

/// Goes with [`NO_RATE`]: everybody becomes a member within a second.
const ALL_AT_ONCE: &str = "subscriptions_per_second = 0\n";

/// Access tokens are good for an hour.
const RENEW: Duration = Duration::from_secs(30 * 60);

/// Devices come and go so often, as many as it takes.
const MOVE: Duration = Duration::from_secs(1);

/// Of any time or rate: two years of minutes.
const MOST: f64 = 1e6;

/// Sends to a device in an hour, on the average. FCM's quota, which stays in force, is 5,000.
const MOST_EACH: f64 = 4_500.0;

/// At the begin a server fills its caches; slopes are without this share of the time.
const WARM_UP: f64 = 0.1;

#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// How long, warm-up included
    #[arg(long)]
    minutes: f64,
    /// Sends a second: a third of the most that `direct` finds
    #[arg(long, default_value_t = 3_000.0)]
    rate: f64,
    /// Devices, all of them members of a topic
    #[arg(long, default_value_t = 3_000, value_parser = at_least_one)]
    devices: usize,
    /// Seconds that a device stays connected
    #[arg(long, default_value_t = 300.0)]
    stay: f64,
    /// And is away before it comes back
    #[arg(long, default_value_t = 10.0)]
    away: f64,
    /// Seconds between two sends to the topic; 0: none
    #[arg(long, default_value_t = 30.0)]
    topic_every: f64,
    /// Seconds between two lines of figures
    #[arg(long, default_value_t = 10.0)]
    every: f64,
    /// Hours for which the server keeps what became of each message [default: the server's]
    #[arg(long)]
    trace_hours: Option<u32>,
    /// A folder for soak.csv and soak.svg
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

impl Options {
    fn check(&self) -> Outcome<()> {
        let positive = |number: f64| number > 0.0 && number < MOST;
        let sensible = [self.minutes, self.rate, self.stay, self.every].into_iter().all(positive)
            && [self.away, self.topic_every].into_iter().all(|number| number == 0.0 || positive(number));
        if !sensible {
            return Err(format!("times and rates are more than 0, and below {MOST}").into());
        }
        let each = self.rate * self.time().as_secs_f64().min(3_600.0) / self.devices as f64;
        if each > MOST_EACH {
            return Err(format!("{each:.0} sends an hour to a device are too many: take more devices").into());
        }
        Ok(())
    }

    fn time(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    fn configuration(&self) -> String {
        let trace = self.trace_hours.map(|hours| format!("[trace]\nkeep_hours = {hours}\n"));
        format!("{NO_RATE}{ALL_AT_ONCE}{}", trace.unwrap_or_default())
    }
}

pub(crate) async fn run(cli: &Cli, options: &Options) -> Outcome<()> {
    options.check()?;
    allow_files(options.devices as u64 + OTHER_FILES)?;
    let subject = Subject::serve(cli, &options.configuration()).await?;
    let (clock, before) = (Clock::start(), load());
    let registered = devices::register(&subject.world, options.devices).await?;
    let tokens: Vec<String> = registered.iter().map(|device| device.token.clone()).collect();
    topics::subscribe(&subject.world, TOPIC, &tokens.iter().map(String::as_str).collect::<Vec<_>>()).await?;
    let connected = Devices::connected(&registered, &subject.world, clock).await?;
    println!(
        "soak: {} sends/s to {} devices that stay for {} s and are away for {} s, for {} minutes   (load {before})",
        options.rate, options.devices, options.stay, options.away, options.minutes
    );
    let soak = Soak { subject: &subject, devices: &connected, options, clock, begun: Instant::now() };
    let mut log = Log::open(options.into.as_deref())?;
    let ended = try_join3(soak.send(&tokens), soak.come_and_go(&registered), soak.watch(&mut log)).await;
    // What was seen is worth having also when the load was too much.
    log.close(before)?;
    ended.map(drop)
}

struct Soak<'a> {
    subject: &'a Subject,
    devices: &'a Devices,
    options: &'a Options,
    clock: Clock,
    begun: Instant,
}

impl Soak<'_> {
    fn left(&self) -> Duration {
        self.options.time().saturating_sub(self.begun.elapsed())
    }

    async fn send(&self, tokens: &[String]) -> Outcome<()> {
        while !self.left().is_zero() {
            let world = self.renewed().await?;
            let time = self.left().min(RENEW);
            let sender = Sender::open(&world, tokens, Whom::Anybody, self.clock).await?;
            try_join(sender.evenly(self.options.rate, time), self.send_to_topic(&world, time)).await?;
        }
        Ok(())
    }

    /// The same world with an access token that is new.
    async fn renewed(&self) -> Outcome<World> {
        let mut world = self.subject.world.clone();
        let file = self.subject.binary.folder.join("credentials/demo.json");
        let account: Value = serde_json::from_slice(&std::fs::read(file)?)?;
        world.access = access_token(world.running.https, &world.trust, &account).await?;
        Ok(world)
    }

    /// These do not say when they were sent: the figures are those of single devices.
    async fn send_to_topic(&self, world: &World, time: Duration) -> Outcome<()> {
        if self.options.topic_every == 0.0 {
            return Ok(());
        }
        let (pause, begun) = (Duration::from_secs_f64(self.options.topic_every), Instant::now());
        let http = world.sender().await?;
        let message = json!({ "topic": TOPIC, "data": { "k": "x".repeat(PAYLOAD - 1) } });
        while begun.elapsed() + pause < time {
            sleep(pause).await;
            let answer = world.send_over(&http, &message).await?;
            if !answer.status.is_success() {
                return Err(format!("a send was answered {}: {}", answer.status, answer.text()).into());
            }
        }
        Ok(())
    }

    /// Devices leave one after the other without a word, and come back.
    async fn come_and_go(&self, all: &[Device]) -> Outcome<()> {
        let away_for = Duration::from_secs_f64(self.options.away);
        let per_second = all.len() as f64 / self.options.stay;
        let (mut left, mut away) = (0, VecDeque::new());
        while !self.left().is_zero() {
            sleep(MOVE.min(self.left())).await;
            let due = (self.begun.elapsed().as_secs_f64() * per_second) as usize;
            // Somebody must stay.
            let room = (all.len() / 2).saturating_sub(away.len());
            let leaving: Vec<usize> = (left..due).take(room).map(|n| n % all.len()).collect();
            left = due;
            let now = Instant::now();
            away.extend(leaving.iter().map(|place| (now + away_for, *place)));
            let back = away.partition_point(|(until, _)| *until <= now);
            let coming: Vec<usize> = away.drain(..back).map(|(_, place)| place).collect();
            self.devices.ask(move |room| room.leave(leaving)).await?;
            self.devices.ask(move |room| room.come(coming)).await?;
        }
        Ok(())
    }

    async fn watch(&self, log: &mut Log) -> Outcome<()> {
        let (pid, every) = (self.subject.binary.pid(), Duration::from_secs_f64(self.options.every));
        let (mut server, mut generator, mut messages) = (cpu(pid)?, own_cpu()?, self.devices.messages());
        let mut looked = Instant::now();
        for n in 1.. {
            let next = self.begun + every * n;
            if next > self.begun + self.options.time() {
                break;
            }
            sleep_until(next.into()).await;
            let (now_server, now_generator, now_messages) = (cpu(pid)?, own_cpu()?, self.devices.messages());
            let mut arrivals = self.devices.arrivals().await?;
            let (p50_ms, p99_ms) = arrivals.times.p50_p99();
            let seconds = looked.elapsed().as_secs_f64();
            let share = |time: Duration| time.as_secs_f64() * 100.0 / seconds;
            log.add(Row {
                seconds: self.begun.elapsed().as_secs_f64(),
                resident_mb: resident(pid)? as f64 / 1_024.0,
                disk_mb: on_disk(&self.subject.binary.folder)? as f64 / f64::from(1 << 20),
                per_second: (now_messages - messages) as f64 / seconds,
                p50_ms,
                p99_ms,
                waited: arrivals.waited,
                server: share(now_server - server),
                generator: share(now_generator - generator),
            })?;
            (server, generator, messages, looked) = (now_server, now_generator, now_messages, Instant::now());
        }
        Ok(())
    }
}

/// What was seen at a time.
#[derive(Clone, Copy, Debug)]
struct Row {
    seconds: f64,
    resident_mb: f64,
    disk_mb: f64,
    /// Messages that came to devices, those of the topic among them.
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Messages that came to a device when it came back.
    waited: usize,
    /// CPU, in % of a core.
    server: f64,
    generator: f64,
}

const HEAD: &str = "seconds,resident_mb,disk_mb,messages_per_second,p50_ms,p99_ms,waited,server_cpu_percent,generator_cpu_percent";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1},{:.2},{:.2},{:.1},{:.3},{:.3},{},{:.1},{:.1}",
            self.seconds,
            self.resident_mb,
            self.disk_mb,
            self.per_second,
            self.p50_ms,
            self.p99_ms,
            self.waited,
            self.server,
            self.generator
        )
    }
}

/// The rows, printed and written as they come.
struct Log {
    rows: Vec<Row>,
    csv: Option<File>,
    svg: Option<PathBuf>,
}

impl Log {
    fn open(folder: Option<&Path>) -> Outcome<Self> {
        let mut log = Self { rows: Vec::new(), csv: None, svg: None };
        if let Some(folder) = folder {
            std::fs::create_dir_all(folder)?;
            let mut csv = File::create(folder.join("soak.csv"))?;
            writeln!(csv, "{HEAD}")?;
            (log.csv, log.svg) = (Some(csv), Some(folder.join("soak.svg")));
        }
        println!("{HEAD}");
        Ok(log)
    }

    fn add(&mut self, row: Row) -> Outcome<()> {
        println!("{row}");
        if let Some(csv) = &mut self.csv {
            writeln!(csv, "{row}")?;
        }
        self.rows.push(row);
        Ok(())
    }

    fn close(self, before: String) -> Outcome<()> {
        if let Some(file) = &self.svg {
            std::fs::write(file, self.chart())?;
        }
        let first = self.rows.last().map_or(0.0, |last| last.seconds * WARM_UP);
        let rows: Vec<Row> = self.rows.into_iter().filter(|row| row.seconds > first).collect();
        let per_hour = |of: fn(&Row) -> f64| {
            slope(&rows.iter().map(|row| (row.seconds / 3_600.0, of(row))).collect::<Vec<_>>())
        };
        let middle = |of: fn(&Row) -> f64| median(rows.iter().map(of).collect());
        println!(
            "  after the first tenth, an hour: {:+.2} MB of memory, {:+.2} MB on disk; medians of {} lines: p50 {:.2} ms, p99 {:.2} ms   (load {before} -> {})",
            per_hour(|row| row.resident_mb),
            per_hour(|row| row.disk_mb),
            rows.len(),
            middle(|row| row.p50_ms),
            middle(|row| row.p99_ms),
            load()
        );
        Ok(())
    }

    fn chart(&self) -> String {
        let line = |name, of: fn(&Row) -> f64| Line { name, values: self.rows.iter().map(of).collect() };
        let minutes: Vec<f64> = self.rows.iter().map(|row| row.seconds / 60.0).collect();
        let panels = [
            Panel { title: "resident memory, MB", lines: vec![line("resident", |row| row.resident_mb)] },
            Panel { title: "data folder on disk, MB", lines: vec![line("disk", |row| row.disk_mb)] },
            Panel {
                title: "request to device, ms",
                lines: vec![line("p50", |row| row.p50_ms), line("p99", |row| row.p99_ms)],
            },
        ];
        chart::svg(&minutes, &panels)
    }
}

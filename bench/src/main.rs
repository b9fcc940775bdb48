//! Load on the real binary, and what it costs. Figures are printed with the load average of the
//! machine before and after, and with the generator's own CPU time: they mean something only where
//! the generator is not the bottleneck.
//!
//! `cargo build --release -p cresset-server && cargo run --release -p cresset-bench -- all`

mod compare;
mod crowd;
mod devices;
mod direct;
mod figures;
mod fsync;
mod http1;
mod http2;
mod idle;
mod kill;
mod legacy;
mod logins;
mod offline;
mod outbound;
mod parse;
mod process;
mod pushes;
mod restart;
mod send;
mod soak;
mod stamped;
mod subscribe;
mod subscriber;
mod topic;
mod topics;
mod xmpp;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cresset_e2e::{Binary, Outcome, World};
use tempfile::TempDir;

#[derive(Debug, Parser)]
#[command(name = "cresset-bench", about = "Load on Cresset's binary, and what it costs")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// The server's binary [default: the one beside this]
    #[arg(long, global = true, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Where the temporary data folder is made: the disk that is measured [default: the system's]
    #[arg(long, global = true, value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Acknowledged sends a second, latency, CPU time of the server
    Send(send::Options),
    /// What one fdatasync costs here, and sends that wait for one another
    Fsync,
    /// Memory and CPU time of connected, silent devices
    Idle(idle::Options),
    /// Reading a request: the largest message, and bodies made to hurt (no server)
    Parse,
    /// Kills the server in the middle of fan-outs: nobody may be lost, nothing doubled
    Kill(kill::Options),
    /// All of the above, with their defaults
    All,
    /// One publish to many connected subscribers, beside Redis and Mosquitto
    Compare(compare::Options),
    /// Durable memberships a second, and what one costs the server
    Subscribe(subscribe::Options),
    /// A send to a topic of many registrations that are not connected
    Topic(topic::Options),
    /// Sends to single devices that are connected: from the request to the acknowledged row
    Direct(direct::Options),
    /// Multicasts over the legacy protocol, to devices that are away and to connected ones
    Legacy(legacy::Options),
    /// Sends by XMPP: from the stanza to the ack
    Xmpp(xmpp::Options),
    /// New logins a second, and what others notice of them
    Logins(logins::Options),
    /// Kills the server when much waits in its queues: until it serves, until a device has its messages
    Restart(restart::Options),
    /// A steady load for long: does memory grow, does the data folder?
    Soak(soak::Options),
    /// Pushes to Web Push services and to APNs, which are fakes: cryptography, and pushes a second (no server)
    Outbound(outbound::Options),
    /// The same by the whole server: from the request until the push service has it
    Pushes(pushes::Options),
    /// The process that holds the connections of `idle`
    #[command(hide = true)]
    Hold,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("cresset-bench: {e}");
            ExitCode::FAILURE
        }
    }
}

/// One thread: the server needs the others.
fn run(cli: &Cli) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &cli.command {
            Command::Send(options) => send::measure(&Subject::start(cli).await?, options).await,
            Command::Fsync => fsync::measure(&Subject::start(cli).await?).await,
            Command::Idle(options) => idle::measure(cli, options).await,
            Command::Parse => parse::measure(),
            Command::All => {
                parse::measure()?;
                fsync::measure(&Subject::start(cli).await?).await?;
                send::measure(&Subject::start(cli).await?, &send::Options::default()).await?;
                idle::measure(cli, &idle::Options::default()).await
            }
            Command::Compare(options) => compare::measure(cli, options).await,
            Command::Subscribe(options) => subscribe::measure(&Subject::start(cli).await?, options).await,
            Command::Kill(options) => kill::check(cli, options).await,
            Command::Topic(options) => topic::measure(cli, options).await,
            Command::Direct(options) => direct::measure(cli, options).await,
            Command::Legacy(options) => legacy::measure(cli, options).await,
            Command::Xmpp(options) => xmpp::measure(cli, options).await,
            Command::Logins(options) => logins::measure(cli, options).await,
            Command::Restart(options) => restart::measure(cli, options).await,
            Command::Soak(options) => soak::run(cli, options).await,
            Command::Outbound(options) => outbound::measure(options).await,
            Command::Pushes(options) => pushes::measure(cli, options).await,
            Command::Hold => idle::hold().await,
        }
    })
}

impl Cli {
    /// The server's binary.
    fn program(&self) -> Outcome<PathBuf> {
        match &self.server {
            Some(program) => Ok(program.clone()),
            None => Ok(std::env::current_exe()?.with_file_name("cresset")),
        }
    }
}

/// A fresh server on a fresh folder.
struct Subject {
    binary: Binary,
    world: World,
    folder: TempDir,
}

impl Subject {
    async fn start(cli: &Cli) -> Outcome<Self> {
        process::allow_many_files()?;
        let folder = match &cli.folder {
            Some(parent) => TempDir::new_in(parent)?,
            None => TempDir::new()?,
        };
        let binary = Binary::start(&cli.program()?, &folder.path().join("data"))?;
        let world = World::of_demo(&binary).await?;
        Ok(Self { binary, world, folder })
    }

    /// The same with a configuration, as a service that says nothing unless something is wrong.
    async fn serve(cli: &Cli, configuration: &str) -> Outcome<Self> {
        let Self { binary, world, folder } = Self::start(cli).await?;
        let data = binary.folder.clone();
        stop(binary, world).await?;
        let config = folder.path().join("cresset.toml");
        std::fs::write(&config, format!("[log]\nlevel = \"warn\"\n{configuration}"))?;
        let binary = Binary::serve(&cli.program()?, &data, &config)?;
        let world = World::of_demo(&binary).await?;
        Ok(Self { binary, world, folder })
    }
}

/// This thread ends the connections of `world`, which the server waits for.
async fn stop(binary: Binary, world: World) -> Outcome<()> {
    drop(world);
    if tokio::task::spawn_blocking(|| binary.stop()).await?? {
        Ok(())
    } else {
        Err("the server did not stop well".into())
    }
}

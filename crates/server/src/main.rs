//! The binary. What it can do stands in `cli`; each command has its module.

use std::process::ExitCode;

use clap::Parser as _;
use cresset_server::cli::{Cli, Command};
use cresset_server::failure::Failure;
use cresset_server::{doctor, exec, listen, project, send, trace, up};

/// A fifth less CPU for a send than with the C library's (docs/decisions/010).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("cresset: {failure}");
            ExitCode::from(failure.exit_code)
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Up(up) => asynchronously(up::up(&up)),
        Command::Serve(serve) if serve.print_config => {
            print!("{}", cresset_server::config::TEMPLATE);
            Ok(())
        }
        Command::Serve(serve) => asynchronously(up::serve(serve.config()?)),
        Command::Project(project) => asynchronously(project::run(&project)),
        Command::Send(send) => asynchronously(send::run(&send)),
        Command::Listen(args) => asynchronously(listen::run(&args)),
        Command::Trace(trace) => asynchronously(trace::run(&trace)),
        // These two enter namespaces, which only a process with one thread may.
        Command::Exec(exec) => Err(exec::run(&exec)),
        Command::Doctor(doctor) => doctor::run(&doctor),
    }
}

fn asynchronously(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(format!("threads cannot be started: {e}")))?;
    runtime.block_on(work)
}

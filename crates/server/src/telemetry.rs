//! Logs: lines for people, or one JSON object a line.

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
use crate::failure::Failure;

/// To standard error: standard output is for what a command was asked to print.
pub(crate) fn start(log: &Log) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&log.level)
        .map_err(|e| Failure::new(format!("log.level: `{}` is not a level: {e}", log.level)))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match log.format {
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
        LogFormat::Text => {
            let colours = std::io::IsTerminal::is_terminal(&std::io::stderr());
            subscriber.with_target(false).with_ansi(colours).try_init()
        }
    };
    started.map_err(|e| Failure::new(format!("logs cannot be started: {e}")))
}

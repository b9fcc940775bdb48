//! The server's beginning and end, and its commands as they are typed.

mod ending;
mod listen;
mod send;

use std::path::Path;
use std::process::{Command, Stdio};

use cresset_server::Server;
use cresset_server::config::Config;

/// A server with ports of its own, whose data is in `folder`.
async fn server(folder: &Path) -> Server {
    let mut config = Config { data: folder.join("data"), ..Config::default() };
    let any = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    (config.listen.https, config.listen.http, config.listen.mcs) = (any, any, any);
    config.listen.xmpp = any.to_string();
    Server::start(&config).await.unwrap()
}

/// The binary, with nothing of this process's environment that would lead it elsewhere.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cresset"));
    command.args(arguments).env("CRESSET_DATA", folder).env("HOME", folder).stdin(Stdio::null());
    for name in ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"] {
        command.env_remove(name);
    }
    command
}

//! Cresset, whole: configuration, wiring, telemetry, command line. The binary is `main.rs`; this
//! library is for the tests that start a server in their own process.

mod app_servers;
mod background;
pub mod cli;
mod clock;
pub mod config;
mod data;
mod devices;
pub mod doctor;
pub mod exec;
pub mod failure;
mod files;
mod health;
mod hello;
mod http;
pub mod listen;
mod metrics;
mod names;
mod outgoing;
mod output;
mod pki;
pub mod project;
mod push;
pub mod send;
pub mod server;
mod service_account;
mod spans;
mod telemetry;
pub mod trace;
mod trust;
pub mod up;

pub use data::{DataFolder, Running};
pub use metrics::metrics_page;
pub use server::Server;

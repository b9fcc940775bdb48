//! Cresset, whole: configuration, wiring, telemetry, command line. The binary is `main.rs`; this
//! library is for the tests that start a server in their own process.

pub mod cli;
pub mod config;
pub mod failure;
pub mod up;
pub mod project;
pub mod exec;
pub mod doctor;
pub mod server;
mod http;
mod devices;
mod health;
mod telemetry;
mod data;
mod pki;
mod trust;
mod names;
mod clock;

pub use data::{DataFolder, Running};
pub use server::Server;

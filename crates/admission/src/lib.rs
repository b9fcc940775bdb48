//! Which connections a listener lets in: how many of one address, how many that have not shown who they
//! are, and what the log is told of those that are refused. Every listener has the same rules.

mod addresses;
mod newcomers;
mod open;
mod rare_log;

pub use addresses::{PerAddress, Place};
pub use newcomers::{Newcomer, Newcomers, Waiting};
pub use open::OpenConnections;
pub use rare_log::RareLog;

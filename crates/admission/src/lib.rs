//! Which connections a listener lets in: how many of one address, how many that have not shown who they
//! are, and what the log is told of those that are refused. Every listener has the same rules.

mod gate;

mod accept;
mod addresses;
mod counter;
mod newcomers;
mod open;
mod places;
mod rare_log;

pub use accept::accept;
pub use addresses::Place;
pub use counter::Counter;
pub use gate::{Bounds, Clock, Entry, Gate, House, Login, Seen, accept_until};
pub use newcomers::{Newcomer, Waiting};
pub use open::OpenConnections;
pub use places::{Addresses, Places, TooMany};
pub use rare_log::RareLog;

//! The listener over real sockets and TLS, with our device client and a house made of fakes.

mod delivery;
mod fuzzed;
mod hostile;
mod house;
mod login;

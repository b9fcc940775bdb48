//! A Cresset to test against, and what stands around it: the binary as a child process, a server in
//! this process, an app server that sends, devices that receive.

mod binary;
mod browser;
mod credential;
pub mod fakes;
mod http2;
mod mcs;
mod outside;
mod server;
mod world;
mod xmpp;

pub use binary::{Binary, Surroundings};
pub use browser::{Browser, Heard, opened};
pub use credential::{Trust, access_token, now};
pub use http2::{Answer, Http2, take};
pub use mcs::{RawMcs, login_bytes};
pub use outside::{Apps, BUNDLE, Outside};
pub use server::{TestServer, config, patiently};
pub use world::{Device, World, id_of};
pub use xmpp::{FromServer, RawXmpp, message as xmpp_message};

pub type Failure = Box<dyn std::error::Error + Send + Sync>;
pub type Outcome<T> = Result<T, Failure>;

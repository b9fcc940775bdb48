//! A device client: check-in, register, connect, receive, acknowledge.
//!
//! Speaks what Android stacks, browsers and push receivers speak to FCM
//! (`protocol/device-registration.md`, `protocol/mcs.md`). Light enough to be thousands of
//! devices in one process.
//!
//! ```no_run
//! use cresset_device_client::{Client, ConnectOptions, Endpoints, Register3, Trust};
//!
//! # async fn example(ca_pem: &str) -> Result<(), cresset_device_client::Error> {
//! let client = Client::new(
//!     Endpoints {
//!         http_base: "http://127.0.0.1:8080".into(),
//!         mcs: "127.0.0.1:5228".into(),
//!         server_name: Some("mtalk.google.com".into()),
//!     },
//!     Trust::pem(ca_pem)?,
//! )?;
//! let device = client.check_in(None).await?;
//! let token = client.register3(&device, &Register3::android("com.example.app", "123456789012")).await?;
//! println!("send to {token}");
//!
//! let mut connection = client.connect(&device, ConnectOptions::default()).await?;
//! while let Some(message) = connection.next().await? {
//!     println!("{:?}", message.data().collect::<Vec<_>>());
//!     connection.acknowledge(&message).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod client;
mod connection;
mod error;
mod http;
mod register;
mod web;

pub use client::{Client, Credentials, Endpoints, Trust};
pub use connection::{Acks, ConnectOptions, Connection, Received};
pub use error::Error;
pub use register::{DEFAULT_VAPID_KEY, Register3};
pub use web::{App, Installation, WebRegistration};

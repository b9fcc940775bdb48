//! Receives messages of Firebase Cloud Messaging, from Cresset and from Google alike.
//!
//! A [`Receiver`] is a device with one app. It registers, stays connected, comes back after whatever
//! ends a connection, and hands out each message once:
//!
//! ```no_run
//! use cresset_device_client::{AndroidApp, Client, Endpoints, Event, FileStore, Receiver, Trust};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let cresset = Endpoints {
//!     http_base: "https://push.example.com".into(),
//!     mcs: "push.example.com:5228".into(),
//!     server_name: None,
//! };
//! let client = Client::new(cresset, Trust::system())?; // Client::google() is Google.
//! let app = AndroidApp::new("com.example.app", "123456789012");
//! let mut receiver = Receiver::android(client, app).store(FileStore::open("device.json")?).open()?;
//! receiver.subscribe("news").await?;
//! loop {
//!     match receiver.next().await? {
//!         Event::Token(token) => println!("send to {token}"),
//!         Event::Message(message) => println!("{:?} {:?}", message.notification, message.data),
//!         Event::Disconnected { error, retry_in } => eprintln!("{error}; again in {retry_in:?}"),
//!         _ => {}
//!     }
//! }
//! # }
//! ```
//!
//! # Once, and not lost
//!
//! A message is acknowledged when the next event is asked for. If the process ends before, the
//! message comes again; if it was acknowledged, its id is kept, and it does not. A message that the
//! app handled at the very moment of a crash may come twice: give handling it an effect that may
//! happen twice, or keep [`Message::id`] together with that effect.
//!
//! # An end
//!
//! [`Receiver::run`] ends when a future does, such as Ctrl-C, and acknowledges what was handled:
//!
//! ```no_run
//! # use cresset_device_client::{App, Client, Event, Receiver, WebApp};
//! # async fn example() -> Result<(), cresset_device_client::Error> {
//! let app = App {
//!     project_id: "demo".into(),
//!     api_key: "AIza...".into(),
//!     app_id: "1:123456789012:web:0123456789abcdef".into(),
//! };
//! let receiver = Receiver::web(Client::google()?, WebApp::new(app)).open()?;
//! let ctrl_c = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//! receiver.run(ctrl_c, async |event| println!("{event:?}")).await
//! # }
//! ```
//!
//! # Without a receiver
//!
//! [`Client`] and [`Connection`] are the single steps: check-in, register, connect, receive,
//! acknowledge (`protocol/device-registration.md`, `protocol/mcs.md`). They keep nothing, and are
//! light enough to be thousands of devices in one process.
//!
//! ```no_run
//! # use cresset_device_client::{Client, ConnectOptions, Register3};
//! # async fn example(client: Client) -> Result<(), cresset_device_client::Error> {
//! let device = client.check_in(None).await?;
//! let token = client.register3(&device, &Register3::android("com.example.app", "123456789012")).await?;
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
mod message;
mod receiver;
mod register;
mod store;
mod surroundings;
mod trust;
mod web;

pub use client::{Client, Credentials, Endpoints, Hosts};
pub use connection::{Acks, ConnectOptions, Connection, Received, Upstream};
pub use error::Error;
pub use message::{Message, Notification, Priority};
pub use receiver::{AndroidApp, Builder, Event, Receiver, WebApp};
pub use register::{DEFAULT_VAPID_KEY, Register3};
pub use store::{FileStore, MemoryStore, Store};
pub use surroundings::Surroundings;
pub use trust::Trust;
pub use web::{App, Installation, WebRegistration};

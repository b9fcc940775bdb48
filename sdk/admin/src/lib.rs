//! The Admin SDK in Rust, for Cresset and for Google alike.
//!
//! Sends push messages through the HTTP v1 API of Firebase Cloud Messaging, and subscribes tokens to
//! topics, as Google's Admin SDKs do in other languages.
//!
//! ```
//! use cresset_admin_client::{Client, Credentials, Message, Notification};
//!
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/answering.rs"));
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), cresset_admin_client::Error> {
//! # let cresset = answering(r#"{"name":"projects/demo/messages/0:1%2"}"#);
//! let client = Client::builder()
//!     .base_url(cresset) // Leave it out, and it is Google.
//!     .project("demo")
//!     .credentials(Credentials::token("an access token"))
//!     .build()?;
//!
//! let message = Message::to_token("the registration token of a device")
//!     .notification(Notification::default().title("Hi").body("there"))
//!     .data("score", "850");
//! println!("sent as {}", client.send(&message).await?);
//! # Ok(())
//! # }
//! ```
//!
//! # Who sends
//!
//! [`Credentials`] are a service account's key file, what Google's libraries find by themselves, a
//! token, or nobody. Access tokens are had when they are needed, kept, and renewed before they end;
//! however many messages wait for one, it is asked for once.
//!
//! ```no_run
//! # // No run: it is Google that is asked.
//! use cresset_admin_client::{Client, Credentials};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), cresset_admin_client::Error> {
//! let google = Client::builder().credentials(Credentials::application_default()?).build()?;
//! let cresset = Client::builder()
//!     .base_url("https://push.example.com")
//!     .root_certificates(std::fs::read_to_string("ca.pem").expect("the CA of the Cresset"))
//!     .credentials(Credentials::from_file("demo.json")?)
//!     .build()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Many messages
//!
//! [`Client::send_each`] sends up to 500 messages, [`Client::send_each_for_multicast`] one content
//! to up to 500 targets. Each has its own result:
//!
//! ```
//! # use cresset_admin_client::{Client, Content, Credentials, Multicast};
//! # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/answering.rs"));
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), cresset_admin_client::Error> {
//! # let cresset = answering(r#"{"name":"projects/demo/messages/0:1%2"}"#);
//! # let client = Client::builder()
//! #     .base_url(cresset).project("demo").credentials(Credentials::none()).build()?;
//! let multicast = Multicast::new(Content::default().data("score", "850")).tokens(["first", "second"]);
//! // Checked and answered as usual, but not delivered.
//! let sent = client.dry_run().send_each_for_multicast(&multicast).await?;
//! for (target, result) in multicast.targets().into_iter().zip(&sent.results) {
//!     match result {
//!         Ok(name) => println!("{target:?}: {name}"),
//!         Err(error) if error.is_unregistered() => println!("{target:?} is gone, forget it"),
//!         Err(error) if error.can_retry() => println!("{target:?}: later, {error}"),
//!         Err(error) => println!("{target:?}: {error}"),
//!     }
//! }
//! # assert_eq!(sent.success_count(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # When something goes wrong
//!
//! [`Error`] says whose fault it was: the server refused ([`Refusal`], with its [`Code`]), there was
//! no answer, or nothing was sent at all. What may pass is tried again first, by the rules of
//! [`Retries`].

mod batch;
mod bearer;
mod builder;
mod client;
mod credentials;
mod error;
mod message;
mod refusal;
mod retry;
mod surroundings;
mod topics;
mod transport;

pub use batch::BatchResponse;
pub use builder::Builder;
pub use client::{Client, MOST_MESSAGES};
pub use credentials::Credentials;
pub use error::{ApnsError, Code, Error, FieldViolation, Refusal};
pub use message::*;
pub use retry::Retries;
pub use surroundings::Surroundings;
pub use topics::{MOST_TOKENS, TopicError, TopicResponse};

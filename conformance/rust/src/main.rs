//! The crate fcm-push-listener, unmodified, in a process of its own: with what an application has kept of
//! it as a JSON object on standard input. Prints what is to be kept, then every message, one JSON object a
//! line, until it is killed. conformance/python/test_receivers.py drives it.

use std::error::Error;
use std::io;

use fcm_push_listener::{Message, MessageStream, Registration, new_heartbeat_ack, register};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_stream::StreamExt as _;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let input: Value = serde_json::from_reader(io::stdin())?;
    let received: Vec<String> = serde_json::from_value(input["received"].clone())?;
    let http = reqwest::Client::new();
    // As text: a registration is read from nothing else.
    let registration: Registration = match input["kept"].as_str() {
        Some(kept) => serde_json::from_str(kept)?,
        None => registered(&http).await?,
    };
    let kept = serde_json::to_string(&registration)?;
    println!("{}", json!({ "token": registration.fcm_token, "kept": kept }));

    let session = registration.gcm.checkin(&http).await?;
    let connection = session.new_connection(received).await?;
    let mut stream = MessageStream::wrap(connection, &registration.keys);
    while let Some(message) = stream.next().await {
        match message? {
            Message::Data(message) => {
                let body: Value = serde_json::from_slice(&message.body)?;
                println!("{}", json!({ "data": body["data"], "id": message.persistent_id }));
            }
            Message::HeartbeatPing => stream.write_all(&new_heartbeat_ack()).await?,
            Message::Other(..) => {}
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "how a suite is told about the server")]
async fn registered(http: &reqwest::Client) -> Result<Registration, Box<dyn Error>> {
    let web: Value = serde_json::from_str(&std::env::var("CONFORMANCE_WEB_CONFIG")?)?;
    let of = |key: &str| web[key].as_str().ok_or_else(|| format!("the project has no {key}"));
    Ok(register(http, of("appId")?, of("projectId")?, of("apiKey")?, None).await?)
}

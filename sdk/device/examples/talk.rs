//! A device that listens and talks, for whoever drives it by lines of JSON: it prints its token, what is
//! sent to it, and which of its own messages the server has taken; each line that it is given is a message
//! to its app servers (`{"message_id": "1", "data": {"k": "v"}}`).
//!
//! `talk PACKAGE SENDER_ID`, at Google's hosts or where these lead (`cresset exec`).

use std::io::BufRead as _;
use std::time::Duration;

use cresset_device_client::{Acks, Client, ConnectOptions, Register3, Upstream};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// For a message to come, before it is looked whether there is something to say.
const LISTEN: Duration = Duration::from_millis(20);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(package), Some(sender_id)) = (arguments.next(), arguments.next()) else {
        return Err("usage: talk PACKAGE SENDER_ID".into());
    };
    let client = Client::google()?;
    let device = client.check_in(None).await?;
    let token = client.register3(&device, &Register3::android(&package, &sender_id)).await?;
    let options = ConnectOptions { acks: Acks::Automatic, ..ConnectOptions::default() };
    let mut connection = client.connect(&device, options).await?;
    println!("{}", json!({ "token": token }));
    let mut lines = lines();
    let mut untaken: Vec<(String, u32)> = Vec::new();
    loop {
        match lines.try_recv() {
            Ok(line) => {
                let message = message(&serde_json::from_str(&line)?, &package, &sender_id, &token);
                untaken.push((message.message_id.clone(), connection.upstream(&message).await?));
            }
            Err(mpsc::error::TryRecvError::Empty) => {}
            Err(mpsc::error::TryRecvError::Disconnected) => return Ok(connection.close().await?),
        }
        if let Ok(received) = tokio::time::timeout(LISTEN, connection.next()).await {
            let Some(received) = received? else { return Ok(()) };
            let data: serde_json::Map<String, Value> =
                received.data().map(|(key, value)| (key.to_owned(), value.into())).collect();
            println!("{}", json!({ "data": data }));
        }
        untaken.retain(|(id, frame)| {
            let taken = connection.is_taken(*frame);
            if taken {
                println!("{}", json!({ "taken": id }));
            }
            !taken
        });
    }
}

/// Standard input; it ends when that does.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (given, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if given.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

fn message(line: &Value, package: &str, sender_id: &str, token: &str) -> Upstream {
    let data = line["data"].as_object().into_iter().flatten();
    Upstream {
        sender_id: sender_id.to_owned(),
        category: package.to_owned(),
        token: token.to_owned(),
        message_id: line["message_id"].as_str().unwrap_or_default().to_owned(),
        persistent_id: format!("p-{}", line["message_id"]),
        data: data.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect(),
        ttl_seconds: 3_600,
    }
}

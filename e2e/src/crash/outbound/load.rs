//! Senders, until the server is dead.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_e2e::{Http2, Outcome, World, id_of};
use http::StatusCode;
use serde_json::json;
use tokio::task::JoinSet;

use super::journal::{Journal, To, topic_name};
use crate::chance::Chance;
use crate::journal::content;

/// Connections of senders, and sends in flight on each.
const SENDERS: usize = 2;
const IN_FLIGHT: usize = 4;

/// One message of so many is to a topic, each of 16 deliveries.
const TOPIC_EVERY: usize = 16;

/// Between two of a sender: to be encrypted, sent and opened is much more work than to be accepted.
const PAUSE: Duration = Duration::from_millis(4);

pub(super) async fn start(
    world: &World,
    journal: &Arc<Journal>,
    chance: &mut Chance,
) -> Outcome<JoinSet<Outcome<()>>> {
    let mut tasks = JoinSet::new();
    for _ in 0..SENDERS {
        let http = world.sender().await?;
        for _ in 0..IN_FLIGHT {
            let (world, http, journal, mut chance) =
                (world.clone(), http.clone(), journal.clone(), chance.split());
            tasks.spawn(async move {
                loop {
                    let to = match chance.below(TOPIC_EVERY) {
                        0 => To::Topic(chance.below(journal.topics())),
                        _ => To::One(chance.below(journal.registrations().len())),
                    };
                    if send(&world, &http, &journal, to).await?.is_none() {
                        return Ok(());
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
    }
    Ok(tasks)
}

/// Sends the next message, and gives its number; `None`: the server has not answered.
pub(super) async fn send(world: &World, http: &Http2, journal: &Journal, to: To) -> Outcome<Option<usize>> {
    let number = journal.sending(to);
    let mut message = json!({ "data": content(number) });
    match to {
        To::One(registration) => {
            message["token"] = journal.registrations()[registration].token.as_str().into()
        }
        To::Topic(topic) => message["topic"] = topic_name(topic).into(),
    }
    let authorization = world.authorization();
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    let body = Bytes::from(json!({ "message": message }).to_string());
    let Ok(answer) = http.post(&world.send_path(), &headers, body).await else { return Ok(None) };
    match (answer.status, id_of(&answer)) {
        (_, Some(id)) => journal.accepted(number, id),
        (StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, _) => journal.refused(),
        (status, _) => return Err(format!("a send was answered {status}: {}", answer.text()).into()),
    }
    Ok(Some(number))
}

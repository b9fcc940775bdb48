//! What senders and push services wrote down: all that the checker knows.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cresset_e2e::Outside;
use cresset_e2e::fakes::{Arrival as OnWeb, Notification};
use serde_json::Value;

use crate::journal::content;

/// Where a push service reaches a registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// An endpoint.
    Web(String),
    /// An APNs token.
    Apple(String),
}

#[derive(Clone, Debug)]
pub(super) struct Registration {
    pub(super) token: String,
    pub(super) place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum To {
    One(usize),
    Topic(usize),
}

impl To {
    pub(super) fn is_for(self, registration: usize) -> bool {
        match self {
            Self::One(one) => one == registration,
            Self::Topic(topic) => is_member(registration, topic),
        }
    }
}

/// Two of three.
fn is_member(registration: usize, topic: usize) -> bool {
    registration % 3 != topic % 3
}

pub(super) fn topic_name(topic: usize) -> String {
    format!("topic-{topic}")
}

/// A message that was handed to the server. Its number is its place in the journal.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) to: To,
    /// When the request began, on the journal's clock.
    pub(super) begun: u64,
    /// Of one that was acknowledged: when, and the id in the answer.
    pub(super) accepted: Option<(u64, String)>,
}

/// A message that a push service took.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    /// `None`: at a place that nobody has.
    pub(super) registration: Option<usize>,
    /// Which message its content says it is; `None`: one that nobody sent.
    pub(super) number: Option<usize>,
    /// Whether the content is as it was sent.
    pub(super) intact: bool,
    /// The message's id in its content.
    pub(super) id: String,
    /// By what the service tells deliveries apart: `apns-id`, or `Topic`.
    pub(super) name: String,
    pub(super) apple: bool,
    pub(super) connection: u64,
    /// Servers live one after the other.
    pub(super) life: usize,
}

/// What was written down in a round.
pub(super) struct Written {
    pub(super) sent: Vec<Sent>,
    /// The first message of the round; those before it are from earlier ones.
    pub(super) first: usize,
    pub(super) arrivals: Vec<Arrival>,
    pub(super) registrations: usize,
    pub(super) refused: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    registrations: Vec<Registration>,
    topics: usize,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    /// Counts what happens, so that «before» means something.
    clock: u64,
    sent: Vec<Sent>,
    arrivals: Vec<Arrival>,
    refused: u64,
    /// The last connections, to the Web Push service and to APNs, of the servers that are dead.
    lives: Vec<(u64, u64)>,
}

impl Journal {
    pub(super) fn new(registrations: Vec<Registration>, topics: usize) -> Self {
        Self { registrations, topics, pages: Mutex::default() }
    }

    pub(super) fn registrations(&self) -> &[Registration] {
        &self.registrations
    }

    pub(super) fn topics(&self) -> usize {
        self.topics
    }

    pub(super) fn members(&self, topic: usize) -> impl Iterator<Item = &Registration> {
        let all = self.registrations.iter().enumerate();
        all.filter(move |(at, _)| is_member(*at, topic)).map(|(_, registration)| registration)
    }

    /// A message is about to be sent; gives its number.
    pub(super) fn sending(&self, to: To) -> usize {
        let mut pages = self.pages();
        pages.clock += 1;
        let begun = pages.clock;
        pages.sent.push(Sent { to, begun, accepted: None });
        pages.sent.len() - 1
    }

    pub(super) fn accepted(&self, number: usize, id: String) {
        let mut pages = self.pages();
        pages.clock += 1;
        let at = pages.clock;
        pages.sent[number].accepted = Some((at, id));
    }

    pub(super) fn refused(&self) {
        self.pages().refused += 1;
    }

    pub(super) fn count(&self) -> usize {
        self.pages().sent.len()
    }

    /// What the push services have taken since the last time.
    pub(super) fn note_arrivals(&self, outside: &Outside) {
        let web = outside.web.take_arrivals();
        let apple = outside.apns.take_notifications();
        let mut pages = self.pages();
        for arrival in
            web.iter().map(|one| self.on_web(one)).chain(apple.iter().map(|one| self.on_apple(one)))
        {
            let before =
                |(web, apple): &&(u64, u64)| arrival.connection > if arrival.apple { *apple } else { *web };
            let life = pages.lives.iter().filter(before).count();
            pages.arrivals.push(Arrival { life, ..arrival });
        }
    }

    /// The server is dead: whatever comes over another connection comes from the next.
    pub(super) fn life_is_over(&self, outside: &Outside) {
        self.pages().lives.push((outside.web.counts().connections, outside.apns.counts().connections));
    }

    pub(super) fn have_arrived(&self, numbers: &[usize]) -> bool {
        let pages = self.pages();
        let arrived =
            |number: &usize| pages.arrivals.iter().rev().any(|arrival| arrival.number == Some(*number));
        numbers.iter().all(arrived)
    }

    /// Takes what arrived since the last time. Messages stay known: they may come again.
    pub(super) fn take_round(&self, first: usize) -> Written {
        let mut pages = self.pages();
        Written {
            first,
            sent: pages.sent.clone(),
            arrivals: std::mem::take(&mut pages.arrivals),
            registrations: self.registrations.len(),
            refused: std::mem::take(&mut pages.refused),
        }
    }

    fn on_web(&self, arrival: &OnWeb) -> Arrival {
        let json: Value = serde_json::from_slice(&arrival.plaintext).unwrap_or_default();
        let place = Place::Web(arrival.endpoint.clone());
        let name = arrival.topic.clone().unwrap_or_default();
        self.arrival(&place, &json["data"], &json["fcmMessageId"], name, arrival.connection)
    }

    fn on_apple(&self, taken: &Notification) -> Arrival {
        let name = taken.headers.get("apns-id").cloned().unwrap_or_default();
        let (json, place) = (&taken.payload, Place::Apple(taken.token.clone()));
        self.arrival(&place, json, &json["gcm.message_id"], name, taken.connection)
    }

    fn arrival(&self, place: &Place, data: &Value, id: &Value, name: String, connection: u64) -> Arrival {
        let number = data["n"].as_str().and_then(|n| n.parse().ok());
        Arrival {
            registration: self.registrations.iter().position(|known| known.place == *place),
            number,
            intact: number.is_some_and(|number| data["text"] == content(number)["text"]),
            id: id.as_str().unwrap_or_default().to_owned(),
            name,
            apple: matches!(place, Place::Apple(_)),
            connection,
            life: 0,
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

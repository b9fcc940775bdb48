//! What the senders and the devices wrote down: all that the checker knows.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cresset_device_client::Received;
use serde_json::{Value, json};

/// A message that was handed to the server. Its number is its place in the journal.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    /// The device that it is for.
    pub(crate) device: usize,
    /// When the request began, on the journal's clock.
    pub(crate) begun: u64,
    /// Of a message that was acknowledged: when, and the id in the answer.
    pub(crate) accepted: Option<(u64, String)>,
}

/// A message that came to a device.
#[derive(Clone, Debug)]
pub(crate) struct Arrival {
    /// Which message its content says it is; `None`: one that nobody sent.
    pub(crate) number: Option<usize>,
    pub(crate) persistent_id: String,
    /// Whether the content is as it was sent.
    pub(crate) intact: bool,
}

impl Arrival {
    pub(crate) fn of(message: &Received) -> Self {
        let number = message.get("n").and_then(|n| n.parse().ok());
        let intact = number.is_some_and(|n| message.get("text") == Some(&text(n)));
        Self { number, persistent_id: message.persistent_id().to_owned(), intact }
    }
}

/// The content of a message, which its number decides: from nothing to 500 bytes.
pub(crate) fn content(number: usize) -> Value {
    json!({ "n": number.to_string(), "text": text(number) })
}

fn text(number: usize) -> String {
    format!("{number:x}-").repeat(1 + number * 7 % 80)
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    /// Counts what happens, so that «before» means something.
    clock: u64,
    sent: Vec<Sent>,
    /// By device.
    arrivals: Vec<Vec<Arrival>>,
    /// Registrations that the server had acknowledged, and then denied.
    forgotten: u64,
    /// Refused for the moment: 429, 503.
    refused: u64,
}

/// What was written down in a round.
pub(crate) struct Written {
    pub(crate) sent: Vec<Sent>,
    /// The first message of the round; those before it are from earlier ones.
    pub(crate) first: usize,
    pub(crate) arrivals: Vec<Vec<Arrival>>,
    pub(crate) forgotten: u64,
    pub(crate) refused: u64,
}

impl Journal {
    /// A message is about to be sent; gives its number.
    pub(crate) fn sending(&self, device: usize) -> usize {
        let mut pages = self.pages();
        pages.clock += 1;
        let begun = pages.clock;
        pages.sent.push(Sent { device, begun, accepted: None });
        pages.sent.len() - 1
    }

    pub(crate) fn accepted(&self, number: usize, id: String) {
        let mut pages = self.pages();
        pages.clock += 1;
        let at = pages.clock;
        pages.sent[number].accepted = Some((at, id));
    }

    pub(crate) fn refused(&self) {
        self.pages().refused += 1;
    }

    pub(crate) fn forgotten(&self) {
        self.pages().forgotten += 1;
    }

    pub(crate) fn arrived(&self, device: usize, arrival: Arrival) {
        let mut pages = self.pages();
        if pages.arrivals.len() <= device {
            pages.arrivals.resize_with(device + 1, Vec::new);
        }
        pages.arrivals[device].push(arrival);
    }

    pub(crate) fn count(&self) -> usize {
        self.pages().sent.len()
    }

    /// Takes what happened since the last time. Messages stay known: they may come again.
    pub(crate) fn take_round(&self, first: usize) -> Written {
        let mut pages = self.pages();
        Written {
            first,
            sent: pages.sent.clone(),
            arrivals: std::mem::take(&mut pages.arrivals),
            forgotten: std::mem::take(&mut pages.forgotten),
            refused: std::mem::take(&mut pages.refused),
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

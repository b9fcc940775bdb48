//! Messages of an app server that are under way: 100 at a time are delivered, and as many again as nine
//! hundred wait (`protocol/xmpp.md` §9). Beyond that nothing is read, and nobody is sent away.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use cresset_wire::legacy::Downstream;

/// Delivered at a time: what clients may have unanswered.
pub(super) const WINDOW: usize = 100;
/// Unanswered, whatever becomes of them: aiofcm has so many (`clients/legacy-clients.md` §5).
pub(super) const MAX_PENDING: usize = 1_000;
/// Bytes of them. Two hundred and fifty of the largest messages.
pub(super) const MAX_PENDING_BYTES: usize = 1 << 20;
/// Ids remembered to tell duplicates on one connection; Google's number is not known.
const REMEMBERED: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Flight {
    next: u64,
    pending: HashMap<u64, Pending>,
    bytes: usize,
    waiting: VecDeque<(u64, Box<Downstream>)>,
    seen: Seen,
}

/// What is needed to answer a message.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) message_id: String,
    /// Its target, as it was written.
    pub(super) from: String,
    bytes: usize,
}

impl Flight {
    pub(super) fn has_room(&self) -> bool {
        self.pending.len() < MAX_PENDING && self.bytes < MAX_PENDING_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// Whether the id is new on this connection.
    pub(super) fn is_new(&mut self, message_id: &str) -> bool {
        self.seen.add(message_id)
    }

    /// Takes a message of so many bytes; gives it back with its number if it is its turn.
    pub(super) fn take(
        &mut self,
        message_id: String,
        downstream: Box<Downstream>,
        bytes: usize,
    ) -> Option<(u64, Box<Downstream>)> {
        let number = self.next;
        self.next += 1;
        let from = downstream.targets.text();
        let under_way = self.pending.len() - self.waiting.len();
        self.bytes += bytes;
        self.pending.insert(number, Pending { message_id, from, bytes });
        if under_way < WINDOW {
            return Some((number, downstream));
        }
        self.waiting.push_back((number, downstream));
        None
    }

    /// One is answered; gives what is known of it, and whose turn is next.
    pub(super) fn answered(&mut self, number: u64) -> Option<(Pending, Option<(u64, Box<Downstream>)>)> {
        let pending = self.pending.remove(&number)?;
        self.bytes -= pending.bytes;
        Some((pending, self.waiting.pop_front()))
    }
}

/// The last ids of a connection, by their hashes: a client that makes its own collide harms itself.
#[derive(Debug, Default)]
struct Seen {
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Seen {
    fn add(&mut self, id: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let hash = hasher.finish();
        if !self.known.insert(hash) {
            return false;
        }
        self.order.push_back(hash);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

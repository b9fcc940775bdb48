//! What happened, as those outside of the server saw it: the accept log, the device log, and what the
//! server took of acknowledgements. The checker reads nothing else.

use std::sync::{Mutex, MutexGuard, PoisonError};

use cresset_message::{DeviceId, MessageId, Timestamp};

use crate::dice::Dice;

/// A moment of the run, in microseconds since it began.
pub(crate) type Moment = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Brought {
    /// The message of that number.
    Message(usize),
    /// So many messages are gone.
    Deleted(u32),
}

/// A device got something.
#[derive(Clone, Debug)]
pub(crate) struct Receipt {
    pub(crate) at: Moment,
    /// The connection of that number.
    pub(crate) connection: usize,
    pub(crate) phone: usize,
    /// `None`: no app of the world.
    pub(crate) app: Option<usize>,
    pub(crate) brought: Brought,
    pub(crate) id: MessageId,
    /// When it left the server, by the server's clock.
    pub(crate) left: Timestamp,
}

/// A push service took a delivery.
#[derive(Clone, Debug)]
pub(crate) struct Carried {
    pub(crate) at: Moment,
    /// When it went on its way there.
    pub(crate) sent: Moment,
    pub(crate) app: usize,
    /// Which of its subscriptions.
    pub(crate) generation: u64,
    /// The message of that number.
    pub(crate) number: usize,
    pub(crate) id: MessageId,
    /// When it left the server, by the server's clock.
    pub(crate) left: Timestamp,
    /// The server was not told.
    pub(crate) untold: bool,
    /// The life of the server that sent it.
    pub(crate) life: usize,
}

/// The server took an acknowledgement, and said nothing against it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) device: DeviceId,
    pub(crate) id: MessageId,
    pub(crate) at: Moment,
    /// The server's life in which it did.
    pub(crate) life: usize,
    /// When also the rows of sets said so.
    pub(crate) saved: Option<Moment>,
}

#[derive(Debug, Default)]
struct State {
    receipts: Vec<Receipt>,
    taken: Vec<Taken>,
    carried: Vec<Carried>,
    /// A push service had said that somebody is gone, and was asked again.
    disturbed: Vec<(usize, Moment)>,
    life: usize,
    lines: Option<Vec<String>>,
}

pub(crate) struct Journal(Mutex<State>);

impl Journal {
    pub(crate) fn new(log: bool) -> Self {
        Self(Mutex::new(State { lines: log.then(Vec::new), ..State::default() }))
    }

    pub(crate) fn received(&self, receipt: Receipt) {
        self.lock().receipts.push(receipt);
    }

    pub(crate) fn carried(&self, carried: Carried) {
        self.lock().carried.push(carried);
    }

    pub(crate) fn all_carried(&self) -> Vec<Carried> {
        self.lock().carried.clone()
    }

    pub(crate) fn disturbed(&self, app: usize, at: Moment) {
        self.lock().disturbed.push((app, at));
    }

    pub(crate) fn all_disturbed(&self) -> Vec<(usize, Moment)> {
        self.lock().disturbed.clone()
    }

    pub(crate) fn taken(&self, device: DeviceId, ids: &[MessageId], at: Moment) {
        let mut state = self.lock();
        let life = state.life;
        state.taken.extend(ids.iter().map(|id| Taken { device, id: *id, at, life, saved: None }));
    }

    /// Sets that were tidied up since `begun` have their rows.
    pub(crate) fn saved(&self, begun: Moment, at: Moment) {
        let mut state = self.lock();
        let life = state.life;
        for taken in state.taken.iter_mut().rev().take_while(|taken| taken.life == life) {
            if taken.at < begun && taken.saved.is_none() {
                taken.saved = Some(at);
            }
        }
    }

    pub(crate) fn new_life(&self) {
        self.lock().life += 1;
    }

    pub(crate) fn receipts(&self) -> Vec<Receipt> {
        self.lock().receipts.clone()
    }

    pub(crate) fn takens(&self) -> Vec<Taken> {
        self.lock().taken.clone()
    }

    /// Any id that a device was ever given: for those who lie.
    pub(crate) fn any_id(&self, dice: &mut Dice) -> Option<MessageId> {
        let state = self.lock();
        (!state.receipts.is_empty()).then(|| state.receipts[dice.index(state.receipts.len())].id)
    }

    /// A line of the log, if one is kept; else it is not even made.
    pub(crate) fn say(&self, at: Moment, what: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lock().lines {
            let (days, rest) = (at / crate::clock::DAY, at % crate::clock::DAY);
            let (seconds, micros) = (rest / 1_000_000, rest % 1_000_000);
            let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
            lines.push(format!("{days:>3}d {hours:02}:{minutes:02}:{seconds:02}.{micros:06} {}", what()));
        }
    }

    pub(crate) fn take_lines(&self) -> Vec<String> {
        self.lock().lines.take().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

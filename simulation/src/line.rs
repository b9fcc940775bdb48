//! The server's side of one connection: the device listener's session, and around it what the
//! listener does between its sockets and the house (`cresset_device`, `connection.rs` and
//! `connection/link.rs`), without TLS and without a socket. The rules of that part stand here a second
//! time, in the same words; whoever changes them there changes them here.

mod link;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use cresset_delivery::{Carrier, Delivery, Dispatcher, Handoff};
use cresset_device::session::Reason;
use cresset_device::{Inbox, Logins};
use cresset_identity::Identity;
use cresset_message::{DeviceId, MessageId};
use cresset_wire::mcs::Frame;
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::courier::Courier;
use crate::dice::Dice;
use crate::journal::Journal;
use crate::sabotage::Sabotage;
pub(crate) use link::Written;
use link::{Link, Step};

/// Deliveries read from an inbox at a time (`cresset_device`, `connection.rs`).
const INBOX_BATCH: usize = 64;

/// What all lines of one server have in common.
pub(crate) struct House {
    pub(crate) identity: Arc<Identity>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) clock: Arc<Clock>,
    pub(crate) journal: Arc<Journal>,
    /// Frames that a socket takes before the line is left alone.
    pub(crate) most_outgoing: usize,
    pub(crate) sabotage: Option<Sabotage>,
    pub(crate) dice: Mutex<Dice>,
    /// Sabotage: what should have been dropped.
    pub(crate) fleeting: Mutex<Vec<Delivery>>,
    /// Takes what is for those behind push services, if there are such.
    pub(crate) courier: Option<Arc<Courier>>,
}

impl House {
    pub(crate) fn happens(&self, sabotage: Sabotage, percent: u64) -> bool {
        self.sabotage == Some(sabotage)
            && self.dice.lock().unwrap_or_else(PoisonError::into_inner).percent(percent)
    }
}

impl House {
    /// Sabotage: what came now or never, and should be gone.
    fn kept(&self, device: DeviceId) -> Vec<Delivery> {
        let mut all = self.fleeting.lock().unwrap_or_else(PoisonError::into_inner);
        all.extract_if(.., |delivery| delivery.recipient.device == device).collect()
    }

    fn keep(&self, delivery: &Delivery) {
        if self.sabotage == Some(Sabotage::KeepFleeting) && delivery.ttl.is_zero() {
            self.fleeting.lock().unwrap_or_else(PoisonError::into_inner).push(delivery.clone());
        }
    }
}

pub(crate) struct Line {
    house: Arc<House>,
    link: Mutex<Link>,
    /// Frames that have come and are not read: the line reads when it has nothing else to do.
    incoming: Mutex<VecDeque<Frame>>,
    woken: Notify,
    device: OnceLock<DeviceId>,
}

impl Line {
    pub(crate) fn new(house: Arc<House>) -> Arc<Self> {
        let link = Mutex::new(Link::new(house.clock.wall()));
        Arc::new(Self {
            house,
            link,
            incoming: Mutex::default(),
            woken: Notify::new(),
            device: OnceLock::new(),
        })
    }

    /// A frame of the device has come.
    pub(crate) fn receive(&self, frame: Frame) {
        self.incoming().push_back(frame);
        self.woken.notify_one();
    }

    /// What the socket takes now.
    pub(crate) fn take_outgoing(&self) -> Vec<Written> {
        let taken = self.link().take_outgoing();
        if !taken.is_empty() {
            self.woken.notify_one();
        }
        taken
    }

    pub(crate) fn has_outgoing(&self) -> bool {
        self.link().has_outgoing()
    }

    /// The socket has ended, or we end it.
    pub(crate) fn close(&self, reason: Reason) {
        self.link().close(reason, self.house.clock.wall());
        self.woken.notify_one();
    }

    pub(crate) fn time_passed(&self) {
        self.link().time_passed(self.house.clock.wall());
        self.woken.notify_one();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.link().is_closed()
    }

    /// Serves the connection until it ends.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut known = None;
        loop {
            let step = self.link().next_step(self.house.most_outgoing);
            match step {
                Step::Authenticate { device, security_token } => {
                    known = self.authenticate(device, security_token).await;
                }
                Step::Acknowledge(ids) => self.acknowledge(ids).await,
                Step::ReadInbox { room } => self.read_inbox(room).await,
                Step::Wait => self.wait().await,
                Step::Close => break,
            }
        }
        if let Some((device, line)) = known {
            Inbox::left(&*self.house.dispatcher, device, &line);
        }
    }

    async fn wait(&self) {
        let frame = self.incoming().pop_front();
        match frame {
            Some(frame) => self.link().receive(frame, self.house.clock.wall()),
            None => self.woken.notified().await,
        }
    }

    fn incoming(&self) -> MutexGuard<'_, VecDeque<Frame>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn authenticate(
        self: &Arc<Self>,
        device: DeviceId,
        security_token: u64,
    ) -> Option<(DeviceId, Arc<dyn Carrier>)> {
        let house = &self.house;
        let now = house.clock.wall();
        match Logins::authenticate(&*house.identity, device, security_token, now).await {
            Ok(true) => {}
            Ok(false) => {
                self.link().authenticated(false, house.clock.wall());
                return None;
            }
            Err(_) => {
                self.link().close(Reason::Unavailable, now);
                return None;
            }
        }
        let line: Arc<dyn Carrier> = Arc::new(Door(Arc::downgrade(self)));
        match Inbox::arrived(&*house.dispatcher, device, line.clone(), now).await {
            Ok(true) => {
                self.link().authenticated(true, house.clock.wall());
                // Nobody else sets it.
                let _ = self.device.set(device);
            }
            Ok(false) => self.link().close(Reason::Replaced, now),
            Err(_) => self.link().close(Reason::Unavailable, now),
        }
        Some((device, line))
    }

    async fn acknowledge(&self, ids: Vec<MessageId>) {
        let Some(device) = self.device.get() else { return };
        match self.house.dispatcher.acknowledge(*device, &ids, self.house.clock.wall()).await {
            Ok(()) => {
                self.link().acknowledgements_are_stored();
                self.house.journal.taken(*device, &ids, self.house.clock.run());
            }
            Err(_) => self.link().keep_acknowledgements(ids),
        }
    }

    async fn read_inbox(&self, room: usize) {
        let Some(device) = self.device.get() else { return };
        let limit = room.min(INBOX_BATCH);
        let skip = |id| self.link().has(id);
        match self.house.dispatcher.pending(*device, limit, &skip, self.house.clock.wall()).await {
            Ok(deliveries) => {
                let last = deliveries.len() < limit;
                self.link().deliver_from_inbox(&deliveries, last, &self.house);
            }
            Err(_) => self.link().close(Reason::Unavailable, self.house.clock.wall()),
        }
    }

    fn push(&self, delivery: &Delivery) -> Handoff {
        let handoff = self.link().push(delivery, &self.house);
        self.house.keep(delivery);
        self.woken.notify_one();
        handoff
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A line as those who push know it.
struct Door(Weak<Line>);

impl Carrier for Door {
    fn push(&self, delivery: &Delivery) -> Handoff {
        self.0.upgrade().map_or(Handoff::Offline, |line| line.push(delivery))
    }

    fn replaced(&self) {
        if let Some(line) = self.0.upgrade() {
            line.close(Reason::Replaced);
        }
    }
}

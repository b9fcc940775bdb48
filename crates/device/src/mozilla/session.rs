//! One browser's side of Mozilla's protocol above its WebSocket (`protocol/web-push.md` §2.4). A plain
//! value: events in, actions out; sockets, stores and clocks are the connection's.

#[cfg(test)]
mod tests;

use std::time::Duration;

use cresset_message::{MessageId, Timestamp};
use cresset_wire::mozilla::{self, Channel, Incoming, Uaid, Unreadable};

/// How long a connection may take to say who it is.
pub const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Pings of a browser that are closer together are a fault of its, which drains batteries.
const MIN_BETWEEN_PINGS: Duration = Duration::from_secs(45);
/// Between two pings of ours.
const PING_EVERY: Duration = Duration::from_secs(300);
/// How long the answer may take.
const PONG_TIMEOUT: Duration = Duration::from_secs(4);

/// Messages written and not acknowledged, beyond which more wait in the inbox: as many ids as Firefox
/// remembers of a subscription, to see that a message comes again.
pub const MAX_IN_FLIGHT: usize = 100;
/// Of what waited, so many with a topic go out together, and of the others so many.
pub const TOPIC_BATCH: usize = 11;
pub const BATCH: usize = 10;

/// Everything that can happen to a session.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    Text(&'a str),
    /// A binary frame, which the protocol does not have.
    Binary,
    Pong,
    /// The answer to [`Action::Greet`]: who the browser is from now on, and whether it was known.
    Greeted {
        uaid: Uaid,
        known: bool,
    },
    /// The answer to [`Action::Register`]: the endpoint, if there is one.
    Registered(Channel, Option<String>),
    /// The answer to [`Action::Unregister`].
    Unregistered(Channel, bool),
    /// A message that [`Session::offer`] wants, in the form of this browser.
    Deliver(MessageId, String),
    /// All that was offered has been delivered since, or cannot be.
    Offered,
    /// The inbox was read as [`Action::ReadInbox`] asked: all of this has been delivered since. `last`: there
    /// was no more.
    InboxRead {
        last: bool,
    },
    /// [`Session::deadline`] has come.
    TimePassed,
    /// To be closed for a reason of ours.
    End(Reason),
}

/// What the connection is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Look who this is; whoever is not known gets a new identity.
    Greet(Option<Uaid>),
    Send(String),
    Ping,
    Register(Channel, Option<[u8; 65]>),
    Unregister(Channel),
    /// The browser has these, or will never have them.
    Acknowledge(Vec<MessageId>),
    /// The browser said of so many that it could not use them, now or after it had them.
    Failed(usize),
    ReadInbox,
    /// Nothing is sent any more but this.
    Close(Reason),
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The browser said so, or its socket did.
    PeerClosed,
    HelloTimeout,
    /// What it sent is none of the protocol, or not now.
    Protocol(Fault),
    /// It pings too often.
    ExcessivePing,
    PongMissed,
    /// It does not read what is written to it.
    Stalled,
    /// The same browser has come anew.
    Replaced,
    /// The store could not be asked.
    Unavailable,
    Shutdown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Binary,
    Unreadable(Unreadable),
    HelloMissing,
    SecondHello,
}

impl Reason {
    /// The code of the close frame, and its word (RFC 6455 §7.4.1). Firefox comes back whatever it is.
    pub fn close(self) -> (u16, &'static str) {
        match self {
            Self::PeerClosed | Self::Replaced => (1000, "replaced"),
            Self::Shutdown => (1001, "going away"),
            Self::Protocol(Fault::Binary) => (1003, "binary frame"),
            Self::Protocol(Fault::Unreadable(_)) => (1011, "invalid message"),
            Self::Protocol(Fault::HelloMissing) => (1011, "expected hello"),
            Self::Protocol(Fault::SecondHello) => (1011, "already hello"),
            Self::HelloTimeout => (1011, "hello timeout"),
            Self::ExcessivePing => (1011, "excessive ping"),
            Self::PongMissed => (1011, "no pong"),
            Self::Stalled => (1011, "stalled"),
            Self::Unavailable => (1011, "unavailable"),
        }
    }
}

/// What to do with a message that is there for the browser.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    Send,
    /// It was sent on this connection already.
    InFlight,
    Expired,
    /// Others come first, or too many are not acknowledged.
    Later,
    NotConnected,
}

/// The protocol state of one connection.
#[derive(Debug)]
pub struct Session {
    state: State,
    in_flight: Vec<MessageId>,
    inbox: Inbox,
    /// Something was left in the inbox that has not been read since.
    waits: bool,
    pinged: Option<Timestamp>,
    /// When something is due: the end of a patience, or our next ping.
    due: Timestamp,
    awaits_pong: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    /// Somebody looks who it is.
    Greeting,
    Live,
    Closed,
}

/// How far the browser has been given what waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inbox {
    /// All of it: what comes is sent at once.
    Empty,
    Reading,
    /// A batch is out; the next follows when it is acknowledged.
    Batch,
}

impl Session {
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: State::New,
            in_flight: Vec::new(),
            inbox: Inbox::Empty,
            waits: false,
            pinged: None,
            due: now + HELLO_TIMEOUT,
            awaits_pong: false,
        }
    }

    pub fn on_event(&mut self, event: Event<'_>, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.state == State::Closed {
            return actions;
        }
        let ended = match event {
            Event::Text(text) => self.received(text, now, &mut actions).err(),
            Event::Binary => Some(Reason::Protocol(Fault::Binary)),
            Event::Pong => {
                self.pong(now);
                None
            }
            Event::Greeted { uaid, known } => {
                self.greeted(uaid, known, now, &mut actions);
                None
            }
            Event::Registered(channel, endpoint) => {
                let (status, endpoint) = endpoint.map_or((500, String::new()), |endpoint| (200, endpoint));
                actions.push(Action::Send(mozilla::registered(&channel, status, &endpoint)));
                None
            }
            Event::Unregistered(channel, done) => {
                let status = if done { 200 } else { 500 };
                actions.push(Action::Send(mozilla::unregistered(&channel, status)));
                None
            }
            Event::Deliver(id, frame) => {
                self.in_flight.push(id);
                actions.push(Action::Send(frame));
                None
            }
            Event::Offered => {
                self.read_what_was_left(&mut actions);
                None
            }
            Event::InboxRead { last } => {
                self.inbox_read(last, &mut actions);
                None
            }
            Event::TimePassed => self.time_passed(now, &mut actions).err(),
            Event::End(reason) => Some(reason),
        };
        if let Some(reason) = ended {
            self.state = State::Closed;
            actions.push(Action::Close(reason));
        }
        actions
    }

    /// When [`Event::TimePassed`] is to come.
    pub fn deadline(&self) -> Timestamp {
        self.due
    }

    pub fn is_live(&self) -> bool {
        self.state == State::Live
    }

    pub fn has(&self, id: MessageId) -> bool {
        self.in_flight.contains(&id)
    }

    /// Whether a message can be sent now. One that is `stored` and cannot is looked for in the inbox when its
    /// turn comes; another is gone.
    pub fn offer(&mut self, id: MessageId, stored: bool, expires: Timestamp, now: Timestamp) -> Offer {
        if self.state != State::Live {
            return Offer::NotConnected;
        }
        if self.has(id) {
            return Offer::InFlight;
        }
        if stored && expires <= now {
            return Offer::Expired;
        }
        let others_first = stored && (self.inbox != Inbox::Empty || self.waits);
        if others_first || self.in_flight.len() >= MAX_IN_FLIGHT {
            self.waits |= stored;
            return Offer::Later;
        }
        Offer::Send
    }

    /// What was offered is left in the inbox after all.
    pub fn leave(&mut self) {
        self.waits = true;
    }

    fn received(&mut self, text: &str, now: Timestamp, actions: &mut Vec<Action>) -> Result<(), Reason> {
        let incoming = Incoming::parse(text).map_err(|e| Reason::Protocol(Fault::Unreadable(e)))?;
        match (self.state, incoming) {
            (State::New, Incoming::Hello { uaid }) => {
                self.state = State::Greeting;
                actions.push(Action::Greet(uaid));
            }
            (State::New | State::Greeting | State::Closed, _) => {
                return Err(Reason::Protocol(Fault::HelloMissing));
            }
            (State::Live, Incoming::Hello { .. }) => return Err(Reason::Protocol(Fault::SecondHello)),
            (State::Live, Incoming::Register { channel, key: Ok(key) }) => {
                actions.push(Action::Register(channel, key));
            }
            (State::Live, Incoming::Register { channel, key: Err(why) }) => {
                actions.push(Action::Send(mozilla::registered(&channel, 400, &why.to_string())));
            }
            (State::Live, Incoming::Unregister { channel }) => actions.push(Action::Unregister(channel)),
            (State::Live, Incoming::Ack(updates)) => {
                let failed = updates.iter().filter(|update| !update.delivered).count();
                if failed > 0 {
                    actions.push(Action::Failed(failed));
                }
                self.acknowledged(updates.iter().filter_map(|update| update.id).collect(), actions);
            }
            (State::Live, Incoming::Nack) => actions.push(Action::Failed(1)),
            // There is nothing that could change.
            (State::Live, Incoming::BroadcastSubscribe) => {}
            (State::Live, Incoming::Ping) => {
                if self.pinged.is_some_and(|last| now.since(last) < MIN_BETWEEN_PINGS) {
                    return Err(Reason::ExcessivePing);
                }
                self.pinged = Some(now);
                actions.push(Action::Send(mozilla::PONG.to_owned()));
            }
        }
        Ok(())
    }

    fn greeted(&mut self, uaid: Uaid, known: bool, now: Timestamp, actions: &mut Vec<Action>) {
        if self.state != State::Greeting {
            return;
        }
        self.state = State::Live;
        self.due = now + PING_EVERY;
        actions.push(Action::Send(mozilla::hello(uaid)));
        // Who is new has nothing that could wait.
        if known {
            self.read_inbox(actions);
        }
    }

    /// Of any browser's own: versions that it was not given do nothing.
    fn acknowledged(&mut self, ids: Vec<MessageId>, actions: &mut Vec<Action>) {
        if ids.is_empty() {
            return;
        }
        self.in_flight.retain(|known| !ids.contains(known));
        if self.in_flight.is_empty() {
            // Silent connections keep no memory for what they once had in flight.
            self.in_flight = Vec::new();
        }
        actions.push(Action::Acknowledge(ids));
        if self.in_flight.is_empty() && self.inbox == Inbox::Batch {
            self.read_inbox(actions);
        }
        self.read_what_was_left(actions);
    }

    fn read_what_was_left(&mut self, actions: &mut Vec<Action>) {
        if self.in_flight.is_empty() && self.inbox == Inbox::Empty && self.waits {
            self.read_inbox(actions);
        }
    }

    fn read_inbox(&mut self, actions: &mut Vec<Action>) {
        self.inbox = Inbox::Reading;
        self.waits = false;
        actions.push(Action::ReadInbox);
    }

    fn inbox_read(&mut self, last: bool, actions: &mut Vec<Action>) {
        if self.inbox != Inbox::Reading {
            return;
        }
        if !last && !self.in_flight.is_empty() {
            self.inbox = Inbox::Batch;
        } else if !last || self.waits {
            // Something came while it was read, or nothing of what was found could be sent.
            self.read_inbox(actions);
        } else {
            self.inbox = Inbox::Empty;
        }
    }

    fn pong(&mut self, now: Timestamp) {
        if self.awaits_pong {
            self.awaits_pong = false;
            self.due = now + PING_EVERY;
        }
    }

    fn time_passed(&mut self, now: Timestamp, actions: &mut Vec<Action>) -> Result<(), Reason> {
        if now < self.due {
            return Ok(());
        }
        match self.state {
            State::New => Err(Reason::HelloTimeout),
            // The store takes its time; that is not the browser's fault.
            State::Greeting | State::Closed => {
                self.due = now + HELLO_TIMEOUT;
                Ok(())
            }
            State::Live if self.awaits_pong => Err(Reason::PongMissed),
            State::Live => {
                self.awaits_pong = true;
                self.due = now + PONG_TIMEOUT;
                actions.push(Action::Ping);
                Ok(())
            }
        }
    }
}

/// Of what waits, oldest first: what goes out next, together. Those with a topic come first, as Mozilla's
/// service has it, whose stored messages sort so.
pub fn batch<T>(waiting: Vec<T>, has_topic: impl Fn(&T) -> bool) -> Vec<T> {
    let (mut topics, mut others): (Vec<T>, Vec<T>) = waiting.into_iter().partition(has_topic);
    if topics.is_empty() {
        others.truncate(BATCH);
        return others;
    }
    topics.truncate(TOPIC_BATCH);
    topics
}

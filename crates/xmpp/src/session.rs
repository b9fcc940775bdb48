//! One app server's side of XMPP after TLS (`protocol/xmpp.md`): streams, login, messages, acks. A plain
//! value: events in, actions out; sockets, stores and clocks are the connection's.

mod flight;
mod live;
mod login;
mod upstream;

use std::time::Duration;

use cresset_delivery::Upstream;
use cresset_message::{MessageId, ProjectNumber, Timestamp};
use cresset_wire::legacy::{Downstream, LegacyError};
use cresset_wire::xmpp::{self, Incoming, StreamError};

use live::Live;
use login::Login;

/// How long a connection may take from its first byte to its login; what devices have.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);
/// Silence of ours after which we write a blank, as Google did (`protocol/xmpp.md` §2). Shorter than what
/// middle boxes allow a silent connection.
pub const BLANK_AFTER: Duration = Duration::from_secs(60);
/// Silence of an app server after which it is given up (Google's is not known). Long: some clients never
/// say anything by themselves, and whether a peer is still there the kernel knows.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Everything that can happen to a session.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes have come, if only a blank.
    Heard,
    Received(Incoming),
    /// What came is no stream that can be read.
    Unreadable(StreamError),
    /// The answer to [`Action::Authenticate`].
    Authenticated(Verdict),
    /// The answer to [`Action::Send`] with this number.
    Answered(u64, Result<Sent, LegacyError>),
    /// There is something for app servers of the project.
    Woken,
    /// The answer to [`Action::Pull`].
    Pulled(Vec<Upstream>),
    /// The answer to [`Action::Again`] for these: those that are still there.
    Again(Vec<MessageId>, Vec<Upstream>),
    /// [`Session::deadline`] has come.
    TimePassed,
    /// No more messages are taken; what is under way is finished.
    Drain,
    /// Time is up.
    Shutdown,
    /// Its place is needed for others.
    GiveWay,
}

/// What became of a login.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Known,
    Unknown,
    /// The sender has as many connections as it may.
    TooMany,
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sent {
    /// To one registration or to a set; with the token that is to be used instead, if there is one.
    One { canonical: Option<String> },
    /// To a device group, of which at least one member gets it.
    Group { success: usize, failed: Vec<String> },
}

/// What the connection is to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    Write(String),
    /// The next bytes begin a new stream.
    Restart,
    Authenticate {
        sender: ProjectNumber,
        key: String,
    },
    /// The app server is there: attach it to what waits for its project.
    Attach,
    /// Deliver; answer with the number.
    Send(u64, Box<Downstream>),
    /// Fetch as many as this for the app server.
    Pull(usize),
    /// Somebody else may have what waits.
    Pass,
    /// Fetch these once more.
    Again(Vec<MessageId>),
    /// The app server has this.
    Acknowledge(MessageId),
    /// For who counts.
    Count(Counted),
    /// Nothing is written any more; the socket is to be closed.
    Close(Reason),
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Ack,
    /// By its code.
    Nack(&'static str),
    StanzaError,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The app server ended the stream.
    Ended,
    /// Its socket ended.
    PeerClosed,
    LoginTimeout,
    /// It took long to log in, and others waited for its place.
    GaveWay,
    LoginRefused,
    /// Its sender has as many connections as it may.
    TooMany,
    /// What it sent is no TLS, no stream, or none that may be.
    Unreadable,
    Idle,
    /// It does not read what is written to it.
    Stalled,
    Drained,
    Shutdown,
}

/// What only the connection can give: chance.
#[derive(Clone, Copy, Debug)]
pub struct Chance {
    /// The ids of our streams, before and after the login.
    pub streams: [u64; 2],
    pub resource: u64,
}

/// The protocol state of one connection.
#[derive(Debug)]
pub struct Session {
    phase: Phase,
    closed: bool,
    chance: Chance,
    /// What we are called by the client.
    domain: String,
    /// Our header has been written on this stream.
    opened: bool,
    login_until: Timestamp,
    heard: Timestamp,
    written: Timestamp,
}

#[derive(Debug)]
enum Phase {
    Login(Login),
    Live(Box<Live>),
}

impl Session {
    pub fn new(chance: Chance, now: Timestamp) -> Self {
        Self {
            phase: Phase::Login(Login::new()),
            closed: false,
            chance,
            domain: DOMAIN.to_owned(),
            opened: false,
            login_until: now + LOGIN_TIMEOUT,
            heard: now,
            written: now,
        }
    }

    pub fn on_event(&mut self, event: Event, now: Timestamp) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.closed {
            // It was on its way to the app server, and must go to another.
            if let (Phase::Live(live), Event::Pulled(pulled)) = (&mut self.phase, event) {
                live.keep(&pulled, now);
            }
            return actions;
        }
        match event {
            Event::Heard => self.heard = now,
            Event::Received(incoming) => self.received(incoming, now, &mut actions),
            Event::Unreadable(error) => self.fail(error, Reason::Unreadable, &mut actions),
            Event::Authenticated(verdict) => self.authenticated(verdict, &mut actions),
            Event::TimePassed => self.time_passed(now, &mut actions),
            Event::GiveWay => self.fail(StreamError::ConnectionTimeout, Reason::GaveWay, &mut actions),
            Event::Drain | Event::Shutdown if !matches!(self.phase, Phase::Live(_)) => {
                self.fail(StreamError::SystemShutdown, Reason::Shutdown, &mut actions);
            }
            Event::Shutdown => self.end(Reason::Shutdown, &mut actions),
            Event::Drain => self.live(&mut actions, Live::drain),
            Event::Answered(number, outcome) => {
                self.live(&mut actions, |live, actions| live.answered(number, outcome, actions));
            }
            Event::Woken => self.live(&mut actions, Live::woken),
            Event::Pulled(pulled) => {
                self.live(&mut actions, |live, actions| live.pulled(pulled, now, actions))
            }
            Event::Again(asked, found) => {
                self.live(&mut actions, |live, actions| live.again(&asked, found, actions));
            }
        }
        if actions.iter().any(|action| matches!(action, Action::Write(_))) {
            self.written = now;
        }
        actions
    }

    /// Whether more of what has come is to be read. When not, an answer that is under way makes room.
    pub fn wants_input(&self) -> bool {
        let open = match &self.phase {
            Phase::Login(login) => !login.is_checked(),
            Phase::Live(live) => live.wants_input(),
        };
        open && !self.closed
    }

    /// When [`Event::TimePassed`] is due.
    pub fn deadline(&self) -> Option<Timestamp> {
        match &self.phase {
            _ if self.closed => None,
            Phase::Login(_) => Some(self.login_until),
            Phase::Live(live) if !live.is_bound() => Some(self.login_until),
            Phase::Live(live) => {
                let blank = self.written + BLANK_AFTER;
                let idle = self.heard + IDLE_TIMEOUT;
                [Some(blank), Some(idle), live.next_resend()].into_iter().flatten().min()
            }
        }
    }

    /// Whether it has shown who it is.
    pub fn is_logged_in(&self) -> bool {
        matches!(self.phase, Phase::Live(_))
    }

    /// What was given to the app server and not acknowledged: others are to get it.
    pub fn unacknowledged(&self) -> Vec<MessageId> {
        match &self.phase {
            Phase::Live(live) => live.unacknowledged(),
            _ => Vec::new(),
        }
    }

    fn received(&mut self, incoming: Incoming, now: Timestamp, actions: &mut Vec<Action>) {
        match (&mut self.phase, incoming) {
            (_, Incoming::Opened { to }) => self.open(to, actions),
            (Phase::Live(_), Incoming::Closed) => self.live(actions, |live, _| live.ended()),
            (_, Incoming::Closed) => self.end(Reason::Ended, actions),
            (Phase::Login(login), Incoming::Stanza(stanza)) => {
                if let Err((error, reason)) = login.received(&stanza, actions) {
                    self.fail(error, reason, actions);
                }
            }
            (Phase::Live(live), Incoming::Stanza(stanza)) => match live.received(&stanza, now, actions) {
                Ok(()) => self.close_if_done(actions),
                Err(error) => self.fail(error, Reason::Unreadable, actions),
            },
        }
    }

    /// The client opens a stream, for the first time or anew after its login.
    fn open(&mut self, to: Option<String>, actions: &mut Vec<Action>) {
        if let Some(to) = to.filter(|to| !to.is_empty()) {
            self.domain = to;
        }
        self.write_header(actions);
        let features = match &self.phase {
            Phase::Live(_) => xmpp::bind_features(),
            _ => xmpp::sasl_features(),
        };
        actions.push(Action::Write(features));
    }

    fn write_header(&mut self, actions: &mut Vec<Action>) {
        let id = self.chance.streams[usize::from(self.is_logged_in())];
        self.opened = true;
        actions.push(Action::Write(xmpp::header(&self.domain, id)));
    }

    fn authenticated(&mut self, verdict: Verdict, actions: &mut Vec<Action>) {
        let Phase::Login(login) = &mut self.phase else { return };
        let Some(user) = login.checked() else { return };
        match verdict {
            Verdict::Known => {
                actions.push(Action::Write(xmpp::sasl_success()));
                actions.push(Action::Restart);
                let domain = user.domain.unwrap_or_else(|| self.domain.clone());
                let live = Live::new(user.sender, domain, self.chance.resource);
                self.phase = Phase::Live(Box::new(live));
                self.opened = false;
            }
            // Google ends the connection (`protocol/xmpp.md` §2).
            Verdict::Unknown => {
                actions.push(Action::Write(xmpp::sasl_failure(xmpp::Sasl::NotAuthorized)));
                self.end(Reason::LoginRefused, actions);
            }
            Verdict::TooMany => self.fail(StreamError::ResourceConstraint, Reason::TooMany, actions),
        }
    }

    fn time_passed(&mut self, now: Timestamp, actions: &mut Vec<Action>) {
        let bound = matches!(&self.phase, Phase::Live(live) if live.is_bound());
        if !bound {
            if self.login_until <= now {
                self.fail(StreamError::ConnectionTimeout, Reason::LoginTimeout, actions);
            }
            return;
        }
        if self.heard + IDLE_TIMEOUT <= now {
            return self.fail(StreamError::ConnectionTimeout, Reason::Idle, actions);
        }
        self.live(actions, |live, actions| live.time_passed(now, actions));
        if self.written + BLANK_AFTER <= now {
            actions.push(Action::Write(" ".to_owned()));
        }
    }

    fn live(&mut self, actions: &mut Vec<Action>, act: impl FnOnce(&mut Live, &mut Vec<Action>)) {
        if let Phase::Live(live) = &mut self.phase {
            act(live, actions);
        }
        self.close_if_done(actions);
    }

    fn close_if_done(&mut self, actions: &mut Vec<Action>) {
        if let Phase::Live(live) = &self.phase
            && !self.closed
            && let Some(reason) = live.done()
        {
            self.end(reason, actions);
        }
    }

    /// Ends the stream with an error.
    fn fail(&mut self, error: StreamError, reason: Reason, actions: &mut Vec<Action>) {
        if self.closed {
            return;
        }
        // An error stands in a stream, so there must be one (RFC 6120 §4.9.1.1).
        if !self.opened {
            self.write_header(actions);
        }
        actions.push(Action::Write(xmpp::stream_error(error)));
        self.close(reason, actions);
    }

    /// Ends the stream in order.
    fn end(&mut self, reason: Reason, actions: &mut Vec<Action>) {
        if self.opened {
            actions.push(Action::Write(xmpp::close().to_owned()));
        }
        self.close(reason, actions);
    }

    fn close(&mut self, reason: Reason, actions: &mut Vec<Action>) {
        self.closed = true;
        actions.push(Action::Close(reason));
    }
}

/// Whoever does not say what we are called means this.
const DOMAIN: &str = "gcm.googleapis.com";
